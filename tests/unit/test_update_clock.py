# SPDX-License-Identifier: Apache-2.0
"""The update clock, recovered from polls of sensors whose clock is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import START_NS, sampled

from pyenergy import _core
from pyenergy.recording.readings import recorded_from_readings
from pyenergy.recording.series import Runs
from pyenergy.sensor.update_clock import UpdateClock, fit_clock, updates_of
from pyenergy.testing import SimulatedCard, simulated
from pyenergy.units import NS_PER_MS, NS_PER_S

ORIGIN_NS = 1_000 * NS_PER_S
CALL_NS = 20_000
KINDS = {"v100": 0.020, "a100": 0.1012, "h100": 0.100}


def polled(update_ns: np.ndarray, value: np.ndarray, poll_ns: np.ndarray, flags: int = 0) -> Runs:
    """What polls at ``poll_ns`` see of a sensor that publishes ``value`` at ``update_ns``."""
    latest = np.searchsorted(update_ns, poll_ns + CALL_NS // 2, side="right") - 1
    poll_ns, seen = poll_ns[latest >= 0], value[latest[latest >= 0]]
    first = np.flatnonzero(np.diff(seen, prepend=np.nan) != 0)
    last = np.append(first[1:], len(seen)) - 1
    return Runs(
        t_first_ns=poll_ns[first],
        read_first_ns=poll_ns[first] + CALL_NS,
        t_last_ns=poll_ns[last],
        read_last_ns=poll_ns[last] + CALL_NS,
        value=seen[first],
        count=(last - first + 1).astype(np.uint32),
        flags=np.full(len(first), flags, np.uint32),
    )


def polls(update_ns: np.ndarray, every_ns: float, jitter: float = 0.0, seed: int = 0) -> np.ndarray:
    """Poll times over all updates and a little more, each late by up to ``jitter`` periods."""
    rng = np.random.default_rng(seed)
    t = np.arange(ORIGIN_NS, update_ns[-1] + 4 * every_ns, every_ns)
    return np.round(t + rng.uniform(0, jitter, len(t)) * every_ns).astype(np.int64)


def ticks(count: int, period_ns: float, t0_ns: float = 3e6) -> np.ndarray:
    """Times of a sensor's updates."""
    return np.round(ORIGIN_NS + t0_ns + period_ns * np.arange(count)).astype(np.int64)


def values(count: int, seed: int = 0) -> np.ndarray:
    """Readings that all differ."""
    return np.random.default_rng(seed).uniform(50, 300, count)


def phase_errors_ns(t_ns: np.ndarray, first_ns: float, period_ns: float) -> np.ndarray:
    """Distance of each time from the nearest true update."""
    k = (t_ns - first_ns) / period_ns
    return (k - np.round(k)) * period_ns


def changing(card: SimulatedCard, seconds: float, rng: np.random.Generator) -> None:
    """Busy and idle by turns, so that nearly every update differs from the one before."""
    card.set_power(60.0, at_ns=0)
    t = START_NS
    while t < START_NS + seconds * NS_PER_S:
        card.set_power(float(rng.uniform(80, 380)), at_ns=t)
        t += int(rng.uniform(20, 200) * NS_PER_MS)
        card.set_power(60.0, at_ns=t)
        t += int(rng.uniform(20, 200) * NS_PER_MS)


def on_card(
    kind: str, seed: int, *, seconds: float = 8.0, period_ns: int = NS_PER_MS, **sensor: float
) -> tuple[Runs, int, int]:
    """(readings, true period, one true update) of a card whose clock is drawn."""
    rng = np.random.default_rng(seed)
    update_s = KINDS[kind] * (1 + 0.02 * rng.uniform(-1, 1))
    phase_s = rng.uniform(0, update_s)
    latency = {k: sensor.pop(k) for k in ("slow_s", "slow_probability") if k in sensor}
    with simulated(kind) as world:
        card = world[0]
        card.configure(update_s=update_s, phase_s=phase_s, **{"noise_w": 0.5, **sensor})
        card.configure_counter(present=False)
        if latency:
            card.set_latency(**latency)
        changing(card, seconds, rng)
        trace = sampled(seconds=seconds, period_ns=period_ns, tail_s=0.5)
    runs = trace.recorded.devices["gpu:0"].runs["power"]
    return runs, round(update_s * NS_PER_S), round(phase_s * NS_PER_S)


def checked(runs: Runs, period_ns: float, first_ns: float, expected_ns: float) -> UpdateClock:
    """The fitted clock, which must agree with the true one and have lost no update."""
    clock = fit_clock(runs, expected_ns)
    assert clock is not None
    assert clock.u_period_ns < 1e-3 * period_ns
    assert abs(clock.period_ns - period_ns) < 5 * clock.u_period_ns
    # Indices that slip by one over the recording would be off by a period at its end.
    span = (runs.t_last_ns[-1] - runs.t_first_ns[0]) / period_ns
    assert abs(clock.period_ns - period_ns) * span < period_ns / 10
    error = phase_errors_ns(updates_of(runs, clock).t_ns, first_ns, period_ns)
    poll_ns = float(np.median(runs.read_first_ns[1:] - runs.t_last_ns[:-1]))
    assert np.abs(error).max() < poll_ns + CALL_NS
    return clock


@pytest.mark.parametrize("poll_ms", [1, 5])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 2])
def test_clock_of_a_simulated_card(kind: str, poll_ms: int, seed: int) -> None:
    runs, period_ns, phase_ns = on_card(kind, seed, period_ns=poll_ms * NS_PER_MS)
    for expected in (KINDS[kind] * NS_PER_S, 0.0):
        clock = checked(runs, period_ns, phase_ns, expected)
        assert clock.violations == 0
        assert clock.scatter_ns < 0.6 * poll_ms * NS_PER_MS
        updates = updates_of(runs, clock)
        assert np.all(updates.steps == 1)
        covered = (runs.t_last_ns[-1] - runs.t_first_ns[0]) // period_ns
        assert abs(len(updates) - covered) <= 2
        assert np.all(np.diff(updates.t_ns) > 0)
        assert np.all(updates.u_t_ns < poll_ms * NS_PER_MS)


def test_jitter_shows_as_scatter() -> None:
    runs, period_ns, phase_ns = on_card("a100", 3, jitter_s=0.008)
    clock = checked(runs, period_ns, phase_ns, 100e6)
    assert 1.5e6 < clock.scatter_ns < 4e6
    assert clock.violations <= 0.02 * clock.changes
    assert np.all(updates_of(runs, clock).steps == 1)


def test_slow_calls_leave_the_clock_alone() -> None:
    runs, period_ns, phase_ns = on_card("v100", 4, slow_s=0.05, slow_probability=0.002)
    assert np.max(runs.read_first_ns - runs.t_first_ns) > 40 * NS_PER_MS
    clock = fit_clock(runs, 20e6)
    assert clock is not None
    assert abs(clock.period_ns - period_ns) < 5 * clock.u_period_ns
    updates = updates_of(runs, clock)
    assert np.median(np.abs(phase_errors_ns(updates.t_ns, phase_ns, period_ns))) < 0.2e6
    # What a hanging call slept through is counted as missed, or lies in the run before.
    whole = (updates.t_ns[-1] - updates.t_ns[0]) / period_ns
    assert updates.steps[1:].sum() == pytest.approx(whole, abs=0.5)


def test_missed_polls() -> None:
    rng = np.random.default_rng(5)
    period_ns = 20.13e6
    t = ticks(500, period_ns)
    kept = polls(t, NS_PER_MS)
    kept = kept[rng.random(len(kept)) < 0.5]
    for start in rng.choice(kept, 10):  # silence of four updates
        kept = kept[(kept < start) | (kept > start + 4 * period_ns)]
    runs = polled(t, values(500), kept)
    clock = fit_clock(runs, 20e6)
    assert clock is not None
    assert abs(clock.period_ns - period_ns) < 5 * clock.u_period_ns
    updates = updates_of(runs, clock)
    assert np.abs(phase_errors_ns(updates.t_ns, t[0], period_ns)).max() < 1.5e6
    whole = (updates.t_ns[-1] - updates.t_ns[0]) / period_ns
    # Silence looks like one value that stayed: no update is lost from the count.
    assert updates.steps[1:].sum() == pytest.approx(whole, abs=0.1)


def test_updates_that_repeat_a_value_are_counted() -> None:
    """A steady load in whole watts: most updates change nothing."""
    with simulated("v100") as world:
        world[0].configure(
            update_s=0.0203, phase_s=0.0071, noise_w=0.35, quantum_w=1.0, window_s=0.01
        )
        world[0].configure_counter(present=False)
        world[0].set_power(200.1, at_ns=0)
        trace = sampled(seconds=10)
    runs = trace.recorded.devices["gpu:0"].runs["power"]
    period_ns = 20.3e6
    covered = (runs.t_last_ns[-1] - runs.t_first_ns[0]) / period_ns
    assert len(runs) < 0.5 * covered
    clock = checked(runs, period_ns, 7.1e6, 20e6)
    updates = updates_of(runs, clock)
    assert abs(len(updates) - covered) <= 2
    assert np.all(updates.steps == 1)
    # Each has the value that was published then.
    at = np.searchsorted(runs.t_first_ns, updates.t_ns + 2 * NS_PER_MS, side="right") - 1
    assert np.mean(runs.value[at] == updates.value) > 0.99


def placed(runs: Runs, clock: UpdateClock, t: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Distance from its true time of each update, found by its value (all differ)."""
    updates = updates_of(runs, clock)
    first = np.unique(updates.value, return_index=True)[1]
    order = np.argsort(value)
    found = order[np.searchsorted(value[order], updates.value[first])]
    assert np.array_equal(value[found], updates.value[first])
    seen = updates.t_ns[first] > updates.t_ns[0]  # nobody saw the first one begin
    return np.asarray(updates.t_ns[first] - t[found])[seen]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("lost_at", [0.5, 0.95])
def test_a_lost_phase_is_reported_and_what_follows_is_placed(lost_at: float, share: float) -> None:
    period_ns = 101.9e6
    t = ticks(200, period_ns)
    t[round(200 * lost_at) :] += round(share * period_ns)
    value = values(200)
    runs = polled(t, value, polls(t, NS_PER_MS))
    clock = fit_clock(runs, 100e6)
    assert clock is not None
    assert clock.violations > 0
    assert abs(clock.period_ns - period_ns) < max(5 * clock.u_period_ns, 1e-4 * period_ns)
    assert np.abs(placed(runs, clock, t, value)).max() < 1.5 * NS_PER_MS


def test_a_doubled_update_moves_no_other() -> None:
    period_ns = 101.9e6
    t = ticks(150, period_ns)
    extra = t[70] + round(0.3 * period_ns)
    t = np.sort(np.append(t, extra))
    value = values(151)
    runs = polled(t, value, polls(t, NS_PER_MS))
    clock = fit_clock(runs, 100e6)
    assert clock is not None
    assert clock.violations == 1
    assert abs(clock.period_ns - period_ns) < 5 * clock.u_period_ns
    others = value != value[71]
    assert np.abs(placed(runs, clock, t, value)).max() < 1.5 * NS_PER_MS
    assert np.isin(value[others], updates_of(runs, clock).value).all()


def test_a_gap_is_no_bracket() -> None:
    """After silence the first reading has changed, but nobody saw when."""
    period_ns = 20.13e6
    t = ticks(400, period_ns)
    every = polls(t, NS_PER_MS)
    silent = (every > t[200] + 2e6) & (every < t[207] + 2e6)
    runs = polled(t, values(400), every[~silent])
    after = int(np.searchsorted(runs.t_first_ns, t[207]))
    flags = runs.flags.copy()
    flags[after] = _core.FLAG_GAP_BEFORE
    runs = replace(runs, flags=flags)
    clock = fit_clock(runs, 20e6)
    assert clock is not None
    assert clock.changes == len(runs) - 2
    assert clock.violations == 0
    updates = updates_of(runs, clock)
    assert np.sort(updates.steps)[-2:] == pytest.approx([1, 7])
    assert np.abs(phase_errors_ns(updates.t_ns, t[0], period_ns)).max() < NS_PER_MS


def test_missing_reads_are_no_updates() -> None:
    period_ns = 20.13e6
    t = ticks(300, period_ns)
    runs = polled(t, values(300), polls(t, NS_PER_MS))
    flags = runs.flags.copy()
    flags[50:300:50] = _core.FLAG_MISSING
    value = np.where(flags != 0, np.nan, runs.value)
    runs = replace(runs, flags=flags, value=value)
    clock = fit_clock(runs, 20e6)
    assert clock is not None
    assert abs(clock.period_ns - period_ns) < 5 * clock.u_period_ns
    updates = updates_of(runs, clock)
    assert np.isfinite(updates.value).all()
    assert sorted(set(updates.steps)) == [1, 2]


def test_nothing_to_fit() -> None:
    t = ticks(5, 20e6)
    few = polled(t, values(5), polls(t, NS_PER_MS))
    assert fit_clock(few) is None  # five values are four changes
    t = ticks(6, 20e6)
    assert fit_clock(polled(t, values(6), polls(t, NS_PER_MS))) is not None
    runs = polled(t, values(6), polls(t, NS_PER_MS))
    empty = Runs(**{name: getattr(runs, name)[:0] for name in Runs.names()})
    assert fit_clock(empty, 20e6) is None
    assert len(updates_of(empty, None)) == 0


def test_a_reading_that_is_always_fresh_has_no_clock() -> None:
    t = ticks(1000, 1e6, t0_ns=5e5)
    every = polls(t, NS_PER_MS)
    runs = polled(t, values(1000), every)
    assert fit_clock(runs) is None
    assert fit_clock(runs, 20e6) is None
    updates = updates_of(runs, None)
    assert len(updates) == len(runs)
    assert np.all(updates.u_t_ns <= NS_PER_MS)


def test_changes_without_rhythm_have_no_clock() -> None:
    rng = np.random.default_rng(9)
    t = ORIGIN_NS + np.cumsum(rng.exponential(50e6, 300)).astype(np.int64)
    assert fit_clock(polled(t, values(300), polls(t, NS_PER_MS)), 100e6) is None


@pytest.mark.parametrize("drift", [0.0, 0.1, 0.5, 1.0, 2.0, 3.0])
def test_a_period_near_a_multiple_of_the_polls(drift: float) -> None:
    """The phase of the polls then moves slowly: errors of neighbours are alike, and averaging
    over many changes teaches little. ``drift``: polls by which it moves over the recording."""
    z_period, z_time = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        period_ns = 20e6 + drift * NS_PER_MS / 500 * rng.choice([-1, 1])
        t = ticks(500, period_ns, rng.uniform(0, 20e6))
        runs = polled(t, values(500, seed), polls(t, NS_PER_MS))
        clock = fit_clock(runs, 20e6)
        assert clock is not None
        updates = updates_of(runs, clock)
        error = phase_errors_ns(updates.t_ns, t[0], period_ns)
        z_period.append((clock.period_ns - period_ns) / clock.u_period_ns)
        z_time.append(np.max(np.abs(error) / updates.u_t_ns))
    assert np.sqrt(np.mean(np.square(z_period))) < 2
    assert np.max(np.abs(z_period)) < 5
    assert np.max(z_time) < 5


@settings(max_examples=30, deadline=None)
@given(
    t0=st.floats(0, 1),
    period_ms=st.floats(15, 120),
    poll_ms=st.sampled_from([0.25, 1.0, 2.0, 5.0]),
    unchanged=st.floats(0, 0.6),
    seed=st.integers(0, 2**32 - 1),
    known=st.booleans(),
)
def test_any_clock_is_found(
    t0: float, period_ms: float, poll_ms: float, unchanged: float, seed: int, known: bool
) -> None:
    """Whatever the phase, the period, the polls, and the share of updates that repeat a value."""
    rng = np.random.default_rng(seed)
    period_ns = period_ms * 1e6
    poll_ns = min(poll_ms * 1e6, period_ns / 4)
    t = ticks(240, period_ns, t0 * period_ns)
    fresh = rng.random(240) >= unchanged
    value = values(240, seed)[np.maximum.accumulate(np.where(fresh, np.arange(240), 0))]
    # Polls with jitter: polls in step with the updates are another test's.
    runs = polled(t, value, polls(t, poll_ns, jitter=0.9, seed=seed))
    clock = fit_clock(runs, period_ns * rng.uniform(0.85, 1.15) if known else 0.0)
    assert clock is not None
    assert clock.period_ns == pytest.approx(period_ns, rel=2e-3)
    assert abs(clock.period_ns - period_ns) < 6 * clock.u_period_ns
    assert clock.violations == 0
    updates = updates_of(runs, clock)
    assert np.abs(phase_errors_ns(updates.t_ns, t[0], period_ns)).max() < 2 * poll_ns
    assert np.all(updates.steps == 1)
    # Each update has the value that was published then.
    number = np.round((updates.t_ns - t[0]) / period_ns).astype(int).clip(0, 239)
    assert np.mean(value[number] == updates.value) > 0.98


def test_times_that_repeat_are_no_infinite_certainty() -> None:
    """A log of 20 ms polls whose stamps were rounded to 100 ms."""
    t = np.arange(0, 20_000, 20, dtype=np.int64) // 100 * 100 * 1_000_000
    rng = np.random.default_rng(3)
    watts = np.repeat(rng.normal(200.0, 20.0, len(t)), 2)[: len(t)]
    recorded = recorded_from_readings({"gpu:0/power": (t, watts)})
    runs = recorded.devices["gpu:0"].runs["power"]
    clock = fit_clock(runs, 100e6)
    assert clock is None or np.isfinite([clock.period_ns, clock.u_t0_ns, clock.u_period_ns]).all()
