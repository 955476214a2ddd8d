# SPDX-License-Identifier: Apache-2.0
"""A trace as events of Chrome's trace format, which Perfetto opens.

Counters are held until their next value, so that the model's curve is written as its mean between
two knots: the steps hold the same joules as the curve. Slices that overlap on one track are dropped
by Perfetto, hence each overlapping one goes to another track.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._curves import weighted_sum
from ..errors import NoReadingsError
from ..units import NS_PER_S
from .attributed import Ran, grouped_u, ran_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .._trace import Trace
    from ..recording.series import DeviceData, Runs

    Times = NDArray[np.int64]
    ToFile = Callable[[Times], Times]

__all__ = ["events", "lanes", "microseconds", "unread"]

# Of processes and threads: larger than any of Linux (at most 2^22) and than any GPU's number, so
# that nothing in a profiler's file has one of these.
_FIRST_ID = 0x7079_0000
_SORT = -1_000_000  # above a profiler's own tracks


def microseconds(ns: int) -> str:
    """Nanoseconds as decimal microseconds, every digit kept."""
    sign = "-" if ns < 0 else ""
    whole, rest = divmod(abs(ns), 1000)
    return f"{sign}{whole}.{rest:03d}"


def lanes(starts: Times, ends: Times, nests: bool = False) -> list[int]:
    """For spans in order of start: the lowest track on which each meets no other.

    ``nests``: those that lie wholly within another may share its track.
    """
    open_until: list[list[int]] = []  # of each track, the ends of what is open, inner ones last
    found = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        found.append(_free(open_until, start, end, nests))
        open_until[found[-1]].append(end)
    return found


def _free(open_until: list[list[int]], start: int, end: int, nests: bool) -> int:
    for lane, stack in enumerate(open_until):
        while stack and stack[-1] <= start:
            stack.pop()
        if not stack or (nests and end <= stack[-1]):
            return lane
    open_until.append([])
    return len(open_until) - 1


def events(trace: Trace, to_file: ToFile) -> Iterator[str]:
    """Every event as JSON text; ``to_file`` puts times of the recording on the file's clock, ns."""
    recorded, evaluated = trace.recorded, trace._evaluated()
    writer = _Writer(to_file)
    ran = {each.device: each for each in ran_on(trace)}
    energies = trace.energies
    yield from writer.process("pyenergy", _whole(trace))
    yield from _marks(trace, writer)
    for name, device in recorded.devices.items():
        said = str(energies[name]) if name in energies else "not readable"
        yield from writer.process(f"pyenergy {name} {device.meta.name}", said)
        if name in evaluated.models:
            yield from _model(trace, name, writer)
        for channel in device.channels:
            yield from _readings(device, channel, recorded.bounds_ns, writer)
        if name in ran:
            yield from _operations(ran.pop(name), writer)
    for rest in ran.values():
        yield from writer.process(f"pyenergy {rest.device}", "this trace did not read it")
        yield from _operations(rest, writer)


def _whole(trace: Trace) -> str:
    estimated = any(d.meta.source == "estimate" for d in trace.recorded.devices.values())
    estimate = "ESTIMATE, not a measurement: " if estimated else ""
    return estimate + ("some devices not readable" if trace.unreadable else str(trace.energy))


class _Writer:
    """Numbers of processes and threads, and the text of events."""

    def __init__(self, to_file: ToFile) -> None:
        self._to_file = to_file
        self._pid = self._last = _FIRST_ID - 1

    def process(self, name: str, label: str) -> Iterator[str]:
        """Begin another process: tracks are its from here on."""
        self._last += 1
        self._pid = self._last
        for what, args in (
            ("process_name", {"name": name}),
            ("process_labels", {"labels": label}),
            ("process_sort_index", {"sort_index": _SORT + self._pid - _FIRST_ID}),
        ):
            yield self._metadata(what, self._pid, args)

    def _metadata(self, what: str, tid: int, args: Mapping[str, Any]) -> str:
        return (
            f'{{"ph":"M","name":"{what}","pid":{self._pid},"tid":{tid},"ts":0,'
            f'"args":{json.dumps(args)}}}'
        )

    def counter(self, name: str, unit: str, times: Times, values: NDArray[Any]) -> Iterator[str]:
        """A value that holds from each time on; Perfetto puts the unit behind the name."""
        head = f'{{"ph":"C","pid":{self._pid},"name":{json.dumps(name)},"ts":'
        key = json.dumps(unit or "value")
        for t, value in zip(self._to_file(times).tolist(), values.tolist(), strict=True):
            yield f'{head}{microseconds(t)},"args":{{{key}:{value!r}}}}}'

    def slices(
        self,
        track: str,
        starts: Times,
        ends: Times,
        described: Callable[[int], tuple[str, str]],
        nests: bool = False,
    ) -> Iterator[str]:
        """Spans in order of start (outer ones first); ``described``: name and arguments as JSON."""
        on_file, until = self._to_file(starts).tolist(), self._to_file(ends).tolist()
        tids: list[int] = []
        for row, lane in enumerate(lanes(starts, ends, nests)):
            if lane == len(tids):
                self._last += 1
                tids.append(self._last)
                name = track if lane == 0 else f"{track}, overlapping {lane}"
                yield self._metadata("thread_name", tids[lane], {"name": name})
                place = {"sort_index": tids[lane] - _FIRST_ID}
                yield self._metadata("thread_sort_index", tids[lane], place)
            name, args = described(row)
            yield (
                f'{{"ph":"X","cat":"energy","name":{name},"pid":{self._pid},"tid":{tids[lane]},'
                f'"ts":{microseconds(on_file[row])},'
                f'"dur":{microseconds(until[row] - on_file[row])},"args":{args}}}'
            )


def _args(**values: float | str | int | None) -> str:
    """As JSON, without what is not known."""
    known = {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }
    return json.dumps(known, separators=(",", ":"))


# Counters -----------------------------------------------------------------------------------


def _model(trace: Trace, name: str, writer: _Writer) -> Iterator[str]:
    """The power whose integral is the device's energy: its mean between two knots."""
    low, high = trace.kept_ns
    model = trace._evaluated().models[name]
    curve = weighted_sum([(part, 1.0) for part in model.curves()], low, high)
    times = np.unique(curve.knots()[0])
    times = times[(times >= low) & (times <= high)]
    mean = curve.windows(times[:-1], times[1:]) / np.diff(times) * NS_PER_S
    yield from writer.counter("power of the model", "W", times[:-1], mean)


def _readings(
    device: DeviceData, channel: str, bounds: tuple[int, int], writer: _Writer
) -> Iterator[str]:
    """A channel as it was read, and where it was not."""
    meta, runs = device.channels[channel], device.runs[channel]
    low, high = bounds
    seen = runs.usable & (runs.read_last_ns >= low) & (runs.t_first_ns <= high)
    yield from writer.counter(
        f"{channel} as read", meta.unit, np.maximum(runs.t_first_ns[seen], low), runs.value[seen]
    )
    starts, ends = unread(runs, device.gap_ns, bounds)
    nothing = json.dumps("not read"), _args(note="the counter holds its last value meanwhile")
    yield from writer.slices(f"{channel}: not read", starts, ends, lambda _: nothing)


def unread(runs: Runs, gap_ns: int, bounds: tuple[int, int]) -> tuple[Times, Times]:
    """Stretches in which a channel gave nothing: failed reads, and silence.

    Silence is more than ``gap_ns`` without a read, and more than three times what lies between the
    channel's reads as a rule: clocks and temperatures are read more rarely than power.
    """
    usable = np.flatnonzero(runs.usable)
    low, high = bounds
    starts = np.concatenate([[low], runs.read_last_ns[usable]]).astype(np.int64)
    ends = np.concatenate([runs.t_first_ns[usable], [high]]).astype(np.int64)
    failed = np.diff(np.concatenate([[-1], usable, [len(runs)]])) > 1
    longest = gap_ns if gap_ns > 0 else high - low
    reads = int(runs.count.sum())
    if reads > 1:
        longest = max(longest, 3 * int(runs.t_last_ns[-1] - runs.t_first_ns[0]) // (reads - 1))
    empty = failed | (ends - starts > longest)
    starts, ends = starts.clip(low, high), ends.clip(low, high)
    empty &= ends > starts
    return starts[empty], ends[empty]


# Slices -------------------------------------------------------------------------------------


def _marks(trace: Trace, writer: _Writer) -> Iterator[str]:
    marks = sorted(trace.marks, key=lambda m: (m.start_ns, -m.end_ns))
    low, high = trace.kept_ns
    inside = [m for m in marks if m.start_ns >= low and m.end_ns <= high]
    starts = np.array([m.start_ns for m in inside], np.int64)
    ends = np.array([m.end_ns for m in inside], np.int64)
    known: dict[int, dict[str, float]] = {}
    try:
        joules, u = trace.windows(starts, ends) if inside else (starts, starts)
        for mark, energy_j, u_j in zip(inside, joules.tolist(), u.tolist(), strict=True):
            seconds = (mark.end_ns - mark.start_ns) / NS_PER_S
            power_w = energy_j / seconds if seconds > 0 else math.nan
            known[id(mark)] = {"energy_j": energy_j, "u_j": u_j, "power_w": power_w}
    except NoReadingsError:
        pass  # of a sum without a device nobody would know; the process's label says so
    for thread in dict.fromkeys(mark.thread for mark in marks):
        own = [mark for mark in marks if mark.thread == thread]
        yield from writer.slices(
            "marks" if thread == 0 else f"marks of thread {thread}",
            np.array([m.start_ns for m in own], np.int64),
            np.array([m.end_ns for m in own], np.int64),
            lambda i, own=own: (json.dumps(own[i].name), _args(**known.get(id(own[i]), {}))),  # type: ignore[misc]
            nests=True,
        )


def _operations(ran: Ran, writer: _Writer) -> Iterator[str]:
    """What ran on one device, its layers, and the gaps; together they took what the device did."""
    operations, shares = ran.operations, ran.shares
    told = _told_operations(ran)
    for stream in np.unique(operations.stream).tolist():
        rows = np.flatnonzero(operations.stream == stream)
        where = f"stream {stream}" if stream >= 0 else "operations"
        starts, ends = operations.start_ns[rows], operations.end_ns[rows]
        numbers = rows.tolist()
        yield from writer.slices(where, starts, ends, lambda i, n=numbers: told(n[i]))  # type: ignore[misc]
        yield from _layers(ran, rows, f"layers, {where}", writer)
    if shares is None:
        return
    gaps = shares.dynamic.gap_starts_ns, shares.dynamic.gap_ends_ns
    parts = {"energy_j": shares.gap_energy_j, "static_j": shares.gap_static_j}
    nothing = np.zeros(len(gaps[0]), np.int64)
    yield from writer.slices("nothing ran", *gaps, _told((nothing, ["(nothing ran)"]), parts))


Texts = tuple["NDArray[Any]", "Sequence[str | None]"]


def _told(
    name: Texts, numbers: Mapping[str, NDArray[Any]], **texts: Texts
) -> Callable[[int], tuple[str, str]]:
    """Name and arguments of each row; what is not finite, -1 or None is not known.

    Texts are an index for each row, and what it is an index of.
    """
    names = [json.dumps(each) for each in name[1]]
    which = name[0].tolist()
    columns = [(f'"{key}":', values.tolist()) for key, values in numbers.items()]
    said = [
        (index.tolist(), [*(f'"{key}":{json.dumps(t)}' if t else "" for t in found), ""])
        for key, (index, found) in texts.items()
    ]

    def of(row: int) -> tuple[str, str]:
        parts = [f"{key}{v!r}" for key, values in columns if (v := values[row]) - v == 0]
        parts += [t for index, found in said if (t := found[index[row]])]
        return names[which[row]], f"{{{','.join(parts)}}}"

    return of


def _told_operations(ran: Ran) -> Callable[[int], tuple[str, str]]:
    operations, shares = ran.operations, ran.shares
    count = len(operations)
    name = (operations.name, operations.names)
    layer, operator = (
        (operations.layer, operations.layers),
        (operations.operator, operations.operators),
    )
    if shares is None:
        note = (np.zeros(count, np.int64), ["its device was not read"])
        return _told(name, {}, layer=layer, operator=operator, note=note)
    low, high = shares.dynamic.bounds_ns
    start, end, seconds = operations.start_ns, operations.end_ns, shares.seconds
    outside = (end <= low) | (start >= high)
    cut = ((start < low) | (end > high)) & ~outside
    notes = ["outside the trace: nothing is known of its energy"]
    notes += [f"the trace has {s:.9g} s of it" for s in seconds[cut].tolist()]
    which = np.full(count, -1)
    which[outside], which[cut] = 0, np.arange(1, 1 + int(cut.sum()))

    def known(values: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.where(where, values, math.nan)

    inside, shared = ~outside, shares.dynamic.shared
    took = shares.energy_j + shares.static_j
    power = np.divide(took, seconds, out=np.full(count, math.nan), where=seconds > 0)
    numbers = {
        "energy_j": known(shares.energy_j, inside),
        "u_j": known(grouped_u(ran, np.arange(count), count), inside),
        "static_j": known(shares.static_j, inside),
        "power_w": power,
        "lower_j": known(shares.dynamic.lower_j, shared),
        "upper_j": known(shares.dynamic.upper_j, shared),
    }
    return _told(name, numbers, layer=layer, operator=operator, note=(which, notes))


def _layers(ran: Ran, rows: Times, track: str, writer: _Writer) -> Iterator[str]:
    """One slice for operations of one layer that follow each other on a stream."""
    operations, shares = ran.operations, ran.shares
    layer = operations.layer[rows]
    if not (layer >= 0).any():
        return
    begins = np.diff(layer, prepend=-2) != 0
    group = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    ends = np.maximum.reduceat(operations.end_ns[rows], first)
    kept = np.flatnonzero(layer[first] >= 0)
    numbers: dict[str, NDArray[Any]] = {}
    if shares is not None:
        index = np.full(len(operations), -1, np.int64)
        index[rows] = np.where(layer >= 0, group, -1)
        outside = np.bincount(group, shares.seconds[rows], len(first)) == 0
        for key, values in (
            ("energy_j", np.bincount(group, shares.energy_j[rows], len(first))),
            ("u_j", grouped_u(ran, index, len(first))),
            ("static_j", np.bincount(group, shares.static_j[rows], len(first))),
        ):
            numbers[key] = np.where(outside, math.nan, values)[kept]
    numbers["operations"] = np.bincount(group)[kept]
    which = layer[first[kept]]
    kinds: Texts = (which if operations.layer_types else which * 0 - 1, operations.layer_types)
    named = (which, [name or "(model)" for name in operations.layers])
    told = _told(named, numbers, layer_type=kinds)
    yield from writer.slices(track, operations.start_ns[rows][first[kept]], ends[kept], told)
