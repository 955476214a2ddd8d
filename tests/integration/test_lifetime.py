# SPDX-License-Identifier: Apache-2.0
"""How long arrays, samplers and waits last."""

from __future__ import annotations

import gc
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
from threads import samplers

import pyenergy
from pyenergy import _hub
from pyenergy.errors import NoReadingsError
from pyenergy.testing import SimulatedWorld, simulated
from pyenergy.units import NS_PER_S

SIM = "sim:ideal"
SHORT_S = 0.02


@pytest.fixture(autouse=True)
def steady(world: SimulatedWorld) -> SimulatedWorld:
    """One card at 300 W, seen by every test here."""
    world[0].set_power(300.0, at_ns=0)
    return world


def await_no_sampler() -> None:
    deadline = time.monotonic() + 4
    while samplers() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert samplers() == 0


def test_series_are_read_only_views_that_outlive_everything() -> None:
    monitor = pyenergy.Monitor(devices=SIM).start()
    time.sleep(SHORT_S)
    trace = monitor.stop()
    series = trace.series("gpu:0/power")
    again = trace.series("gpu:0/power")
    kept = {}
    for name in ("t_ns", "last_ns", "values", "count", "flags"):
        array = getattr(series, name)
        assert np.shares_memory(array, getattr(again, name)), name
        assert not array.flags.writeable
        assert not array.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
        kept[name] = (array, array.copy())
    assert series.unit == "W"
    for shared in list(_hub._streams.values()):
        shared.stream.stop()
    _hub._streams.clear()
    del monitor, trace, series, again, shared
    gc.collect()
    with pyenergy.trace(devices=SIM):  # other memory comes and goes
        time.sleep(SHORT_S)
    gc.collect()
    for array, copy in kept.values():
        np.testing.assert_array_equal(array, copy)


def test_a_view_keeps_its_store_while_sampling_goes_on() -> None:
    with pyenergy.trace(devices=SIM) as t:
        time.sleep(SHORT_S)
        early = t.series("gpu:0/power")
        copy = early.values.copy(), early.last_ns.copy()
        time.sleep(SHORT_S)
        assert len(t.series("gpu:0/power")) >= len(early)
        np.testing.assert_array_equal(early.values, copy[0])
        np.testing.assert_array_equal(early.last_ns, copy[1])


def test_a_trace_right_after_another_has_readings_before_its_start() -> None:
    with pyenergy.trace(devices=SIM):
        time.sleep(SHORT_S)
    with pyenergy.trace(devices=SIM) as second:
        pass
    assert second.series("gpu:0/power").t_ns[0] < second.bounds_ns[0] - SHORT_S * NS_PER_S / 2


def test_samplers_end_after_they_lingered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "_LINGER_NS", NS_PER_S // 10)
    for shared in list(_hub._streams.values()):
        shared.stream.stop()
    await_no_sampler()
    with pyenergy.trace(devices=SIM):
        assert samplers() == 1
    left = time.monotonic()
    await_no_sampler()
    assert time.monotonic() - left > 0.09


def test_leaving_does_not_wait_for_the_sensor_but_its_energy_does() -> None:
    with simulated("a100") as world:
        world[0].configure(delay_s=0.1)
        world[0].set_power(300.0, at_ns=0)
        with pyenergy.trace(devices="sim:a100") as t:
            time.sleep(SHORT_S)
            leaving = time.monotonic()
        assert time.monotonic() - leaving < 0.05
        lag_s = (101.2 + 25 + 100) / 1e3
        asked = time.monotonic()
        energy = t.energy
        assert 0.5 * lag_s < time.monotonic() - asked < lag_s + 0.5
        again = time.monotonic()
        assert t.energy == energy
        assert time.monotonic() - again < 0.05
        readings = t.series("gpu:0/power")
        assert readings.last_ns[-1] >= t.bounds_ns[1] + lag_s * NS_PER_S


def test_a_trace_of_a_lost_gpu_waits_no_longer_than_for_a_sound_one() -> None:
    with simulated("h100") as world:
        world[0].set_power(300.0, at_ns=0)
        with pyenergy.trace(devices="sim:h100") as t:
            world[0].inject("gpu_lost")
            time.sleep(SHORT_S)
        asked = time.monotonic()
        energy = t.energy
        assert time.monotonic() - asked < 1.0
        assert any("reads failed" in note for note in energy.notes)


def test_no_reading_at_all_is_an_error_after_a_bounded_wait() -> None:
    with simulated("ideal") as world:
        world[0].inject("fails", "fields")
        with pyenergy.trace(devices=SIM) as t:
            pass
        with pytest.raises(NoReadingsError, match="every power reading failed"):
            _ = t.energy


def test_the_core_needs_no_gil() -> None:
    source = Path(__file__).parents[2] / "csrc" / "bindings" / "module.cpp"
    assert "mod_gil_not_used" in source.read_text()
    is_enabled = getattr(sys, "_is_gil_enabled", None)  # Python 3.13 and newer
    if is_enabled is not None and sysconfig.get_config_var("Py_GIL_DISABLED"):
        code = "import pyenergy, sys; print(sys._is_gil_enabled())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "False"
