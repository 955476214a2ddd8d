# SPDX-License-Identifier: Apache-2.0
"""Power over time as SVG: of every column of pixels the least and the most that was read.

No reading is skipped: a spike of one reading in a million is as high as it was. The line is the
power of the model, the mean of each column, so that the area under it is the energy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._curves import weighted_sum
from ..sensor.catalog import POWER_CHANNELS
from ..units import NS_PER_S
from .html_parts import safe
from .trace_events import unread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .._trace import Trace
    from ..recording.marks import Mark
    from ..recording.series import DeviceData, Runs

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

__all__ = ["envelope", "phases", "power_chart"]

_LEFT, _RIGHT, _TOP, _AXIS, _STRIP = 46, 8, 8, 22, 20
_LEVELS = 4  # of marks inside marks that are drawn
_COLOURS = 8
_PER_LETTER = 6.9


class _Frame(NamedTuple):
    """Where what is drawn: the plot without its axes."""

    start_ns: int
    end_ns: int
    width: int
    height: int
    low_w: float
    high_w: float

    def x(self, t_ns: float) -> float:
        return _LEFT + (t_ns - self.start_ns) / (self.end_ns - self.start_ns) * self.width

    def y(self, watts: float) -> float:
        return _TOP + (self.high_w - watts) / (self.high_w - self.low_w) * self.height


def power_chart(trace: Trace, device_id: str) -> str:
    """One device's power, for wide and narrow screens, and what the lines are."""
    wide, narrow = _drawing(trace, device_id, 1080, 250), _drawing(trace, device_id, 366, 210)
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def envelope(runs: Runs, edges: Times, gap_ns: int) -> tuple[Floats, Floats]:
    """Least and largest value in each column between ``edges``; NaN where nothing was read."""
    seen = runs.usable
    t = np.stack([runs.t_first_ns[seen], runs.read_last_ns[seen]], axis=1).ravel()
    y = np.repeat(runs.value[seen], 2)
    columns = len(edges) - 1
    if not len(t):
        return np.full(columns, math.nan), np.full(columns, math.nan)
    t = np.maximum.accumulate(t)
    at_edge = np.interp(edges, t, y)
    for start, end in zip(*unread(runs, gap_ns, (int(edges[0]), int(edges[-1]))), strict=True):
        at_edge[(edges >= start) & (edges <= end)] = math.nan
    times, values = np.concatenate([edges, t]), np.concatenate([at_edge, y])
    order = np.argsort(times, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    values = values[order]
    begin, last = place[: columns + 1], at_edge[1:]
    values, begin = values[: begin[-1] + 1], begin[:-1]
    low = np.fmin(np.fmin.reduceat(values, begin), last)
    high = np.fmax(np.fmax.reduceat(values, begin), last)
    return low, high


def _columns(trace: Trace, width: int) -> Times:
    low, high = trace.recorded.bounds_ns
    share = np.linspace(0.0, 1.0, width + 1)
    return np.unique(low + np.rint(share * (high - low)).astype(np.int64))


def _read_channel(device: DeviceData) -> str | None:
    for name in POWER_CHANNELS:
        if name in device.channels and bool(device.runs[name].usable.any()):
            return name
    return None


def _drawing(trace: Trace, device_id: str, full: int, height: int) -> str:
    device, width = trace.recorded.devices[device_id], full - _LEFT - _RIGHT
    edges = _columns(trace, width)
    channel = _read_channel(device)
    low = high = np.zeros(0)
    if channel is not None:
        low, high = envelope(device.runs[channel], edges, device.gap_ns)
    model = trace._evaluated().models.get(device_id)
    mean = np.zeros(0)
    if model is not None:
        curve = weighted_sum([(part, 1.0) for part in model.curves()], *trace.recorded.bounds_ns)
        mean = curve.windows(edges[:-1], edges[1:]) / np.diff(edges) * NS_PER_S
    every = np.concatenate([low, high, mean])
    every = every[np.isfinite(every)]
    top = float(every.max(initial=0.0)) or 1.0
    bottom = min(float(every.min(initial=0.0)), 0.0)
    ticks = _ticks(bottom, top, 5)
    frame = _Frame(
        int(edges[0]),
        int(edges[-1]),
        width,
        height,
        min(bottom, ticks[0]),
        max(top * 1.05, ticks[-1]),
    )
    strips, rows = phases(trace.marks, frame.start_ns, frame.end_ns, width)
    whole = _TOP + height + _AXIS + _STRIP * rows
    return (
        f'<svg viewBox="0 0 {full} {whole}" role="img" '
        f'aria-label="Power of {safe(device_id)} over time">'
        f"{_axes(frame, ticks)}{_shades(trace.marks, frame)}{_blind(frame, device, channel)}"
        f"{_band(frame, edges, low, high)}{_line(frame, edges, mean)}"
        f'<g transform="translate({_LEFT} {_TOP + height + _AXIS})">{strips}</g></svg>'
    )


# Axes ---------------------------------------------------------------------------------------


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round values from at or below ``low`` to at or below ``high``."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * n for n in (1, 2, 5, 10) if size * n >= raw)
    first, last = math.floor(low / step), math.floor(high / step)
    return [n * step for n in range(first, last + 1)]


def _axes(frame: _Frame, ticks: Sequence[float]) -> str:
    parts = []
    for watts in ticks:
        y = frame.y(watts)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}h{frame.width}"/>'
            f'<text class="dim" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{watts:g}</text>'
        )
    parts.append('<text class="dim" x="2" y="12">W</text>')
    seconds = (frame.end_ns - frame.start_ns) / NS_PER_S
    factor, unit = next(
        (f, u) for f, u in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
        if seconds >= f or u == "ns"
    )  # fmt: skip
    base = _TOP + frame.height
    for t in _ticks(0.0, seconds / factor, max(frame.width // 110, 4)):
        x = frame.x(frame.start_ns + t * factor * NS_PER_S)
        anchor = "end" if x > _LEFT + frame.width - 12 else "middle"
        label = f"{t:g} {unit}"
        parts.append(
            f'<path class="grid" d="M{x:.1f} {base}v4"/>'
            f'<text class="dim" x="{x:.1f}" y="{base + 16}" text-anchor="{anchor}">{label}</text>'
        )
    return "".join(parts)


# Lines --------------------------------------------------------------------------------------


def _stretches(good: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[first, last) of each stretch of True."""
    change = np.diff(np.concatenate([[0], good.astype(np.int8), [0]]))
    return list(
        zip(
            np.flatnonzero(change == 1).tolist(), np.flatnonzero(change == -1).tolist(), strict=True
        )
    )


def _band(frame: _Frame, edges: Times, low: Floats, high: Floats) -> str:
    parts = []
    for a, b in _stretches(np.isfinite(low)):
        left, right = frame.x(float(edges[a])), frame.x(float(edges[b]))
        middle = [frame.x((float(edges[i]) + float(edges[i + 1])) / 2) for i in range(a, b)]
        xs = [left, *middle, right]
        over = [high[a], *high[a:b], high[b - 1]]
        under = [low[a], *low[a:b], low[b - 1]]
        points = [*zip(xs, over, strict=True), *reversed(list(zip(xs, under, strict=True)))]
        path = "L".join(f"{x:.1f} {frame.y(w):.1f}" for x, w in points)
        parts.append(f'<path class="band" d="M{path}Z"/>')
    return "".join(parts)


def _blind(frame: _Frame, device: DeviceData, channel: str | None) -> str:
    """Where nothing was read."""
    if channel is None:
        return ""
    parts = []
    spans = unread(device.runs[channel], device.gap_ns, (frame.start_ns, frame.end_ns))
    for start, end in zip(*(side.tolist() for side in spans), strict=True):
        a, b = frame.x(start), frame.x(end)
        parts.append(
            f"<g><title>nothing was read</title>"
            f'<rect class="blind" x="{a:.1f}" y="{_TOP}" width="{max(b - a, 0.5):.1f}" '
            f'height="{frame.height}"/></g>'
        )
    return "".join(parts)


def _line(frame: _Frame, edges: Times, mean: Floats) -> str:
    if not len(mean):
        return ""
    points = []
    for i, watts in enumerate(mean.tolist()):
        y = f"{frame.y(watts):.1f}"
        points += [f"{frame.x(float(edges[i])):.1f} {y}", f"{frame.x(float(edges[i + 1])):.1f} {y}"]
    return f'<path class="model" d="M{"L".join(points)}"/>'


# Phases -------------------------------------------------------------------------------------


def _names(marks: Sequence[Mark]) -> dict[str, int]:
    """Names in order of appearance."""
    return {name: i for i, name in enumerate(dict.fromkeys(mark.name for mark in marks))}


def _shades(marks: Sequence[Mark], frame: _Frame) -> str:
    """The outermost marks behind the curve, as long as they can be told apart."""
    inside = [m for m in marks if m.end_ns > frame.start_ns and m.start_ns < frame.end_ns]
    outer = [m for m in inside if m.depth == 0]
    if len(outer) > 40:
        return ""
    names = _names(marks)
    parts = []
    for mark in outer:
        a = frame.x(min(max(mark.start_ns, frame.start_ns), frame.end_ns))
        b = frame.x(min(max(mark.end_ns, frame.start_ns), frame.end_ns))
        parts.append(
            f'<rect x="{a:.1f}" y="{_TOP}" width="{max(b - a, 0.5):.1f}" height="{frame.height}" '
            f'style="fill:var(--c{names[mark.name] % _COLOURS});fill-opacity:.1"/>'
        )
    return "".join(parts)


def phases(marks: Sequence[Mark], start_ns: int, end_ns: int, width: int) -> tuple[str, int]:
    """(strips of the marks by depth, how many); neighbours of one name less than a pixel apart
    are one piece."""
    names = _names(marks)
    parts: list[str] = []
    levels = sorted({mark.depth for mark in marks})[:_LEVELS]
    for row, depth in enumerate(levels):
        pieces = _pieces([m for m in marks if m.depth == depth], start_ns, end_ns, width)
        for name, a, b, count in pieces:
            shown, y = max(b - a, 1.0), row * _STRIP
            said = name if count == 1 else f"{name}, {count:,} times"
            parts.append(
                f"<g><title>{safe(said)}</title>"
                f'<rect x="{a:.1f}" y="{y}" width="{shown:.1f}" height="{_STRIP - 3}" rx="2" '
                f'style="fill:var(--c{names[name] % _COLOURS});fill-opacity:.4"/>'
            )
            letters = int((shown - 8) / _PER_LETTER)
            label = said if len(said) <= letters else name
            if len(label) > letters:
                label = label[: letters - 1] + "…"
            if letters >= 4:
                parts.append(f'<text x="{a + 4:.1f}" y="{y + 13}">{safe(label)}</text>')
            parts.append("</g>")
    return "".join(parts), len(levels)


def _pieces(
    marks: Sequence[Mark], start_ns: int, end_ns: int, width: int
) -> list[tuple[str, float, float, int]]:
    """(name, from, to, how many) in pixels."""
    found: dict[str, list[list[float]]] = {}
    for mark in sorted(marks, key=lambda m: m.start_ns):
        if mark.end_ns < start_ns or mark.start_ns > end_ns:
            continue
        scale = width / (end_ns - start_ns)
        a = (max(mark.start_ns, start_ns) - start_ns) * scale
        b = (min(mark.end_ns, end_ns) - start_ns) * scale
        pieces = found.setdefault(mark.name, [])
        if pieces and a - pieces[-1][1] < 1.0 and (b - a < 12.0):
            pieces[-1][1] = max(pieces[-1][1], b)
            pieces[-1][2] += 1
        else:
            pieces.append([a, b, 1])
    return [(name, a, b, int(n)) for name, each in found.items() for a, b, n in each]
