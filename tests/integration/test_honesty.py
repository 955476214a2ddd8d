# SPDX-License-Identifier: Apache-2.0
"""The stated uncertainty covers the true error, for every sensor and kind of load.

The simulated cards have gain 1 and offset 0, so the terms for those are left out: what remains
must cover the truth by itself. A standard uncertainty that holds covers 95 % of cases at two sigma.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from simulate import START_NS, random_windows, sampled

from pyenergy.testing import simulated
from pyenergy.units import NS_PER_S

Script = Callable[[np.random.Generator, float], list[tuple[int, float]]]


def steps_every(mean_s: float, burst_s: float = 0.0) -> Script:
    """Power levels that last exponentially long, perhaps each begun by a short burst."""

    def script(rng: np.random.Generator, idle_w: float) -> list[tuple[int, float]]:
        t, steps = START_NS - 2 * NS_PER_S, []
        while t < START_NS + 13 * NS_PER_S:
            if burst_s:
                steps.append((int(t), 290.0))
                t += burst_s * NS_PER_S
            steps.append((int(t), float(rng.uniform(idle_w, 300.0))))
            t += rng.exponential(mean_s) * NS_PER_S
        return steps

    return script


LOADS = {
    "steps of half a second": steps_every(0.5),
    "steps of 30 ms": steps_every(0.03),
    "bursts of 20 ms": steps_every(2.0, burst_s=0.02),
    "steady": steps_every(1e6),
}


@pytest.mark.parametrize("preset", ["ideal", "a100", "h100", "v100", "rtx3090", "k40m"])
@pytest.mark.parametrize("load", LOADS)
def test_two_sigma_cover_the_truth(preset: str, load: str) -> None:
    rng = np.random.default_rng(7)
    ratios = []
    for _ in range(4):
        with simulated(preset) as world:
            card = world[0]
            card.script(LOADS[load](rng, card.info.idle_w))
            trace = sampled(seconds=10)
            starts, ends = random_windows(rng, trace.bounds_ns, 250)
            truth = card.true_energies_j(starts, ends)
            _, models = trace._models()
            terms = models["gpu:0"].terms(starts, ends)
            u = terms.unseen
            noise = 1e-3 * truth  # the presets' readings scatter by less than 0.1 %
            ratios.append(np.abs(terms.joules - truth) / np.hypot(u, noise))
    assert np.mean(np.concatenate(ratios) <= 2.0) >= 0.95


@pytest.mark.parametrize("preset", ["a100", "h100"])
def test_a_load_in_step_with_the_sensor_is_betrayed_by_the_counter(preset: str) -> None:
    """The sensor sees only the high quarter of every period: the readings are steady, and wrong."""
    with simulated(preset) as world:
        card = world[0]
        update_s = 0.1012 if preset == "a100" else 0.1
        card.configure(field="instant", phase_s=0.0, jitter_s=0.0)
        card.square_wave(100.0, 300.0, update_s, duty=0.25, phase=0.25, at_ns=0)
        trace = sampled(seconds=10)
        truth = card.true_energy_j(*trace.bounds_ns)
        energy = trace.energy
        readings = trace.total(method="trapezoid")
        assert abs(readings.joules - truth) > 0.3 * truth
        assert abs(energy.joules - truth) < 0.02 * truth  # by the counter
        low, high = energy.interval(0.95)
        assert low <= truth <= high
        assert any("in step with the sensor" in note for note in energy.notes)


def test_a_counter_that_agrees_is_not_mentioned() -> None:
    with simulated("a100") as world:
        world[0].script(LOADS["steps of half a second"](np.random.default_rng(1), 60.0))
        assert not any("counter" in note for note in sampled(seconds=10).energy.notes)


@pytest.mark.parametrize("preset", ["a100", "h100", "rtx3090", "v100"])
@pytest.mark.parametrize("period_s", [0.025, 0.05, 0.1, 0.1012, 0.2, 0.2024])
@pytest.mark.parametrize("duty", [0.05, 0.3, 0.5])
def test_two_sigma_cover_periodic_loads(preset: str, period_s: float, duty: float) -> None:
    """Periods at, near and dividing the sensor's: the readings hide them or beat with them."""
    rng = np.random.default_rng(3)
    ratios = []
    for phase in (0.0, 0.37, 0.71):
        with simulated(preset) as world:
            card = world[0]
            card.square_wave(60.0, 290.0, period_s, duty=duty, phase=phase, at_ns=0)
            trace = sampled(seconds=10)
            starts, ends = random_windows(rng, trace.bounds_ns, 200)
            truth = card.true_energies_j(starts, ends)
            joules, u = trace.windows(starts, ends)
            ratios.append(np.abs(joules - truth) / u)
    assert np.mean(np.concatenate(ratios) <= 2.0) >= 0.95
