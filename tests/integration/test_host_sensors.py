# SPDX-License-Identifier: Apache-2.0
"""RAPL, hwmon and IIO through the public interface, from trees of real layouts."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from host_tree import RANGE_UJ, Counting, HostTree, host_tree

import pyenergy
from pyenergy import _core, _devices, _hub
from pyenergy.config import Sampling
from pyenergy.errors import DeviceError, EstimateWarning, NoReadingsError
from pyenergy.units import NS_PER_S

CPUINFO = "processor\t: 0\nvendor_id\t: {vendor}\nmodel\t\t: 85\nmodel name\t: Test CPU 1\n"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostTree]:
    with host_tree() as tree:
        monkeypatch.setenv("PYENERGY_SYSFS_ROOT", str(tree.root))
        monkeypatch.setenv("PYENERGY_PROC_ROOT", str(tree.root / "proc"))
        monkeypatch.setenv("PYENERGY_NVML_LIBRARY", "/nowhere/libnvidia-ml.so.1")
        tree.write("proc/cpuinfo", CPUINFO.format(vendor="GenuineIntel"))
        tree.write("proc/stat", "cpu  100 0 0 100 0 0 0 0 0 0")
        yield tree
    _hub._shutdown()  # samplers that linger hold files of this tree


@contextmanager
def as_nobody() -> Iterator[None]:
    """This thread's access to files as of a user without rights, also where root runs the tests."""
    libc = ctypes.CDLL(None)
    libc.setfsuid(65534)
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())


def traced(devices: str, seconds: float = 0.3, **options: float) -> pyenergy.Trace:
    with pyenergy.trace(devices=devices, **options) as t:
        time.sleep(seconds)
    return t


def assert_true(energy: pyenergy.Energy, truth_j: float) -> None:
    low, high = energy.interval()
    assert low <= truth_j <= high
    assert energy.joules == pytest.approx(truth_j, rel=0.03)


# Measured where it can be.


@pytest.mark.parametrize("devices", ["cpu", "cpu:0", "auto", "rapl"])
def test_a_cpu_is_measured_where_its_counter_can_be_read(host: HostTree, devices: str) -> None:
    counter = host.zone("intel-rapl:0", "package-0")
    with Counting(counter, 100.0) as counting:
        t = traced(devices)
        energy = t.energy
    assert_true(energy, counting.energy_j(*t.bounds_ns))
    assert energy.scope == "cpu-package"
    assert "rapl.powercap.package" in energy.method
    assert "ESTIMATE" not in str(t)
    assert energy.budget()["gain"] == pytest.approx(0.05 * energy.joules)
    assert energy.u_same_card < 0.02 * energy.joules


def test_sockets_and_their_memory_are_apart_and_add_up(host: HostTree) -> None:
    with ExitStack() as stack:
        powers = (100.0, 20.0, 150.0, 30.0)
        counts = [
            stack.enter_context(Counting(path, power))
            for path, power in zip(host.two_sockets(), powers, strict=True)
        ]
        t = traced("cpu+dram", 0.4)
        energies = t.energies
    truth = {
        name: counting.energy_j(*t.bounds_ns)
        for name, counting in zip(("cpu:0", "dram:0", "cpu:1", "dram:1"), counts, strict=True)
    }
    assert set(energies) == set(truth)
    for name, energy in energies.items():
        assert_true(energy, truth[name])
    assert t.energy.joules == pytest.approx(sum(truth.values()), rel=0.03)
    assert t.energy.scope == "cpu-package+dram"
    assert energies["dram:0"].u == pytest.approx(0.2 * energies["dram:0"].joules, rel=0.05)


def test_cores_are_recorded_and_never_added(host: HostTree) -> None:
    package = host.zone("intel-rapl:0", "package-0")
    cores = host.zone("intel-rapl:0:0", "core")
    with Counting(package, 100.0) as counting, Counting(cores, 70.0):
        t = traced("cpu", 0.5)
        energy = t.energy
    assert_true(energy, counting.energy_j(*t.bounds_ns))
    series = t.series("cpu:0/energy_cores")
    seconds = (series.t_ns[-1] - series.t_ns[0]) / NS_PER_S
    assert (series.values[-1] - series.values[0]) / seconds == pytest.approx(70.0, rel=0.05)


def test_marks_have_the_counter_s_energy(host: HostTree) -> None:
    counter = host.zone("intel-rapl:0", "package-0")
    with Counting(counter, 200.0), pyenergy.trace(devices="cpu") as t:
        for _ in range(5):
            with pyenergy.mark("work"):
                time.sleep(0.05)
    for row in t.spans().iter_rows(named=True):
        assert row["energy_j"] == pytest.approx(200.0 * row["duration_s"], rel=0.1)
        assert row["u_j"] > 0.05 * row["energy_j"] * 0.9


def test_a_wrap_in_a_trace_costs_nothing(host: HostTree) -> None:
    counter = host.zone("intel-rapl:0", "package-0", RANGE_UJ - 10_000_000)
    with Counting(counter, 100.0, RANGE_UJ - 10_000_000) as counting:
        t = traced("cpu", 0.3)
        energy = t.energy
    flags = t.recorded.devices["cpu:0"].runs["energy"].flags
    assert bool((flags & _core.FLAG_WRAPPED).any())
    assert_true(energy, counting.energy_j(*t.bounds_ns))
    assert not any("reset" in note for note in energy.notes)


def test_polls_are_never_so_rare_that_a_counter_wraps_unseen(host: HostTree) -> None:
    host.zone("intel-rapl:0", "package-0")
    (device,) = pyenergy._devices.resolve("cpu")
    sampling = Sampling(rate_hz=0.001)
    shared = _hub.acquire(device, sampling)
    again = _hub.acquire(device, sampling)
    try:
        # Half a turn at the largest power, 1 kW.
        assert shared.period_ns == pytest.approx(RANGE_UJ * 1e-6 / 1000 / 2 * NS_PER_S, rel=1e-6)
        assert again is shared
        # A counter counts on while nobody looks: only an unseen turn would be a gap.
        assert shared.stream.gap_ns == shared.longest_poll_ns
    finally:
        shared.stream.release(0)
        shared.stream.release(0)
        shared.stream.stop(5.0)


def test_perf_events_serve_where_powercap_is_closed(host: HostTree) -> None:
    # The kernel's own clock event in the place of the energy event: 100 W are 1e-7 J a nanosecond.
    pmu = "bus/event_source/devices/power"
    host.write(f"{pmu}/type", 1)  # PERF_TYPE_SOFTWARE
    host.write(f"{pmu}/cpumask", 0)
    host.write(f"{pmu}/events/energy-pkg", "event=0x0")  # PERF_COUNT_SW_CPU_CLOCK
    host.write(f"{pmu}/events/energy-pkg.scale", "1e-7")
    host.write(f"{pmu}/events/energy-pkg.unit", "Joules")
    host.zone("intel-rapl:0", "package-0").chmod(0)
    with as_nobody():
        report = _core.enumerate("rapl")
        if not report.available:
            pytest.skip(f"perf events are refused here: {report.reason}")
        t = traced("auto")
    assert "rapl.perf.package" in t.energy.method
    assert_true(t.energy, 100.0 * t.duration_s)


# Faults.


def test_a_counter_that_may_not_be_read_gives_the_estimate_or_the_exact_fix(
    host: HostTree,
) -> None:
    host.zone("intel-rapl:0", "package-0").chmod(0)
    with as_nobody():
        with pytest.warns(EstimateWarning, match="ESTIMATE from load"):
            assert _devices.resolve("cpu")[0].is_estimate
        for request in ("rapl", "dram", "psys"):
            with pytest.raises(DeviceError, match="Permission denied") as caught:
                _devices.resolve(request)
            assert "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj" in str(caught.value)


def test_a_counter_that_ends_is_a_gap_of_any_power(host: HostTree) -> None:
    counter = host.zone("intel-rapl:0", "package-0")
    with pyenergy.trace(devices="cpu") as t:
        with Counting(counter, 100.0) as counting:
            time.sleep(0.3)
        counter.write_text("")
        time.sleep(0.3)
    energy = t.energy
    assert any("reads failed" in note for note in energy.notes)
    assert any("nothing was read for" in note for note in energy.notes)
    low, high = energy.interval()
    assert low <= counting.energy_j(*t.bounds_ns) <= high
    assert energy.budget()["gaps"] > 0.2 * energy.joules


def test_a_counter_that_is_reset_says_so(host: HostTree) -> None:
    counter = host.zone("intel-rapl:0", "package-0", 5_000_000_000)
    with pyenergy.trace(devices="cpu") as t:
        with Counting(counter, 100.0, 5_000_000_000):
            time.sleep(0.15)
        with Counting(counter, 100.0, 0):
            time.sleep(0.15)
    assert any("was reset or ran backwards" in note for note in t.energy.notes)
    assert t.energy.budget()["gaps"] > 0


def test_garbage_amid_a_trace_is_counted_and_costs_nothing(host: HostTree) -> None:
    counter = host.zone("intel-rapl:0", "package-0")
    written = iter(range(10**9))

    def every_tenth(uj: int) -> str:
        return f"{'garbage' if next(written) % 10 == 9 else uj!s:<20}\n"

    with Counting(counter, 100.0, write=every_tenth) as counting:
        t = traced("cpu", 0.4)
        energy = t.energy
    assert any("readings were impossible and not used" in note for note in energy.notes)
    assert_true(energy, counting.energy_j(*t.bounds_ns))


def test_a_counter_that_freezes_is_a_gap_from_then_on(host: HostTree) -> None:
    counter = host.zone("intel-rapl:0", "package-0")
    monitor = pyenergy.Monitor(devices="cpu")
    with monitor:
        with Counting(counter, 100.0) as counting:
            time.sleep(0.3)
            monitor.energy()  # looking at it meanwhile changes nothing
        time.sleep(0.3)
        monitor.energy()
    t = monitor.trace
    assert any("nothing was read for" in note for note in t.energy.notes)
    low, high = t.energy.interval()
    assert low <= counting.energy_j(*t.bounds_ns) <= high


def test_a_counter_that_stands_still_is_an_error_not_zero(host: HostTree) -> None:
    host.zone("intel-rapl:0", "package-0")
    t = traced("cpu", 0.1)
    with pytest.raises(NoReadingsError, match="energy counter stood still"):
        _ = t.energy


# What contains what.


@pytest.mark.parametrize(
    ("devices", "whole", "part"),
    [
        ("cpu+psys", "psys:0", "cpu:0"),
        ("psys+dram", "psys:0", "dram:0"),
        ("cpu+estimate", "cpu:0", "cpu:0"),
    ],
)
def test_a_whole_and_its_part_are_never_summed(
    host: HostTree, devices: str, whole: str, part: str
) -> None:
    host.zone("intel-rapl:0", "package-0")
    host.zone("intel-rapl:0:0", "dram")
    host.zone("intel-rapl:1", "psys")
    with pytest.raises(DeviceError, match="same joules twice") as caught:
        _devices.resolve(devices)
    assert whole in str(caught.value)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "devices",
    [
        "hwmon",
        "hwmon:Module Power Socket 0+hwmon:CPU Power Socket 0",
        "cpu+hwmon:module-power-socket-0",
    ],
)
def test_grace_s_sockets_contain_their_rails(host: HostTree, devices: str) -> None:
    host.grace()
    with pytest.raises(DeviceError, match="contains"):
        _devices.resolve(devices)
    assert len(_devices.resolve("hwmon:cpu-power-socket-0+hwmon:sysio-power-socket-0")) == 2


def test_simulated_gpus_are_on_no_board(host: HostTree) -> None:
    host.zone("intel-rapl:1", "psys")
    with pyenergy.testing.simulated("ideal"):
        ids = [device.id for device in _devices.resolve("psys+sim")]
    assert ids == ["psys:0", "gpu:0"]


# hwmon.


def test_an_amd_gpu_is_measured_by_name_and_by_auto(host: HostTree) -> None:
    host.amdgpu(200.0)
    for request in ("hwmon:amdgpu", "auto"):
        t = traced(request, 0.2)
        energy = t.energies["hwmon:amdgpu"]
        truth_j = 200.0 * t.duration_s
        low, high = energy.interval()
        assert low <= truth_j <= high
        assert energy.joules == pytest.approx(truth_j, rel=1e-3)
        assert energy.scope == "gpu"
        assert energy.budget()["gain"] == pytest.approx(0.1 * energy.joules, rel=1e-3)


def test_grace_s_socket_is_the_cpu(host: HostTree) -> None:
    host.grace()
    (device,) = _devices.resolve("cpu")
    assert device.id == "cpu:0"
    assert device.info.argument == "grace-power-socket-0"
    assert [d.id for d in pyenergy.devices()].count("cpu:0") == 1
    assert [d.id for d in _devices.resolve("auto")] == ["hwmon:module-power-socket-0"]


def test_a_sensor_that_is_not_there_is_named_with_those_that_are(host: HostTree) -> None:
    host.amdgpu(100.0)
    with pytest.raises(DeviceError, match="no sensor 'nothing'; there are amdgpu"):
        _devices.resolve("hwmon:nothing")


def test_a_recording_keeps_what_was_measured(host: HostTree, tmp_path: object) -> None:
    counter = host.zone("intel-rapl:0", "package-0")
    with Counting(counter, 100.0):
        t = traced("cpu", 0.2)
        joules = t.energy.joules
    again = pyenergy.load(t.save(f"{tmp_path}/run"))
    assert again.energy.joules == pytest.approx(joules, rel=1e-9)
    assert again.energy.budget()["gain"] == pytest.approx(0.05 * joules)


# The command line.


def command(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyenergy", *arguments],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_devices_and_doctor_list_them(host: HostTree) -> None:
    host.two_sockets()
    host.amdgpu(100.0)
    listed = command("devices")
    for expected in ("cpu:0", "cpu:1", "dram:1", "hwmon:amdgpu"):
        assert expected in listed
    examined = command("doctor", "--seconds", "0.2")
    for expected in ("rapl", "hwmon", "energy unit: 61 uJ", "counter wraps after: 262143 J"):
        assert expected in examined
    assert "sim" not in examined.split("reading sensors")[0].split("Test CPU")[0]


def test_doctor_says_what_would_mend_a_lack(host: HostTree) -> None:
    host.write("class/powercap/intel-rapl/enabled", 1)
    examined = " ".join(command("doctor", "--seconds", "0.2").split())
    assert "no RAPL zone in" in examined
    assert "sudo modprobe intel_rapl_msr" in examined
