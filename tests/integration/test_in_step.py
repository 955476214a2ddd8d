# SPDX-License-Identifier: Apache-2.0
"""Labelled work in step with a part-time sensor, calls that differ, counters by themselves: what
the readings cannot tell is in the uncertainty of single windows and of the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn import MS, Drawn, Load, measured
from simulate import START_NS

from pyenergy import Trace
from pyenergy.sensor import Profile
from pyenergy.testing import SimulatedCard
from pyenergy.units import NS_PER_S

S = NS_PER_S
KNOWN = Profile(gain=1.0, gain_u=0.0, offset_w=0.0, offset_u_w=0.0)


def in_step(update_s: float) -> Load:
    def load(card: Drawn) -> list[tuple[str, int, int]]:
        step_ns = 2 * round(update_s * S)
        first = START_NS + 700 * MS
        return [("work", *card.pulse(first + i * step_ns, 0.05)) for i in range(60)]

    return load


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["a100", "h100"])
@pytest.mark.parametrize("apart", [0.0, 1e-4])
def test_the_whole_of_work_in_step_is_wide(
    kind: str, seed: int, apart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reading sees the same part of a step: neither its height nor the level is known."""
    chosen: dict[str, float] = {}
    configure = SimulatedCard.configure

    def configured(card: SimulatedCard, *args: object, **options: float) -> None:
        chosen.update(options)
        configure(card, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedCard, "configure", configured)

    def load(card: Drawn) -> list[tuple[str, int, int]]:
        return in_step(chosen["update_s"] * (1 + apart))(card)

    trace, truth, spans = measured(kind, seed, load)
    energy = trace.energy
    low, high = trace.bounds_ns
    true = float(truth([low], [high])[0])
    assert abs(energy.joules - true) < 3 * energy.u_same_card, energy
    starts, ends = np.array([(a, b) for _, a, b in spans]).T
    joules, u = trace.windows(starts, ends, same_card=True)
    assert float(np.mean(np.abs(joules - truth(starts, ends)) < 3 * u)) >= 0.95


@pytest.mark.parametrize("kind", ["a100", "v100", "h100", "a100 rc"])
@pytest.mark.parametrize(("differ", "late_s"), [(0.15, 15e-6), (0.0, 5e-4)])
def test_calls_of_5_ms_that_differ_or_come_late(kind: str, differ: float, late_s: float) -> None:
    def load(card: Drawn) -> list[tuple[str, int, int]]:
        t, spans = START_NS + 700 * MS, []
        for _ in range(60):
            end = t + 5 * MS
            late = np.round(card.rng.exponential(late_s * S, 2)).astype(int).tolist()
            card.power(400.0 * (1 + differ * card.rng.standard_normal()), t + late[0])
            card.until_ns = max(end + late[1], t + late[0] + 1000)
            card.power(card.idle_w, card.until_ns)
            spans.append(("work", t, end))
            t = card.until_ns + round(card.rng.uniform(0.15, 0.25) * S)
        return spans

    inside = []
    for seed in range(3):
        trace, truth, spans = measured(kind, seed, load)
        starts, ends = np.array([(a, b) for _, a, b in spans]).T
        joules, u = trace.windows(starts, ends, same_card=True)
        inside.append(np.abs(joules - truth(starts, ends)) < 1.96 * u)
    assert float(np.mean(inside)) >= 0.90


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("integrates", ["truth", "sensor"])
def test_a_counter_alone_may_add_up_readings(integrates: str, seed: int) -> None:
    def load(card: Drawn) -> list[tuple[str, int, int]]:
        t = START_NS + 700 * MS
        for _ in range(30):
            card.pulse(t, 0.05)
            t = card.until_ns + round(card.rng.uniform(0.15, 0.25) * S)
        return []

    with_power, truth, _ = measured("a100", seed, load, integrates=integrates)
    device = with_power.recorded.devices["gpu:0"]
    alone = replace(
        device,
        channels={"energy": device.channels["energy"]},
        runs={"energy": device.runs["energy"]},
    )
    trace = Trace(replace(with_power.recorded, devices={"gpu:0": alone})).calibrated(KNOWN)
    energy = trace.energy
    true = float(truth(*([t] for t in trace.bounds_ns))[0])
    assert abs(energy.joules - true) < 2.5 * energy.u_same_card
    assert any("what an energy counter integrates is not documented" in n for n in energy.notes)
    beside = with_power.total(method="counter")
    assert not any("not documented" in note for note in beside.notes)


@pytest.mark.parametrize("count", [3, 10, 40])
def test_labels_that_no_reading_saw(count: int) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(0, 10 * S, 5 * MS)
    watts = np.repeat(300 + rng.normal(0, 0.7, 100), 20)
    spans = [(f"l{i}", i * 9 * S // count, i * 9 * S // count + 5 * MS) for i in range(count)]
    energy = Trace.from_readings({"gpu:0/power": (t, watts)}, spans).energy
    assert energy.joules == pytest.approx(300 * 9.995, rel=0.01)
    assert energy.u_same_card > 0


def test_a_mark_elsewhere_does_not_make_unmarked_work_known() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(0, 12 * S, MS)
    watts = np.repeat(300 + rng.normal(0, 0.7, 120), 100)
    hopper = {"gpu:0": {"architecture": "hopper", "field": "instant"}}
    plain = Trace.from_readings({"gpu:0/power": (t, watts)}, devices=hopper).energy
    for end in (2 * S, 2 * S + 10 * MS):
        marked = Trace.from_readings(
            {"gpu:0/power": (t, watts)}, [("a", 2 * S, end)], devices=hopper
        ).energy
        assert dict(marked.terms)["inside"] > 0.7 * dict(plain.terms)["inside"]
        assert any("would not show" in note for note in marked.notes)


@pytest.mark.parametrize("seed", range(3))
def test_work_that_begins_after_its_spans(seed: int) -> None:
    """Launched inside, run 30 ms later: more than a sensor of this kind is ever late."""

    def load(card: Drawn) -> list[tuple[str, int, int]]:
        t, spans = START_NS + 700 * MS, []
        for _ in range(40):
            a, b = card.pulse(t + 30 * MS, 0.05)
            spans.append(("work", a - 30 * MS, b - 30 * MS))
            t = card.until_ns + round(card.rng.uniform(0.15, 0.25) * S)
        return spans

    trace, truth, spans = measured("v100", seed, load)
    starts, ends = np.array([(a, b) for _, a, b in spans]).T
    joules, u = trace.windows(starts, ends, same_card=True)
    assert float(np.mean(np.abs(joules - truth(starts, ends)) < 2 * u)) >= 0.95
    assert any("the work begins after its spans do" in note for note in trace.energy.notes)
    low, high = trace.bounds_ns
    assert trace.energy.joules == pytest.approx(float(truth([low], [high])[0]), rel=0.01)
