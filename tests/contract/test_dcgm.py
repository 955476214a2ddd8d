# SPDX-License-Identifier: Apache-2.0
"""The DCGM source, and the activity of NVML's GPUs, against simulated vendor libraries.

libdcgm is loaded once per process, so each case runs in a child with the library and world that it
needs. Its engine reads on its own clock: sampling is in real time, some tenths of a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from children import run_child

from pyenergy import testing
from pyenergy.sensor.catalog import prior_for

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = Path(__file__).with_name("dcgm_child.py")
MISSING, INVALID, GAP, RESET = 1, 2, 4, 8  # sample flags
NO_PERMISSION = -17
PROFILING_WATCH = 1000  # the simulated library's: what a watch of profiling fields answers
POWER_W = 300.0


@pytest.fixture(params=["h100"])
def world(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[testing.SimulatedWorld]:
    monkeypatch.delenv("PYENERGY_DCGM", raising=False)
    with testing.simulated(request.param) as made:
        made[0].configure(noise_w=0.0)
        if request.param == "h100":  # the others have no average
            made[0].configure("average", noise_w=0.0)
        made[0].set_power(POWER_W, at_ns=0)
        yield made


def run(env: dict[str, str], function: str, **arguments: Any) -> Any:
    return run_child(CHILD, env, function, **arguments)


def environment(world: testing.SimulatedWorld, **more: str) -> dict[str, str]:
    library = more.pop("library", None) or str(testing.dcgm_library())
    settings = {"PYENERGY_DCGM_LIBRARY": library, "PYENERGY_DCGM": "embedded", **more}
    return {**testing.nvml_environment(world), **settings}


def ask(world: testing.SimulatedWorld, function: str, **arguments: Any) -> Any:
    return run(environment(world), function, **arguments)


def activity_w(world: testing.SimulatedWorld) -> float:
    """How far the simulated power is above idle, of what it may be: the SMs' true activity."""
    info = world[0].info
    return (POWER_W - info.idle_w) / (info.limit_w - info.idle_w)


# The matrix of what may go wrong -------------------------------------------------------------


def test_no_library(world: testing.SimulatedWorld) -> None:
    report = run(environment(world, library="/nowhere/libdcgm.so.4"), "report")
    assert not report["available"]
    assert "/nowhere/libdcgm.so.4" in report["reason"]
    assert "datacenter-gpu-manager-4-core" in report["fix"]


def test_a_library_that_is_not_dcgm(world: testing.SimulatedWorld) -> None:
    report = run(environment(world, library=str(testing.nvml_library())), "report")
    assert "no function dcgmInit" in report["reason"]


def test_no_driver_under_it(world: testing.SimulatedWorld) -> None:
    report = run(environment(world, PYENERGY_SIMGPU="/nowhere"), "report")
    assert not report["available"]
    assert "NVML couldn't be loaded" in report["reason"]
    assert "nvidia-smi" in report["fix"]


@pytest.mark.parametrize("status", [1000, 1001, 1002, 1003])
def test_each_kind_of_blank_is_missing_with_its_own_status(
    world: testing.SimulatedWorld, status: int
) -> None:
    faults = [{"fault": "fails", "target": f, "value": status} for f in (186, 83, 1002)]
    reads = ask(world, "sample", seconds=0.5, faults=faults)
    for name in ("power", "energy", "sm_active"):
        assert reads[name], name
        assert {(r[0], r[1] & MISSING, r[2]) for r in reads[name]} == {(None, MISSING, status)}
    assert not any(r[1] & MISSING for r in reads["power_average"] + reads["dram_active"])


@pytest.mark.parametrize(
    ("fault", "flag"),
    [
        ({"fault": "negative", "value": 5.0}, INVALID),
        ({"fault": "absurd", "value": 9e4}, INVALID),
        ({"fault": "nan"}, MISSING),
    ],
    ids=["negative", "absurd", "nan"],
)
def test_impossible_power_is_not_believed(
    world: testing.SimulatedWorld, fault: dict[str, Any], flag: int
) -> None:
    reads = ask(world, "sample", seconds=0.3, faults=[{**fault, "target": 186}])
    assert reads["power"]
    assert all(r[0] is None and r[1] & flag for r in reads["power"])
    assert not any(r[1] & (MISSING | INVALID) for r in reads["power_average"])


def test_a_vanished_gpu_is_missing_everywhere_and_said(world: testing.SimulatedWorld) -> None:
    reads = ask(world, "sample", seconds=0.5, faults=[{"fault": "gpu_lost"}])
    assert set(reads) >= {"power", "energy", "sm_active", "fp_active"}
    for name, runs in reads.items():
        assert runs, name
        assert {(r[0], r[2]) for r in runs} == {(None, 18)}, name
    traced = ask(world, "traced", devices="dcgm:0", seconds=0.3, faults=[{"fault": "gpu_lost"}])
    assert "every power reading failed (status 18: the GPU is lost)" in traced["error"]


def test_a_call_that_hangs_loses_nothing_that_dcgm_kept(world: testing.SimulatedWorld) -> None:
    slow = {"fault": "slow_call", "target": "fields", "value": 0.3, "once": True}
    reads = ask(world, "sample", seconds=0.8, faults=[slow])
    stamps = [r[4] for r in reads["power"]]
    readings = sum(r[3] for r in reads["power"])
    assert readings == pytest.approx(80, abs=12)  # one every 10 ms, those of the 0.3 s included
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("fault", ["counter_reset", "counter_backwards"])
def test_a_counter_that_restarts_is_flagged(world: testing.SimulatedWorld, fault: str) -> None:
    how = {"value": 2000.0} if fault == "counter_backwards" else {}
    reads = ask(world, "sample", seconds=0.6, faults=[{"fault": fault, "after_s": 0.3, **how}])
    assert sum(bool(r[1] & RESET) for r in reads["energy"]) == 1
    values = [r[0] for r in reads["energy"] if r[0] is not None]
    assert values == sorted(values)


def test_a_counter_that_wraps_is_flagged(world: testing.SimulatedWorld) -> None:
    world[0].configure_counter(modulus_j=60.0)  # 0.2 s at 300 W; DCGM states no modulus
    reads = ask(world, "sample", seconds=0.9, faults=[])
    assert sum(bool(r[1] & RESET) for r in reads["energy"]) >= 1
    values = [r[0] for r in reads["energy"] if r[0] is not None]
    assert values == sorted(values)


def test_no_permission_to_profile_leaves_power_and_says_the_fix(
    world: testing.SimulatedWorld,
) -> None:
    world[0].inject("fails", PROFILING_WATCH, value=NO_PERMISSION)
    found = ask(world, "channels")
    assert "power" in found
    assert "fp_active" not in found
    traced = ask(world, "traced", devices="dcgm:0", seconds=0.2, faults=[])
    assert traced["joules"] > 0
    nvml = ask(world, "channels", source="nvml")
    note = nvml["fp_active"]["note"]
    assert "activity: NVML GPM" in note
    assert "Not permissioned" in note
    assert "CAP_SYS_ADMIN" in note


def test_after_a_fork_dcgm_is_said_to_be_the_parents(world: testing.SimulatedWorld) -> None:
    told = ask(world, "after_fork")
    assert not told["available"]
    assert "forked" in told["reason"]
    assert "after the fork" in told["fix"]


# What is read --------------------------------------------------------------------------------


def test_the_simulated_library_has_the_layout_of_nvidias_bindings(
    world: testing.SimulatedWorld,
) -> None:
    told = ask(world, "as_nvidias_bindings")
    assert set(told["codes"]) == {0}
    assert told["count"] == 1
    assert told["sizes"] == [4120, 4128]
    assert set(told["versions"]) == {4128 | 2 << 24}
    assert told["types"] == ["s", "d", "i"]
    assert told["uuid"] == world[0].info.uuid
    assert told["power_w"] == pytest.approx(POWER_W, abs=0.01)
    assert told["energy_mj"] > 0
    assert all(-0.01 < age < 10 for age in told["age_s"])
    assert len(told["seen"]) >= 5
    for group, entity, field, version, watts in told["seen"]:
        assert (group, entity, field, version) == (1, 0, 155, 4120 | 1 << 24)
        assert watts == pytest.approx(POWER_W, abs=0.01)


def test_identity(world: testing.SimulatedWorld) -> None:
    (device,) = ask(world, "report")["devices"]
    info = world[0].info
    assert device["uuid"] == info.uuid
    assert device["pci_bus_id"] == info.pci_bus_id
    assert device["architecture"] == "hopper"
    assert device["power_max_w"] == pytest.approx(info.limit_w)
    assert device["driver"] == "580.00.00"


def test_channels_and_the_fields_they_come_from(world: testing.SimulatedWorld) -> None:
    found = ask(world, "channels")
    fields = {name: channel["source"] for name, channel in found.items()}
    assert fields["power"] == "dcgm.field.157"
    assert fields["power_average"] == "dcgm.field.155"
    assert fields["energy"] == "dcgm.field.156"
    assert fields["dram_active"] == "dcgm.field.1005"
    assert "activity: DCGM profiling fields (embedded)" in found["fp_active"]["note"]


def test_dcgm_2_has_no_instantaneous_power(world: testing.SimulatedWorld) -> None:
    env = environment(world, library=str(testing.dcgm_library(variant="old")))
    found = run(env, "channels")
    assert found["power"]["source"] == "dcgm.field.155"
    assert "average over about 1 s" in found["power"]["note"]


@pytest.mark.parametrize("world", ["k40m"], indirect=True)
def test_a_power_field_of_exactly_0_is_not_believed(world: testing.SimulatedWorld) -> None:
    found = ask(world, "channels")
    assert found["power"]["source"] == "dcgm.field.155"


def test_activity_is_what_it_truly_is(world: testing.SimulatedWorld) -> None:
    reads = ask(world, "sample", seconds=1.0, faults=[])
    truth = activity_w(world)
    shares = {"sm": 1.0, "tensor": 0.5, "dram": 0.4, "fp64": 0.1, "fp32": 0.3, "fp16": 0.2}
    for name, share in [*shares.items(), ("fp", 0.1 + 0.3 / 2)]:
        runs = reads[f"{name}_active"]
        assert sum(r[3] for r in runs) == pytest.approx(9, abs=2)  # every 100 ms
        assert all(r[1] & MISSING == 0 for r in runs)
        assert [r[0] for r in runs] == pytest.approx([share * truth] * len(runs), rel=1e-9)


def test_energy_of_a_trace_through_dcgm(world: testing.SimulatedWorld) -> None:
    traced = ask(world, "traced", devices="dcgm:0", seconds=1.0, faults=[])
    assert abs(traced["joules"] - traced["true_j"]) < 2 * traced["u"]
    assert traced["u"] < 0.1 * traced["true_j"]


def test_dcgm_reads_by_its_own_clock_and_says_so(world: testing.SimulatedWorld) -> None:
    refused = ask(world, "traced", devices="dcgm:0", seconds=0.1, faults=[], pacing="edge")
    assert "pacing='edge' has no meaning with DCGM" in refused["error"]


@pytest.mark.parametrize(("dcgm", "nvml"), [(157, "field.186"), (155, "GetPowerUsage")])
def test_dcgms_power_is_nvmls_sensor(dcgm: int, nvml: str) -> None:
    for architecture in ("hopper", "ga100", "volta", "ada"):
        found = prior_for(architecture, f"dcgm.field.{dcgm}")
        assert found == prior_for(architecture, f"nvml.{nvml}")
        assert found.known


def test_a_host_engine_by_its_address(world: testing.SimulatedWorld) -> None:
    env = environment(world, PYENERGY_SIM_DCGM_HOST="localhost:5555")
    found = run(env, "report", argument="localhost:5555")
    assert found["available"]
    assert found["facts"][0]["host engine"] == "localhost:5555"
    assert run(env, "report", argument="localhost:5555/0")["available"]
    nobody = run(env, "report", argument="node7:5555")
    assert "no DCGM host engine at node7:5555" in nobody["reason"]
    assert "nvidia-dcgm" in nobody["fix"]
    absent = run(env, "report", argument="3")
    assert "has no GPU 3" in absent["reason"]
    assert "HOST:PORT" in run(env, "report", argument="/x")["fix"]


# The activity of an NVML GPU -----------------------------------------------------------------


def test_nvml_takes_its_activity_from_dcgm(world: testing.SimulatedWorld) -> None:
    found = ask(world, "channels", source="nvml")
    assert found["power"]["source"] == "nvml.field.186"
    assert found["fp_active"]["note"].endswith("activity: DCGM profiling fields (embedded)")
    assert found["fp_active"]["group"] == "slow"
    reads = ask(world, "sample", seconds=0.6, faults=[], source="nvml")
    assert {round(r[0], 9) for r in reads["dram_active"]} == {round(0.4 * activity_w(world), 9)}


def test_no_engine_is_started_unasked(world: testing.SimulatedWorld) -> None:
    note = run(environment(world, PYENERGY_DCGM=""), "channels", source="nvml")["fp_active"]["note"]
    assert "activity: NVML GPM; not DCGM: no host engine runs on this machine" in note
    assert "PYENERGY_DCGM=embedded" in note


def test_nvml_takes_its_activity_from_gpm_without_dcgm(world: testing.SimulatedWorld) -> None:
    env = environment(world, library="/nowhere/libdcgm.so.4")
    found = run(env, "channels", source="nvml")
    assert found["sm_active"]["source"] == "nvml.gpm.2"
    note = found["sm_active"]["note"]
    assert note.startswith("activity: NVML GPM; not DCGM: libdcgm cannot be loaded")
    assert "datacenter-gpu-manager-4-core" in note
    reads = run(env, "sample", seconds=0.6, faults=[], source="nvml")
    runs = reads["fp_active"]
    assert runs
    truth = (0.1 + 0.3 / 2) * activity_w(world)
    assert [r[0] for r in runs] == pytest.approx([truth] * len(runs), rel=1e-6)


@pytest.mark.parametrize("world", ["a100"], indirect=True)
def test_before_hopper_only_utilisation_is_left_and_says_what_it_is(
    world: testing.SimulatedWorld,
) -> None:
    found = run(environment(world, PYENERGY_DCGM="off"), "channels", source="nvml")
    assert "fp_active" not in found
    for name in ("utilisation", "memory_utilisation"):
        note = found[name]["note"]
        assert "time share in which any kernel ran, not pipe activity" in note
        assert "switched off by PYENERGY_DCGM" in note
        assert "Hopper" in note


def test_an_administrators_counters_are_not_asked_for(
    world: testing.SimulatedWorld, tmp_path: Path
) -> None:
    (tmp_path / "driver/nvidia").mkdir(parents=True)
    (tmp_path / "driver/nvidia/params").write_text("ResmanDebugLevel: 4\nRmProfilingAdminOnly: 1\n")
    (tmp_path / "self").mkdir()
    status = tmp_path / "self/status"
    status.write_text("CapInh:\t0\nCapEff:\t0000000000000000\n")
    env = environment(world, PYENERGY_PROC_ROOT=str(tmp_path))
    note = run(env, "channels", source="nvml")["fp_active"]["note"]
    assert "only the administrator may profile here" in note
    assert "RmProfilingAdminOnly" in note
    status.write_text("CapEff:\t0000000000200000\n")  # CAP_SYS_ADMIN
    note = run(env, "channels", source="nvml")["fp_active"]["note"]
    assert "activity: DCGM profiling fields" in note


def test_a_lost_gpu_has_no_activity_either(world: testing.SimulatedWorld) -> None:
    env = environment(world, PYENERGY_DCGM="off")
    reads = run(env, "sample", seconds=0.5, faults=[{"fault": "gpu_lost"}], source="nvml")
    assert reads["fp_active"]
    assert {(r[0], r[2]) for r in reads["fp_active"]} == {(None, 15)}


def test_doctor_says_which_activity_and_the_fix(world: testing.SimulatedWorld) -> None:
    command = [sys.executable, "-m", "pyenergy", "doctor", "--seconds", "0.5"]

    def doctor(**more: str) -> str:
        env = {**environment(world, **more), "COLUMNS": "400"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "activity: DCGM profiling fields (embedded)" in doctor()
    without = doctor(library="/nowhere/libdcgm.so.4")
    assert "activity: NVML GPM; not DCGM" in without
    assert "datacenter-gpu-manager-4-core" in without
    assert os.environ.get("PYENERGY_DCGM") is None
