# SPDX-License-Identifier: Apache-2.0
"""Updates of a sensor that was polled about as seldom as it updates, or more seldom.

Polls that are nearly as slow as the updates bracket each of them by a whole period: a reading
shows the latest update, of an age from 0 to T that nobody saw. Two things tell these ages. A value
that changed was published since the poll before, and one that did not, most probably, was not. And
where the work's times are known, a reading that saw its edge says how old it is. Both are asked of
every clock ``t0 + k T`` that may be, with every delay that the sensor may have, over ever more of
the recording; each reading is placed at its mean over the clocks that remain, weighted. Where they
leave much open its time is uncertain by up to ``T / sqrt(12)``, the clock says so
(``phase_known``), and the readings that hold an edge, which then scatter, lose their weight.

A constant error of all times is the same as a delay: the response's delay absorbs it (`absorbed`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..errors import NoReadingsError
from ..units import NS_PER_S
from .poll_search import Clocks, ClockSearch, Polls
from .update_clock import UpdateClock, Updates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from .catalog import SensorPrior
    from .response import Response, ResponsePrior

__all__ = ["absorbed", "coarse_clock"]

# Periods of sensors lie within this of the catalogue's (an A100's 100 ms are 101.2, a K620's 96).
_PERIOD_SPREAD = 0.05
_FINEST = 0.35  # polls that are closer than this share of a period are no coarse ones
_COARSEST = 1.6  # above it, in periods, ages are as good as random, and are taken as such


def coarse_clock(
    runs: Runs, activity: _core.Activity, prior: SensorPrior, response: Response | None = None
) -> tuple[UpdateClock, Updates]:
    """When the readings of coarse polls were published, and what is known of the clock.

    Parameters
    ----------
    runs : Runs
        Readings of a power channel, W, in which `update_clock.fit_clock` found no clock.
    activity : Activity
        When what ran.
    prior : SensorPrior
        What is known of the sensor: its period above all.
    response : Response, optional
        Known from a calibration.

    Returns
    -------
    clock : UpdateClock
        Its ``period_ns`` is that of the readings: the sensor's, or the polls' where they are
        slower. ``phase_known`` is False where the times of updates stay open.
    updates : Updates
        One entry for each update that was seen.

    Raises
    ------
    NoReadingsError
        When the polls are no coarse ones, or nothing tells the sensor's period.
    """
    polls = _polls(runs)
    if polls is None:
        raise NoReadingsError("the reading has no update clock that could be recovered")
    low, high = _periods(polls, prior)
    period = (low + high) / 2
    every = polls.every
    priors = prior.responses
    family = response if response is not None else replace(priors[0].middle, delay_s=0.0)
    if response is None:
        ends = min(p.delay_low_s for p in priors), max(p.delay_high_s for p in priors)
    else:
        u = 2 * response.delay_u_s
        ends = response.delay_s - u, response.delay_s + u
    window = family.window_s * NS_PER_S * (2 if family.family == "rc" else 1)
    if every > _COARSEST * period or window > 5 * period:
        return _random_ages(polls, period)
    delays = ends[0] * NS_PER_S, ends[1] * NS_PER_S
    step = float(np.clip(window / 4, period / 40, period / 8))
    plain = replace(family, delay_s=0.0)
    search = ClockSearch(polls, activity, plain, (low, high), delays, step)
    found = search.run()
    if found is None:
        return _random_ages(polls, period)
    return _placed(polls, period, search.step / np.sqrt(12), *found)


def absorbed(priors: tuple[ResponsePrior, ...], clock: UpdateClock) -> tuple[ResponsePrior, ...]:
    """With room in the delay for what is not known of the clock's phase."""
    room = np.sqrt(3) * clock.u_t0_ns / NS_PER_S
    return tuple(
        replace(p, delay_low_s=p.delay_low_s - room, delay_high_s=p.delay_high_s + room)
        for p in priors
    )


def _polls(runs: Runs) -> Polls | None:
    """None where there are hardly any."""
    usable = runs.usable
    if int(usable.sum()) < 2:
        return None
    first = (runs.t_first_ns + (runs.read_first_ns - runs.t_first_ns) // 2)[usable]
    last = (runs.t_last_ns + (runs.read_last_ns - runs.t_last_ns) // 2)[usable]
    brackets = first[1:] - last[:-1]
    # Of runs with many polls only the ends are known: such polls are not coarse.
    if float(np.median(runs.count[usable])) > 4 or float(np.median(brackets)) <= 0:
        return None
    count = np.maximum(runs.count[usable].astype(np.int64), 1)
    run = np.repeat(np.arange(len(count)), count)
    offset = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count)
    origin = int(first[0])
    share = offset / np.maximum(count - 1, 1)[run]
    t = (first - origin)[run] + share * (last - first)[run]
    split = np.uint32(_core.FLAG_CONTINUES | _core.FLAG_GAP_BEFORE)
    fresh = np.append(False, usable[1:] & usable[:-1]) & ((runs.flags & split) == 0)
    follows = np.where(offset == 0, fresh[usable][run], True)
    return Polls(origin, t, np.asarray(runs.value[usable][run], np.float64), follows)


def _periods(polls: Polls, prior: SensorPrior) -> tuple[float, float]:
    """Between which periods to look, ns."""
    every = polls.every
    if prior.update_ns > 0:
        if every < _FINEST * prior.update_ns:
            raise NoReadingsError("the reading has no update clock that could be recovered")
        return (1 - _PERIOD_SPREAD) * prior.update_ns, (1 + _PERIOD_SPREAD) * prior.update_ns
    fresh = np.diff(polls.value)[polls.follows[1:]] != 0
    share = max(float(fresh.mean()), 1e-3) if len(fresh) else 1.0
    if share > 0.95:
        raise NoReadingsError(
            "every poll shows another value: the polls are as slow as the sensor's updates or "
            "slower, and nothing says how often it updates (state the architecture and the field)"
        )
    # Updates that repeat a value make it look longer.
    return 0.7 * every / share, 1.15 * every / share


def _placed(
    polls: Polls, period: float, grid: float, clocks: Clocks, weight: NDArray[np.float64]
) -> tuple[UpdateClock, Updates]:
    """Readings at the mean of their times over the clocks, which are known to ``grid`` at best."""
    top = np.argsort(-weight)[:400]
    clocks, weight = clocks.at(top), weight[top] / weight[top].sum()
    changed = np.append(True, np.diff(polls.value) != 0) | ~polls.follows
    number = _shown(polls, clocks, changed)
    t = clocks.t0[:, None] + number * clocks.period[:, None]
    u_phase = np.hypot(np.sqrt(weight @ (t - weight @ t) ** 2), grid)
    shown = t - clocks.delay[:, None]
    mean = weight @ shown
    # What moves all of them alike is a delay.
    apart = shown - mean
    apart -= apart.mean(axis=1, keepdims=True)
    u = np.hypot(np.sqrt(weight @ apart**2), grid)
    every = polls.every
    if float(np.median(u)) > 0.2 * min(every, period):
        return _random_ages(polls, period)
    fresh = np.append(True, np.diff(number[0]) > 0)
    keep = np.flatnonzero(changed | fresh)
    middle = float(weight @ clocks.period)
    spread = np.sqrt(weight @ (clocks.period - middle) ** 2)
    u_period = float(np.hypot(spread, 2 * grid / max(float(np.ptp(polls.t)) / middle, 1.0)))
    updates = _updates(polls, keep, mean + float(weight @ clocks.delay), u, max(every, middle))
    clock = UpdateClock(
        t0_ns=float(weight @ clocks.t0),
        period_ns=middle if every < middle else _spacing(updates),
        u_t0_ns=float(np.median(u_phase)),
        u_period_ns=u_period,
        scatter_ns=float(np.median(u)),
        changes=int(changed.sum()),
        violations=int((changed & ~fresh).sum()),
        origin_ns=polls.origin,
        phase_known=bool(np.median(u_phase) < 0.1 * middle),
    )
    return clock, updates


def _shown(polls: Polls, clocks: Clocks, changed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Number of the update that each poll shows, by each clock.

    Updates jitter, and times are printed in whole ms: where a poll comes within that of an update,
    whether the value changed says on which side.
    """
    t0, period = clocks.t0[:, None], clocks.period[:, None]
    number = np.floor((polls.t[None, :] - t0) / period)
    soft = 2 * (1e6 + 0.01 * period)
    age = polls.t[None, :] - t0 - number * period
    fresh = np.diff(number, axis=1, prepend=-np.inf) > 0
    number -= fresh & ~changed & (age < soft)
    fresh = np.diff(number, axis=1, prepend=-np.inf) > 0
    number += ~fresh & changed & (period - age < soft)
    return np.asarray(np.maximum.accumulate(number, axis=1))


def _random_ages(polls: Polls, period: float) -> tuple[UpdateClock, Updates]:
    """Each reading is of any age that it may have, as if drawn."""
    every = polls.every
    room = min(every, period)
    changed = np.append(True, np.diff(polls.value) != 0) | ~polls.follows
    keep = np.flatnonzero(changed | (every > period))
    u = np.full(len(polls.t), room / np.sqrt(12))
    updates = _updates(polls, keep, polls.t - room / 2, u, max(every, period))
    clock = UpdateClock(
        t0_ns=float(updates.t_ns[0] - polls.origin),
        period_ns=_spacing(updates),
        u_t0_ns=room / np.sqrt(12),
        u_period_ns=0.0,
        scatter_ns=room / np.sqrt(12),
        changes=int(changed.sum()),
        violations=0,
        origin_ns=polls.origin,
        phase_known=False,
    )
    return clock, updates


def _updates(
    polls: Polls,
    keep: NDArray[np.int64],
    t: NDArray[np.float64],
    u: NDArray[np.float64],
    usual: float,
) -> Updates:
    """Updates that regular polls skip are no gap: the sensor looks away as well."""
    silence = np.diff(polls.t, prepend=polls.t[:1])
    longest = np.maximum.reduceat(silence, np.append(0, keep[:-1] + 1)) if len(keep) else silence
    steps = np.where(longest > 2 * usual, np.round(longest / usual), 1.0)
    t_ns = np.maximum.accumulate(polls.origin + np.round(t[keep]).astype(np.int64))
    return Updates(t_ns, polls.value[keep], np.maximum(steps, 1.0), u[keep])


def _spacing(updates: Updates) -> float:
    """Mean interval between readings where none was missed, ns."""
    if len(updates) < 2:
        return 1.0
    regular = updates.steps[1:] <= 1
    gaps = np.diff(updates.t_ns)
    return float(np.mean(gaps[regular] if regular.any() else gaps))
