# SPDX-License-Identifier: Apache-2.0
"""Whether times that were taken elsewhere can be nanoseconds, and belong to one clock.

A wrong unit is off by a thousand and gives an energy all the same. What cannot be right is refused
with the unit that would make it right; what is merely strange is said in a note. Nothing is ever
converted: only whoever took the readings knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import OptionError
from ..units import NS_PER_MS, NS_PER_S, engineering

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from .marks import Mark

__all__ = ["advice", "check_extents", "check_spans", "check_times"]

# Units that people have times in, coarsest first, in ns.
_UNITS = {"seconds": NS_PER_S, "milliseconds": NS_PER_MS, "microseconds": 1_000}
_UNIX_S = (1.0e9, 4.2e9)  # 2001 to 2103
# From a fast measuring card to an hourly log; most are read some ten times a second.
_INTERVALS_S, _USUAL_S = (5e-5, 4e3), 0.1

# Half a million readings a second are more than any power meter's: measuring cards do 20 kHz, and a
# board's own capacitors smooth what a faster one would see. A scope's capture may have them all
# the same: refused is only one that ends before the fastest sensor known (10 ms) has updated once,
# or whose times are Unix times of a coarser unit. Of a clock that counts from the boot ns are in
# the range of those for hours or weeks: alone that proves nothing.
_TOO_FAST_NS = 2_000
_TOO_SHORT_NS = 10 * NS_PER_MS
# Readings that change more often than this are no board's own sensor's (10 ms and more), but may be
# a meter's at 1 kHz: in a short recording that is rather a long one in another unit, and a little
# rarer where they would be Unix times in that unit (a log of every second in us). Readings that
# hardly change do not tell a sensor's updates from the polls: then the polls themselves are asked,
# of which most are at 1 kHz and slower, a little unsteady.
_FASTEST_CHANGE_NS, _FASTEST_LOGGED_NS = NS_PER_MS, 1_500_000
_FASTEST_POLL_NS = 900_000
_SHORT_NS = NS_PER_S
_FEWEST_CHANGES = 4
_TIMED_NS = 1_000  # no program marks spans that all together are shorter
_OTHER_CLOCK_NS = 30 * 86_400 * NS_PER_S  # a span is no month away from its recording
_MARGIN = 0.1  # of the readings' extent: spans may begin before and end after them


def check_times(
    t: NDArray[np.int64], values: NDArray[np.float64], by_driver: bool = False
) -> list[str]:
    """Notes on times that do not look like nanoseconds.

    Parameters
    ----------
    t : ndarray of int64, not decreasing
    values : ndarray of float64
        What was read: when it changes tells a sensor that updates from polls that see it again.
    by_driver : bool
        Whether a driver's readings are known to be there: they cannot change this fast.

    Raises
    ------
    OptionError
        When they cannot be nanoseconds.
    """
    steps = np.diff(t)
    steps = steps[steps > 0]
    if len(steps) == 0:
        return []
    step, extent = float(np.median(steps)), int(t[-1]) - int(t[0])
    fast, short, unix = step < _TOO_FAST_NS, extent < _TOO_SHORT_NS, _unix_unit(t) in _UNITS
    change = _change_ns(t, values)
    quick = 0 < change < _FASTEST_CHANGE_NS
    said = (
        f"taken as nanoseconds, {len(t)} readings come every {engineering(step / NS_PER_S, 's')} "
        f"and last {engineering(extent / NS_PER_S, 's')} in all"
    )
    if (fast and (short or unix)) or (quick and short and unix):
        raise OptionError(f"{said}: {advice(t)}")
    logged = 0 < change < _FASTEST_LOGGED_NS
    if by_driver and logged:
        raise OptionError(
            f"{said}, and change every {engineering(change / NS_PER_S, 's')}, which a driver's do "
            f"not, as they were logged: {advice(t)}"
        )
    brief = extent < _SHORT_NS
    strange = fast or (quick and (unix or brief)) or (logged and unix and brief)
    strange = strange or (change == 0 and _polled_strangely(t, values, step))
    notes = [f"{said}. If that is not so: {advice(t)}"] if strange else []
    return notes + _rounded(t, step)


def advice(times: NDArray[np.float64] | NDArray[np.int64]) -> str:
    """What times seem to be in, and what to do about it."""
    units = _likely(times)
    if not units:
        return "pyenergy takes int64 nanoseconds of one clock"
    if units[0].endswith("nanoseconds"):
        return f"they look like {units[0]}: keep them integers, or convert (times.astype(np.int64))"
    whole = np.asarray(times).dtype.kind in "iu"
    ways = []
    for unit in units:
        factor = f"{_UNITS[unit.removeprefix('Unix ')]:_}"
        convert = f"times * {factor}" if whole else f"np.round(times * {factor}).astype(np.int64)"
        ways.append(f"{unit} ({convert})")
    return f"they look like {' or '.join(ways)}; pyenergy takes int64 nanoseconds"


def check_extents(extents: Mapping[str, tuple[int, int]]) -> None:
    """Refuse channels of one recording whose times are in different units.

    Raises
    ------
    OptionError
        When one channel lies outside another in time, but inside in another unit.
    """
    items = list(extents.items())
    for index, (name, inner) in enumerate(items):
        for other, outer in items[:index] + items[index + 1 :]:
            if _is_outside(inner, outer) and (unit := _fits([inner], outer)):
                raise OptionError(
                    f"the times of {name} and {other} are in different units: those of {name} "
                    f"look like {unit} (times * {_UNITS[unit]:_})"
                )


def check_spans(
    marks: Iterable[Mark], bounds_ns: tuple[int, int] | None, extent: tuple[int, int]
) -> list[str]:
    """Notes on spans, and on the bounds that were asked for, against the readings' extent.

    Raises
    ------
    OptionError
        When they fit the readings in another unit only, or are on another clock.
    """
    spans = [(f"span {mark.name!r}", (mark.start_ns, mark.end_ns)) for mark in marks]
    if bounds_ns is not None:
        spans.append(("bounds_ns", bounds_ns))
    strays = [(what, span) for what, span in spans if _is_outside(span, extent)]
    if strays and (unit := _fits([span for _, span in strays], extent)):
        raise OptionError(
            f"{strays[0][0]} lies outside the readings, but inside if its times are {unit}: all "
            f"times are int64 nanoseconds of one clock (times * {_UNITS[unit]:_})"
        )
    if strays and (unit := _meets(extent, [span for _, span in strays])):
        raise OptionError(
            f"{strays[0][0]} lies outside the readings, but among them if the readings' times are "
            f"{unit}: all times are int64 nanoseconds of one clock (times * {_UNITS[unit]:_})"
        )
    notes = []
    for what, (start, end) in strays:
        away_ns = max(extent[0] - end, start - extent[1])
        away = engineering(away_ns / NS_PER_S, "s")
        if end >= start and away_ns > max(_OTHER_CLOCK_NS, 100 * (extent[1] - extent[0])):
            raise OptionError(
                f"{what} lies {away} away from the readings: it is on another clock (Unix time "
                "against time since the boot?); all times are int64 nanoseconds of one clock"
            )
        notes.append(
            f"{what} lies wholly outside the readings, {away} away: is it on the same clock?"
        )
    return notes + _short([span for span in spans if span not in strays], extent)


# Inside -------------------------------------------------------------------------------------


def _likely(times: NDArray[np.float64] | NDArray[np.int64]) -> list[str]:
    """Units that times may be in, likeliest first; empty where there is no telling."""
    t = np.asarray(times, np.float64)
    t = t[np.isfinite(t)]
    if len(t) == 0:
        return []
    whole = np.asarray(times).dtype.kind in "iu"
    unix = _unix_unit(t)
    if unix and not whole:
        return [f"Unix {unix}"]
    if unix == "nanoseconds":
        return []
    steps = np.diff(t)
    steps = steps[steps > 0]
    step = float(np.median(steps)) if len(steps) else 0.0
    # Integers are taken as ns until proven otherwise: only then is this asked.
    units = _UNITS if whole else {**_UNITS, "nanoseconds": 1}
    step_s = {unit: step * ns / NS_PER_S for unit, ns in units.items()}
    possible = {u: s for u, s in step_s.items() if _INTERVALS_S[0] <= s <= _INTERVALS_S[1]}
    found = sorted(possible, key=lambda unit: abs(float(np.log10(possible[unit] / _USUAL_S))))
    if not unix:
        return found
    if unix in possible or step == 0:  # a clock since the boot may show so much by chance
        return [f"Unix {unix}", *(unit for unit in found[:1] if unit != unix)]
    return [*found, f"Unix {unix}"]  # with readings days apart it rather does


def _unix_unit(t: NDArray[np.float64] | NDArray[np.int64]) -> str:
    """The unit in which times would be Unix times of this century; empty: in none."""
    low, high = float(t.min()), float(t.max())
    for unit, ns in {**_UNITS, "nanoseconds": 1}.items():
        first, last = (s * NS_PER_S / ns for s in _UNIX_S)
        if first <= low and high <= last:
            return unit
    return ""


def _change_ns(t: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """Median time between changes of the reading; 0 where it changes too rarely to tell."""
    both = ~np.isnan(values[1:]) & ~np.isnan(values[:-1])
    changed = t[1:][(values[1:] != values[:-1]) & both]
    return float(np.median(np.diff(changed))) if len(changed) >= _FEWEST_CHANGES else 0.0


def _polled_strangely(t: NDArray[np.int64], values: NDArray[np.float64], step: float) -> bool:
    """Whether the times of readings that hardly change look like those of another unit."""
    if step < _FASTEST_POLL_NS:
        return True
    known = values[~np.isnan(values)]
    steady = len(known) > 0 and bool((known == known[0]).all())
    brief = int(t[-1]) - int(t[0]) < _SHORT_NS
    return steady and brief and step < _FASTEST_LOGGED_NS and _unix_unit(t) == "microseconds"


def _rounded(t: NDArray[np.int64], step: float) -> list[str]:
    again = int((np.diff(t) == 0).sum())
    if again < _FEWEST_CHANGES or again < 0.2 * len(t):
        return []
    _, each = np.unique(t, return_counts=True)
    said = f"{again} of {len(t)} readings bear the time of the one before: "
    if int(each.min()) == int(each.max()):
        return [
            f"{said}every time is there {each[0]} times, as where {each[0]} devices are in one "
            "(give each its own name), or times are rounded, which no uncertainty here contains"
        ]
    return [
        f"{said}times are rounded, to about {engineering(step / NS_PER_S, 's')}, which no "
        "uncertainty here contains"
    ]


def _is_outside(span: tuple[int, int], extent: tuple[int, int]) -> bool:
    return span[1] < extent[0] or span[0] > extent[1]


def _fits(spans: list[tuple[int, int]], extent: tuple[int, int]) -> str:
    """The coarser unit in which all spans would lie inside an extent; empty: none.

    Only of an extent far from zero, as clocks are: near zero anything divided by enough fits.
    """
    margin = round(_MARGIN * (extent[1] - extent[0]))
    if extent[0] - margin <= 9 * (extent[1] - extent[0]):
        return ""
    for unit, ns in _UNITS.items():
        if all(extent[0] - margin <= a * ns and b * ns <= extent[1] + margin for a, b in spans):
            return unit
    return ""


def _meets(extent: tuple[int, int], spans: list[tuple[int, int]]) -> str:
    """The coarser unit in which an extent would overlap all that spans cover; empty: none.

    As above far from zero only, where two clocks of different units do not meet by chance.
    """
    start, end = min(a for a, _ in spans), max(b for _, b in spans)
    for unit, ns in _UNITS.items():
        a, b = (edge * ns for edge in extent)
        if start > 9 * max(end - start, b - a) and a <= end and b >= start:
            return unit
    return ""


def _short(spans: list[tuple[str, tuple[int, int]]], extent: tuple[int, int]) -> list[str]:
    """Of spans that lie at the very beginning of the readings, as those of a coarser unit do."""
    timed = [(what, a, b) for what, (a, b) in spans if b > a]
    if not timed:
        return []
    start, end = min(a for _, a, _ in timed), max(b for _, _, b in timed)
    length = extent[1] - extent[0]
    last = extent[1] + round(_MARGIN * length)
    for unit, ns in _UNITS.items():
        if not extent[0] <= start * ns < end * ns <= last:
            continue
        said = (
            f"{timed[0][0]}{' and the others' if len(timed) > 1 else ''}: from first to last they "
            f"take {engineering((end - start) / NS_PER_S, 's')}; as {unit} (times * {ns:_}) they "
            "would fit the readings"
        )
        if end - start < _TIMED_NS:
            raise OptionError(f"{said}. All times are int64 nanoseconds of one clock")
        if len(timed) > 1 and end - extent[0] < 2e-3 * length:
            return [f"{said}: are they nanoseconds?"]
    return []
