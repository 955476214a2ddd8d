# SPDX-License-Identifier: Apache-2.0
"""Profilers in this process: stand-ins of every era, and torch's own where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyenergy.attribution.kineto_json import read_kineto
from pyenergy.attribution.kineto_live import from_profiler
from pyenergy.attribution.profiler_events import Category, ProfilerEvents
from pyenergy.errors import OptionError, StateError

NOW = 1_795_282_141_790_212_257
CUDA = SimpleNamespace(name="CUDA")
CPU = SimpleNamespace(name="CPU")


class Event:
    """One of torch's events: a method for each of what it is given."""

    def __init__(self, **values: Any) -> None:
        given = {"device_type": CPU, "device_index": 4711, "correlation_id": 0, **values}
        for name, value in given.items():
            setattr(self, name, lambda value=value: value)


def unnamed() -> str:
    return b"k\xff".decode()


class Profiler:
    """A torch.profiler.profile that has finished."""

    def __init__(self, events: Any) -> None:
        found = SimpleNamespace() if events is None else SimpleNamespace(events=lambda: events)
        self.profiler = SimpleNamespace(kineto_results=found)

    def export_chrome_trace(self, path: str) -> None:
        entry = {"ph": "X", "cat": "kernel", "name": "k", "ts": 1.7e15, "dur": 2, "pid": 0}
        args = {"grid": [1, 2, 3], "block": [4, 5, 6]}
        Path(path).write_text(json.dumps({"traceEvents": [{**entry, "args": args}]}))


def today(**values: Any) -> Event:
    given = {"start_ns": NOW, "duration_ns": 5, "device_resource_id": 7, **values}
    return Event(**{"linked_correlation_id": 0, **given})


def test_events_of_today() -> None:
    launched = {"correlation_id": 77, "linked_correlation_id": 5}
    events = from_profiler(
        Profiler(
            [
                today(name="aten::mm", activity_type="cpu_op", correlation_id=5),
                today(name="step", activity_type="user_annotation", correlation_id=1),
                today(name="cudaLaunchKernel", activity_type="cuda_runtime", **launched),
                today(
                    name="gemm", activity_type="kernel", device_type=CUDA, device_index=1,
                    start_ns=NOW + 9, **launched,
                ),
                today(name="f", activity_type="python_function"),
                today(name="[memory]", activity_type="cpu_instant_event"),
            ]
        )
    )  # fmt: skip
    assert [Category(each).name for each in events.category] == [
        "CPU_OP", "ANNOTATION", "RUNTIME", "PYTHON", "KERNEL",
    ]  # fmt: skip
    assert events.start_ns.tolist() == [NOW, NOW, NOW, NOW, NOW + 9]
    assert (events.end_ns - events.start_ns).tolist() == [5] * 5
    assert events.correlation.tolist() == [-1, -1, 77, -1, 77]
    assert events.external_id.tolist() == [5, 1, 5, -1, 5]
    assert events.device.tolist() == [-1, -1, -1, -1, 1]
    assert events.stream.tolist() == [-1, -1, -1, -1, 7]
    assert events.thread.tolist() == [7, 7, 7, 7, -1]
    assert events.skipped == {"instant": 1}
    assert events.is_unix_time


def test_events_of_old_torch_are_in_microseconds_and_untyped() -> None:
    def old(name: str, device: Any = CPU, **more: Any) -> Event:
        return Event(name=name, start_us=NOW // 1000, duration_us=3, device_type=device, **more)

    events = from_profiler(
        Profiler(
            [
                old("void gemm()", CUDA), old("Memcpy HtoD", CUDA), old("Memset (Device)", CUDA),
                old("step", CUDA, is_user_annotation=True), old("step", is_user_annotation=True),
                old("cudaLaunchKernel"), old("cuLaunchKernel"), old("hipLaunchKernel"),
                old("aten::add"), old("custom_op"), old("f", is_python_function=True),
            ]
        )
    )  # fmt: skip
    assert [Category(each).name for each in events.category] == [
        "KERNEL", "MEMCPY", "MEMSET", "GPU_ANNOTATION", "ANNOTATION", "RUNTIME", "DRIVER",
        "RUNTIME", "CPU_OP", "CPU_OP", "PYTHON",
    ]  # fmt: skip
    assert events.start_ns[0] == NOW // 1000 * 1000
    assert events.end_ns[0] - events.start_ns[0] == 3000
    assert events.stream[0] == -1  # which is not said


def test_bad_events_are_counted() -> None:
    broken = today(activity_type="kernel", device_type=CUDA)
    broken.name = unnamed  # type: ignore[attr-defined]
    kinds = {"activity_type": "cpu_op", "name": "x"}
    bad = [
        today(**kinds, duration_ns=-1), today(**kinds, start_ns=0, duration_ns=0),
        today(**kinds, start_ns=2**63), today(**kinds, start_ns=1000),
    ]  # fmt: skip
    events = from_profiler(Profiler([broken, today(**kinds), *bad]))
    assert events.names[0] == "k\ufffd"
    assert events.counts["name with replaced characters"] == 1
    assert events.dropped == {
        "a negative duration": 1,
        "a start and a duration of zero": 1,
        "a start out of range": 2,
    }


def test_only_some_categories() -> None:
    both = [today(name="a", activity_type="cpu_op"), today(name="b", activity_type="kernel")]
    events = from_profiler(Profiler(both), categories=[Category.KERNEL])
    assert [events.name_of(row) for row in range(len(events))] == ["b"]
    assert events.skipped == {"category not asked for": 1}


@pytest.mark.parametrize("events", [None, [SimpleNamespace(begin=lambda: 3)]])
def test_events_of_another_torch_are_exported_and_read(events: Any) -> None:
    read = from_profiler(Profiler(events))
    assert read.start_ns.tolist() == [1_700_000_000_000_000_000]
    assert read.provenance.source == "torch.profiler, exported"
    assert any("torch's own events cannot be read" in note for note in read.notes)


def test_launch_shapes_come_from_an_export() -> None:
    events = from_profiler(Profiler([today(name="a", activity_type="kernel")]), shapes=True)
    assert events.grid is not None
    assert events.grid.tolist() == [[1, 2, 3]]
    assert any("launch shapes were asked for" in note for note in events.notes)


def test_no_events() -> None:
    events = from_profiler(Profiler([]))
    assert len(events) == 0
    assert events.notes[0] == "no event with a start and a duration is in it"


def test_what_is_no_finished_profiler_is_refused() -> None:
    with pytest.raises(StateError, match="leave its with block first"):
        from_profiler(SimpleNamespace(profiler=None))
    with pytest.raises(StateError, match="leave its with block first"):
        from_profiler(SimpleNamespace(profiler=SimpleNamespace(kineto_results=None)))
    with pytest.raises(OptionError, match=r"a torch\.profiler\.profile is needed, got int"):
        from_profiler(3)


def of(events: ProfilerEvents, *categories: Category) -> list[tuple[int, ...]]:
    columns = (events.start_ns, events.end_ns, events.category, events.thread, events.external_id)
    rows = events.rows(*categories)
    return sorted(tuple(int(column[row]) for column in columns) for row in rows)


@pytest.mark.models
@pytest.mark.parametrize("with_stack", [False, True])
def test_torch_in_this_process_says_what_its_export_says(tmp_path: Path, with_stack: bool) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(8, 8)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with (
        torch.profiler.profile(activities=activities, with_stack=with_stack) as prof,
        torch.profiler.record_function("a step of it"),
    ):
        layer(torch.ones(2, 8))
    live = from_profiler(prof)
    path = tmp_path / "trace.json"
    prof.export_chrome_trace(str(path))
    exported = read_kineto(path)
    kinds = (Category.CPU_OP, Category.ANNOTATION)
    assert of(live, *kinds) == of(exported, *kinds)
    step = live.names.index("a step of it")
    row = np.flatnonzero(live.name == step)
    assert live.category[row].tolist() == [Category.ANNOTATION]
    linear = np.flatnonzero(live.name == live.names.index("aten::linear"))
    assert live.start_ns[row] < live.start_ns[linear] < live.end_ns[linear] < live.end_ns[row]
    assert bool(len(live.rows(Category.PYTHON))) == with_stack
    assert live.provenance.torch_version == torch.__version__
    assert "no GPU event is in it: the host's time only" in live.notes
    assert live.is_unix_time
    assert of(from_profiler(prof), *kinds) == of(live, *kinds)  # an export takes nothing away
    with pytest.raises(StateError, match=r"already saved.*read the file that it wrote"):
        from_profiler(prof, shapes=True)


@pytest.mark.models
def test_torch_exports_for_launch_shapes() -> None:
    torch = pytest.importorskip("torch")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as prof:
        torch.ones(3).add(1)
    asked, live = from_profiler(prof, shapes=True), from_profiler(prof)
    assert of(asked, Category.CPU_OP) == of(live, Category.CPU_OP)
    assert asked.provenance.torch_version == torch.__version__
    assert any("launch shapes were asked for" in note for note in asked.notes)


@pytest.mark.models
def test_torch_that_has_not_run_is_refused() -> None:
    torch = pytest.importorskip("torch")
    prof = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    with pytest.raises(StateError, match="leave its with block first"):
        from_profiler(prof)
