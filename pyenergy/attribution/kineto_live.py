# SPDX-License-Identifier: Apache-2.0
"""What a torch.profiler in this process saw, without a file between where torch lets us.

``prof.profiler.kineto_results.events()`` is private to torch: what of it is there is looked at
(torch 2.13: ``start_ns``, ``duration_ns``, ``activity_type``; before 2.4: ``start_us``,
``duration_us``), and where it is not, the trace is exported to a temporary file and read.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OptionError, StateError
from .event_columns import Block, Columns
from .kineto_json import read_kineto
from .kineto_number import LIMIT_NS, Stamp
from .profiler_events import Category, ProfilerEvents, Provenance, category_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

__all__ = ["from_profiler"]

_NEEDED = ("name", "device_type", "device_index", "correlation_id")
_LAUNCHED = frozenset(
    (Category.KERNEL, Category.MEMCPY, Category.MEMSET, Category.RUNTIME, Category.DRIVER)
)
_CALLS = (("cuda", Category.RUNTIME), ("hip", Category.RUNTIME), ("cu", Category.DRIVER))


def from_profiler(
    prof: Any, *, categories: Collection[Category] | None = None, shapes: bool = False
) -> ProfilerEvents:
    """Spans that a finished ``torch.profiler.profile`` recorded, with times in Unix ns.

    Parameters
    ----------
    prof : torch.profiler.profile
        After its ``with`` block, or inside ``on_trace_ready``.
    categories : collection of Category, optional
        What to keep; everything by default.
    shapes : bool
        Whether to keep the launch shapes. They are only in what is exported, so this exports, and
        torch exports a profiler once: save it yourself and use `read_kineto` to have both.

    Raises
    ------
    StateError
        The profiler has not finished, recorded nothing, or would have to be exported again.
    OptionError
        It is no such profiler.
    """
    inner = getattr(prof, "profiler", prof)  # torch.autograd.profiler.profile is the inner one
    results = getattr(inner, "kineto_results", None)
    if results is None:
        if hasattr(prof, "profiler") or hasattr(inner, "kineto_results"):
            raise StateError("the profiler recorded nothing yet: leave its with block first")
        raise OptionError(f"a torch.profiler.profile is needed, got {type(prof).__name__}")
    events = _events_of(results)
    if shapes or events is None:
        why = "launch shapes were asked for" if shapes else "torch's own events cannot be read"
        return _exported(prof, categories, shapes, why)
    return _Live(events, categories).read()


def _events_of(results: Any) -> Sequence[Any] | None:
    """Its events, or None where this torch has them otherwise than is known."""
    events = getattr(results, "events", None)
    if not callable(events):
        return None
    found: Sequence[Any] = events()
    if len(found):
        first = found[0]
        timed = any(
            all(hasattr(first, name) for name in names)
            for names in (("start_ns", "duration_ns"), ("start_us", "duration_us"))
        )
        if not timed or not all(hasattr(first, name) for name in _NEEDED):
            return None
    return found


def _exported(
    prof: Any, categories: Collection[Category] | None, shapes: bool, why: str
) -> ProfilerEvents:
    """The same by way of a temporary file."""
    with tempfile.TemporaryDirectory(prefix="pyenergy-") as folder:
        path = Path(folder) / "trace.json"
        try:
            prof.export_chrome_trace(str(path))
        except RuntimeError as error:
            raise StateError(
                f"the profiler cannot be exported ({error}), and {why}: a profiler is exported "
                "once, so read the file that it wrote with read_kineto"
            ) from None
        events = read_kineto(path, categories=categories, shapes=shapes)
    version = events.provenance.torch_version or _torch_version()
    provenance = replace(
        events.provenance, source="torch.profiler, exported", torch_version=version
    )
    return replace(
        events,
        provenance=provenance,
        notes=(*events.notes, f"read from an export of the profiler: {why}"),
    )


def _torch_version() -> str | None:
    torch = sys.modules.get("torch")
    return None if torch is None else str(torch.__version__)


class _Live:
    """Reads one event after another."""

    def __init__(self, events: Sequence[Any], categories: Collection[Category] | None) -> None:
        self._events = events
        self._wanted = None if categories is None else frozenset(categories)
        self._columns = Columns()
        self._unnamed = 0
        first = events[0] if len(events) else None
        self._start, self._length = _clock(first)
        self._typed = hasattr(first, "activity_type")

    def read(self) -> ProfilerEvents:
        rows = [row for event in self._events if (row := self._row(event)) is not None]
        if rows:
            columns = list(zip(*rows, strict=True))
            start, start_stamp = _stamps(columns[0])
            length, length_stamp = _stamps(columns[1])
            self._columns.add(Block(start, length, start_stamp, length_stamp, *columns[2:]))
        if self._unnamed:
            self._columns.counts["name with replaced characters"] = self._unnamed
        source = "torch.profiler, in this process"
        return self._columns.finish(Provenance(source, torch_version=_torch_version()), False)

    def _row(self, event: Any) -> tuple[Any, ...] | None:
        """In the order of `Block`; None for what is no span or was not asked for."""
        name = self._name(event)
        on_gpu = _name_of(event.device_type()) != "CPU"
        kind, instant = self._category(event, name, on_gpu)
        if instant:
            self._columns.skipped["instant"] += 1
            return None
        if self._wanted is not None and kind not in self._wanted:
            self._columns.skipped["category not asked for"] += 1
            return None
        place = _call(event, "device_resource_id", -1)  # a stream there, a thread here
        device, stream, thread = (event.device_index(), place, -1) if on_gpu else (-1, -1, place)
        correlation = event.correlation_id()
        if kind in _LAUNCHED:
            external = _call(event, "linked_correlation_id", 0)
        else:  # of what runs in Python or in an operator, the id is its own
            correlation, external = -1, correlation
        return (
            self._start(event), self._length(event), kind, name,
            device, stream, thread, correlation, external,
        )  # fmt: skip

    def _name(self, event: Any) -> str:
        try:
            return str(event.name())
        except UnicodeDecodeError as error:
            self._unnamed += 1
            return error.object.decode(errors="replace")

    def _category(self, event: Any, name: str, on_gpu: bool) -> tuple[Category, bool]:
        """(what it is, whether it has no length by nature)."""
        if self._typed:
            said = event.activity_type()
            return category_of(said), said == "cpu_instant_event"
        annotation = bool(_call(event, "is_user_annotation", False))
        if on_gpu:
            low = name.lower()
            for prefix, kind in (("memcpy", Category.MEMCPY), ("memset", Category.MEMSET)):
                if low.startswith(prefix):
                    return kind, False
            return (Category.GPU_ANNOTATION if annotation else Category.KERNEL), False
        if annotation:
            return Category.ANNOTATION, False
        if _call(event, "is_python_function", False):
            return Category.PYTHON, False
        for prefix, kind in _CALLS:
            if name.startswith(prefix) and name[len(prefix) : len(prefix) + 1].isupper():
                return kind, False
        return Category.CPU_OP, False


def _clock(event: Any) -> tuple[Callable[[Any], int], Callable[[Any], int]]:
    """How its start and its length are read, in ns."""
    if hasattr(event, "start_ns"):
        return lambda each: int(each.start_ns()), lambda each: int(each.duration_ns())
    return lambda each: 1000 * int(each.start_us()), lambda each: 1000 * int(each.duration_us())


def _call(event: Any, method: str, otherwise: Any) -> Any:
    found = getattr(event, method, None)
    return otherwise if found is None else found()


def _name_of(device: Any) -> str:
    """CPU, CUDA, ... of torch's DeviceType."""
    return str(getattr(device, "name", device)).rpartition(".")[2]


def _stamps(values: Sequence[int]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    good = [abs(value) < LIMIT_NS for value in values]
    kept = [value if ok else 0 for value, ok in zip(values, good, strict=True)]
    stamps = [Stamp.OK if ok else Stamp.OUT_OF_RANGE for ok in good]
    return np.array(kept, np.int64), np.array(stamps, np.int8)
