# SPDX-License-Identifier: Apache-2.0
"""The NVML source against a simulated driver library: each fault in a process of its own.

NVML is loaded once per process, so each case runs in a child with the library and world it needs.
Sampling there is paced by a manual clock: nothing sleeps.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from children import run_child

from pyenergy import testing

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = Path(__file__).with_name("nvml_child.py")
MISSING, INVALID = 1, 2  # sample flags
NOT_SUPPORTED, TIMEOUT, GPU_IS_LOST, UNKNOWN = 3, 10, 15, 999  # NVML's codes
INSTANT, AVERAGE, COUNTER = 186, 185, 83  # NVML's fields
POWER_W = 300.0


@pytest.fixture
def world() -> Iterator[testing.SimulatedWorld]:
    with testing.simulated("h100") as made:
        made[0].set_power(POWER_W, at_ns=0)
        yield made


def run(env: dict[str, str], function: str, **arguments: Any) -> Any:
    return run_child(CHILD, env, function, **arguments)


def ask(world: testing.SimulatedWorld, function: str, **arguments: Any) -> Any:
    return run(testing.nvml_environment(world), function, **arguments)


def ask_old(world: testing.SimulatedWorld, function: str) -> Any:
    return run(testing.nvml_environment(world, variant="old"), function)


def report_without_world(library: Path | str) -> dict[str, Any]:
    env = {key: text for key, text in os.environ.items() if key != "PYENERGY_SIMGPU"}
    env["PYENERGY_NVML_LIBRARY"] = str(library)
    (report,) = run(env, "reports", times=1)
    assert not report["available"]
    return dict(report)


def test_no_driver_library() -> None:
    report = report_without_world("/nowhere/libnvidia-ml.so.1")
    assert "/nowhere/libnvidia-ml.so.1" in report["reason"]
    assert "install the NVIDIA driver" in report["fix"]


def test_a_library_that_is_not_nvml() -> None:
    report = report_without_world(testing.nvml_library(variant="broken"))
    assert "nvmlInit" in report["reason"]


def test_driver_not_loaded() -> None:
    report = report_without_world(testing.nvml_library())
    assert "Driver Not Loaded" in report["reason"]
    assert "modprobe nvidia" in report["fix"]


def test_a_driver_that_comes_later_is_found(world: testing.SimulatedWorld) -> None:
    world[0].inject("driver_not_loaded", once=True)
    found = ask(world, "reports", times=2)
    assert [report["available"] for report in found] == [False, True]


def test_identity(world: testing.SimulatedWorld) -> None:
    (device,) = ask(world, "devices")
    info = world[0].info
    assert device["uuid"] == info.uuid
    assert device["pci_bus_id"] == info.pci_bus_id
    assert device["architecture"] == "hopper"
    assert device["power_max_w"] == pytest.approx(info.limit_w)


def test_channels_of_a_new_driver(world: testing.SimulatedWorld) -> None:
    found = ask(world, "channels")
    assert found["power"]["source"] == f"nvml.field.{INSTANT}"
    assert found["power_average"]["source"] == f"nvml.field.{AVERAGE}"
    assert found["energy"]["source"] == f"nvml.field.{COUNTER}"
    assert "power_memory" not in found
    slow = {name for name, channel in found.items() if channel["group"] == "slow"}
    assert slow >= {"sm_clock", "temperature", "utilisation", "throttle_reasons"}


def test_one_field_call_a_poll_reads_everything(world: testing.SimulatedWorld) -> None:
    world[0].configure(noise_w=0.0)
    sampled = ask(world, "sample", steps=20, faults=[])
    assert sampled["calls"] == {"fields": 20, "power": 0, "energy": 0}
    power = sampled["reads"]["power"]
    assert len(power) == 20
    # The sensor's step is 1 mW.
    assert [value for value, _, _ in power] == pytest.approx([POWER_W] * 20, abs=1e-3)
    assert all(flags == 0 for name in ("power", "energy") for _, flags, _ in sampled["reads"][name])


@pytest.mark.parametrize(
    ("how", "failed"),
    [({"once": True}, [0]), ({"every": 5}, [4, 9, 14, 19]), ({"every": 1}, list(range(20)))],
    ids=["once", "every fifth", "always"],
)
def test_a_failing_field_call_is_missing_exactly_then(
    world: testing.SimulatedWorld, how: dict[str, Any], failed: list[int]
) -> None:
    fault = {"fault": "fails", "target": "fields", "value": UNKNOWN, **how}
    reads = ask(world, "sample", steps=20, faults=[fault])["reads"]
    for name in ("power", "power_average", "energy"):
        missing = [i for i, (_, flags, _) in enumerate(reads[name]) if flags & MISSING]
        assert missing == failed
        assert {reads[name][i][2] for i in failed} == {UNKNOWN}
        assert {reads[name][i][0] for i in failed} == {None}


def test_one_failing_field_leaves_the_others(world: testing.SimulatedWorld) -> None:
    fault = {"fault": "fails", "target": INSTANT, "value": TIMEOUT}
    reads = ask(world, "sample", steps=5, faults=[fault])["reads"]
    assert reads["power"] == [[None, MISSING, TIMEOUT]] * 5
    assert not any(flags for _, flags, _ in reads["power_average"] + reads["energy"])


def test_a_lost_gpu_is_missing_everywhere(world: testing.SimulatedWorld) -> None:
    reads = ask(world, "sample", steps=150, faults=[{"fault": "gpu_lost"}])["reads"]
    assert set(reads) >= {"power", "energy", "sm_clock", "temperature"}
    for name, channel in reads.items():
        assert channel, name
        assert all(flags & MISSING for _, flags, _ in channel), name
        assert {(value, status) for value, _, status in channel} == {(None, GPU_IS_LOST)}


@pytest.mark.parametrize("fault", ["negative", "absurd"])
def test_an_impossible_reading_is_no_number(world: testing.SimulatedWorld, fault: str) -> None:
    faults = [{"fault": fault, "target": INSTANT}]
    reads = ask(world, "sample", steps=5, faults=faults)["reads"]
    assert reads["power"] == [[None, INVALID, 0]] * 5


def test_a_passing_failure_at_the_opening_costs_no_channel(world: testing.SimulatedWorld) -> None:
    world[0].inject("fails", "fields", once=True, value=TIMEOUT)
    assert ask(world, "channels")["power"]["source"] == f"nvml.field.{INSTANT}"


@pytest.mark.parametrize("how", [{"once": True}, {"every": 2}, {"every": 1}], ids=str)
@pytest.mark.parametrize(
    "call",
    ["identity", "fields", "power", "energy", "samples", "clock", "temperature", "state", "mig"],
)
def test_no_failing_call_hides_a_gpu(
    world: testing.SimulatedWorld, call: str, how: dict[str, Any]
) -> None:
    world[0].inject("fails", call, value=UNKNOWN, **how)
    assert ask(world, "reports", times=1)[0]["available"]


def test_a_gpu_that_gives_no_handle_is_named(world: testing.SimulatedWorld) -> None:
    world.add("a100")
    world[0].inject("gpu_lost", "handle")
    (report,) = ask(world, "reports", times=1)
    assert report["available"]
    assert "GPU 0 cannot be used: GPU is lost" in report["reason"]
    assert "reset" in report["fix"]
    (device,) = ask(world, "devices")
    assert device["uuid"] == world[1].info.uuid


def test_no_power_at_all_opens_with_what_is_left(world: testing.SimulatedWorld) -> None:
    for target in (INSTANT, AVERAGE, COUNTER, "power", "samples"):
        world[0].inject("not_supported", target)
    found = ask(world, "channels")
    assert not {"power", "power_average", "power_samples", "energy"} & set(found)
    assert "temperature" in found
    assert any("no readable power" in note for note in ask(world, "devices")[0]["notes"])


def test_a_superchip_is_read_at_module_scope(world: testing.SimulatedWorld) -> None:
    world[0].superchip()
    power = ask(world, "channels")["power"]
    assert power["scope"] == "module"
    assert "CPU + GPU" in power["note"]


def test_mig_says_whose_power_it_is(world: testing.SimulatedWorld) -> None:
    world[0].set_mig(2)
    (device,) = ask(world, "devices")
    assert len(set(device["mig_uuids"])) == 2
    assert any("whole GPU" in note for note in device["notes"])


def test_an_old_driver_is_read_by_single_functions(world: testing.SimulatedWorld) -> None:
    found = ask_old(world, "channels")
    assert found["power"]["source"] == "nvml.GetPowerUsage"
    assert found["energy"]["source"] == "nvml.GetTotalEnergyConsumption"
    assert "throttle_reasons" in found


def test_the_sample_buffer_is_the_last_resort(world: testing.SimulatedWorld) -> None:
    for target in (INSTANT, AVERAGE, "power"):
        world[0].inject("not_supported", target)
    found = ask(world, "channels")
    assert found["power_samples"]["source"] == "nvml.GetSamples"
    assert found["power_samples"]["group"] == "slow"
