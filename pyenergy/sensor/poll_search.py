# SPDX-License-Identifier: Apache-2.0
"""The search behind `coarse_clock`: which clocks explain polls that are as rare as the updates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .response import Response, filtered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .. import _core

__all__ = ["ClockSearch", "Clocks", "Polls"]

_FIRST_POLLS = 64
_KEPT = 500_000  # clocks times polls that are kept at least: the true one may lie between two
_MOST_CLOCKS = 40_000  # at once; more: nothing tells them apart
_CHUNK = 2_000_000  # clocks times polls evaluated at once
_LEVEL_POLLS = 32  # over which the level counts as constant
_DROPPED = 10.0  # log likelihood below the best at which a clock is given up
_TEMPER = 0.5  # what the response's unknown window leaves is no independent noise
_MOST_COLUMNS = 4  # classes that are told apart here
_REFINED = 3  # times that the grid of the clocks that remain is halved
_WORST = 6.0  # log likelihood that a single change can cost


@dataclass(frozen=True)
class Polls:
    """Every usable poll, ns after the origin."""

    origin: int
    t: NDArray[np.float64]
    value: NDArray[np.float64]
    follows: NDArray[np.bool_]  # the poll before it is the one just before

    @property
    def every(self) -> float:
        """Their usual interval, ns."""
        return float(np.median(np.diff(self.t)))


@dataclass(frozen=True)
class Clocks:
    """Clocks that may be, with the delay that goes with each; ns after the origin."""

    t0: NDArray[np.float64]
    period: NDArray[np.float64]
    delay: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.t0)

    def at(self, keep: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Clocks:
        return Clocks(self.t0[keep], self.period[keep], self.delay[keep])

    def split(self, **steps: float) -> Clocks:
        """Each by two in every parameter that is named, a quarter of its step on either side."""
        found = self
        for name, step in steps.items():
            middle = getattr(found, name)
            both = np.concatenate([middle - step / 4, middle + step / 4])
            index = np.tile(np.arange(len(found)), 2)
            found = replace(found.at(index), **{name: both})
        return found


class ClockSearch:
    """Clocks that explain the polls, found on ever more of them."""

    def __init__(
        self,
        polls: Polls,
        activity: _core.Activity,
        response: Response,
        periods: tuple[float, float],
        delays: tuple[float, float],
        step: float,
    ) -> None:
        self.polls, self.activity, self.response = polls, activity, response
        self.periods, self.delays, self.step = periods, delays, step
        self.ages = np.arange(delays[0] - step, delays[1] + periods[1] + step, step / 8)
        self.collapse = self._powers()

    def _seen(self, polls: slice, age: float) -> NDArray[np.float64]:
        """What readings of updates of this age saw."""
        t = self.polls.origin + np.round(self.polls.t[polls] - age).astype(np.int64)
        x = filtered(self.activity, t, self.response)
        return np.asarray(x.toarray())

    def _powers(self) -> NDArray[np.float64] | None:
        """Rough powers of the classes, where they are too many to be told apart here."""
        if self.activity.classes <= _MOST_COLUMNS:
            return None
        x = self._seen(slice(None), float(self.ages.mean()))
        starts = np.arange(0, len(x), _LEVEL_POLLS)
        x, y = _centred(x, starts), _centred(self.polls.value[:, None], starts)[:, 0]
        ridge = 1e-3 * max(float((x**2).sum(axis=0).max()), 1e-9)
        return np.asarray(np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y))

    def run(self) -> tuple[Clocks, NDArray[np.float64]] | None:
        """The clocks that remain, and their weights; None where too many do."""
        n = len(self.polls.t)
        size = min(_FIRST_POLLS, n)
        first = self._richest(size)
        middle = float(self.polls.t[first : first + size].mean())
        clocks, fine = self._all(middle, self._reach(first, size, middle))
        while True:
            fine_enough = self.step / self._reach(first, size, middle)
            while fine > 1.01 * fine_enough:
                clocks, fine = clocks.split(period=fine), fine / 2
            if len(clocks) > _MOST_CLOCKS:
                return None
            log = self._log_likelihood(clocks, slice(first, first + size))
            keep = _likely(log, size)
            clocks, log = clocks.at(keep), log[keep]
            if size == n:
                return self._refined(clocks, log, fine)
            grown = min(2 * size, n)
            first = int(np.clip(first - (grown - size) // 2, 0, n - grown))
            size = grown

    def _refined(
        self, clocks: Clocks, log: NDArray[np.float64], fine: float
    ) -> tuple[Clocks, NDArray[np.float64]]:
        """On ever finer grids, as long as the clocks are few."""
        for _ in range(_REFINED):
            if 8 * len(clocks) > _MOST_CLOCKS:
                break
            clocks = clocks.split(t0=self.step, delay=self.step, period=fine)
            self.step, fine = self.step / 2, fine / 2
            log = self._log_likelihood(clocks, slice(None))
            keep = _likely(log, len(self.polls.t))
            clocks, log = clocks.at(keep), log[keep]
        weight = np.exp(log - log.max())
        return clocks, weight / weight.sum()

    def _reach(self, first: int, size: int, middle: float) -> float:
        """Updates from the middle, where the phase is held, to the farther end."""
        t = self.polls.t
        far = max(middle - t[first], t[first + size - 1] - middle)
        return max(float(far) / self.periods[0], 1.0)

    def _richest(self, size: int) -> int:
        """Where the polls begin in which activity changes most."""
        x = self._seen(slice(None), float(self.ages.mean())).sum(axis=1)
        changes = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)))])
        starts = np.arange(0, len(x) - size + 1)
        return int(np.argmax(changes[starts + size - 1] - changes[starts]))

    def _all(self, middle: float, reach: float) -> tuple[Clocks, float]:
        low, high = self.periods
        fine = self.step / reach
        periods = np.arange(low + fine / 2, high, fine)
        phases = (np.arange(np.ceil(high / self.step)) + 0.5) / np.ceil(high / self.step)
        count = int(np.ceil((self.delays[1] - self.delays[0]) / self.step))
        delays = np.linspace(*self.delays, count + 1)
        period, phase, delay = (a.ravel() for a in np.meshgrid(periods, phases, delays))
        return Clocks(middle + phase * period, period, delay), fine

    def _log_likelihood(self, clocks: Clocks, polls: slice) -> NDArray[np.float64]:
        seen = np.stack([self._seen(polls, age) for age in self.ages])
        if self.collapse is not None:
            seen = (seen @ self.collapse)[:, :, None]
        n = seen.shape[1]
        blur = self._blur(seen)
        log = np.empty(len(clocks))
        parts = max(1, len(clocks) * n * seen.shape[2] // _CHUNK)
        for part in np.array_split(np.arange(len(clocks)), parts):
            some = clocks.at(part)
            number = np.floor((self.polls.t[None, polls] - some.t0[:, None]) / some.period[:, None])
            age = self.polls.t[None, polls] - some.t0[:, None] - number * some.period[:, None]
            log[part] = self._changes(number, age, some.period, polls)
            log[part] += self._readings(seen, age + some.delay[:, None], polls, blur)
        return log

    def _blur(self, seen: NDArray[np.float64]) -> float:
        """Share of the readings' variance that clocks between those of the grid would explain."""
        apart = max(round(self.step / (self.ages[1] - self.ages[0])), 1)
        moved = float(((seen[apart:] - seen[:-apart]) ** 2).mean())
        starts = np.arange(0, seen.shape[1], _LEVEL_POLLS)
        swing = float((_centred(seen.transpose(1, 0, 2), starts) ** 2).mean())
        return moved / (4 * swing) if swing > 0 else 0.0

    def _changes(
        self,
        number: NDArray[np.float64],
        age: NDArray[np.float64],
        period: NDArray[np.float64],
        polls: slice,
    ) -> NDArray[np.float64]:
        """How well values change where the clocks have updates, and nowhere else."""
        # Jitter of updates, times that are printed in whole ms, and the step of the grid.
        soft = 1e6 + 0.01 * self.periods[0] + self.step / 2
        follows = self.polls.follows[polls][1:]
        changed = np.diff(self.polls.value[polls]) != 0
        updates = np.diff(number, axis=1)
        # A change without an update: how far the nearest one is.
        off = np.minimum(age[:, :-1], period[:, None] - age[:, 1:])
        missing = np.minimum(0.5 * (off / soft) ** 2, _WORST)
        log = -np.where((updates == 0) & (changed & follows), missing, 0.0).sum(axis=1)
        # An update without a change: it repeated the value, and how often is the readings' own.
        between = period[:, None] - age[:, :-1]
        depth = np.minimum(np.minimum(between, age[:, 1:]) / (2 * soft), 1.0)
        silent = (updates > 0) & (~changed & follows)
        repeats = np.where(silent, np.maximum(depth, updates - 1), 0.0).sum(axis=1)
        fresh = max(int((changed & follows).sum()), 1)
        share = repeats / (repeats + fresh)
        safe = np.maximum(share, 1e-12)
        return np.asarray(log + repeats * np.log(safe) + fresh * np.log1p(-share))

    def _readings(
        self, seen: NDArray[np.float64], age: NDArray[np.float64], polls: slice, blur: float
    ) -> NDArray[np.float64]:
        """How well the work explains the readings."""
        n = seen.shape[1]
        starts = np.arange(0, n, _LEVEL_POLLS)
        y = _centred(self.polls.value[polls][:, None], starts)[:, 0]
        row = np.round((age - self.ages[0]) / (self.ages[1] - self.ages[0])).astype(np.int64)
        x = seen[row.clip(0, len(self.ages) - 1), np.arange(n)[None, :]]
        x = _centred(x.transpose(1, 0, 2), starts)
        gram = np.einsum("nhi,nhj->hij", x, x)
        score = np.einsum("nhi,n->hi", x, y)
        gram += 1e-6 * np.eye(gram.shape[1])
        explained = (score * np.linalg.solve(gram, score[:, :, None])[:, :, 0]).sum(axis=1)
        total = float(y @ y)
        left = np.maximum(total - explained, 0.0) + (min(blur, 1.0) + 1e-6) * total + 1e-9
        free = max(n - len(starts) - gram.shape[1], 1)
        return np.asarray(-0.5 * _TEMPER * free * np.log(left))


def _likely(log: NDArray[np.float64], polls: int) -> NDArray[np.int64]:
    """The clocks that may be the true one, or next to it."""
    order = np.argsort(-log)
    near = int((log > log.max() - _DROPPED).sum())
    return order[: max(near, int(np.clip(_KEPT // polls, 50, 2000)))]


def _centred(x: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Less the mean of each block, along the first axis."""
    size = np.diff(np.append(starts, len(x)))
    mean = np.add.reduceat(x, starts, axis=0) / size.reshape(-1, *[1] * (x.ndim - 1))
    return np.asarray(x - np.repeat(mean, size, axis=0))
