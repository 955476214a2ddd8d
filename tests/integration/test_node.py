# SPDX-License-Identifier: Apache-2.0
"""The node in one trace: nothing twice, what is missing by name, and who used it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from children import run_child
from host_tree import Counting, HostTree, host_tree

import pyenergy
from pyenergy import testing
from pyenergy.errors import OptionError, StateError
from pyenergy.testing import SimulatedWorld

CHILD = Path(__file__).with_name("node_child.py")
PACKAGE_W, DRAM_W, GPU_W = 60.0, 12.0, 300.0


@pytest.fixture
def host() -> Iterator[HostTree]:
    with host_tree() as tree:
        yield tree


def ask(world: SimulatedWorld, host: HostTree, function: str, **arguments: Any) -> Any:
    env = testing.nvml_environment(world) | {"PYENERGY_SYSFS_ROOT": str(host.root)}
    return run_child(CHILD, env, function, **arguments)


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with testing.simulated("h100") as made:
        made[0].set_power(GPU_W, at_ns=0)
        yield made


def by(rows: list[dict[str, Any]], column: str) -> dict[Any, dict[str, Any]]:
    return {row[column]: row for row in rows}


def test_gpu_packages_and_memory_add_up_and_processes_to_each(
    world: SimulatedWorld, host: HostTree, tmp_path: Path
) -> None:
    counters = host.two_sockets()
    host.zone("intel-rapl:2", "psys")
    powers = [PACKAGE_W, DRAM_W, PACKAGE_W, DRAM_W]
    with ExitStack() as stack:
        for path, power_w in zip(counters, powers, strict=True):
            stack.enter_context(Counting(path, power_w))
        found = ask(world, host, "traced", seconds=1.2, path=str(tmp_path / "run.pyenergy"))
    rows = by(found["node"], "device")
    assert list(rows) == [
        "gpu:0", "cpu:0", "cpu:1", "dram:0", "dram:1", "(sum)", "(not measured)"
    ]  # fmt: skip
    parts = [rows[name] for name in found["energies"]]
    total = rows["(sum)"]
    assert total["energy_j"] == pytest.approx(sum(r["energy_j"] for r in parts), rel=1e-12)
    assert total["u_j"] == pytest.approx(sum(r["u_j"] ** 2 for r in parts) ** 0.5)
    assert sum(r["share"] for r in parts) == pytest.approx(1.0)
    truth = sum(powers) * found["duration_s"] + found["gpu_truth_j"]
    assert abs(total["energy_j"] - truth) < 2.5 * total["u_j"]
    missing = rows["(not measured)"]
    assert (missing["energy_j"], missing["kind"]) == (None, "not measured")
    assert "fans" in missing["note"]
    assert "devices='psys'" in missing["note"]
    assert any(note.startswith("not measured: fans") for note in found["trace_notes"])
    assert_processes(found)


def assert_processes(found: dict[str, Any]) -> None:
    energies, rows = found["energies"], found["processes"]
    assert "can have drawn on average" in found["refused"]
    packages = energies["cpu:0"][0] + energies["cpu:1"][0]
    sums: dict[str, float] = {}
    for row in rows:
        sums[row["device"]] = sums.get(row["device"], 0.0) + row["energy_j"]
        assert row["u_j"] > 0
    whole = {k: v[0] for k, v in energies.items() if not k.startswith("cpu")}
    assert sums == pytest.approx(whole | {"cpu:0+cpu:1": packages}, rel=1e-9)
    cpu = [row for row in rows if row["device"] == "cpu:0+cpu:1"]
    (static,) = (row for row in cpu if row["kind"] == "static")
    assert static["energy_j"] == pytest.approx(5.0 * found["duration_s"])
    assert found["pid"] in by(cpu, "pid")
    gpu = by([row for row in rows if row["device"] == "gpu:0"], "pid")
    ours, theirs, idler = gpu[found["pid"]], gpu[4_000_000], gpu[4_000_001]
    assert ours["energy_j"] == pytest.approx(3 * theirs["energy_j"], rel=1e-6)
    assert ours["busy_s"] == pytest.approx(3 * theirs["busy_s"])
    assert (theirs["name"], idler["busy_s"]) == ("", 0.0)
    assert ours["apportionment"] == "by time with a kernel running"
    assert "an apportionment, not a measurement" in " ".join(found["notes"])
    assert "dram:0: not shared" in " ".join(found["notes"])


def test_what_nvml_tells_of_processes(world: SimulatedWorld, host: HostTree) -> None:
    card = world[0]
    found = ask(world, host, "use")
    assert found["first"] == {
        "samples": [], "running": [], "lists_running": True, "problem": ""
    }  # fmt: skip
    card.set_processes([(100 + i, 0.05) for i in range(16)])
    found = ask(world, host, "use")
    assert [(s[0], s[2]) for s in found["first"]["samples"]] == [(100 + i, 5) for i in range(16)]
    assert found["first"]["running"] == [100 + i for i in range(16)]
    assert (found["again"]["samples"], found["again"]["problem"]) == ([], "")
    with pytest.raises(ValueError, match="0 and 100 %"):
        card.set_processes([(1, 1.01)])
    card.inject("fails", "processes", value=4)
    found = ask(world, host, "use")["first"]
    assert not found["lists_running"]
    assert "Insufficient Permissions" in found["problem"]


def test_what_cannot_be_shared_is_one_row_with_its_reason(
    world: SimulatedWorld, host: HostTree
) -> None:
    world[0].set_mig(2)
    found = ask(world, host, "traced", seconds=0.1, ours=False)
    (gpu,) = found["processes"]
    assert (gpu["name"], gpu["kind"], gpu["pid"]) == ("(device)", "device", None)
    assert gpu["energy_j"] == found["energies"]["gpu:0"][0]
    assert "Not Supported" in " ".join(found["notes"])
    world[0].set_mig(0)
    world[0].set_processes([(4_000_000, 0.5)])
    found = ask(world, host, "traced", seconds=0.5, ours=False)
    assert "NVML gives the host's pids" in " ".join(found["notes"])
    assert "CPU: RAPL" in " ".join(r["note"] for r in found["node"])


def test_a_superchip_counts_its_cpu_once(world: SimulatedWorld, host: HostTree) -> None:
    host.grace()
    ids = ask(world, host, "chosen", requests=["node", "gpu+cpu"])
    assert ids == [["gpu:0", "cpu:0"]] * 2
    world[0].superchip()
    node, both = ask(world, host, "chosen", requests=["node", "gpu+cpu"])
    assert node == ["gpu:0"]
    assert "gpu:0 is read as a module that contains cpu:0" in both
    assert len(ask(world, host, "left_out")) == 1


def test_a_node_without_a_sensor_is_estimated_as_auto_is(
    host: HostTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYENERGY_SYSFS_ROOT", str(host.root))
    monkeypatch.setenv("PYENERGY_NVML_LIBRARY", "/nowhere/libnvidia-ml.so.1")
    with (
        pytest.warns(pyenergy.errors.EstimateWarning, match="ESTIMATE"),
        pyenergy.trace(devices="node") as t,
    ):
        pass
    kinds = t.node()["kind"].to_list()
    assert kinds[:2] == ["estimated", "sum"]
    assert not any("CPU:" in note for note in t.node()["note"])
    with pytest.raises(StateError, match="processes=True"):
        t.processes()
    with pytest.raises(StateError, match="processes=True"):
        t.process_notes()


def test_options_that_cannot_be_are_named() -> None:
    with (
        testing.simulated("ideal"),
        pyenergy.trace(devices="sim", processes=True) as t,
    ):
        pass
    assert t.processes()["name"].to_list() == ["(device)"]
    for options, said in (
        ({"static": "none"}, "separate, busy, all"),
        ({"idle_w": -1.0}, "negative"),
        ({"idle_w": "5"}, "number"),
    ):
        with pytest.raises(OptionError, match=said):
            t.processes(**options)
