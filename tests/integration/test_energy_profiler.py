# SPDX-License-Identifier: Apache-2.0
"""torch.profiler with joules: around the work, and as a handler of a schedule."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import polars as pl
import pytest

from pyenergy import now_ns
from pyenergy.errors import OptionError, StateError
from pyenergy.integrations.torch import EnergyProfiler

torch = pytest.importorskip("torch")
profiling = pytest.importorskip("torch.profiler")

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore::pyenergy.errors.EstimateWarning"),
    # torch says once that a schedule's cycles forget the events of those before; as an error it
    # would leave its profiler half-way, and that crashes.
    pytest.mark.filterwarnings("ignore:.*Profiler clears events:UserWarning"),
]
CPU = {"activities": [profiling.ProfilerActivity.CPU]}


@pytest.fixture
def model() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64)).eval()


def work(model: Any, calls: int = 5) -> None:
    with torch.no_grad():
        for _ in range(calls):
            model(torch.ones(8, 64))


def test_key_averages_gain_energies_that_add_up(model: Any) -> None:
    with EnergyProfiler(model=model, devices="cpu", **CPU) as p:
        work(model)
    table = p.key_averages()
    parts = table["energy_j"].sum() + table["static_j"].sum()
    assert parts == pytest.approx(p.trace.energy.joules, rel=1e-9)
    averages = {row.key: row for row in p.profiler.key_averages()}
    named = table.drop_nulls("count")
    assert set(named["name"].to_list()) == set(averages)
    linear = table.row(by_predicate=pl.col("name") == "aten::addmm", named=True)
    assert linear["count"] == averages["aten::addmm"].count == 5
    assert linear["self_cpu_time_s"] == pytest.approx(
        averages["aten::addmm"].self_cpu_time_total / 1e6
    )
    assert linear["energy_j"] > 0
    assert linear["u_j"] > 0
    assert {"0", "1"} <= set(p.trace.layers()["layer"].to_list())


def test_a_profiler_that_is_there_is_wrapped(model: Any) -> None:
    own = profiling.profile(**CPU)
    with EnergyProfiler(own, devices="cpu") as p:
        work(model)
    assert p.profiler is own
    assert "aten::addmm" in p.trace.kernels()["name"].to_list()
    with pytest.raises(OptionError, match="with_stack"):
        EnergyProfiler(own, with_stack=True)


class Slow(profiling.profile):  # type: ignore[misc]
    """Takes a while to get ready and to end, as the first one of a process does."""

    def __enter__(self) -> Any:
        made = super().__enter__()
        time.sleep(0.2)
        self.ready_ns = now_ns()
        return made

    def __exit__(self, *exc: Any) -> None:
        self.ending_ns = now_ns()
        time.sleep(0.2)
        super().__exit__(*exc)


def test_a_trace_is_of_the_work_and_not_of_the_profiler(model: Any) -> None:
    slow = Slow(**CPU)
    with EnergyProfiler(slow, devices="cpu") as p:
        began_ns = now_ns()
        work(model)
        ended_ns = now_ns()
    low, high = p.trace.bounds_ns
    assert slow.ready_ns <= low <= began_ns
    assert ended_ns <= high <= slow.ending_ns
    table = p.trace.kernels()
    assert table.filter(name="aten::addmm")["count"].to_list() == [5]
    parts = table["energy_j"].sum() + table["static_j"].sum()
    assert parts == pytest.approx(p.trace.energy.joules, rel=1e-9)


def test_the_first_profiler_of_a_process_loads_outside_of_the_trace() -> None:
    """Loading takes seconds, whatever machine it is."""
    program = """
import json, time, torch
from pyenergy.integrations.torch import EnergyProfiler
cpu = [torch.profiler.ProfilerActivity.CPU]
entering = time.perf_counter()
with EnergyProfiler(devices="cpu", activities=cpu) as p:
    began = time.perf_counter()
    data = torch.ones(64, 64)
    while time.perf_counter() < began + 0.2:
        data @ data
    worked = time.perf_counter() - began
print(json.dumps([began - entering, worked, p.trace.duration_s]))
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    entering_s, worked_s, duration_s = json.loads(done.stdout.splitlines()[-1])
    assert worked_s <= duration_s < worked_s + min(0.05, 0.5 * entering_s)


def test_a_schedule_in_the_with_form_has_its_last_cycle(model: Any) -> None:
    """Its profiler gets ready in the midst of the work, which is no part of the trace."""
    ready: list[int] = []

    class Late(profiling.profile):  # type: ignore[misc]
        def prepare_trace(self) -> None:
            super().prepare_trace()
            time.sleep(0.2)
            ready.append(now_ns())

    plan = profiling.schedule(wait=1, warmup=1, active=2, repeat=2)
    with EnergyProfiler(Late(schedule=plan, **CPU), devices="cpu") as p:
        for _ in range(8):
            work(model)
            p.profiler.step()
    assert len(ready) == 2
    assert p.trace.bounds_ns[0] >= ready[-1]
    table = p.trace.kernels()
    assert table.filter(name="aten::addmm")["count"].to_list() == [10]
    parts = table["energy_j"].sum() + table["static_j"].sum()
    assert parts == pytest.approx(p.trace.energy.joules, rel=1e-9)


def test_each_cycle_of_a_schedule_is_a_trace(model: Any) -> None:
    energy = EnergyProfiler(devices="cpu").start()
    plan = profiling.schedule(wait=1, warmup=1, active=2, repeat=2)
    with profiling.profile(schedule=plan, on_trace_ready=energy, **CPU) as prof:
        for _ in range(8):
            work(model)
            prof.step()
    energy.close()
    energy.close()
    assert len(energy.traces) == 2
    first, second = energy.traces
    assert first.bounds_ns[1] <= second.bounds_ns[0]
    for trace in (first, second):
        table = trace.kernels()
        assert table.filter(name="aten::addmm")["count"].to_list() == [10]
        parts = table["energy_j"].sum() + table["static_j"].sum()
        assert parts == pytest.approx(trace.energy.joules, rel=1e-9)
    with pytest.raises(StateError, match="torch keeps no averages"):
        energy.key_averages()


def test_what_cannot_be(model: Any) -> None:
    p = EnergyProfiler(devices="cpu", **CPU)
    with pytest.raises(StateError, match="nothing has been profiled yet"):
        _ = p.trace
    with pytest.raises(StateError, match=r"start\(\) it first"):
        p(profiling.profile(**CPU))
    with p:
        work(model)
        with pytest.raises(StateError, match="runs already"):
            p.start()


def test_an_exception_passes_and_stops_sampling(model: Any) -> None:
    p = EnergyProfiler(devices="cpu", **CPU)

    def failing() -> None:
        with p:
            work(model)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    with pytest.raises(StateError, match="nothing has been profiled yet"):
        _ = p.trace
    p.close()
