# SPDX-License-Identifier: Apache-2.0
"""Readings that were taken elsewhere, as a recording.

Whoever has times and watts (a log, another tool's arrays, a data acquisition card) gets the same
energies, windows and uncertainties from them as from pyenergy's own sampling. Nothing is repaired:
what is missing, impossible or silent is flagged, counted in a note, and widens the uncertainty.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from ..errors import OptionError
from ..units import NS_PER_S, engineering
from .coverage import Extent, coverage_notes
from .given import CHANNELS, Facts, bounds_of, columns_of, facts_of, marks_of
from .given_times import narrow_notes
from .names import architecture_by
from .power_units import check_both, check_counter, check_limit, check_power
from .recorded import Recorded
from .series import ChannelMeta, DeviceData, DeviceMeta, Runs
from .time_units import check_extents, check_spans, check_times

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from .marks import Mark

    Column = tuple[NDArray[np.int64], NDArray[np.float64]]

__all__ = ["CHANNELS", "SOURCE", "recorded_from_readings"]

SOURCE = "readings"

_LARGEST = {"W": 1e6, "J": 1e15}  # a reading beyond it is no device's (see recording/check.py)
# What the driver was asked for: decides which of the catalogue's sensors it was.
_FIELDS = {
    "instant": "nvml.field.186",
    "average": "nvml.field.185",
    "default": "nvml.GetPowerUsage",
    "": SOURCE,
}
_INT64 = np.iinfo(np.int64)
_UNKNOWN = Facts()
# Of the sensors known (sensor/catalog.py): the longest update period, what the most part-time one
# averages, and how late a reading can be.
_RAREST_UPDATE_NS, _SHORTEST_WINDOW_NS, _LONGEST_LAG_NS = 100_000_000, 25_000_000, 1_300_000_000
_FOLLOWED = 1.15  # intervals up to this many periods still show nearly every update
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
        Start and end of the recording; by default the extent of readings and spans together. Where
        they, or spans, reach beyond the readings, that is a gap, and a note says at which end.
    devices : mapping, optional
        By device id: ``name``, ``uuid``, ``architecture``, ``field`` ("instant", "average" or
        "default": which reading the driver was asked for), ``power_min_w``, ``power_max_w``
        (float, W), whichever are known; None is not known. A GPU's architecture is one of
        `names.ARCHITECTURES`; of any other GPU it is left out. Without one, the GPU's name tells
        it; see `names.architecture_by` where both are given.
    notes : iterable of str, optional
        What a reader must know about these readings.

    Returns
    -------
    Recorded
        For `pyenergy._trace.Trace` or `recording.store.save`. Missing and impossible readings,
        resets and silences (longer than 3 times the 90 % quantile of the channel's own intervals)
        are flagged and counted in its notes; so is what seems to be in another unit, which the
        devices' notes repeat with every energy. Nothing is converted.

    Raises
    ------
    TypeError
        When times are not integers or values no numbers.
    OptionError
        When something is not of the form above, lengths differ, times decrease or do not fit int64,
        arrays are empty or not one-dimensional, a value is infinite, a name is unknown, a span is
        reversed, outside the bounds or has no printable name, or all is at one moment. When times
        cannot be nanoseconds of one clock (`time_units`), or values watts and joules
        (`power_units`).
    """
    columns = columns_of(readings)
    marks, asked = marks_of(spans), bounds_of(bounds_ns)
    facts, told = _placed(facts_of(devices))
    ids = list(dict.fromkeys(name.partition("/")[0] for name in columns))
    if unknown := [device_id for device_id in facts if device_id not in ids]:
        raise OptionError(f"no readings of device {unknown[0]!r}; there are {', '.join(ids)}")
    times = {name: (int(t[0]), int(t[-1])) for name, (t, _) in columns.items()}
    check_extents(times)
    strange = {i: _units(i, _of(i, columns), facts.get(i, _UNKNOWN)) for i in ids}
    extent = min(first for first, _ in times.values()), max(last for _, last in times.values())
    strays = check_spans(marks, asked, extent)
    edges = [extent, *((m.start_ns, m.end_ns) for m in marks)]
    bounds = asked or (min(first for first, _ in edges), max(last for _, last in edges))
    _check_bounds(bounds, marks)
    read = {n: Extent(*times[n], _silence_ns(t)) for n, (t, _) in columns.items()}
    strays += coverage_notes(read, bounds, marks, asked is not None)
    said = [*notes, *narrow_notes(readings), *strays, *_namesakes(facts), *told]
    data = {i: _device(i, _of(i, columns), facts.get(i, _UNKNOWN), strange[i], said) for i in ids}
    return Recorded(bounds_ns=bounds, devices=data, marks=marks, notes=tuple(said))


def _of(device_id: str, columns: dict[str, Column]) -> dict[str, Column]:
    """A device's columns, by channel."""
    parts = ((name.partition("/"), column) for name, column in columns.items())
    return {channel: column for (owner, _, channel), column in parts if owner == device_id}


# Whether it can be ---------------------------------------------------------------------------


def _units(device_id: str, columns: dict[str, Column], facts: Facts) -> list[str]:
    """Notes on what is not in the unit that it is said to be in, or seems not to be."""
    kind, limit = device_id.partition(":")[0], facts.power_max_w
    notes = []
    name = device_id
    try:
        notes += check_limit("power_max_w", kind, limit)
        notes += check_limit("power_min_w", kind, facts.power_min_w)
        for channel, (t, values) in columns.items():
            name = f"{device_id}/{channel}"
            by_driver = channel == "power" and facts.field != ""
            said = check_times(t, values, by_driver)
            if CHANNELS[channel] == "J":
                said += check_counter(kind, t, values, limit)
            else:
                said += check_power(kind, values, limit)
            notes += [f"{channel}: {text}" for text in said]
        name = device_id
        if "power" in columns and "energy" in columns:
            notes += check_both(columns["power"], columns["energy"])
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from None
    return notes


def _check_bounds(bounds: tuple[int, int], marks: tuple[Mark, ...]) -> None:
    if bounds[1] < bounds[0]:
        raise OptionError(f"bounds end before they start: {bounds[0]}, {bounds[1]}")
    if bounds[1] == bounds[0]:
        raise OptionError(
            f"the recording has no duration, all is at {bounds[0]}: an energy needs readings "
            "at two times at least"
        )
    if bounds[1] - bounds[0] > _INT64.max:
        raise OptionError("times too far apart for int64")
    for mark in marks:
        if mark.start_ns < bounds[0] or mark.end_ns > bounds[1]:
            raise OptionError(f"span {mark.name!r} reaches outside the bounds {bounds}")


def _placed(facts: dict[str, Facts]) -> tuple[dict[str, Facts], list[str]]:
    """The facts with the architecture that a GPU's name tells, and what to say of it."""
    placed, notes = dict(facts), []
    for device_id, known in facts.items():
        if device_id.startswith("gpu:"):
            found, said = architecture_by(known.name, known.architecture)
            placed[device_id] = replace(known, architecture=found)
            notes += [f"{device_id}: {said}"] if said else []
    return placed, notes


def _namesakes(facts: dict[str, Facts]) -> list[str]:
    """Devices that are said to be one card."""
    uuids: dict[str, list[str]] = {}
    for device_id, known in facts.items():
        if known.uuid:
            uuids.setdefault(known.uuid, []).append(device_id)
    return [
        f"{' and '.join(ids)} have one UUID, {uuid}: is the same card counted {len(ids)} times?"
        for uuid, ids in uuids.items()
        if len(ids) > 1
    ]


# What is made of it -------------------------------------------------------------------------


def _device(
    device_id: str,
    columns: dict[str, Column],
    facts: Facts,
    strange: list[str],
    said: list[str],
) -> DeviceData:
    """One device's data; appends to the notes ``said``."""
    said.extend(f"{device_id}: {text}" for text in strange)
    channels: dict[str, ChannelMeta] = {}
    runs: dict[str, Runs] = {}
    for name, (t, v) in columns.items():
        silence_ns = _silence_ns(t)
        runs[name] = _runs(t, v, CHANNELS[name], silence_ns)
        said.extend(f"{device_id}/{name}: {text}" for text in _account(runs[name], silence_ns))
        channel = _channel(device_id, name, _interval_ns(t))
        if name == "power" and channel.update_ns < 0:
            channel = replace(channel, source=_FIELDS[facts.field])
        channels[name] = channel
    first = "power" if "power" in columns else next(iter(columns))
    return DeviceData(
        meta=DeviceMeta(
            id=device_id,
            source=SOURCE,
            kind=device_id.partition(":")[0],
            name=facts.name,
            uuid=facts.uuid,
            architecture=facts.architecture,
            power_min_w=facts.power_min_w,
            power_max_w=facts.power_max_w,
            notes=tuple(strange),
        ),
        channels=channels,
        runs=runs,
        stats={},
        gap_ns=_silence_ns(columns[first][0]),
    )


def _channel(device_id: str, name: str, interval_ns: int) -> ChannelMeta:
    """Readings rarer than any sensor's updates are themselves a part-time sensor: power moves
    unseen between them, as it does between the updates of a sensor that looks away."""
    kind = device_id.partition(":")[0]
    rare = name != "energy" and interval_ns > _FOLLOWED * _RAREST_UPDATE_NS
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
