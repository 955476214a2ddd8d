# SPDX-License-Identifier: Apache-2.0
"""When a sensor updates: its clock, recovered from polls, and the updates that it published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs

__all__ = ["UpdateClock", "Updates", "fit_clock", "updates_of"]

_MIN_CHANGES = 5
_FIRST_CHANGES = 64  # the search for the period looks at these; the rest extends the fit
_EXPECTED, _NEAR = 0.3, 0.005  # how far a period may be from what it should be, from what it was
_MOST_CANDIDATES = 40_000


@dataclass(frozen=True)
class UpdateClock:
    """``t_k = t0 + k T``, fitted to the brackets of a reading's changes.

    Attributes
    ----------
    t0_ns : float
        Time of update 0 after ``origin_ns``, ns.
    period_ns : float
        Period T, ns.
    u_t0_ns, u_period_ns : float
        Their standard uncertainties, ns.
    scatter_ns : float
        Root mean square of the changes about the clock, ns: half a poll, and the sensor's jitter.
    changes : int
        Changes that were seen.
    violations : int
        Changes that the clock misses by more than their bracket and twice the scatter: a skipped
        phase, a doubled update, a call that hung.
    origin_ns : int
        Origin of ``t0_ns`` on CLOCK_MONOTONIC.
    phase_known : bool
        False where ``u_t0_ns`` is no small part of the period: polls were as rare as the updates,
        and neither they nor the work tell when in between (`coarse_clock`).
    """

    t0_ns: float
    period_ns: float
    u_t0_ns: float
    u_period_ns: float
    scatter_ns: float
    changes: int
    violations: int
    origin_ns: int
    phase_known: bool = True

    @property
    def period_s(self) -> float:
        """Period, s."""
        return self.period_ns / NS_PER_S

    @property
    def u_s(self) -> float:
        """Standard uncertainty of the period, s."""
        return self.u_period_ns / NS_PER_S

    def index(self, t_ns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Number of the latest update at or before each time (ns after ``origin_ns``)."""
        return np.floor((t_ns - self.t0_ns) / self.period_ns)


@dataclass(frozen=True)
class Updates:
    """What a sensor published, one entry an update.

    Attributes
    ----------
    t_ns : ndarray of int64, shape (n,)
        When it was published, ns of CLOCK_MONOTONIC, increasing.
    value : ndarray of float64, shape (n,)
        The reading, W.
    steps : ndarray of float64, shape (n,)
        Updates since the entry before (1 where none was missed); the first has 1.
    u_t_ns : ndarray of float64, shape (n,)
        Standard uncertainty of ``t_ns``, ns.
    """

    t_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    steps: NDArray[np.float64]
    u_t_ns: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.t_ns)


@dataclass(frozen=True)
class _Brackets:
    """Each change lies in [lower, upper], ns after the origin."""

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @property
    def middle(self) -> NDArray[np.float64]:
        return (self.lower + self.upper) / 2

    @property
    def width(self) -> NDArray[np.float64]:
        return self.upper - self.lower


def fit_clock(runs: Runs, period_ns: float = 0.0, near_ns: float = 0.0) -> UpdateClock | None:
    """Recover the update clock of a reading.

    A change lies between the last poll that saw the old value and the first that saw the new one.
    Updates that repeat a value leave no change, so intervals are integer multiples of the period.
    The period is searched for, not taken from a median of gaps (integer indices slip when the
    poll is coarse against the period): over the first changes the largest period whose phases
    agree wins, then the fit grows over the recording, each change with the integer that the fit so
    far gives it.

    Parameters
    ----------
    runs : Runs
        Readings of a channel.
    period_ns : float
        Expected period, ns, searched for within 30 %; 0 where nothing is known.
    near_ns : float
        Period that the same sensor had before, ns: looked for at first, and within 0.5 %; it saves
        the search. 0 where it has not been found yet.

    Returns
    -------
    UpdateClock or None
        None when fewer than five changes were seen, when the reading changes with nearly every
        poll (it then has no slower clock of its own), or when no period explains nine changes in
        ten.
    """
    origin = int(runs.t_first_ns[0]) if len(runs) else 0
    brackets, _ = _brackets(runs, origin)
    if len(brackets.lower) < _MIN_CHANGES or not np.isfinite(brackets.upper).all():
        return None
    gaps = np.diff(brackets.middle)
    if float(np.median(gaps)) < 2.5 * float(np.median(brackets.width)):
        return None
    spreads = {near_ns: _NEAR, period_ns: _EXPECTED, 0.0: _EXPECTED}
    for expected in dict.fromkeys([*(p for p in (near_ns, period_ns) if p > 0), 0.0]):
        fit = _grow(brackets, _search(brackets, expected, spreads[expected]))
        if fit is not None:
            t0, period, u_t0, u_period, scatter, bad = fit
            return UpdateClock(t0, period, u_t0, u_period, scatter, len(gaps) + 1, bad, origin)
    return None


def _brackets(runs: Runs, origin: int) -> tuple[_Brackets, NDArray[np.int64]]:
    """Brackets of the changes, and the run that each begins."""
    split = np.uint32(_core.FLAG_CONTINUES | _core.FLAG_GAP_BEFORE)
    usable = runs.usable
    fresh = usable[1:] & usable[:-1] & ((runs.flags[1:] & split) == 0)
    lower = (runs.t_last_ns[:-1][fresh] - origin).astype(np.float64)
    upper = (runs.read_first_ns[1:][fresh] - origin).astype(np.float64)
    if bool((np.diff(upper) == 0).any()):
        # Several changes at one time: stamps are rounded, to about what lies between two.
        apart = np.diff(np.unique(upper))
        upper = np.maximum(upper, lower + (np.median(apart) if len(apart) else np.inf))
    return _Brackets(lower, upper), np.flatnonzero(fresh) + 1


def _search(brackets: _Brackets, expected: float, spread: float) -> float:
    """The period whose phases agree best over the first changes; the largest of equals."""
    middle, width = brackets.middle[:_FIRST_CHANGES], brackets.width[:_FIRST_CHANGES]
    gaps = np.diff(middle)
    poll = float(np.median(width))
    if expected > 0:
        low, high = (1 - spread) * expected, (1 + spread) * expected
    else:
        short = float(np.quantile(gaps, 0.1))
        near = gaps[(gaps >= 0.99 * short - poll) & (gaps < 1.5 * short + poll)]
        base = float(np.median(near))
        low, high = max(base / 3.3, 2 * poll), 1.3 * base
    extent = float(middle[-1] - middle[0])
    step = max(poll, 0.02 * low) * low / (6 * extent)
    count = int(np.clip((high - low) / step, 200, _MOST_CANDIDATES))
    candidates = np.linspace(low, high, count)
    weight = 1 / (width**2 + poll**2)
    score = np.empty(count)
    for part in np.array_split(np.arange(count), max(1, count // 2000)):
        phase = np.exp(2j * np.pi * middle[None, :] / candidates[part, None])
        score[part] = np.abs(phase @ weight) / weight.sum()
    good = np.flatnonzero(score >= 0.93 * score.max())
    top = candidates[good[-1]]  # half a period agrees as well as the period itself
    near_top = np.abs(candidates - top) <= 0.02 * top
    return float(candidates[np.argmax(np.where(near_top, score, 0.0))])


def _grow(
    brackets: _Brackets, period: float
) -> tuple[float, float, float, float, float, int] | None:
    """(t0, T, u(t0), u(T), scatter, violations) by least squares over ever more changes."""
    middle, width = brackets.middle, brackets.width
    poll = float(np.median(width))
    count = min(_FIRST_CHANGES, len(middle))
    angle = np.angle(np.exp(2j * np.pi * middle[:count] / period).mean())
    phase = float(angle / (2 * np.pi) * period)
    sigma = np.sqrt(width**2 + poll**2) / np.sqrt(12)
    while True:
        for _ in range(3):
            index = np.round((middle[:count] - phase) / period)
            residual = middle[:count] - phase - index * period
            scale = max(1.5 * float(np.median(np.abs(residual / sigma[:count]))), 1.0)
            # Huber's weights: a call that hung or a lost phase must not tilt the clock.
            weight = 1 / np.maximum(np.abs(residual / sigma[:count]) / (2 * scale), 1.0)
            fit = _line(index, middle[:count], weight / sigma[:count] ** 2)
            if fit is None:
                return None
            phase, period, u_phase, u_period = fit
        if count == len(middle):
            break
        count = min(2 * count, len(middle))
    index = np.round((middle - phase) / period)
    residual = middle - phase - index * period
    # From one change to the next: a phase that was lost once must not pass for jitter.
    jumps = np.diff(residual)
    # A poll that hung for half a period says little of when the change was, and cannot contradict.
    sharp = width <= period / 2
    sharp_jump = sharp[1:] & sharp[:-1]
    if sharp_jump.sum() < _MIN_CHANGES - 1:
        return None
    scatter = float(np.sqrt(np.median(jumps[sharp_jump] ** 2) * 1.1))
    allowed = np.where(sharp, np.minimum(width / 2 + 2 * scatter, period / 4), width / 2)
    violations = int((np.abs(residual) > allowed).sum())
    unsteady = np.abs(jumps) > np.minimum(width[1:] + 4 * scatter, period / 4)
    if violations > 0.1 * len(middle) and unsteady[sharp_jump].mean() > 0.1:
        return None
    if violations > 0.1 * len(middle):
        return _steady_parts(middle, width, period, scatter)
    overall = float(np.sqrt(np.median(residual**2) * 2.2))
    widen = max(1.0, overall / float(np.median(sigma)))
    # Polls in step with the updates bracket every one alike: averaging teaches nothing then.
    lower = np.quantile(brackets.lower - index * period, 0.98)
    upper = np.quantile(brackets.upper - index * period, 0.02)
    u_phase = float(np.hypot(u_phase * widen, max(upper - lower, 0.0) / np.sqrt(12)))
    u_period *= widen
    alike = poll * _in_step(residual, poll)
    u_period = max(u_period, alike / float(np.ptp(index)))
    u_phase = max(u_phase, alike / np.sqrt(12))
    # The clock itself is only so well known: a miss within that is none.
    sure = np.where(sharp, np.minimum(allowed + 2 * u_phase, period / 4), allowed)
    violations = int((np.abs(residual) > sure).sum())
    return phase, period, float(u_phase), u_period, scatter, violations


def _steady_parts(
    middle: NDArray[np.float64], width: NDArray[np.float64], period: float, scatter: float
) -> tuple[float, float, float, float, float, int]:
    """The clock of a recording whose phase was lost: the period of its steady parts, and the phase
    of the longest; changes of the others are violations."""
    gaps = np.diff(middle)
    for _ in range(2):
        count = np.round(gaps / period)
        steady = np.abs(gaps - count * period) <= width[1:] + 4 * scatter
        period = float(gaps[steady].sum() / max(count[steady].sum(), 1.0))
    parts = np.concatenate([[0], np.cumsum(~steady)])
    longest = parts == np.argmax(np.bincount(parts))
    index = np.round((middle - middle[longest][0]) / period)
    residual = middle - index * period
    phase = float(np.median(residual[longest]))
    off = residual - phase
    off -= np.round(off / period) * period
    violations = int((np.abs(off) > np.minimum(width / 2 + 2 * scatter, period / 4)).sum())
    u = float(np.median(width)) / np.sqrt(12)
    u_period = u * np.sqrt(2 * (parts[-1] + 1)) / max(float(count[steady].sum()), 1.0)
    return phase, period, u, float(u_period), scatter, violations


def _in_step(residual: NDArray[np.float64], poll: float) -> float:
    """Share of a poll by which all brackets may err alike; 0 where they are independent.

    Where the period is nearly a multiple of the poll the errors are a slow sawtooth, or none that
    shows as the line follows them; nearly half a poll more, every other bracket errs alike.
    """
    if float(np.std(residual)) < 0.6 * poll / np.sqrt(12):
        return 1.0
    centred = residual - residual.mean()
    for q in range(1, 3):
        if (centred[q:] * centred[:-q]).sum() > 0.4 * (centred**2).sum():
            return 1.0
    return 0.0


def _line(
    index: NDArray[np.float64], t: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float, float, float] | None:
    """Weighted straight line t = phase + index * period, and the standard errors of both."""
    total = weight.sum()
    mean_i, mean_t = (weight @ index) / total, (weight @ t) / total
    spread = weight @ (index - mean_i) ** 2
    if spread <= 0:
        return None
    period = float(weight @ ((index - mean_i) * (t - mean_t)) / spread)
    if period <= 0:
        return None
    u_phase = float(np.sqrt(1 / total + mean_i**2 / spread))
    return float(mean_t - period * mean_i), period, u_phase, float(np.sqrt(1 / spread))


def updates_of(runs: Runs, clock: UpdateClock | None) -> Updates:
    """Every update that was seen, also those that repeated a value.

    A change is placed where the clock says, inside its bracket; a run that lasts n periods holds n
    updates. Without a clock only changes count, each in the middle of its bracket.
    """
    origin = clock.origin_ns if clock is not None else (int(runs.t_first_ns[0]) if len(runs) else 0)
    usable = np.flatnonzero(runs.usable)
    first = (runs.t_first_ns[usable] - origin).astype(np.float64)
    last = (runs.t_last_ns[usable] - origin).astype(np.float64)
    brackets, begins = _brackets(runs, origin)
    lower, upper = np.full(len(runs), -np.inf), np.full(len(runs), np.inf)
    lower[begins], upper[begins] = brackets.lower, brackets.upper
    lower, upper = lower[usable], upper[usable]
    if clock is None:
        seen = np.isfinite(lower)
        t, u = first.copy(), np.zeros(len(first))
        t[seen] = (lower[seen] + upper[seen]) / 2
        u[seen] = (upper[seen] - lower[seen]) / np.sqrt(12)
        keep = (runs.flags[usable] & np.uint32(_core.FLAG_CONTINUES)) == 0
        return _updates(origin, t[keep], runs.value[usable][keep], np.arange(keep.sum()), u[keep])
    return _ticks(clock, runs.value[usable], first, last, lower, upper)


def _ticks(
    clock: UpdateClock,
    value: NDArray[np.float64],
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> Updates:
    t0, period = clock.t0_ns, clock.period_ns
    changed = np.isfinite(lower)
    with np.errstate(invalid="ignore"):
        middle = np.where(changed, (lower + upper) / 2, first)
    # A run whose beginning was not seen shows what was published at the latest update before it.
    begin = np.where(changed, np.round((middle - t0) / period), clock.index(first))
    end = np.maximum(clock.index(last), begin)
    # Two changes never share an update, nor does one come before the other.
    end[:-1] = np.minimum(end[:-1], np.maximum(begin[1:] - 1, begin[:-1]))
    count = (end - begin + 1).astype(np.int64)
    run = np.repeat(np.arange(len(value)), count)
    offset = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count)
    index = begin[run] + offset
    t = t0 + index * period
    is_change = (offset == 0) & changed[run]
    slack = 2 * clock.scatter_ns
    inside = np.clip(t, lower[run], upper[run])
    # A change outside its bracket is where it was seen: the clock lost its phase there.
    t = np.where(is_change & (np.abs(inside - t) > slack), inside, t)
    # The line is known best in the middle of the recording.
    middle_index = float(index.mean()) if len(index) else 0.0
    u_middle = np.sqrt(max(clock.u_t0_ns**2 - (middle_index * clock.u_period_ns) ** 2, 1.0))
    u = np.hypot(max(u_middle, clock.u_t0_ns / 2), (index - middle_index) * clock.u_period_ns)
    lost = is_change & (np.abs(inside - t0 - index * period) > slack)
    with np.errstate(invalid="ignore"):
        bracket = np.where(changed, (upper - lower) / np.sqrt(12), 0.0)[run]
    u = np.where(lost, np.maximum(bracket, clock.scatter_ns), u)
    keep = np.concatenate([[True], np.diff(index) > 0]) if len(index) else np.zeros(0, bool)
    return _updates(clock.origin_ns, t[keep], value[run][keep], index[keep], u[keep])


def _updates(
    origin: int,
    t: NDArray[np.float64],
    value: NDArray[np.float64],
    index: NDArray[np.float64],
    u: NDArray[np.float64],
) -> Updates:
    steps = np.maximum(np.diff(index, prepend=index[:1] - 1), 1).astype(np.float64)
    t_ns = (
        np.maximum.accumulate(origin + np.round(t).astype(np.int64)) if len(t) else t.astype("i8")
    )
    return Updates(t_ns, np.asarray(value, np.float64), steps, u)
