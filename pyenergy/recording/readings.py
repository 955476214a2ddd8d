# SPDX-License-Identifier: Apache-2.0
"""Readings that were taken elsewhere, as a recording.

Whoever has times and watts (a log, another tool's arrays, a data acquisition card) gets the same
energies, windows and uncertainties from them as from pyenergy's own sampling. Nothing is repaired:
what is missing, impossible or silent is flagged, counted in a note, and widens the uncertainty.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from ..errors import OptionError
from ..units import NS_PER_S, engineering
from .marks import Mark
from .recorded import Recorded
from .series import ChannelMeta, DeviceData, DeviceMeta, Runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["CHANNELS", "SOURCE", "recorded_from_readings"]

SOURCE = "readings"
CHANNELS = {"power": "W", "power_average": "W", "energy": "J"}

_LARGEST = {"W": 1e6, "J": 1e15}  # a reading beyond it is no device's (see recording/check.py)
_NAME = re.compile(r"((?P<kind>[a-z][a-z0-9_-]*):(0|[1-9][0-9]*))/(?P<channel>.+)")
_FACTS = ("name", "uuid", "architecture", "field", "power_min_w", "power_max_w")
# What the driver was asked for: decides which of the catalogue's sensors it was.
_FIELDS = {
    "instant": "nvml.field.186",
    "average": "nvml.field.185",
    "default": "nvml.GetPowerUsage",
    "": SOURCE,
}
_INT64 = np.iinfo(np.int64)
# Of the sensors known (sensor/catalog.py): the longest update period, what the most part-time one
# averages, and how late a reading can be.
_RAREST_UPDATE_NS, _SHORTEST_WINDOW_NS, _LONGEST_LAG_NS = 100_000_000, 25_000_000, 1_300_000_000
_SILENCE = 3.0  # times the 90 % quantile of the intervals: a longer one is a gap


def recorded_from_readings(
    readings: Mapping[str, tuple[ArrayLike, ArrayLike]],
    spans: Iterable[tuple[str, int, int] | Mark] = (),
    *,
    bounds_ns: tuple[int, int] | None = None,
    devices: Mapping[str, Mapping[str, Any]] | None = None,
    notes: Iterable[str] = (),
) -> Recorded:
    """A recording of readings that were taken elsewhere.

    Times are integer nanoseconds of one clock, any one: CLOCK_MONOTONIC, or Unix time; spans and
    bounds are on the same one. Consecutive equal readings become one run, from the time of the
    first to that of the last.

    Parameters
    ----------
    readings : mapping of str to (t_ns, values)
        By ``"DEVICE/CHANNEL"``, such as ``"gpu:0/power"``: the device is ``kind:number``, the
        channel ``power`` or ``power_average`` (W) or ``energy`` (J, a counter that only grows).
        ``t_ns`` int64, ns, shape (n,), not decreasing; ``values`` float64, shape (n,). NaN is a
        missing reading; a negative one, or one beyond 1 MW or 1e15 J, is kept as impossible; where
        a counter falls it was reset: the energy across the fall is not known.
    spans : iterable of (name, start_ns, end_ns) or of Mark, optional
        What ran when.
    bounds_ns : (int, int), optional
        Start and end of the recording; by default the extent of readings and spans together.
    devices : mapping, optional
        By device id: ``name``, ``uuid``, ``architecture``, ``field`` ("instant", "average" or
        "default": which reading the driver was asked for), ``power_min_w``, ``power_max_w``
        (float, W), whichever are known.
    notes : iterable of str, optional
        What a reader must know about these readings.

    Returns
    -------
    Recorded
        For `pyenergy._trace.Trace` or `recording.store.save`. Missing and impossible readings,
        resets and silences (longer than 3 times the 90 % quantile of the channel's own intervals)
        are flagged and counted in its notes.

    Raises
    ------
    TypeError
        When times are not integers or values no numbers.
    OptionError
        When lengths differ, times decrease or do not fit int64, arrays are empty or not
        one-dimensional, a value is infinite, a name is unknown, a span is reversed, outside the
        bounds or has no printable name, or all is at one moment.
    """
    if not readings:
        raise OptionError("no readings")
    columns = {name: _column(name, *_pair(name, pair)) for name, pair in readings.items()}
    marks = tuple(sorted(map(_mark, spans), key=lambda m: (m.start_ns, -m.end_ns)))
    times = [(int(t[0]), int(t[-1])) for t, _ in columns.values()]
    if bounds_ns is None:
        edges = times + [(m.start_ns, m.end_ns) for m in marks]
        bounds = min(first for first, _ in edges), max(last for _, last in edges)
    else:
        bounds = _integer("bounds_ns", bounds_ns[0]), _integer("bounds_ns", bounds_ns[1])
    _check_bounds(bounds, marks)
    said = [*notes, *_strays(marks, times)]
    data = _devices(columns, dict(devices or {}), said)
    return Recorded(bounds_ns=bounds, devices=data, marks=marks, notes=tuple(said))


# What is given ------------------------------------------------------------------------------


def _pair(name: str, pair: Any) -> tuple[Any, Any]:
    if not isinstance(name, str) or not (match := _NAME.fullmatch(name)):
        raise OptionError(f"readings are named as 'gpu:0/power', got {name!r}")
    if match["channel"] not in CHANNELS:
        known = ", ".join(f"{channel} ({unit})" for channel, unit in CHANNELS.items())
        raise OptionError(f"{name}: no channel {match['channel']!r}; there are {known}")
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise OptionError(f"{name} must be a pair (t_ns, values)")
    return pair[0], pair[1]


def _column(name: str, t_ns: Any, values: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    t, v = _times(name, t_ns), _values(name, values)
    if len(t) != len(v):
        raise OptionError(f"{name}: {len(t)} times but {len(v)} values")
    if len(t) == 0:
        raise OptionError(f"{name}: no readings")
    if bool((back := t[1:] < t[:-1]).any()):
        index = int(np.flatnonzero(back)[0]) + 1
        raise OptionError(f"{name}: times decrease at reading {index} ({t[index - 1]}, {t[index]})")
    if int(t[-1]) - int(t[0]) > _INT64.max:
        raise OptionError(f"{name}: times too far apart for int64")
    if bool((infinite := np.isinf(v)).any()):
        raise OptionError(f"{name}: reading {int(np.flatnonzero(infinite)[0])} is infinite")
    return t, v


def _times(name: str, times: Any) -> NDArray[np.int64]:
    array = _array(name, times)
    if array.size == 0:
        array = array.astype(np.int64)  # an empty list has no dtype of its own
    if array.ndim != 1:
        raise OptionError(f"{name}: times must be one-dimensional, got shape {array.shape}")
    # NumPy makes floats or objects of a list with integers that no dtype of its holds.
    if array.dtype.kind in "fO" and all(type(time) is int for time in times):
        raise OptionError(f"{name}: times beyond int64")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: times must be integer nanoseconds, got dtype {array.dtype}")
    if array.dtype == np.uint64 and array.size and int(array.max()) > _INT64.max:
        raise OptionError(f"{name}: times beyond int64")
    return np.ascontiguousarray(array, dtype=np.int64)


def _values(name: str, values: Any) -> NDArray[np.float64]:
    if isinstance(values, np.ma.MaskedArray):  # what is masked is missing, not what lies below
        values = np.where(np.ma.getmaskarray(values), np.nan, np.ma.getdata(values))
    array = _array(name, values)
    if array.ndim != 1:
        raise OptionError(f"{name}: values must be one-dimensional, got shape {array.shape}")
    if array.size and array.dtype.kind not in "iufO":
        raise TypeError(f"{name}: values must be numbers, got dtype {array.dtype}")
    try:
        return np.ascontiguousarray(array, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: values must be numbers: {error}") from None


def _array(name: str, given: Any) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except ValueError:  # lists of different lengths in a list
        raise OptionError(f"{name}: times and values must be one-dimensional") from None


def _integer(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{what}: times must be integer nanoseconds, got {value!r}")
    if not _INT64.min <= value <= _INT64.max:
        raise OptionError(f"{what}: times beyond int64")
    return int(value)


def _mark(span: Any) -> Mark:
    if not isinstance(span, Mark):
        if not isinstance(span, (tuple, list)) or len(span) != 3:
            raise OptionError(f"a span is (name, start_ns, end_ns), got {span!r}")
        span = Mark(*span)
    if not isinstance(span.name, str) or not span.name or not span.name.isprintable():
        raise OptionError(f"a span needs a name of printable characters, got {span.name!r}")
    what = f"span {span.name!r}"
    start, end = _integer(what, span.start_ns), _integer(what, span.end_ns)
    if end < start:
        raise OptionError(f"{what} ends before it starts: {start}, {end}")
    return Mark(span.name, start, end, span.depth, span.thread)


def _check_bounds(bounds: tuple[int, int], marks: tuple[Mark, ...]) -> None:
    if bounds[1] <= bounds[0]:
        what = "end before they start" if bounds[1] < bounds[0] else "have no duration"
        raise OptionError(f"bounds of the recording {what}: {bounds[0]}, {bounds[1]}")
    if bounds[1] - bounds[0] > _INT64.max:
        raise OptionError("times too far apart for int64")
    for mark in marks:
        if mark.start_ns < bounds[0] or mark.end_ns > bounds[1]:
            raise OptionError(f"span {mark.name!r} reaches outside the bounds {bounds}")


def _strays(marks: tuple[Mark, ...], times: list[tuple[int, int]]) -> list[str]:
    first, last = min(t for t, _ in times), max(t for _, t in times)
    return [
        f"span {mark.name!r} lies wholly outside the readings, "
        f"{engineering(max(first - mark.end_ns, mark.start_ns - last) / NS_PER_S, 's')} away: "
        "is it on the same clock?"
        for mark in marks
        if mark.end_ns < first or mark.start_ns > last
    ]


# What is made of it -------------------------------------------------------------------------


def _devices(
    columns: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
    facts: dict[str, Any],
    said: list[str],
) -> dict[str, DeviceData]:
    """Devices in the order of their first reading's name; appends to the notes ``said``."""
    channels: dict[str, dict[str, ChannelMeta]] = {}
    runs: dict[str, dict[str, Runs]] = {}
    gap_ns: dict[str, int] = {}
    for full_name, (t, v) in columns.items():
        device_id, _, name = full_name.partition("/")
        silence_ns = _silence_ns(t)
        encoded = _runs(t, v, CHANNELS[name], silence_ns)
        said.extend(f"{full_name}: {text}" for text in _account(encoded, silence_ns))
        field = str(facts.get(device_id, {}).get("field", ""))
        if field not in _FIELDS:
            known = ", ".join(f for f in _FIELDS if f)
            raise OptionError(f"{device_id}: no field {field!r}; known are {known}")
        channel = _channel(device_id, name, _interval_ns(t))
        if name == "power" and channel.update_ns < 0:
            channel = replace(channel, source=_FIELDS[field])
        channels.setdefault(device_id, {})[name] = channel
        runs.setdefault(device_id, {})[name] = encoded
        if name == "power" or device_id not in gap_ns:
            gap_ns[device_id] = silence_ns
    if unknown := sorted(set(facts) - set(channels)):
        raise OptionError(f"no readings of device {unknown[0]!r}; there are {', '.join(channels)}")
    return {
        device_id: DeviceData(
            meta=_meta(device_id, facts.get(device_id, {})),
            channels=channels[device_id],
            runs=runs[device_id],
            stats={},
            gap_ns=gap_ns[device_id],
        )
        for device_id in channels
    }


def _channel(device_id: str, name: str, interval_ns: int) -> ChannelMeta:
    """Readings rarer than any sensor's updates are themselves a part-time sensor: power moves
    unseen between them, as it does between the updates of a sensor that looks away."""
    kind = device_id.partition(":")[0]
    rare = name != "energy" and interval_ns > _RAREST_UPDATE_NS
    return ChannelMeta(
        name=name,
        unit=CHANNELS[name],
        kind="counter" if name == "energy" else "gauge",
        source=SOURCE,
        scope="cpu-package" if kind == "cpu" else kind,
        note=f"read every {engineering(interval_ns / NS_PER_S, 's')}" if rare else "",
        update_ns=interval_ns if rare else -1,
        window_ns=_SHORTEST_WINDOW_NS if rare else -1,
        delay_ns=_LONGEST_LAG_NS if rare else -1,
    )


def _meta(device_id: str, facts: Any) -> DeviceMeta:
    if unknown := sorted(set(facts) - set(_FACTS)):
        raise OptionError(f"{device_id}: no {unknown[0]!r}; known are {', '.join(_FACTS)}")
    low, high = (float(facts.get(key, "nan")) for key in ("power_min_w", "power_max_w"))
    if np.isinf(low) or np.isinf(high) or low < 0 or high <= 0 or low > high:
        raise OptionError(f"{device_id}: impossible power bounds {low} W, {high} W")
    return DeviceMeta(
        id=device_id,
        source=SOURCE,
        kind=device_id.partition(":")[0],
        name=str(facts.get("name", "unnamed")),
        uuid=str(facts.get("uuid", "")),
        architecture=str(facts.get("architecture", "")),
        power_min_w=low,
        power_max_w=high,
    )


def _interval_ns(t: NDArray[np.int64]) -> int:
    """The median interval between readings; -1 where there is but one reading."""
    return int(np.median(np.diff(t))) if len(t) > 1 else -1


def _silence_ns(t: NDArray[np.int64]) -> int:
    """The longest interval between readings that is still no gap."""
    intervals = np.diff(t)
    intervals = intervals[intervals > 0]
    if len(intervals) == 0:
        return 0
    return int(min(_SILENCE * float(np.quantile(intervals, 0.9)), 2.0**62))


def _runs(t: NDArray[np.int64], values: NDArray[np.float64], unit: str, silence_ns: int) -> Runs:
    """Runs of equal readings; a silence, a reset or another flag starts a new one."""
    missing = np.isnan(values)
    invalid = (values < 0) | (values > _LARGEST[unit])
    flags = missing * np.uint32(_core.FLAG_MISSING) + invalid * np.uint32(_core.FLAG_INVALID)
    value = np.where(missing | invalid, np.nan, values)
    began = np.zeros(len(t), np.uint32)  # what happened just before a reading
    began[1:][np.diff(t) > silence_ns] = _core.FLAG_GAP_BEFORE
    same = (values[1:] == values[:-1]) | (flags[1:] != 0)
    if unit == "J":
        value = _unwrapped(value, began)
    starts = np.ones(len(t), bool)
    starts[1:] = ~same | (flags[1:] != flags[:-1]) | (began[1:] != 0)
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(t)) - 1
    columns = {
        "t_first_ns": t[first],
        "read_first_ns": t[first],
        "t_last_ns": t[last],
        "read_last_ns": t[last],
        "value": value[first],
        "count": (last - first + 1).astype(np.uint32),
        "flags": (flags | began)[first].astype(np.uint32),
    }
    for column in columns.values():
        column.setflags(write=False)
    return Runs.of(columns)


def _unwrapped(value: NDArray[np.float64], began: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Totals that never fall: at a reset the total stands still, as the core's counters do; marks
    the resets in ``began``."""
    index = np.flatnonzero(~np.isnan(value))
    fall = np.minimum(np.diff(value[index]), 0.0)
    began[index[1:][fall < 0]] |= np.uint32(_core.FLAG_RESET)
    total = value.copy()
    total[index[1:]] -= np.cumsum(fall)
    return np.asarray(total)


def _account(runs: Runs, silence_ns: int) -> list[str]:
    """What a reader must know of a channel's readings."""

    def marked(flag: int) -> NDArray[np.bool_]:
        return np.asarray((runs.flags & np.uint32(flag)) != 0)

    total = int(runs.count.sum())
    notes = []
    if missing := int(runs.count[marked(_core.FLAG_MISSING)].sum()):
        notes.append(f"{missing} of {total} readings are missing")
    if invalid := int(runs.count[marked(_core.FLAG_INVALID)].sum()):
        notes.append(f"{invalid} of {total} readings are impossible and not used")
    if resets := int(marked(_core.FLAG_RESET).sum()):
        notes.append(f"the counter fell {resets} times: what was used meanwhile is not known")
    if gaps := int(marked(_core.FLAG_GAP_BEFORE).sum()):
        longest = int(np.max(runs.t_first_ns[1:] - runs.t_last_ns[:-1]))
        notes.append(
            f"{gaps} silences of more than {engineering(silence_ns / NS_PER_S, 's')} (the longest "
            f"{engineering(longest / NS_PER_S, 's')}) count as gaps"
        )
    return notes
