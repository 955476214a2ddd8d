# SPDX-License-Identifier: Apache-2.0
"""A tree map of joules as SVG: areas are energies, colours are kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .html_parts import percent, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Tile", "squarify", "treemap"]

_MOST = 60  # tiles of a kind; the rest are one, that says how many
_PER_LETTER = 6.9  # px of a letter of 12 px
_COLOURS = 8

Box = tuple[float, float, float, float]


class Tile(NamedTuple):
    """One energy; tiles of one kind lie together. ``kind`` is empty for what nobody's is."""

    label: str
    kind: str
    joules: float
    said: str  # the energy with its uncertainty
    ends: bool = False  # whether the end of the label tells more than its beginning


def treemap(tiles: Sequence[Tile], whole: float | None = None) -> str:
    """Drawn twice, for wide and narrow screens, with a legend; nothing where no energy is above 0.

    Shares are of ``whole``, J; None: of all the tiles.

    What is not above zero has no area: how many those are, and what they come to, stands below.
    """
    drawn = [tile for tile in tiles if tile.joules > 0]
    if not drawn:
        return ""
    kinds = _by_size(drawn)
    whole = sum(tile.joules for tile in tiles) if whole is None else whole
    colour = {kind: f"var(--c{i % _COLOURS})" for i, kind in enumerate(k for k in kinds if k)}
    parts = [
        f'<div class="wide">{_drawing(drawn, kinds, colour, (1080, 440), whole)}</div>',
        f'<div class="narrow">{_drawing(drawn, kinds, colour, (366, 520), whole)}</div>',
    ]
    if len(colour) > 1:
        names = "".join(
            f'<span><i style="background:{shade}"></i>{safe(kind)}</span>'
            for kind, shade in colour.items()
        )
        parts.append(f'<div class="legend">{names}</div>')
    rest = [tile for tile in tiles if not tile.joules > 0]
    if any(tile.joules < 0 for tile in rest):
        below = sum(tile.joules for tile in rest)
        parts.append(
            f'<p class="dim">{len(rest)} more have no area: their energies are not above zero '
            f"(together {below:.3g} J); they are in the tables.</p>"
        )
    return "".join(parts)


def _by_size(tiles: Sequence[Tile]) -> list[str]:
    """Kinds, the one with most energy first and what is nobody's last."""
    total: dict[str, float] = {}
    for tile in tiles:
        total[tile.kind] = total.get(tile.kind, 0.0) + tile.joules
    return sorted(total, key=lambda kind: (kind == "", -total[kind]))


def _drawing(
    tiles: Sequence[Tile],
    kinds: Sequence[str],
    colour: dict[str, str],
    size: tuple[int, int],
    whole: float,
) -> str:
    width, height = size
    groups = [_most([tile for tile in tiles if tile.kind == kind]) for kind in kinds]
    sums = [sum(tile.joules for tile in group) for group in groups]
    order = sorted(range(len(kinds)), key=lambda i: -sums[i])
    shapes = []
    outer = squarify([sums[i] for i in order], (0, 0, width, height))
    for i, box in zip(order, outer, strict=True):
        inner = squarify([tile.joules for tile in groups[i]], box)
        for tile, place in zip(groups[i], inner, strict=True):
            shapes.append(_tile(tile, place, colour.get(kinds[i]), whole))
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Tree map of the energy">'
        f"{''.join(shapes)}</svg>"
    )


def _most(group: Sequence[Tile]) -> list[Tile]:
    """By size; those beyond what can be seen as one."""
    ordered = sorted(group, key=lambda tile: -tile.joules)
    rest = ordered[_MOST:]
    if len(rest) < 2:
        return ordered
    joules = sum(tile.joules for tile in rest)
    others = Tile(f"{len(rest)} others", rest[0].kind, joules, f"{joules:.4g} J")
    kept = [*ordered[:_MOST], others]
    return sorted(kept, key=lambda tile: -tile.joules)


def _tile(tile: Tile, box: Box, colour: str | None, whole: float) -> str:
    x, y, w, h = box
    share = percent(tile.joules / whole)
    fill = f'class="tile" style="fill:{colour}"' if colour else 'class="tile none"'
    letters = int((w - 10) / _PER_LETTER)
    lines = []
    if letters >= 4 and h >= 20:
        lines.append(f'<text x="6" y="16">{safe(_fit(tile, letters))}</text>')
        fits = [text for text in (tile.said, share) if len(text) <= letters]
        for n, text in enumerate(fits[: int((h - 22) / 16)]):
            lines.append(f'<text class="dim" x="6" y="{32 + 16 * n}">{safe(text)}</text>')
    # One within the other: it cuts off what a wide font does not leave room for.
    return (
        f'<svg x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}">'
        f"<title>{safe(tile.label)}\n{safe(tile.said)}, {safe(share)}</title>"
        f'<rect width="100%" height="100%" {fill}/>{"".join(lines)}</svg>'
    )


def _fit(tile: Tile, letters: int) -> str:
    text = tile.label
    if len(text) <= letters:
        return text
    return "…" + text[1 - letters :] if tile.ends else text[: letters - 1] + "…"


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Rectangles of these areas (in proportion) that fill a box, as near to squares as rows allow.

    ``sizes``: above zero, in falling order. After Bruls, Huizing and van Wijk, "Squarified
    treemaps" (2000).
    """
    x, y, w, h = box
    scale = w * h / sum(sizes) if sizes else 0.0
    areas = [size * scale for size in sizes]
    placed: list[Box] = []
    at = 0
    while at < len(areas):
        short = min(w, h)
        end = at + 1
        while end < len(areas) and _worst(areas[at : end + 1], short) <= _worst(
            areas[at:end], short
        ):
            end += 1
        row = areas[at:end]
        depth = sum(row) / short if short > 0 else 0.0
        along = y if w >= h else x
        for area in row:
            length = area / depth if depth > 0 else 0.0
            if w >= h:
                placed.append((x, along, depth, length))
            else:
                placed.append((along, y, length, depth))
            along += length
        if w >= h:
            x, w = x + depth, max(w - depth, 0.0)
        else:
            y, h = y + depth, max(h - depth, 0.0)
        at = end
    return placed


def _worst(row: Sequence[float], short: float) -> float:
    """The largest ratio of sides in a row along the shorter side."""
    total = sum(row)
    if total <= 0 or short <= 0:
        return float("inf")
    return max(short**2 * max(row) / total**2, total**2 / (short**2 * min(row)))
