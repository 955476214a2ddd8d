# SPDX-License-Identifier: Apache-2.0
"""Faults of a driver through `pyenergy.trace` and the command line.

NVML is loaded once per process: each case runs in a child whose driver is the simulated library.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pyenergy import now_ns, testing
from pyenergy.units import NS_PER_S

TRACE = """
import json, sys, time, warnings
import pyenergy
devices, seconds, known, early, late = json.loads(sys.argv[1])
out = {}
def inject(faults):
    for index, fault in faults:
        pyenergy.testing.SimulatedWorld.current()[index].inject(**fault)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        if known:
            pyenergy.devices()
        inject(early)
        with pyenergy.trace(devices=devices) as t:
            time.sleep(seconds / 2)
            inject(late)
            time.sleep(seconds / 2)
        left = pyenergy.now_ns()
        out["leaving_s"] = (left - t.bounds_ns[1]) / 1e9
        out["bounds"] = t.bounds_ns
        out["names"] = {i: d.meta.uuid for i, d in t.recorded.devices.items()}
        out["unreadable"] = t.unreadable
        out["table"] = str(t)
        e = t.energy
        out.update(joules=e.joules, u=e.u, low=e.interval()[0], high=e.interval()[1],
                   notes=e.notes, method=e.method)
    except pyenergy.PyEnergyError as error:
        out["error"] = f"{type(error).__name__}: {error}"
out["warned"] = [f"{w.category.__name__}: {w.message}" for w in caught]
print(json.dumps(out))
"""


@pytest.fixture
def world() -> Iterator[testing.SimulatedWorld]:
    with testing.simulated("v100", "a100") as made:
        made[0].set_power(200.0, at_ns=0)
        made[1].set_power(300.0, at_ns=0)
        yield made


def child(env: dict[str, str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def traced(
    env: dict[str, str],
    devices: Any = "gpu:0",
    seconds: float = 0.1,
    known: bool = False,
    early: Sequence[tuple[int, dict[str, Any]]] = (),
    late: Sequence[tuple[int, dict[str, Any]]] = (),
) -> dict[str, Any]:
    """A trace in a child; faults (card, what) are injected before it opens or half-way through."""
    done = child(env, ["-c", TRACE, json.dumps([devices, seconds, known, early, late])])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


def driver(world: testing.SimulatedWorld, **more: str) -> dict[str, str]:
    """Environment whose driver shows the world's cards in their own order."""
    return {**testing.nvml_environment(world), "CUDA_DEVICE_ORDER": "PCI_BUS_ID", **more}


def no_driver(library: str = "/nowhere/libnvidia-ml.so.1") -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k != "PYENERGY_SIMGPU"}
    return {**env, "PYENERGY_NVML_LIBRARY": library}


def assert_true(out: dict[str, Any], card: testing.SimulatedCard) -> None:
    truth = card.true_energy_j(*out["bounds"])
    assert out["low"] <= truth <= out["high"], out


# No driver, or not the one that was expected.


@pytest.mark.parametrize("devices", ["gpu", "gpu:0", 0, "GPU-4e81"])
def test_without_a_driver_a_gpu_is_an_error_that_says_why(devices: Any) -> None:
    out = traced(no_driver(), devices)
    assert out["error"].startswith("DeviceError: ")
    assert str(devices) in out["error"]
    if not str(devices).startswith("GPU-"):
        assert "/nowhere/libnvidia-ml.so.1" in out["error"]


def test_without_a_driver_auto_estimates_and_says_so_everywhere() -> None:
    out = traced(no_driver(), "auto")
    assert [w.partition(":")[0] for w in out["warned"]] == ["EstimateWarning"]
    assert "ESTIMATE, not a measurement" in out["table"]
    assert "estimate" in out["method"]
    assert out["u"] >= 0.499 * out["joules"] > 0


def test_a_library_without_its_first_symbol_is_an_error() -> None:
    out = traced(no_driver(str(testing.nvml_library(variant="broken"))), "gpu")
    assert out["error"].startswith("DeviceError: ")
    assert "nvmlInit" in out["error"]


def test_a_library_without_the_newer_symbols_is_read_by_the_older(
    world: testing.SimulatedWorld,
) -> None:
    env = testing.nvml_environment(world, variant="old")
    out = traced({**env, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert "nvml.GetPowerUsage" in out["method"]
    assert_true(out, world[0])


def test_a_library_without_a_driver_behind_it_is_an_error() -> None:
    out = traced(no_driver(str(testing.nvml_library())), "gpu")
    assert "Driver Not Loaded" in out["error"]


# Which GPUs.


@pytest.mark.parametrize("visible", ["7", "GPU-none", "0,7", "0,0", "x", "0,GPU-1"])
def test_a_visible_device_that_does_not_exist_is_an_error(
    world: testing.SimulatedWorld, visible: str
) -> None:
    for devices in ("auto", "gpu", "gpu:0"):
        out = traced(driver(world, CUDA_VISIBLE_DEVICES=visible), devices)
        assert out["error"].startswith("DeviceError: CUDA_VISIBLE_DEVICES"), devices


@pytest.mark.parametrize("visible", ["1", "GPU-5157a000-0000-4000-8000-000000000001", "1,"])
def test_only_visible_devices_are_measured_and_in_their_order(
    world: testing.SimulatedWorld, visible: str
) -> None:
    out = traced(driver(world, CUDA_VISIBLE_DEVICES=visible), "gpu")
    assert out["names"] == {"gpu:0": world[1].info.uuid}
    assert_true(out, world[1])


def test_no_visible_gpu_is_no_gpu(world: testing.SimulatedWorld) -> None:
    out = traced(driver(world, CUDA_VISIBLE_DEVICES=""), "gpu")
    assert out["error"].startswith("DeviceError: no device for 'gpu'")


# Calls that fail while the trace runs.


def test_sound_readings_need_no_note(world: testing.SimulatedWorld) -> None:
    out = traced(driver(world), "gpu")
    truth = sum(card.true_energy_j(*out["bounds"]) for card in world)
    assert out["low"] <= truth <= out["high"]
    assert out["joules"] == pytest.approx(truth, rel=1e-2)
    # A trace that begins with the sampler has no reading from before its start, and says so.
    # So does one on a host that stalls for more than 5 ms.
    said = ("no reading from before the start", "nothing was read for")
    assert [note for note in out["notes"] if not any(text in note for text in said)] == []
    assert out["warned"] == []


@pytest.mark.parametrize("how", [{"once": True}, {"every": 3}], ids=["once", "every third"])
def test_a_field_call_that_fails_now_and_then_is_stated(
    world: testing.SimulatedWorld, how: dict[str, Any]
) -> None:
    out = traced(driver(world), late=[(0, {"fault": "fails", "target": "fields", **how})])
    assert_true(out, world[0])
    assert any("reads failed" in note for note in out["notes"])


def test_calls_that_always_fail_give_an_error_and_no_zero(world: testing.SimulatedWorld) -> None:
    for target in ("fields", "power", "energy", "samples"):
        world[0].inject("fails", target, value=999)
    out = traced(driver(world))
    assert "joules" not in out
    assert out["error"].startswith(("NoReadingsError", "DeviceError"))
    other = traced(driver(world), "gpu:1")
    assert_true(other, world[1])


def test_a_gpu_lost_before_the_trace_is_named_and_makes_no_sum(
    world: testing.SimulatedWorld,
) -> None:
    lost = [(0, {"fault": "gpu_lost"})]
    out = traced(driver(world), ["gpu:0", "gpu:1"], known=True, early=lost)
    assert "joules" not in out
    assert out["error"].startswith(("NoReadingsError", "DeviceError"))
    assert "gpu:0" in out["error"]


@pytest.mark.parametrize("field", [186, 83])
def test_a_field_that_fails_leaves_the_other_to_serve(
    world: testing.SimulatedWorld, field: int
) -> None:
    world[0].inject("fails", field, value=10)
    out = traced(driver(world), seconds=0.3)
    assert_true(out, world[0])


def test_power_that_is_not_supported_leaves_the_counter(world: testing.SimulatedWorld) -> None:
    for target in (186, 185, "power", "samples"):
        world[0].inject("not_supported", target)
    out = traced(driver(world), seconds=0.3)
    assert "counter" in out["method"]
    assert_true(out, world[0])


def test_a_gpu_lost_in_the_middle_is_a_stated_gap(world: testing.SimulatedWorld) -> None:
    sound = traced(driver(world), seconds=0.3)
    out = traced(driver(world), seconds=0.3, late=[(0, {"fault": "gpu_lost"})])
    assert_true(out, world[0])
    assert out["u"] > 2 * sound["u"]
    for words in ("reads failed", "nothing was read for"):
        assert any(words in note for note in out["notes"]), out["notes"]


@pytest.mark.parametrize("fault", ["negative", "absurd"])
def test_impossible_readings_are_not_used(world: testing.SimulatedWorld, fault: str) -> None:
    world[0].inject(fault, 186, every=5)
    out = traced(driver(world))
    assert_true(out, world[0])
    assert any("readings were impossible and not used" in note for note in out["notes"])


def test_a_call_that_hangs_for_a_while_is_a_stated_gap(world: testing.SimulatedWorld) -> None:
    slow = {"fault": "slow_call", "target": "fields", "value": 0.2, "once": True}
    out = traced(driver(world), seconds=0.4, late=[(0, slow)])
    assert_true(out, world[0])
    (gap,) = (note for note in out["notes"] if "nothing was read for" in note)
    assert float(re.search(r"for (\d+) ms", gap)[1]) >= 199  # type: ignore[index]


def test_a_gpu_that_may_not_be_read_is_refused_and_says_so(world: testing.SimulatedWorld) -> None:
    for target in ("fields", "power", "energy", "samples"):
        world[0].inject("fails", target, value=4)  # NVML_ERROR_NO_PERMISSION
    out = traced(driver(world))
    assert "joules" not in out
    assert "gpu:0" in out["error"]
    assert "no readable power: " in out["error"]


def test_a_hung_call_holds_up_neither_the_program_nor_its_end(
    world: testing.SimulatedWorld,
) -> None:
    """A call of eight seconds is under way when the trace is left and the process ends."""
    code = (
        "import pyenergy, time\n"
        "with pyenergy.trace(devices='gpu:0') as t:\n"
        "    card = pyenergy.testing.SimulatedWorld.current()[0]\n"
        "    card.inject('slow_call', 'fields', value=8.0)\n"
        "    time.sleep(0.05)\n"
        "left = pyenergy.now_ns()\n"
        "assert left - t.bounds_ns[1] < 0.1e9, left - t.bounds_ns[1]\n"
        "print('left')\n"
    )
    before = now_ns()
    done = child(driver(world), ["-c", code])
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")
    assert now_ns() - before < 4 * NS_PER_S  # one second of it waits for the call


# The command line.


def cli(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return child(env, ["-m", "pyenergy", *arguments])


def test_the_command_line_refuses_an_unknown_device() -> None:
    done = cli(no_driver(), "run", "--devices", "gpu:3", "--", "true")
    assert done.returncode == 1
    assert "gpu:3" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_refuses_a_rate_that_cannot_be() -> None:
    done = cli(no_driver(), "run", "--devices", "sim:ideal", "--rate-hz", "-5", "--", "true")
    assert done.returncode != 0
    assert "rate" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_names_an_unknown_visible_device(world: testing.SimulatedWorld) -> None:
    done = cli(driver(world, CUDA_VISIBLE_DEVICES="7"), "devices")
    assert done.returncode == 1
    assert "CUDA_VISIBLE_DEVICES" in done.stderr
    assert "Traceback" not in done.stderr
