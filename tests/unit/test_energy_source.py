# SPDX-License-Identifier: Apache-2.0
"""`EnergySource`: what another profiler needs, from a monitor and from a trace."""

from __future__ import annotations

import numpy as np
import pytest

import pyenergy
from pyenergy import EnergySource
from pyenergy.testing import simulated


def joules_of(source: EnergySource, start_ns: int, end_ns: int) -> tuple[float, float]:
    """What a profiler does with a source; mypy checks that both are one."""
    joules, u = source.windows([start_ns], [end_ns])
    one = source.energy_between(start_ns, end_ns)
    assert (one.joules, one.u) == pytest.approx((joules[0], u[0]))
    return float(joules[0]), float(u[0])


def test_a_monitor_and_its_trace_are_sources() -> None:
    with simulated("ideal", "ideal") as world:
        for card in world:
            card.set_power(100.0, at_ns=0)
        monitor = pyenergy.Monitor(devices="sim")
        assert isinstance(monitor, EnergySource)  # before it runs, too
        with monitor:
            start = monitor.now_ns()
            while monitor.now_ns() < start + 30_000_000:
                pass
            end = monitor.now_ns()
        trace = monitor.trace
        truth = sum(card.true_energy_j(start, end) for card in world)
        for source in (monitor, trace):
            assert isinstance(source, EnergySource)
            assert (source.unit, source.names()) == ("J", ("gpu:0", "gpu:1"))
            joules, u = joules_of(source, start, end)
            assert abs(joules - truth) < 2 * u


def test_a_source_of_readings_and_what_is_none() -> None:
    t_ns = np.arange(0, 2_000_000_000, 10_000_000)
    trace = pyenergy.Trace.from_readings({"gpu:0/power": (t_ns, np.full(len(t_ns), 50.0))})
    assert isinstance(trace, EnergySource)
    assert trace.names() == ("gpu:0",)
    assert joules_of(trace, 500_000_000, 1_500_000_000)[0] == pytest.approx(50.0)
    with pytest.raises(pyenergy.errors.WindowError, match="ends before it starts"):
        trace.energy_between(2, 1)
    with pytest.raises(pyenergy.errors.StateError, match="not been started"):
        pyenergy.Monitor(devices="sim").energy_between(0, 1)
    assert not isinstance(object(), EnergySource)
