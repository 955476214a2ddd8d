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
    from collections.abc import Callable, Iterator, Mapping

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
        """A value that holds from each time on."""
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
    low, high = trace.bounds_ns
    model = trace._evaluated().models[name]
    curve = weighted_sum([(part, 1.0) for part in model.curves()], low, high)
    times = np.unique(curve.knots()[0])
    times = times[(times >= low) & (times <= high)]
    mean = curve.windows(times[:-1], times[1:]) / np.diff(times) * NS_PER_S
    yield from writer.counter("power of the model (W)", "W", times[:-1], mean)


def _readings(
    device: DeviceData, channel: str, bounds: tuple[int, int], writer: _Writer
) -> Iterator[str]:
    """A channel as it was read, and where it was not."""
    meta, runs = device.channels[channel], device.runs[channel]
    low, high = bounds
    seen = runs.usable & (runs.read_last_ns >= low) & (runs.t_first_ns <= high)
    title = f"{channel} as read ({meta.unit})" if meta.unit else f"{channel} as read"
    yield from writer.counter(
        title, meta.unit, np.maximum(runs.t_first_ns[seen], low), runs.value[seen]
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
    low, high = trace.bounds_ns
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
    operations = ran.operations
    u = np.full(len(operations), math.nan)
    if ran.shares is not None:
        u = grouped_u(ran, np.arange(len(operations)), len(operations))
    for stream in np.unique(operations.stream).tolist():
        rows = np.flatnonzero(operations.stream == stream)
        where = f"stream {stream}" if stream >= 0 else "operations"
        yield from writer.slices(
            where,
            operations.start_ns[rows],
            operations.end_ns[rows],
            lambda i, rows=rows: _operation(ran, int(rows[i]), u),  # type: ignore[misc]
        )
        yield from _layers(ran, rows, f"layers, {where}", writer)
    if ran.shares is None:
        return
    shares = ran.shares
    gaps = list(zip(shares.gap_energy_j.tolist(), shares.gap_static_j.tolist(), strict=True))
    yield from writer.slices(
        "nothing ran",
        shares.dynamic.gap_starts_ns,
        shares.dynamic.gap_ends_ns,
        lambda i: ('"(nothing ran)"', _args(energy_j=gaps[i][0], static_j=gaps[i][1])),
    )


def _operation(ran: Ran, row: int, u: NDArray[np.float64]) -> tuple[str, str]:
    operations, shares = ran.operations, ran.shares
    layer, operator = int(operations.layer[row]), int(operations.operator[row])
    texts = {
        "layer": operations.layers[layer] if layer >= 0 else None,
        "operator": operations.operators[operator] if operator >= 0 else None,
    }
    name = json.dumps(operations.names[operations.name[row]])
    if shares is None:
        return name, _args(**texts, note="its device was not read")
    seconds = float(shares.seconds[row])
    start, end = int(operations.start_ns[row]), int(operations.end_ns[row])
    low, high = shares.dynamic.bounds_ns
    if end <= low or start >= high:
        return name, _args(**texts, note="outside the trace: nothing is known of its energy")
    cut = f"the trace has {seconds:.9g} s of it" if start < low or end > high else None
    energy_j, static_j = float(shares.energy_j[row]), float(shares.static_j[row])
    return name, _args(
        energy_j=energy_j,
        u_j=float(u[row]),
        static_j=static_j,
        power_w=(energy_j + static_j) / seconds if seconds > 0 else None,
        lower_j=float(shares.dynamic.lower_j[row]) if shares.dynamic.shared[row] else None,
        upper_j=float(shares.dynamic.upper_j[row]) if shares.dynamic.shared[row] else None,
        **texts,
        note=cut,
    )


def _layers(ran: Ran, rows: Times, track: str, writer: _Writer) -> Iterator[str]:
    """One slice for operations of one layer that follow each other on a stream."""
    operations = ran.operations
    layer = operations.layer[rows]
    if not (layer >= 0).any():
        return
    begins = np.diff(layer, prepend=-2) != 0
    group = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    ends = np.maximum.reduceat(operations.end_ns[rows], first)
    kept = np.flatnonzero(layer[first] >= 0)
    count = np.bincount(group)
    energy = static = u = np.full(len(first), math.nan)
    if ran.shares is not None:
        index = np.full(len(operations), -1, np.int64)
        index[rows] = np.where(layer >= 0, group, -1)
        energy = np.bincount(group, ran.shares.energy_j[rows], len(first))
        static = np.bincount(group, ran.shares.static_j[rows], len(first))
        u = grouped_u(ran, index, len(first))
        outside = np.bincount(group, ran.shares.seconds[rows], len(first)) == 0
        energy, static, u = (np.where(outside, math.nan, each) for each in (energy, static, u))

    def described(i: int) -> tuple[str, str]:
        g = int(kept[i])
        number = int(layer[first[g]])
        kind = operations.layer_types[number] if operations.layer_types else None
        return json.dumps(operations.layers[number] or "(model)"), _args(
            energy_j=float(energy[g]),
            u_j=float(u[g]),
            static_j=float(static[g]),
            operations=int(count[g]),
            layer_type=kind,
        )

    yield from writer.slices(track, operations.start_ns[rows][first[kept]], ends[kept], described)
