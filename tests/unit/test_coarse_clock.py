# SPDX-License-Identifier: Apache-2.0
"""Updates seen by polls that are about as rare: placed where something tells, honest elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pyenergy import _core
from pyenergy.errors import NoReadingsError
from pyenergy.recording.readings import _runs
from pyenergy.recording.series import Runs
from pyenergy.sensor.catalog import UNKNOWN, SensorPrior, prior_for
from pyenergy.sensor.coarse_clock import absorbed, coarse_clock
from pyenergy.sensor.response import Response
from pyenergy.sensor.spans import Spans
from pyenergy.units import NS_PER_S

ORIGIN_NS = 1_000 * NS_PER_S
WINDOW_NS = 25_000_000
HOPPER = prior_for("hopper", "nvml.field.186")


class Sensor:
    """Readings of 25 ms, every ``period_ns``, of work that runs now and then."""

    def __init__(self, period_ns: float, seed: int, seconds: float = 30.0, rate: float = 3.0):
        rng = np.random.default_rng(seed)
        self.period_ns, self.rng = period_ns, rng
        self.first_ns = ORIGIN_NS + rng.uniform(0, period_ns)
        count = int(seconds * 1e9 / period_ns)
        self.t = self.first_ns + period_ns * np.arange(count)
        starts = ORIGIN_NS + np.cumsum(rng.uniform(0.5, 1.5, int(rate * seconds)) / rate) * 1e9
        self.starts = starts[starts < self.t[-1] - 1e9].astype(np.int64)
        self.ends = self.starts + (rng.uniform(0.03, 0.16, len(self.starts)) * 1e9).astype(np.int64)
        self.spans = Spans.of(
            [("work", int(a), int(b)) for a, b in zip(self.starts, self.ends, strict=True)]
        )
        self.activity = self.spans.activity()
        t_ns = np.round(self.t).astype(np.int64)
        begin, _index, value = self.activity.overlap(t_ns - WINDOW_NS, t_ns, 1)
        share = np.zeros(count)
        np.add.at(share, np.repeat(np.arange(count), np.diff(begin)), value / (WINDOW_NS / 1e9))
        self.value = np.round(60 + 300 * share + rng.normal(0, 0.7, count), 2)

    def polled(self, every_ns: float, late_ns: float = 0.0) -> tuple[Runs, np.ndarray]:
        """(readings, time of the update that each poll shows)."""
        n = int((self.t[-1] - self.t[0]) / (every_ns + late_ns)) - 2
        steps = every_ns + (self.rng.exponential(late_ns, n) if late_ns else np.zeros(n))
        polls = self.t[1] + self.rng.uniform(0, every_ns) + np.cumsum(steps)
        latest = np.searchsorted(self.t, polls, side="right") - 1
        stamps = (polls // 1_000_000).astype(np.int64) * 1_000_000
        return _runs(stamps, self.value[latest], "W", NS_PER_S), self.t[latest]

    def off_ns(self, t_ns: np.ndarray) -> np.ndarray:
        """Distance of each time from the nearest update."""
        k = (t_ns - self.first_ns) / self.period_ns
        return (k - np.round(k)) * self.period_ns


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("every_ms", [50.3, 80.0, 95.0])
def test_polls_a_little_faster_than_the_updates_tell_them_without_any_work(
    every_ms: float, seed: int
) -> None:
    """A value that stayed says that no update came: the work, elsewhere, need not help."""
    sensor = Sensor(101.3e6, seed)
    runs, _ = sensor.polled(every_ms * 1e6, 0.5e6)
    nothing = Spans.of([("later", int(sensor.t[-1]) + 10**12, int(sensor.t[-1]) + 2 * 10**12)])
    clock, updates = coarse_clock(runs, nothing.activity(), HOPPER)
    assert clock.phase_known
    assert clock.violations == 0
    assert clock.period_ns == pytest.approx(101.3e6, rel=2e-3)
    # What is not known of the delay is not known of the clock here: it stays out of the times.
    off = sensor.off_ns(updates.t_ns)
    assert np.abs(off).max() < 5e6
    assert np.abs(off).mean() < 2 * clock.u_t0_ns + 1e6
    covered = (runs.t_last_ns[-1] - runs.t_first_ns[0]) / 101.3e6
    assert abs(len(updates) - covered) < 3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("every_ms", "late_ms"), [(100.0, 0.0), (101.3, 0.5), (105.0, 1.0)])
def test_work_tells_the_age_of_readings(every_ms: float, late_ms: float, seed: int) -> None:
    """Polls in step with the updates, or slower: every one shows another value."""
    sensor = Sensor(101.3e6, seed)
    runs, shown_ns = sensor.polled(every_ms * 1e6, late_ms * 1e6)
    clock, updates = coarse_clock(runs, sensor.activity, HOPPER)
    assert np.all(updates.steps == 1)  # polls came on time: what they skip is no gap
    value = runs.value
    assert np.isin(updates.value, value).all()
    # A constant error is a delay: beyond it, readings are where they were published.
    at = np.searchsorted(runs.t_first_ns, updates.t_ns + 30_000_000)
    assert len(updates) > 0.9 * len(shown_ns)
    assert at.max() <= len(runs)
    off = sensor.off_ns(updates.t_ns)
    off -= np.median(off)
    off -= np.round(off / 101.3e6) * 101.3e6
    assert np.quantile(np.abs(off), 0.9) < 8e6
    assert clock.scatter_ns < 10e6


def test_without_any_evidence_ages_are_as_good_as_random() -> None:
    sensor = Sensor(101.3e6, 0)
    runs, shown_ns = sensor.polled(103e6, 1e6)
    nothing = Spans.of([("later", int(sensor.t[-1]) + 10**12, int(sensor.t[-1]) + 2 * 10**12)])
    clock, updates = coarse_clock(runs, nothing.activity(), HOPPER)
    assert not clock.phase_known
    assert clock.u_t0_ns == pytest.approx(100e6 / np.sqrt(12), rel=0.01)
    error = updates.t_ns - shown_ns[: len(updates)]
    assert np.abs(error).max() < 0.55 * 101.3e6
    assert np.sqrt(np.mean(error**2.0)) < 1.5 * updates.u_t_ns.mean()
    wider = absorbed(HOPPER.responses, clock)
    assert wider[0].delay_low_s == pytest.approx(-0.05)
    assert wider[0].delay_high_s == pytest.approx(0.15)
    assert wider[0].window_s == HOPPER.responses[0].window_s


@pytest.mark.parametrize("every_ms", [60.0, 100.0])
def test_far_fewer_polls_than_updates(every_ms: float) -> None:
    """A 20 ms sensor: each poll shows an update of the 20 ms before it."""
    sensor = Sensor(20.2e6, 1)
    runs, shown_ns = sensor.polled(every_ms * 1e6, 0.7e6)
    clock, updates = coarse_clock(runs, sensor.activity, prior_for("volta", "nvml.field.186"))
    assert len(updates) == len(shown_ns)
    assert clock.period_ns == pytest.approx(every_ms * 1e6 + 0.7e6, rel=0.01)
    assert not clock.phase_known
    error = updates.t_ns - shown_ns
    assert np.abs(error).max() < 12e6
    assert np.sqrt(np.mean(error**2.0)) < 1.2 * updates.u_t_ns.mean()


def test_silence_is_a_gap() -> None:
    sensor = Sensor(101.3e6, 2)
    runs, _ = sensor.polled(80e6)
    kept = (runs.t_first_ns < ORIGIN_NS + 10 * NS_PER_S) | (
        runs.t_first_ns > ORIGIN_NS + 11 * NS_PER_S
    )
    flags = runs.flags.copy()
    flags[np.flatnonzero(~kept)[-1] + 1] |= _core.FLAG_GAP_BEFORE
    runs = replace(runs, flags=flags)
    runs = Runs(**{name: getattr(runs, name)[kept] for name in Runs.names()})
    _, updates = coarse_clock(runs, sensor.activity, HOPPER)
    assert np.sum(updates.steps > 1) == 1
    assert updates.steps.max() in (10, 11, 12)


def test_an_unknown_period_is_told_by_values_that_stay() -> None:
    sensor = Sensor(101.3e6, 3)
    runs, _ = sensor.polled(60e6, 1e6)
    clock, updates = coarse_clock(runs, sensor.activity, UNKNOWN)
    assert clock.period_ns == pytest.approx(101.3e6, rel=5e-3)
    off = sensor.off_ns(updates.t_ns)
    off -= np.median(off)
    assert np.quantile(np.abs(off), 0.9) < 12e6


def test_a_known_response_leaves_the_delay_alone() -> None:
    sensor = Sensor(101.3e6, 4)
    runs, _ = sensor.polled(100e6, 1e6)
    response = Response("boxcar", 0.025, 0.0, 0.001, 0.001)
    clock, updates = coarse_clock(runs, sensor.activity, HOPPER, response)
    assert clock.phase_known
    assert np.quantile(np.abs(sensor.off_ns(updates.t_ns)), 0.9) < 8e6


def _with_period(prior: SensorPrior, update_ns: int) -> SensorPrior:
    return replace(prior, update_ns=update_ns)


def test_what_cannot_be_placed_is_refused_with_the_reason() -> None:
    sensor = Sensor(101.3e6, 5)
    slow, _ = sensor.polled(120e6)
    with pytest.raises(NoReadingsError, match="state the architecture and the field"):
        coarse_clock(slow, sensor.activity, UNKNOWN)
    # Readings without rhythm that are far from coarse are no matter of age.
    with pytest.raises(NoReadingsError, match="no update clock that could be recovered"):
        coarse_clock(slow, sensor.activity, _with_period(HOPPER, 500_000_000))
    none = Runs(**{name: getattr(slow, name)[:1] for name in Runs.names()})
    with pytest.raises(NoReadingsError, match="no update clock that could be recovered"):
        coarse_clock(none, sensor.activity, HOPPER)
