# SPDX-License-Identifier: Apache-2.0
"""Sources in use: sixteen GPUs, a recording replayed, an estimate, pacing by the update clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from simulate import START_NS, sampled

import pyenergy
from pyenergy import _core
from pyenergy.errors import EstimateWarning, OptionError, StateError
from pyenergy.testing import SimulatedWorld, simulated
from pyenergy.units import NS_PER_S


def test_sixteen_gpus_at_once() -> None:
    with simulated(*["ideal"] * 16) as world:
        for index, card in enumerate(world):
            card.set_power(60.0 + 10 * index, at_ns=0)
        with pyenergy.trace(devices="sim", rate_hz=1000) as t:
            time.sleep(1.0)
    energies = t.energies
    assert list(energies) == [f"gpu:{i}" for i in range(16)]
    truths = [(60.0 + 10 * i) * t.duration_s for i in range(16)]
    for part, truth in zip(energies.values(), truths, strict=True):
        assert part.joules == pytest.approx(truth, rel=1e-6)
    assert t.energy.joules == pytest.approx(sum(truths), rel=1e-6)
    assert t.energy.u == pytest.approx(sum(e.u**2 for e in energies.values()) ** 0.5, rel=1e-9)
    assert t.peak_power_w == pytest.approx(sum(60.0 + 10 * i for i in range(16)), rel=1e-9)
    for device in t.recorded.devices.values():
        assert device.stats["dropped"] == 0


@pytest.mark.parametrize("preset", ["ideal", "h100"])
def test_a_replay_gives_the_recording_s_energy(preset: str, tmp_path: Path) -> None:
    with simulated(preset) as world:
        world[0].square_wave(100.0, 400.0, 0.13, at_ns=0)
        original = sampled(seconds=0.2, lead_s=0.05, tail_s=0.3)
    path = original.save(tmp_path / "run")
    with pyenergy.trace(devices=f"replay:{path}", rate_hz=2000) as t:
        time.sleep(0.55)
    from pyenergy import _core

    (device,) = t.recorded.devices.values()
    assert any("replayed from" in note for note in device.meta.notes)
    offset = _core.replay_offset_ns(f"{path.resolve()}#gpu:0")
    assert offset is not None
    first, last = (edge + offset for edge in original.bounds_ns)
    start = max(first, t.bounds_ns[0])  # the trace begins at the first reading, or just after
    again = t.window(start, last)
    assert again.joules == pytest.approx(
        original.window(start - offset, original.bounds_ns[1]).joules, rel=1e-9
    )


def test_a_replay_starts_anew_each_time(tmp_path: Path) -> None:
    with simulated("ideal") as world:
        world[0].set_power(200.0, at_ns=0)
        path = sampled(seconds=0.05, lead_s=0.01, tail_s=0.05).save(tmp_path / "run")
    for _ in range(2):
        with pyenergy.trace(devices=f"replay:{path}") as t:
            time.sleep(0.06)
        start = t.bounds_ns[0]
        assert t.window(start, start + NS_PER_S // 50).joules == pytest.approx(4.0, rel=1e-6)


# Estimates stand in only when nothing real can be read, and say so wherever they show.


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYENERGY_NVML_LIBRARY", "/nowhere/libnvidia-ml.so.1")


def estimated(devices: str) -> pyenergy.Trace:
    with (
        pytest.warns(EstimateWarning, match="ESTIMATE from load"),
        pyenergy.trace(devices=devices) as t,
    ):
        sum(range(300_000))
    return t


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("devices", ["auto", "cpu", "estimate"])
def test_an_estimate_says_so_everywhere(devices: str, tmp_path: Path) -> None:
    t = estimated(devices)
    for shown in (str(t), str(pyenergy.load(t.save(tmp_path / "run")))):
        assert "ESTIMATE, not a measurement" in shown
    energy = t.energy
    assert "estimate" in energy.method
    assert energy.scope == "cpu-package"
    assert energy.u >= 0.499 * energy.joules > 0


def test_an_estimate_is_not_chosen_beside_a_sensor(recwarn: pytest.WarningsRecorder) -> None:
    with simulated("ideal"), pyenergy.trace(devices="sim") as t:
        pass
    assert "ESTIMATE" not in str(t)
    assert not recwarn.list


# Pacing.


def test_edge_pacing_polls_little_and_still_brackets_every_update() -> None:
    with simulated("a100") as world:
        world[0].square_wave(100.0, 350.0, 0.37, at_ns=0)
        with pyenergy.trace(devices="sim:a100", pacing="edge") as t:
            time.sleep(1.2)
            start = pyenergy.now_ns()
            calls = world[0].calls("fields")
            time.sleep(0.6)
            calls = world[0].calls("fields") - calls
        stats = next(iter(t.recorded.devices.values())).stats
        truth = world[0].true_energy_j(*t.bounds_ns)
    assert stats["locked"]
    assert stats["locked_period_ns"] == pytest.approx(101.2e6, rel=1e-3)
    assert calls < 0.4 * 600  # a tenth of it would do; the machine is shared
    power = t.recorded.devices["gpu:0"].runs["power"]
    late = power.t_first_ns > start
    brackets = (power.read_first_ns[1:] - power.t_last_ns[:-1])[late[1:]]
    assert len(brackets) >= 4
    assert sorted(brackets)[len(brackets) // 2] < 2_000_000  # poll spacing at an update, ns
    low, high = t.energy.interval()
    assert low <= truth <= high


def test_edge_pacing_needs_to_know_the_period() -> None:
    with simulated("ideal"), pytest.raises(OptionError, match="period, which is not known here"):
        pyenergy.Monitor(devices="sim:ideal", pacing="edge").start()


def test_a_rate_that_is_asked_for_is_kept(world: SimulatedWorld) -> None:
    with pyenergy.trace(devices="sim:ideal", rate_hz=200) as t:
        time.sleep(0.2)
    reads = t.series("gpu:0/power").count.sum() / 0.2
    assert reads <= 250


def test_a_monitor_that_failed_to_start_may_start_later() -> None:
    monitor = pyenergy.Monitor(devices="sim:a100")
    with simulated("h100"), pytest.raises(pyenergy.PyEnergyError):
        monitor.start()
    with pytest.raises(StateError):
        monitor.stop()
    with simulated("a100") as world:
        world[0].set_power(100.0, at_ns=0)
        with monitor:
            pass
        assert monitor.energy().joules == pytest.approx(100.0 * monitor.trace.duration_s, rel=1e-2)


def test_real_gpus_keep_cudas_numbers_beside_simulated_ones() -> None:
    from dataclasses import replace

    from pyenergy._devices import _distinct_ids, resolve

    with simulated("ideal", "ideal"):
        simulated_gpus = resolve("sim")
    real = replace(
        simulated_gpus[0], info=_core.DeviceInfo(source="nvml", kind="gpu", name="a real one")
    )
    ids = [device.id for device in _distinct_ids([*simulated_gpus, real])]
    assert ids == ["gpu:1", "gpu:2", "gpu:0"]


def test_readings_above_the_boards_limit_are_said() -> None:
    with simulated("a100") as world:
        world[0].script([(0, 100.0), (START_NS + NS_PER_S, 500.0)])  # its limit is 400 W
        notes = sampled(seconds=3).energy.notes
    assert any("readings reach 500 W, the device's limit is 400 W" in note for note in notes)
