# SPDX-License-Identifier: Apache-2.0
"""Joules against the truth, on sensors that are drawn and never shown (small bench.coverage)."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import KINDS, START_NS, Drawn, Load, measured, mix, pulses, steady

from pyenergy.sensor.profile import Profile


def ends(spans: list[tuple[str, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([a for _, a, _ in spans]), np.array([b for _, _, b in spans])


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_windows_of_50_ms_with_idle_between(kind: str) -> None:
    trace, truth, spans = measured(kind, 11, pulses())
    joules, u = trace.windows(*ends(spans), same_card=True)
    true = truth(*ends(spans))
    assert abs(joules.sum() / true.sum() - 1) < 0.002
    assert np.all(np.abs(joules - true) < 4 * u)
    assert np.median(u / true) < 0.004
    assert "activity" in trace.energy.method


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("load", [steady(), mix()], ids=["steady", "mix"])
def test_ten_seconds_to_a_tenth_of_a_percent(kind: str, load: Load) -> None:
    trace, truth, spans = measured(kind, 5, load)
    low, high = ends(spans)[0][:1], ends(spans)[1][-1:]
    joules, u = trace.windows(low, high, same_card=True)
    assert abs(joules[0] / truth(low, high)[0] - 1) < 0.001
    assert u[0] / joules[0] < 0.001


@pytest.mark.parametrize("kind", KINDS)
def test_a_burst_of_a_second(kind: str) -> None:
    def burst(drawn: Drawn) -> list[tuple[str, int, int]]:
        return [("burst", *drawn.pulse(START_NS + 1_500_000_000, 1.0))]

    trace, truth, spans = measured(kind, 3, burst, tail_s=2.0)
    joules, u = trace.windows(*ends(spans), same_card=True)
    true = truth(*ends(spans))
    assert abs(joules[0] / true[0] - 1) < 0.002 or abs(joules[0] - true[0]) < 2 * u[0]
    assert u[0] / true[0] < 0.01


@pytest.mark.parametrize("integrates", ["truth", "sensor"])
def test_a_counter_is_told_by_what_it_integrates(integrates: str) -> None:
    trace, truth, spans = measured("a100", 2, pulses(), integrates=integrates)
    joules, _ = trace.windows(*ends(spans))
    assert abs(joules.sum() / truth(*ends(spans)).sum() - 1) < 0.002
    ignored = any("adds up the sensor's own readings" in note for note in trace.energy.notes)
    assert ignored == (integrates == "sensor")
    plain = trace.total(method="counter").joules
    whole = truth(*([t] for t in trace.bounds_ns))[0]
    assert (abs(plain / whole - 1) > 0.02) == (integrates == "sensor")


def test_parts_add_up_to_the_whole() -> None:
    trace, _, _ = measured("a100", 4, mix(6.0), integrates="truth")
    low, high = trace.bounds_ns
    cuts = np.sort(np.random.default_rng(0).integers(low, high, 50))
    edges = np.concatenate([[low], cuts, [high]])
    for method in ("model", "trapezoid", "counter"):
        parts, _ = trace.windows(edges[:-1], edges[1:], method=method)
        assert parts.sum() == pytest.approx(trace.total(method=method).joules, rel=1e-9)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """One window of a length and run; 40 runs: 95 % of 40 is 38, and 33 is the 1e-3 quantile."""
    inside = np.zeros(3, int)
    for seed in range(40):
        trace, truth, spans = measured("v100", seed, mix(5.0))
        rng = np.random.default_rng(seed)
        low, high = trace.bounds_ns
        length = np.array([5_000_000, 500_000_000])
        starts = low + (rng.random(2) * (high - low - length)).astype(np.int64)
        _, a, b = spans[int(rng.integers(len(spans)))]
        starts, stops = np.append(starts, a), np.append(starts + length, b)
        joules, u = trace.windows(starts, stops, same_card=True)
        inside += np.abs(joules - truth(starts, stops)) <= 1.96 * u
    assert np.all(inside >= 33)


def test_absolute_intervals_hold_a_gain_drawn_from_the_prior() -> None:
    prior, inside, plain = Profile(), 0, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        gain, offset = 1 + prior.gain_u * rng.standard_normal(), 5.0 * rng.standard_normal()
        trace, truth, spans = measured(
            "h100", seed, pulses(20), gain=gain, offset_w=offset, profile=None
        )
        joules, u = trace.windows(*ends(spans))
        _, own = trace.windows(*ends(spans), same_card=True)
        error = abs(joules[5] - truth(*ends(spans))[5])
        inside += error <= 1.96 * u[5]
        plain += error <= 1.96 * own[5]
    assert inside >= 9
    assert plain <= 6  # without the gain's term they would not


def test_a_calibration_made_later_is_used(tmp_path: object) -> None:
    trace, truth, spans = measured("a100", 8, pulses(40), gain=1.04, offset_w=4.0, profile=None)
    raw = trace.windows(*ends(spans))[0].sum() / truth(*ends(spans)).sum() - 1
    assert raw > 0.03
    again = trace.calibrated(Profile(gain=1.04, gain_u=0.002, offset_w=4.0, offset_u_w=0.1))
    joules, u = again.windows(*ends(spans))
    assert abs(joules.sum() / truth(*ends(spans)).sum() - 1) < 0.002
    assert np.median(u / joules) < 0.01


def test_a_million_windows_with_their_uncertainties() -> None:
    trace, _, _ = measured("a100", 1, mix(6.0))
    low, high = trace.bounds_ns
    starts = np.sort(np.random.default_rng(0).integers(low, high - 10_000_000, 1_000_000))
    joules, u = trace.windows(starts, starts + 10_000_000)
    assert joules.shape == u.shape == (1_000_000,)
    one = trace.window(int(starts[77]), int(starts[77]) + 10_000_000)
    assert one.joules == pytest.approx(joules[77])
    assert one.u == pytest.approx(u[77])
    assert sum(v**2 for v in one.budget().values()) == pytest.approx(one.u**2)
