# SPDX-License-Identifier: Apache-2.0
"""The response of drawn sensors, found from readings and from when the work ran."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drawn import KINDS, MS, Drawn, Load, measured, steady
from simulate import START_NS

from pyenergy.sensor.catalog import prior_for
from pyenergy.sensor.identify import Belief, identify
from pyenergy.sensor.response import Response
from pyenergy.sensor.spans import Spans
from pyenergy.sensor.update_clock import fit_clock, updates_of
from pyenergy.testing import SimulatedCard
from pyenergy.units import NS_PER_S

BOARD_W = 400.0


@pytest.fixture
def sensor(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How the card that is drawn next was configured: what identification must find."""
    drawn: dict[str, Any] = {}
    configure = SimulatedCard.configure

    def remembered(card: SimulatedCard, *args: Any, **options: Any) -> None:
        drawn.update(options)
        configure(card, *args, **options)

    monkeypatch.setattr(SimulatedCard, "configure", remembered)
    return drawn


def varied(count: int = 60) -> Load:
    """Pulses and pauses of all lengths: every phase against the updates."""

    def load(drawn: Drawn) -> list[tuple[str, int, int]]:
        t, spans = START_NS + 700 * MS, []
        for _ in range(count):
            spans.append(("work", *drawn.pulse(t, drawn.rng.uniform(0.03, 0.25))))
            t = drawn.until_ns + round(drawn.rng.uniform(0.05, 0.25) * NS_PER_S)
        return spans

    return load


def believed(kind: str, seed: int, load: Load, architecture: str | None = None) -> Belief:
    """What is believed of a drawn sensor; ``architecture`` "" is one that nobody knows."""
    trace, _, spans = measured(kind, seed, load)
    device = trace.recorded.devices["gpu:0"]
    known = device.meta.architecture if architecture is None else architecture
    prior = prior_for(known, "nvml.field.186")
    clock = fit_clock(device.runs["power"], max(prior.update_ns, 0))
    assert clock is not None
    updates = updates_of(device.runs["power"], clock)
    return identify(updates, Spans.of(spans).activity(), prior.responses, BOARD_W)


def check(belief: Belief, sensor: dict[str, Any]) -> None:
    best = belief.best
    assert belief.informative
    assert best.family == sensor["response"]
    assert best.window_s == pytest.approx(sensor["window_s"], rel=0.05)
    assert best.delay_s == pytest.approx(sensor["delay_s"], abs=1e-3)
    assert abs(best.window_s - sensor["window_s"]) < 4 * best.window_u_s
    assert abs(best.delay_s - sensor["delay_s"]) < 4 * best.delay_u_s
    # Narrow enough to be of use, and the rest of the posterior agrees.
    assert best.window_u_s < 0.02 * best.window_s
    assert best.delay_u_s < 1e-3
    assert sum(p.weight for p in belief.points) == pytest.approx(1.0)
    same = sum(p.weight for p in belief.points if p.response.family == best.family)
    assert same > 0.99


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_window_and_delay_are_found(kind: str, seed: int, sensor: dict[str, Any]) -> None:
    belief = believed(kind, seed, varied())
    check(belief, sensor)
    # Readings that were left out are predicted to their noise.
    assert belief.held_out_w[belief.best.family] < 1.5 * sensor["noise_w"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sensor_that_nobody_knows(kind: str, sensor: dict[str, Any]) -> None:
    """Priors from a millisecond to seconds; the readings say the rest."""
    check(believed(kind, 11, varied(), architecture=""), sensor)


@pytest.mark.parametrize("kind", ["v100", "a100", "a100 rc"])
def test_one_long_span_teaches_nothing(kind: str, sensor: dict[str, Any]) -> None:
    """Two edges in ten seconds: the prior's range stays, and so does the truth inside it."""
    belief = believed(kind, 1, steady(seconds=6.0))
    wide = [p.response for p in belief.points if p.weight > 1e-3]
    ages = np.array([r.delay_s for r in wide])
    windows = np.array([r.window_s for r in wide])
    assert len(wide) > 5
    assert ages.min() < sensor["delay_s"] + 2e-3
    assert ages.max() > sensor["delay_s"] - 2e-3
    assert windows.max() > 1.1 * windows.min()


def test_no_edge_at_all_keeps_the_prior() -> None:
    """A span from before the first reading to after the last."""

    def load(drawn: Drawn) -> list[tuple[str, int, int]]:
        drawn.power(300.0, 0)
        drawn.until_ns = START_NS + 5 * NS_PER_S
        return [("work", START_NS - 10 * NS_PER_S, START_NS + 60 * NS_PER_S)]

    for kind in ("v100", "a100"):
        belief = believed(kind, 3, load)
        assert not belief.informative
        prior = prior_for("volta" if kind == "v100" else "ga100", "nvml.field.186").responses[0]
        best = belief.best
        assert np.isfinite([best.window_s, best.delay_s]).all()
        assert best.window_u_s > 0.5 * prior.window_spread * prior.window_s
        assert best.delay_u_s > 0.5 * (prior.delay_high_s - prior.delay_low_s) / np.sqrt(12)


def test_many_classes_are_joined_by_their_powers(sensor: dict[str, Any]) -> None:
    """``collapse``: with known powers ten classes identify as well as one."""
    watts = np.linspace(100, 390, 10)

    def load(drawn: Drawn) -> list[tuple[str, int, int]]:
        t, spans = START_NS + 700 * MS, []
        for i in range(60):
            length = drawn.rng.uniform(0.03, 0.25)
            spans.append((f"k{i % 10}", *drawn.pulse(t, length, watts[i % 10])))
            t = drawn.until_ns + round(drawn.rng.uniform(0.05, 0.25) * NS_PER_S)
        return spans

    trace, _, spans = measured("a100", 4, load)
    device = trace.recorded.devices["gpu:0"]
    updates = updates_of(device.runs["power"], fit_clock(device.runs["power"], 100e6))
    prior = prior_for("ga100", "nvml.field.186")
    belief = identify(
        updates, Spans.of(spans).activity(), prior.responses, BOARD_W, collapse=watts - 55.0
    )
    check(belief, sensor)


def test_readings_without_weight_have_no_say(sensor: dict[str, Any]) -> None:
    trace, _, spans = measured("a100", 5, varied())
    device = trace.recorded.devices["gpu:0"]
    updates = updates_of(device.runs["power"], fit_clock(device.runs["power"], 100e6))
    wild = np.random.default_rng(0).random(len(updates)) < 0.1
    updates.value[wild] = 1000.0
    prior = prior_for("ga100", "nvml.field.186")
    belief = identify(
        updates,
        Spans.of(spans).activity(),
        prior.responses,
        BOARD_W,
        weight=np.where(wild, 0.0, 1.0),
    )
    best: Response = belief.best
    assert best.window_s == pytest.approx(sensor["window_s"], rel=0.05)
    assert best.delay_s == pytest.approx(sensor["delay_s"], abs=1e-3)
