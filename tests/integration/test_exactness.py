# SPDX-License-Identifier: Apache-2.0
"""On a sensor without faults the energy is the true energy, to one poll period at the edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import START_NS, random_windows, sampled

from pyenergy.testing import SimulatedWorld, simulated
from pyenergy.units import NS_PER_MS, NS_PER_S

POLL_S = 1e-3


def allowed_j(truth: float, largest_w: float) -> float:
    """0.1 % and one poll period at each edge."""
    return 1e-3 * truth + 2 * POLL_S * largest_w


def test_constant_power(world: SimulatedWorld) -> None:
    world[0].set_power(300.0, at_ns=0)
    trace = sampled(seconds=10)
    assert trace.energy.joules == pytest.approx(3000.0, rel=1e-9)
    assert trace.mean_power_w == pytest.approx(300.0)
    assert trace.peak_power_w == pytest.approx(300.0)


def test_step(world: SimulatedWorld) -> None:
    world[0].script([(0, 100.0), (START_NS + 5 * NS_PER_S, 300.0)])
    trace = sampled(seconds=10)
    assert trace.energy.joules == pytest.approx(2000.0, abs=allowed_j(0, 200.0))


@pytest.mark.parametrize("preset", ["a100", "h100", "rtx3090"])
def test_window_inside_one_update_period(preset: str) -> None:
    """Other tools report 0 J here: no sample changes inside the window."""
    with simulated(preset) as world:
        card = world[0]
        card.configure(field="instant", noise_w=0.0)
        card.set_power(300.0, at_ns=0)
        trace = sampled(seconds=5)
        start = START_NS + 2 * NS_PER_S + 13 * NS_PER_MS
        inside = trace.window(start, start + 50 * NS_PER_MS)
        assert inside.joules == pytest.approx(15.0, rel=1e-3)
        assert any("shorter than the sensor's update period" in note for note in inside.notes)
        whole = trace.window(start, start + 100 * NS_PER_MS)
        assert whole.joules == pytest.approx(30.0, rel=1e-3)


def test_ramp(world: SimulatedWorld) -> None:
    card = world[0]
    card.set_power(100.0, at_ns=0)
    card.ramp(100.0, 400.0, 6.0, at_ns=START_NS + 2 * NS_PER_S)
    trace = sampled(seconds=10)
    truth = card.true_energy_j(*trace.bounds_ns)
    assert truth == pytest.approx(100 * 2 + 250 * 6 + 400 * 2)
    assert trace.energy.joules == pytest.approx(truth, rel=1e-6)
    starts, ends = random_windows(np.random.default_rng(0), trace.bounds_ns, 500)
    joules, u = trace.windows(starts, ends)
    true = card.true_energies_j(starts, ends)
    assert np.all(np.abs(joules - true) <= 1e-3 * true + 2 * POLL_S * 400)
    assert np.all(u > 0)


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[int, float]]:
    """A few power levels with random durations, from before the trace on."""
    steps, t = [(0, draw(st.floats(60, 600)))], START_NS
    for _ in range(draw(st.integers(0, 6))):
        t += draw(st.integers(NS_PER_MS, NS_PER_S))
        steps.append((t, draw(st.floats(60, 600))))
    return steps


@settings(max_examples=25, deadline=None)
@given(steps=scripts(), cuts=st.lists(st.floats(0, 1), min_size=1, max_size=8), seed=st.integers())
def test_properties_of_energy(steps: list[tuple[int, float]], cuts: list[float], seed: int) -> None:
    with simulated("ideal") as world:
        world[0].script(steps)
        trace = sampled(seconds=2)
        fine = sampled(seconds=2, period_ns=250_000)
        start, end = trace.bounds_ns
        edges = np.array(sorted({start, end, *(start + int(c * (end - start)) for c in cuts)}))
        joules, _ = trace.windows(edges[:-1], edges[1:])
        whole = trace.energy.joules
        # Adjacent windows add up to the whole.
        assert joules.sum() == pytest.approx(whole, rel=1e-9)
        # Cumulative energy grows where power is positive.
        assert np.all(joules >= 0)
        cumulative, _ = trace.windows(np.full_like(edges, start), edges)
        assert np.all(np.diff(cumulative) >= 0)
        # More samples of the same power change nothing but the bracket of each step.
        slack = sum(abs(b[1] - a[1]) for a, b in itertools.pairwise(steps)) * POLL_S
        assert fine.energy.joules == pytest.approx(whole, abs=slack + 1e-9)
        # Sorted or shuffled, the same windows have the same energies.
        order = np.random.default_rng(abs(seed)).permutation(len(edges) - 1)
        shuffled, _ = trace.windows(edges[:-1][order], edges[1:][order])
        np.testing.assert_allclose(shuffled, joules[order], rtol=1e-12, atol=1e-12)


def test_sum_over_devices(world: SimulatedWorld) -> None:
    """The whole is the sum of the devices, and their errors are independent."""
    from dataclasses import replace

    from pyenergy._trace import Trace

    world[0].set_power(200.0, at_ns=0)
    one = sampled(seconds=1).recorded
    other = replace(one.devices["gpu:0"], meta=replace(one.devices["gpu:0"].meta, id="gpu:1"))
    both = Trace(replace(one, devices={**one.devices, "gpu:1": other}))
    parts = both.energies
    assert both.energy.joules == pytest.approx(sum(e.joules for e in parts.values()), rel=1e-12)
    assert both.energy.u == pytest.approx(parts["gpu:0"].u * 2**0.5, rel=1e-12)
    joules, u = both.windows([both.bounds_ns[0]], [both.bounds_ns[1]])
    assert joules[0] == pytest.approx(both.energy.joules)
    assert u[0] == pytest.approx(both.energy.u)
