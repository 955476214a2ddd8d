# SPDX-License-Identifier: Apache-2.0
"""Joins operations of a profiler, or of any table, to a recording."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..errors import OptionError, WindowError
from ..recording.operations import Operations
from ..units import NS_PER_S, engineering
from .kineto_json import read_kineto
from .kineto_live import from_profiler
from .layer_launch import operators_of
from .layer_types import layer_type
from .layers import layers_from_events, layers_from_profiler
from .module_spans import ModuleSpans
from .nesting import innermost_pieces
from .nsys import is_nsys, read_nsys
from .own_labels import set_apart
from .profiler_events import Category, ProfilerEvents
from .table import HOST, Rows, frame_of, rows_of
from .timeline import ClockMap, ClockStepError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..recording.recorded import Recorded
    from .layer_map import LayerMap

__all__ = ["Clock", "operations_from"]

Clock = Literal["auto", "recording", "unix"]
_CUDA = re.compile(r"^cuda:(\d+)$")


def operations_from(
    source: Any,
    recorded: Recorded,
    *,
    model: Any = None,
    device: str | None = None,
    clock: Clock = "auto",
) -> Operations:
    """``source`` as operations on the clock of ``recorded``; see `Trace.attach`."""
    if clock not in get_args(Clock):
        raise OptionError(f"clock must be one of {', '.join(get_args(Clock))}, got {clock!r}")
    if device is not None and device not in recorded.devices:
        raise OptionError(
            f"no device {device!r} in this trace; it has: {', '.join(recorded.devices)}"
        )
    if isinstance(source, Operations):
        raise OptionError("these operations are joined already: they belong to their own trace")
    rows, said, unix = _rows(source, model)
    # Times of this process's own clock, and how well an event's time is known.
    own_bound_ns = source.spans().bound_ns.max(initial=0) if isinstance(source, ModuleSpans) else 0
    rows.keep(rows.end_ns >= rows.start_ns, "that end before they start")
    if not len(rows):
        raise OptionError(f"{said} has no operation with a time" + _reasons(rows.notes))
    # Readings that were taken elsewhere have no anchors: theirs may be Unix times themselves.
    known = unix and clock == "auto" and len(recorded.anchors) > 0
    bound_ns = _join(rows, recorded, "unix" if known else clock)
    _place(rows, recorded, device)
    set_apart(rows)
    return _ordered(rows, said, bound_ns + float(own_bound_ns))


# Sources ------------------------------------------------------------------------------------


def _rows(source: Any, model: Any) -> tuple[Rows, str, bool]:
    """(rows, what they come from, whether their times are known to be Unix times)."""
    layers = None
    if isinstance(source, (str, os.PathLike)):
        source = read_nsys(source) if is_nsys(source) else read_kineto(source)
    elif hasattr(source, "kineto_results") or hasattr(source, "profiler"):
        if model is None:
            source = from_profiler(source)
        else:
            source, layers = layers_from_profiler(source, model)
    if model is not None and layers is None:
        raise OptionError(
            "a model tells the layers of a profiler in this process (torch.profiler.profile with "
            f"with_stack=True), not of {type(source).__name__}"
        )
    if isinstance(source, ModuleSpans):
        return _of_modules(source), "modules' hooks", False
    if not isinstance(source, ProfilerEvents):
        rows = rows_of(frame_of(source))
        rows.layer_types = tuple(layer_type(name) for name in rows.layers)
        return rows, "a table", False
    if not len(source):
        raise OptionError(f"{source.provenance.source} has no operation" + _reasons(source.notes))
    if not source.is_unix_time:
        raise OptionError(
            "nothing says what the profiler's times count from: give them as a table in ns of the "
            f"recording's clock{_reasons(source.notes)}"
        )
    layers = layers_from_events(source) if layers is None else layers
    rows = _of_gpus(source, layers) if len(source.on_gpu()) else _of_host(source, layers)
    rows.layer_types = layers.types
    rows.notes += [*source.notes, *layers.notes, *_covered(layers, source)]
    return rows, source.provenance.source, True


def _covered(layers: LayerMap, events: ProfilerEvents) -> list[str]:
    share = layers.coverage(events)
    if share is None or not layers.paths:
        return []
    what = "GPU" if len(events.on_gpu()) else "operators'"
    return [f"{share:.1%} of the {what} time belongs to a layer that is known"]


def _of_gpus(events: ProfilerEvents, layers: LayerMap) -> Rows:
    which = events.on_gpu()
    ids = np.unique(events.device[which])
    index = np.searchsorted(ids, events.device[which]).astype(np.int32)
    names = tuple(f"gpu:{n}" if n >= 0 else "gpu:?" for n in ids.tolist())
    rows = Rows(
        events.start_ns[which],
        events.end_ns[which],
        (events.name[which], events.names),
        (index, names),
        (layers.layer[which], layers.names),
        stream=events.stream[which],
    )
    rows.operator, rows.operators = operators_of(events)[which], events.names
    return rows


def _of_host(events: ProfilerEvents, layers: LayerMap) -> Rows:
    """Operators on the host: each has the time in which no operator that it called ran."""
    which = events.rows(Category.CPU_OP)
    pieces = innermost_pieces(events.thread[which], events.start_ns[which], events.end_ns[which])
    row = which[pieces.row]
    rows = Rows(
        pieces.start_ns,
        pieces.end_ns,
        (events.name[row], events.names),
        (np.zeros(len(row), np.int32), (HOST,)),
        (layers.layer[row], layers.names),
        stream=events.thread[row],
    )
    rows.operator, rows.operators = events.name[row], events.names
    rows.begins = pieces.begins
    if pieces.crossing:
        rows.notes.append(
            f"{pieces.crossing} operators overlap another of their thread without being called by "
            "it: the later one has the time"
        )
    return rows


def _of_modules(source: ModuleSpans) -> Rows:
    """Calls of modules: each has the time in which it called no other."""
    spans, device = source.spans(), source.device_id
    if not len(spans):
        return _unseen(source)
    pieces = spans.segments
    # A call has one piece before, and one after, each call inside it; the first is its own.
    begins = np.zeros(len(pieces), bool)
    begins[np.unique(pieces.span, return_index=True)[1]] = True
    names = tuple(
        f"{of} {name}".strip() for name, of in zip(spans.names, spans.classes, strict=True)
    )
    rows = Rows(
        pieces.start_ns,
        pieces.end_ns,
        (pieces.layer, names),
        (np.zeros(len(pieces), np.int32), (device,)),
        (pieces.layer, spans.names),
        stream=pieces.thread,
    )
    rows.begins = begins
    rows.layer_types = tuple(
        layer_type(name, of) for name, of in zip(spans.names, spans.classes, strict=True)
    )
    rows.notes += spans.notes
    return rows


def _unseen(source: ModuleSpans) -> Rows:
    """All of the time, in no layer, where no hook could run."""
    notes = source.spans().notes
    if not source.compiled:
        raise OptionError(
            "no call of a module was seen: run the model in the with block; no hook runs in what "
            "torch.compile made of it: give ModuleSpans that, if it is what you call"
            + _reasons(notes)
        )
    start_ns, end_ns = source.bounds_ns
    one = np.zeros(1, np.int32)
    rows = Rows(
        np.array([start_ns], np.int64),
        np.array([end_ns], np.int64),
        (one, ("(compiled)",)),
        (one, (source.device_id,)),
    )
    rows.notes = [*notes, "0 % of the time belongs to a layer that is known"]
    return rows


# Join ---------------------------------------------------------------------------------------


def _join(rows: Rows, recorded: Recorded, clock: Clock) -> float:
    """Put the rows' times on the recording's clock; the largest error that this leaves, ns."""
    first, last = int(rows.start_ns.min()), int(rows.end_ns.max())
    overlaps = _overlaps(first, last, recorded.bounds_ns)
    if clock == "recording" or (clock == "auto" and (overlaps or not recorded.anchors)):
        if not overlaps:
            raise _other_run((first, last), recorded.bounds_ns, "the recording's clock")
        return 0.0
    if not recorded.anchors:
        raise OptionError(
            "this recording has no clock anchors, so that Unix times cannot be joined to it; give "
            "the operations on the clock of its readings"
        )
    clocks = ClockMap.of(recorded)
    ends = clocks.to_unix(np.array(recorded.bounds_ns, np.int64), on_step="mark").t_ns
    bounds_unix_ns = int(ends[0]), int(ends[1])
    try:
        # Both edges at once: a step inside of the only operation is one, too.
        edges = clocks.to_monotonic(np.stack([_inside(rows, clocks, recorded), rows.end_ns]))
    except WindowError as error:
        raise _other_run((first, last), bounds_unix_ns, "Unix time") from error
    except ClockStepError as error:
        raise _stepped(error) from error
    rows.start_ns, rows.end_ns = edges.t_ns[0], np.maximum(edges.t_ns[0], edges.t_ns[1])
    if not _overlaps(int(rows.start_ns.min()), int(rows.end_ns.max()), recorded.bounds_ns):
        raise _other_run((first, last), bounds_unix_ns, "Unix time")
    return float(edges.bound_ns.max())


def _inside(rows: Rows, clocks: ClockMap, recorded: Recorded) -> NDArray[np.int64]:
    """The starts, once what no clock anchor reaches has been left out."""
    bounds = clocks.to_unix(np.array(recorded.bounds_ns, np.int64), on_step="mark").t_ns
    margin = 8 * NS_PER_S  # inside what `ClockMap` extrapolates
    near = (rows.start_ns >= bounds[0] - margin) & (rows.end_ns <= bounds[1] + margin)
    if near.any():
        rows.keep(near, "from before or after the recording's clock anchors")
    return rows.start_ns


def _overlaps(first: int, last: int, bounds: tuple[int, int]) -> bool:
    return first < bounds[1] and last > bounds[0]


def _other_run(ran_ns: tuple[int, int], bounds_ns: tuple[int, int], clock: str) -> WindowError:
    """Both on the clock that is named."""
    (first, last), (low, high) = ran_ns, bounds_ns
    off = _long(max(low - last, first - high) / NS_PER_S)
    where = f"{off} {'before' if last <= low else 'after'} it"
    return WindowError(
        f"no operation ran during this trace: taken as {clock}, they lie from {first} to {last} "
        f"({where}), the trace from {low} to {high}; are they of another run, or in another unit?"
    )


def _stepped(error: ClockStepError) -> ClockStepError:
    """What somebody who attaches can do about it."""
    found = ClockStepError(
        f"{error.step}, while these operations ran, so that nothing says when they did: profile "
        "again, or attach only operations from before it, or only from after it, as a table; times "
        "that pyenergy.now_ns() gave are safe from it (attach(..., clock='recording'))"
    )
    found.step = error.step
    return found


def _long(seconds: float) -> str:
    """A time as people say it: nobody thinks in Gs."""
    lengths = {"years": 365.25 * 86_400, "days": 86_400.0, "hours": 3_600.0, "minutes": 60.0}
    for unit, length in lengths.items():
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return engineering(seconds, "s")


def _place(rows: Rows, recorded: Recorded, device: str | None) -> None:
    """Give every row a device; what is known of none goes to ``device``, or to the only one."""
    _as_recorded(rows, recorded)
    unplaced = rows.device < 0
    if not unplaced.any():
        return
    if device is None:
        gpus = [name for name in recorded.devices if name.startswith("gpu")]
        among = gpus or list(recorded.devices)
        if len(among) != 1:
            raise OptionError(
                f"the operations name no device, and the trace has {', '.join(among)}: add a "
                "column 'device', or attach(..., device='gpu:0')"
            )
        device = among[0]
    if device not in rows.devices:
        rows.devices = (*rows.devices, device)
    rows.device = np.where(unplaced, np.int32(rows.devices.index(device)), rows.device)


def _as_recorded(rows: Rows, recorded: Recorded) -> None:
    """What PyTorch calls ``cuda:0`` is ``gpu:0``, unless a device was recorded by that name."""
    names = [
        name if name in recorded.devices else _CUDA.sub(r"gpu:\1", name) for name in rows.devices
    ]
    if names != list(rows.devices):
        rows.devices = tuple(dict.fromkeys(names))
        index = np.array([*(rows.devices.index(name) for name in names), -1], np.int32)
        rows.device = index[rows.device]


def _ordered(rows: Rows, source: str, bound_ns: float) -> Operations:
    order = np.argsort(rows.start_ns, kind="stable")
    return Operations(
        start_ns=rows.start_ns[order],
        end_ns=rows.end_ns[order],
        name=rows.name[order].astype(np.int32),
        device=rows.device[order].astype(np.int32),
        stream=rows.stream[order],
        layer=rows.layer[order].astype(np.int32),
        operator=rows.operator[order].astype(np.int32),
        begins=rows.begins[order],
        names=rows.names,
        devices=rows.devices,
        layers=rows.layers,
        operators=rows.operators,
        layer_types=rows.layer_types,
        bound_ns=bound_ns,
        source=source,
        notes=tuple(rows.notes),
    )


def _reasons(notes: Sequence[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""
