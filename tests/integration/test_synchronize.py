# SPDX-License-Identifier: Apache-2.0
"""At its edges a trace waits for torch's queued work on the GPUs in scope, and for no other."""

from __future__ import annotations

import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyenergy
from pyenergy import _hub, _session, now_ns, testing
from pyenergy.testing import SimulatedWorld

TESTS = str(Path(__file__).parents[1])
CHILD = """
import sys, types
import pyenergy
sys.path.insert(0, {tests!r})
from queued import Cuda
cuda = Cuda(index=7)  # no GPU of these is where work goes
cuda.is_initialized = lambda: {initialized}
calls = cuda.waited
sys.modules["torch"] = cuda.module()
with pyenergy.trace({options}) as t:
    assert not t.bounds_ns[0] <= 0
    inside = len(calls)
start, end = t.bounds_ns
assert all(when <= start for _, when in calls[:inside])
assert all(start <= when <= end for _, when in calls[inside:])
print([index for index, _ in calls[:inside]], [index for index, _ in calls[inside:]])
"""


@pytest.fixture
def gpus() -> Iterator[SimulatedWorld]:
    with testing.simulated("v100", "a100") as made:
        yield made


@pytest.mark.parametrize(
    ("options", "initialized", "called"),
    [
        ("devices='gpu'", True, "[0, 1] [0, 1]"),
        ("devices='gpu:1'", True, "[1] [1]"),
        ("devices='gpu:0'", True, "[0] [0]"),
        ("devices='gpu', sync=False", True, "[] []"),
        ("devices='gpu'", False, "[] []"),
        ("devices='sim:a100'", True, "[] []"),
    ],
)
def test_the_gpus_in_scope_are_waited_for_at_both_edges(
    gpus: SimulatedWorld, options: str, initialized: bool, called: str
) -> None:
    env = testing.nvml_environment(gpus)
    code = CHILD.format(options=options, initialized=initialized, tests=TESTS)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.strip() == called


def test_a_torch_without_cuda_is_no_obstacle(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world[0].set_power(300.0, at_ns=0)
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    with pyenergy.trace(devices="sim:ideal") as t:
        pass
    assert t.energy.joules == pytest.approx(300.0 * t.duration_s, rel=1e-6)


def test_work_that_fails_at_the_closing_edge_still_closes_the_trace(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA reports the errors of queued work when it is waited for."""
    world[0].set_power(300.0, at_ns=0)
    calls = []

    def synchronize(devices: object) -> None:
        calls.append(devices)
        if len(calls) == 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(_session._sync, "synchronize", synchronize)
    opened = pyenergy.trace(devices="sim:ideal")
    with pytest.raises(RuntimeError, match="illegal memory access"), opened as t:
        pass
    end = t.bounds_ns[1]
    assert end <= now_ns()
    assert t.bounds_ns[1] == end  # closed: the end stands
    assert t.energy.joules == pytest.approx(300.0 * t.duration_s, rel=1e-6)


def test_work_that_fails_at_the_opening_edge_lets_the_sampler_go(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def synchronize(devices: object) -> None:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(_hub, "_LINGER_NS", -(1 << 40))  # what nobody holds ends at once
    monkeypatch.setattr(_session._sync, "synchronize", synchronize)
    with pytest.raises(RuntimeError, match="CUDA error"):
        pyenergy.Monitor(devices="sim:ideal").start()
    (shared,) = (s for s in _hub._streams.values() if s.device.info.argument == world.path)
    deadline = time.monotonic() + 5
    while shared.stream.running and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not shared.stream.running
