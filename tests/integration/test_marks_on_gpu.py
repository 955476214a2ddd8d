# SPDX-License-Identifier: Apache-2.0
"""Marks around work that a GPU does later: its times count, and nothing waits for them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyenergy import testing
from pyenergy.testing import SimulatedWorld

CHILD = """
import json, sys
sys.path.insert(0, {tests!r})
from queued import Cuda
cuda = Cuda(index={current})
sys.modules["torch"] = cuda.module()
import pyenergy
launched, ran = [], []
with pyenergy.trace(devices="gpu", sync={sync}) as t:
    for name, ms in (("a", 120), ("b", 60), ("a", 90)):
        cuda.capturing = name in {captured!r}
        before = pyenergy.now_ns()
        with pyenergy.mark(name):
            ran.append(cuda.work(ms * 1_000_000))
        launched.append((before, pyenergy.now_ns()))
    if {fails}:
        def fail(*anything): raise RuntimeError("an illegal memory access")
        cuda.Event.elapsed_time = fail
if {path!r}:
    t.save({path!r})
    t = pyenergy.load({path!r})
print(json.dumps(dict(
    launched=launched, ran=ran, notes=t.notes, bounds=t.bounds_ns,
    marks=[(m.name, m.start_ns, m.end_ns, m.host_ns, m.bound_ns) for m in t.marks],
    spans=t.spans()["energy_j"].to_list(), whole=t.energy.joules)))
"""
TESTS = str(Path(__file__).parents[1])


@pytest.fixture
def gpus() -> Iterator[SimulatedWorld]:
    with testing.simulated("ideal") as made:
        made[0].set_power(100.0, at_ns=0)
        yield made


def run(gpus: SimulatedWorld, **options: Any) -> dict[str, Any]:
    chosen = {"sync": True, "captured": "", "current": 0, "fails": False, "path": "", **options}
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(tests=TESTS, **chosen)],
        env=testing.nvml_environment(gpus),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def is_on_host(found: dict[str, Any], i: int) -> bool:
    _, start, end, host, bound = found["marks"][i]
    before, after = found["launched"][i]
    return before <= start <= end <= after and [start, end] == host and bound == 0


def test_marks_are_where_the_gpu_worked(gpus: SimulatedWorld, tmp_path: Path) -> None:
    found = run(gpus, path=str(tmp_path / "run.pyenergy"))
    for (name, start, end, host, bound), ran, launched in zip(
        found["marks"], found["ran"], found["launched"], strict=True
    ):
        assert bound < 2_000_000
        assert abs(start - ran[0]) <= bound + 200_000  # the launch of an idle queue
        assert abs(end - ran[1]) <= bound
        assert launched[0] <= host[0] <= host[1] <= launched[1]
        assert host[1] - host[0] < 60_000_000  # nothing waited
        assert name in "ab"
    assert found["spans"] == pytest.approx([12.0, 6.0, 9.0], rel=0.05)
    low, high = found["bounds"]
    assert all(low <= start <= end <= high for _, start, end, *_ in found["marks"])


@pytest.mark.parametrize("options", [{"sync": False}, {"current": 1}])
def test_without_an_idle_gpu_to_begin_with_marks_are_host_time(
    gpus: SimulatedWorld, options: dict[str, Any]
) -> None:
    found = run(gpus, **options)
    assert all(is_on_host(found, i) for i in range(3))


def test_a_captured_graph_takes_no_edges_and_that_is_said(gpus: SimulatedWorld) -> None:
    found = run(gpus, captured="b")
    (i,) = (i for i, mark in enumerate(found["marks"]) if mark[0] == "b")
    _, start, end, host, bound = found["marks"][i]
    assert ([start, end], bound) == (host, 0)
    assert any("1 edges of marks have the host's time" in note for note in found["notes"])


def test_a_gpu_that_fails_leaves_marks_on_host_time(gpus: SimulatedWorld) -> None:
    found = run(gpus, fails=True)
    assert all(is_on_host(found, i) for i in range(3))
    assert any("an illegal memory access" in note for note in found["notes"])
