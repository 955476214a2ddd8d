# SPDX-License-Identifier: Apache-2.0
"""Pieces of the page: text made safe, tables, energies with their intervals."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .._energy import Energy
from ..units import engineering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Cell", "bar", "energy_cell", "facts", "percent", "quantity", "safe", "section", "table"]

_SHOWN = 25  # rows of a table before one asks for the others
_MOST = 2000  # rows that a page holds; a browser is slow with more


class Cell(NamedTuple):
    """What a table shows, as HTML, and what it is sorted by."""

    shown: str
    value: float | str | None = None
    kind: str = "n"  # classes: n: a number, t: text, w: on wide screens only


def safe(text: object) -> str:
    """``text`` as HTML; what no file can hold (lone surrogates) as its code."""
    printable = str(text).encode("utf-8", "backslashreplace").decode()
    return html.escape("".join(c if c >= " " or c in "\n\t" else repr(c)[1:-1] for c in printable))


def section(title: str, name: str, *parts: str) -> str:
    """A part of the page with a heading; nothing where there is nothing in it."""
    body = "".join(parts)
    if not body:
        return ""
    return f'<section id="{name}"><h2>{safe(title)}</h2>{body}</section>\n'


def energy_cell(joules: float | None, u: float | None) -> Cell:
    """``12.3 ± 0.5 J`` over its 95 % interval."""
    if joules is None:
        return Cell('<span class="bad">not read</span>', None)
    if u is None or not math.isfinite(u):
        return Cell(f"{engineering(joules, 'J')}<small>u not known</small>", joules)
    energy = Energy(joules, u, "", "")
    return Cell(f"{safe(energy)}<small>{safe(energy.format_interval(0.95))}</small>", joules)


def quantity(value: float | None, unit: str, kind: str = "n w") -> Cell:
    """A number with a prefix; empty where it is not known."""
    if value is None or not math.isfinite(value):
        return Cell("", None, kind)
    return Cell(safe(engineering(value, unit)), value, kind)


def percent(share: float) -> str:
    """A share with a place after the point, small ones with two digits."""
    size = abs(share)
    if size >= 0.001 or share == 0:
        return f"{share:.1%}"
    return f"{100 * share:.2g}%" if size >= 1e-6 else f"{'-' if share < 0 else ''}<0.0001%"


def bar(share: float | None, kind: str = "n") -> Cell:
    """A share as a number over a bar."""
    if share is None or not math.isfinite(share):
        return Cell("", None, kind)
    width = min(max(share, 0.0), 1.0)
    return Cell(
        f'{safe(percent(share))}<span class="bar"><i style="width:{width:.2%}"></i></span>',
        share,
        kind,
    )


def table(
    name: str, head: Sequence[tuple[str, str]], rows: Sequence[Sequence[Cell]], rest: str = ""
) -> str:
    """A table that can be sorted by its columns.

    Parameters
    ----------
    name : str
        Of the element.
    head : sequence of (str, str)
        Title and classes of each column.
    rows : sequence of sequences of Cell
    rest : str
        Where the rows are that the page does not hold.
    """
    if not rows:
        return ""
    titles = "".join(
        f'<th class="{kind}" scope="col"><button type="button">{safe(title)}</button></th>'
        for title, kind in head
    )
    body = "".join(_row(row, i) for i, row in enumerate(rows[:_MOST]))
    more = ""
    if len(rows) > _SHOWN:
        held = min(len(rows), _MOST)
        more = (
            f'<input type="checkbox" id="{name}-all"><label for="{name}-all" class="all">'
            f"all {held:,} rows</label>"
        )
    beyond = ""
    if len(rows) > _MOST:
        beyond = f'<p class="dim">{len(rows) - _MOST:,} rows more: {safe(rest)}</p>'
    return (
        f'<div class="table">{more}<div class="scroll" tabindex="0"><table id="{name}"><thead>'
        f"<tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>{beyond}</div>"
    )


def _row(row: Sequence[Cell], number: int) -> str:
    cells = []
    for cell in row:
        by = "" if cell.value is None else f' data-v="{safe(cell.value)}"'
        cells.append(f'<td class="{cell.kind}"{by}>{cell.shown}</td>')
    beyond = ' class="more"' if number >= _SHOWN else ""
    return f"<tr{beyond}>{''.join(cells)}</tr>"


def facts(known: Mapping[str, Any]) -> str:
    """Names and values, one under the other; what is empty is left out."""
    lines = [
        f"<dt>{safe(name)}</dt><dd>{safe(value)}</dd>"
        for name, value in known.items()
        if value is not None and value != "" and value == value
    ]
    return f"<dl>{''.join(lines)}</dl>" if lines else ""
