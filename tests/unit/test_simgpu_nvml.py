# SPDX-License-Identifier: Apache-2.0
"""The simulated libnvidia-ml.so.1 through its C ABI, as any NVML program calls it."""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ctypes import (
    POINTER,
    Structure,
    Union,
    byref,
    c_char,
    c_double,
    c_int,
    c_longlong,
    c_uint,
    c_ulonglong,
    c_void_p,
)

import numpy as np
import pytest

from pyenergy.testing import (
    SimulatedCard,
    SimulatedWorld,
    nvml_environment,
    nvml_library,
    simulated,
)

SUCCESS, INVALID, NOT_SUPPORTED, NOT_FOUND, NOT_LOADED, LOST = 0, 2, 3, 6, 9, 15
ENERGY, AVERAGE, INSTANT, MAX_LIMIT = 83, 185, 186, 188
GPU, MODULE = 0, 1


class Value(Union):
    _fields_ = (("d", c_double), ("ui", c_uint), ("ull", c_ulonglong), ("sll", c_longlong))


class FieldValue(Structure):
    _fields_ = (
        ("field_id", c_uint),
        ("scope_id", c_uint),
        ("timestamp", c_longlong),
        ("latency", c_longlong),
        ("value_type", c_int),
        ("result", c_int),
        ("value", Value),
    )

    def number(self) -> float:
        """The value by its declared type."""
        name = {0: "d", 1: "ui", 3: "ull", 4: "sll"}[self.value_type]
        return float(getattr(self.value, name))


class Sample(Structure):
    _fields_ = (("stamp_us", c_ulonglong), ("value", Value))


class Nvml:
    """The library, initialised, with its first device."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.lib = library
        self.device = c_void_p()
        assert library.nvmlInit_v2() == SUCCESS
        assert library.nvmlDeviceGetHandleByIndex_v2(0, byref(self.device)) == SUCCESS

    def fields(self, *wanted: tuple[int, int]) -> list[FieldValue]:
        """One field call for (field, scope) pairs."""
        values = (FieldValue * len(wanted))()
        for value, (field, scope) in zip(values, wanted, strict=True):
            value.field_id, value.scope_id = field, scope
        assert self.lib.nvmlDeviceGetFieldValues(self.device, len(wanted), values) == SUCCESS
        return list(values)

    def get(self, function: str, kind: type[ctypes._SimpleCData[int]] = c_uint) -> tuple[int, int]:
        """Status and result of a getter with one result."""
        out = kind()
        return getattr(self.lib, function)(self.device, byref(out)), out.value

    def text(self, function: str, device: c_void_p | None = None) -> str:
        """Result of a getter that writes text."""
        buffer = (c_char * 96)()
        assert getattr(self.lib, function)(device or self.device, buffer, 96) == SUCCESS
        return buffer.value.decode()


def load(variant: str = "current") -> ctypes.CDLL:
    return ctypes.CDLL(str(nvml_library(variant=variant)))  # type: ignore[arg-type]


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    with simulated("ideal", "h100") as made:
        yield made


@pytest.fixture
def card(world: SimulatedWorld) -> SimulatedCard:
    return world[0]


@pytest.fixture
def nvml(world: SimulatedWorld) -> Iterator[Nvml]:
    opened = Nvml(load())
    for pointer in ("nvmlDeviceGetFieldValues", "nvmlDeviceGetSamples"):
        getattr(opened.lib, pointer).restype = c_int
    yield opened
    opened.lib.nvmlShutdown()


def test_one_field_call_gives_power_energy_and_limit(nvml: Nvml, card: SimulatedCard) -> None:
    card.set_power(321.5, at_ns=0)
    before = time.monotonic_ns()
    power, energy, limit = nvml.fields((INSTANT, GPU), (ENERGY, 0), (MAX_LIMIT, 0))
    after = time.monotonic_ns()
    assert [v.result for v in (power, energy, limit)] == [SUCCESS] * 3
    assert power.number() == 321_500
    assert limit.number() == 700_000
    assert card.counter_j(before) <= energy.number() * 1e-3 <= card.counter_j(after)


def test_each_field_has_its_own_result(nvml: Nvml) -> None:
    power, average, module, unknown = nvml.fields(
        (INSTANT, GPU), (AVERAGE, GPU), (INSTANT, MODULE), (9999, 0)
    )
    assert power.result == SUCCESS
    assert average.result == module.result == unknown.result == NOT_SUPPORTED


def test_superchip_answers_at_module_scope_only(nvml: Nvml, card: SimulatedCard) -> None:
    card.superchip()
    gpu, module = nvml.fields((INSTANT, GPU), (INSTANT, MODULE))
    assert (gpu.result, module.result) == (NOT_SUPPORTED, SUCCESS)


def test_power_usage_is_the_average_where_the_card_has_one(world: SimulatedWorld) -> None:
    nvml = Nvml(load())
    nvml.lib.nvmlDeviceGetHandleByIndex_v2(1, byref(nvml.device))
    now = time.monotonic_ns()
    world[1].set_power(70.0, at_ns=0)
    world[1].set_power(600.0, at_ns=now - 400_000_000)
    # Updates stand for 100 ms: read until both calls fall between two of them.
    for _ in range(5):
        expected = world[1].reading_w(time.monotonic_ns(), "average")
        status, power = nvml.get("nvmlDeviceGetPowerUsage")
        if world[1].reading_w(time.monotonic_ns(), "average") == expected:
            break
    nvml.lib.nvmlShutdown()
    assert status == SUCCESS
    assert power == round(expected[0] * 1e3)
    assert 70_000 < power < 590_000


def test_identity(nvml: Nvml, card: SimulatedCard) -> None:
    info = card.info
    assert nvml.text("nvmlDeviceGetUUID") == info.uuid
    assert nvml.text("nvmlDeviceGetName") == info.name
    found = c_void_p()
    for function, key in (
        ("nvmlDeviceGetHandleByUUID", info.uuid),
        ("nvmlDeviceGetHandleByPciBusId_v2", info.pci_bus_id),
        ("nvmlDeviceGetHandleByPciBusId_v2", info.pci_bus_id[4:].lower()),
    ):
        found.value = None
        assert getattr(nvml.lib, function)(key.encode(), byref(found)) == SUCCESS
        assert found.value == nvml.device.value
    assert nvml.lib.nvmlDeviceGetHandleByUUID(b"GPU-none", byref(found)) == NOT_FOUND
    assert nvml.lib.nvmlDeviceGetHandleByIndex_v2(2, byref(found)) == INVALID
    count = c_uint()
    assert nvml.lib.nvmlDeviceGetCount_v2(byref(count)) == SUCCESS
    assert count.value == 2
    assert nvml.get("nvmlDeviceGetArchitecture") == (SUCCESS, 9)
    assert nvml.lib.nvmlDeviceGetUUID(nvml.device, (c_char * 8)(), 8) == 7  # too small


def test_mig_instances_have_uuids_but_no_power(nvml: Nvml, card: SimulatedCard) -> None:
    card.set_mig(2)
    current, pending, instance, parent = c_uint(), c_uint(), c_void_p(), c_void_p()
    assert nvml.lib.nvmlDeviceGetMigMode(nvml.device, byref(current), byref(pending)) == SUCCESS
    assert current.value == 1
    get_instance = nvml.lib.nvmlDeviceGetMigDeviceHandleByIndex
    assert get_instance(nvml.device, 2, byref(instance)) == NOT_FOUND
    assert get_instance(nvml.device, 1, byref(instance)) == SUCCESS
    assert nvml.text("nvmlDeviceGetUUID", instance).startswith("MIG-")
    get_parent = nvml.lib.nvmlDeviceGetDeviceHandleFromMigDeviceHandle
    assert get_parent(instance, byref(parent)) == SUCCESS
    assert parent.value == nvml.device.value
    assert nvml.lib.nvmlDeviceGetPowerUsage(instance, byref(current)) == NOT_SUPPORTED


def test_slow_getters(nvml: Nvml, card: SimulatedCard) -> None:
    card.set_clock(1.2e9, at_ns=0)
    card.set_power(300.0, at_ns=0)
    clock = c_uint()
    assert nvml.lib.nvmlDeviceGetClockInfo(nvml.device, 1, byref(clock)) == SUCCESS
    assert clock.value == 1200
    temperature = c_uint()
    assert nvml.lib.nvmlDeviceGetTemperature(nvml.device, 0, byref(temperature)) == SUCCESS
    expected = card.temperature_c(time.monotonic_ns())
    assert abs(temperature.value - expected) <= 0.5 + 1e-3  # whole degrees
    reasons = nvml.get("nvmlDeviceGetCurrentClocksEventReasons", c_ulonglong)
    assert reasons == (SUCCESS, 2)  # user-set clocks, not idle
    assert nvml.get("nvmlDeviceGetEnforcedPowerLimit") == (SUCCESS, 700_000)


def test_samples_are_the_updates_since_a_stamp(world: SimulatedWorld) -> None:
    nvml = Nvml(load())
    nvml.lib.nvmlDeviceGetHandleByIndex_v2(1, byref(nvml.device))
    kind, count, buffer = c_int(), c_uint(120), (Sample * 120)()

    def drain(since_us: int) -> int:
        count.value = 120
        return nvml.lib.nvmlDeviceGetSamples(
            nvml.device, 0, c_ulonglong(since_us), byref(kind), byref(count), buffer
        )

    assert drain(0) == SUCCESS
    assert count.value == 120
    stamps = [sample.stamp_us for sample in buffer]
    assert set(np.diff(stamps).tolist()) <= {99_999, 100_000, 100_001}
    assert abs(stamps[-1] - time.time_ns() // 1000) < 1_000_000
    newest = stamps[-1]
    assert drain(stamps[-11]) == SUCCESS
    assert count.value in (10, 11)  # an update may have come meanwhile
    assert newest in [sample.stamp_us for sample in buffer[: count.value]]
    assert drain(2**62) == NOT_FOUND
    nvml.lib.nvmlShutdown()


@pytest.mark.parametrize(
    ("inject", "seen"),
    [
        (lambda c: c.inject("negative", INSTANT, value=12.5), -12_500),
        (lambda c: c.inject("absurd", INSTANT), 10**12),
        (lambda c: c.inject("absurd", INSTANT, value=1e5), 10**8),
    ],
)
def test_impossible_readings_arrive_whole(
    nvml: Nvml, card: SimulatedCard, inject: Callable[[SimulatedCard], None], seen: float
) -> None:
    inject(card)
    (power,) = nvml.fields((INSTANT, GPU))
    assert power.result == SUCCESS
    assert power.number() == seen


def test_nan_reading(nvml: Nvml, card: SimulatedCard) -> None:
    card.inject("nan")
    (power,) = nvml.fields((INSTANT, GPU))
    assert math.isnan(power.number())


def test_faults_hit_their_target_only(nvml: Nvml, card: SimulatedCard) -> None:
    card.inject("fails", INSTANT, value=10)
    card.inject("not_supported", "energy")
    card.inject("fails", "power", every=2)
    power, energy = nvml.fields((INSTANT, GPU), (ENERGY, 0))
    assert (power.result, energy.result) == (10, SUCCESS)
    assert nvml.get("nvmlDeviceGetTotalEnergyConsumption", c_ulonglong)[0] == NOT_SUPPORTED
    card.clear_faults()
    card.inject("fails", "power", every=2)
    results = [nvml.get("nvmlDeviceGetPowerUsage")[0] for _ in range(4)]
    assert results == [SUCCESS, 999, SUCCESS, 999]


def test_lost_gpu_and_unloaded_driver(nvml: Nvml, card: SimulatedCard) -> None:
    card.inject("gpu_lost")
    assert nvml.get("nvmlDeviceGetPowerUsage")[0] == LOST
    assert nvml.lib.nvmlDeviceGetFieldValues(nvml.device, 1, (FieldValue * 1)()) == LOST
    card.clear_faults()
    card.inject("driver_not_loaded")
    assert nvml.lib.nvmlInit_v2() == NOT_LOADED


def test_slow_call_takes_its_time(nvml: Nvml, card: SimulatedCard) -> None:
    card.inject("slow_call", "power", value=0.02, once=True)
    start = time.monotonic_ns()
    assert nvml.get("nvmlDeviceGetPowerUsage")[0] == SUCCESS
    assert time.monotonic_ns() - start >= 20_000_000
    assert card.calls("power") == 1


def test_without_a_world_the_driver_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    lib = load()
    lib.nvmlErrorString.restype = ctypes.c_char_p
    monkeypatch.delenv("PYENERGY_SIMGPU", raising=False)
    assert lib.nvmlInit_v2() == NOT_LOADED
    monkeypatch.setenv("PYENERGY_SIMGPU", "/nowhere/world")
    assert lib.nvmlInit_v2() == NOT_LOADED
    assert lib.nvmlErrorString(NOT_LOADED) == b"Driver Not Loaded"
    assert lib.nvmlDeviceGetCount_v2(byref(c_uint())) == 1  # uninitialised


def test_counting_devices_follows_the_environment(nvml: Nvml) -> None:
    count = c_uint()
    with simulated("v100"):
        assert nvml.lib.nvmlDeviceGetCount_v2(byref(count)) == SUCCESS
        assert count.value == 1
        assert nvml.text("nvmlDeviceGetName") == "Simulated V100"


def test_old_and_broken_libraries_lack_what_they_should(world: SimulatedWorld) -> None:
    old, broken = load("old"), load("broken")
    assert not hasattr(old, "nvmlDeviceGetFieldValues")
    assert not hasattr(broken, "nvmlInit_v2")
    assert not hasattr(broken, "nvmlInit")
    assert Nvml(old).get("nvmlDeviceGetPowerUsage")[0] == SUCCESS
    old.nvmlShutdown()


def test_another_process_finds_the_library_by_its_vendor_name(world: SimulatedWorld) -> None:
    load()
    world[0].set_power(432.0, at_ns=0)
    code = (
        "import ctypes\n"
        "lib = ctypes.CDLL('libnvidia-ml.so.1')\n"
        "device, power = ctypes.c_void_p(), ctypes.c_uint()\n"
        "assert lib.nvmlInit_v2() == 0\n"
        "assert lib.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0\n"
        "assert lib.nvmlDeviceGetPowerUsage(device, ctypes.byref(power)) == 0\n"
        "print(power.value)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=nvml_environment(world),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "432000"


def test_structures_have_the_header_s_sizes() -> None:
    """The layouts above are those of nvml.h on 64-bit Linux."""
    assert ctypes.sizeof(FieldValue) == 40
    assert ctypes.sizeof(Sample) == 16
    assert POINTER(FieldValue)._type_ is FieldValue
