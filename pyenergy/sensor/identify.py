# SPDX-License-Identifier: Apache-2.0
"""Which response a sensor has: found from readings and from when the work ran.

No meter is needed: the readings are explained by filtered activity (`level.fit_level`), and the
response that explains them best wins. What the data leave open stays open: the answer is a set of
weighted responses, and whoever uses them spreads over all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..units import NS_PER_S
from .coarse_search import Candidate, distinct, each_window, grid
from .explain import Problem, edge_readings, held_out, held_out_residual
from .level import DRIFTS
from .refine import Point, refine
from .response import filtered, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from .. import _core
    from .response import Response, ResponsePrior
    from .update_clock import Updates

__all__ = ["FEW_EDGES", "Belief", "Weighted", "held_out", "identify"]

_MANY_MODES = 8  # optima that are followed up where few readings hold an edge
_FEWEST_READINGS = 40  # that a level and a few powers are told from
_CONTEXT = 10  # periods around an edge that show the level beside it
_MOST_READINGS = 1500  # that identify; more only take longer
# Fewer readings that hold an edge cannot tell power, window and delay apart: the posterior is a
# curve, and is laid out over the windows that the prior allows.
FEW_EDGES = 8
_NARROWER = 0.7  # posterior over prior, below which the readings have said something


@dataclass(frozen=True)
class Weighted:
    """A response and how much of the posterior stands for it."""

    response: Response
    weight: float


@dataclass(frozen=True)
class Belief:
    """What is believed of a response after the readings were seen.

    Attributes
    ----------
    best : Response
        The likeliest, with the standard uncertainties of window and delay.
    points : tuple of Weighted
        The posterior, weights adding up to 1.
    drift : float
        Of the level, that goes with the best.
    held_out_w : dict
        Family to root mean square residual of readings that were left out of its fit, W.
    informative : bool
        Whether the readings said more than the prior.
    """

    best: Response
    points: tuple[Weighted, ...]
    drift: float
    held_out_w: dict[str, float]
    informative: bool


def identify(
    updates: Updates,
    activity: _core.Activity,
    priors: tuple[ResponsePrior, ...],
    prior_w: float,
    weight: NDArray[np.float64] | None = None,
    collapse: NDArray[np.float64] | None = None,
    drifts: tuple[float, ...] = DRIFTS,
    thorough: bool = True,
) -> Belief:
    """Posterior of the response.

    Parameters
    ----------
    updates : Updates
        Readings as published.
    activity : Activity
        When what ran.
    priors : tuple of ResponsePrior
        One for each family that may be; not empty.
    prior_w : float
        Standard deviation of each class's power before anything is read, W.
    weight : ndarray, optional
        Inverse variances of the readings up to a scale.
    collapse : ndarray, optional
        Powers (W) of the classes, where they are too many to be solved at every try.
    drifts : tuple of float
        What the level's drift may be (see `level`).
    thorough : bool
        False: only the likeliest response matters, and its posterior is not laid out over windows.
    """
    weight = np.ones(len(updates)) if weight is None else weight
    few, few_weight = _informative_part(updates, activity, priors, weight)
    problem = Problem(few, activity, few_weight, prior_w, collapse, drifts)
    candidates = grid(problem, priors)
    spread: list[Point] = []
    if thorough and edge_readings(problem, candidates[0].response) < FEW_EDGES:
        starts = _along_windows(problem, candidates, spread)[:_MANY_MODES]
    else:
        starts = distinct(candidates)
    refined = [refine(problem, start) for start in starts]
    for points, _ in refined:
        spread += points
    # The first of equals: what was likelier on the grid.
    points, drift = max(refined, key=lambda r: _top(r[0]).log)
    return _belief(problem, priors, spread, _top(points).response, drift)


def _top(points: Iterable[Point]) -> Point:
    return max(points, key=lambda p: p.log)


def _belief(
    problem: Problem,
    priors: tuple[ResponsePrior, ...],
    spread: list[Point],
    best: Response,
    drift: float,
) -> Belief:
    """What points of the posterior amount to; ``drift``: that of the best response."""
    points = _weighted(spread)
    same = [p for p in points if p.response.family == best.family]
    share = np.array([p.weight for p in same]) / sum(p.weight for p in same)
    sd_window = _spread(np.array([p.response.window_s for p in same]), share)
    sd_delay = _spread(np.array([p.response.delay_s for p in same]), share)
    prior = next(p for p in priors if p.family == best.family)
    flat = (prior.delay_high_s - prior.delay_low_s) / np.sqrt(12)
    prior_window = prior.window_spread * prior.window_s
    informative = sd_delay < _NARROWER * flat or sd_window < _NARROWER * prior_window
    left_out: dict[str, float] = {}
    for family in dict.fromkeys(p.response.family for p in spread):
        likeliest = _top(p for p in spread if p.response.family == family).response
        left_out[family] = held_out_residual(problem, likeliest, drift)
    response = replace(best, window_u_s=sd_window, delay_u_s=sd_delay)
    return Belief(response, points, drift, left_out, bool(informative))


def _weighted(spread: list[Point]) -> tuple[Weighted, ...]:
    """Weights that add up to 1; what has next to none is left out."""
    logs = np.array([p.log for p in spread])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    points = [
        Weighted(p.response, float(w)) for p, w in zip(spread, weights, strict=True) if w > 1e-4
    ]
    total = sum(p.weight for p in points)
    return tuple(Weighted(p.response, p.weight / total) for p in points)


def _spread(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    mean = float(weights @ values)
    return float(np.sqrt(max(float(weights @ (values - mean) ** 2), 0.0)))


def _informative_part(
    updates: Updates,
    activity: _core.Activity,
    priors: tuple[ResponsePrior, ...],
    weight: NDArray[np.float64],
) -> tuple[Updates, NDArray[np.float64]]:
    """Readings from around edges of the work, and not too many of them.

    Those amid nothing but work or idle know nothing of the response.
    """
    near = np.flatnonzero(_near_edges(updates, activity, priors))
    if _FEWEST_READINGS <= len(near) < 0.7 * len(updates):
        updates, weight = _part(updates, near), weight[near]
    n = len(updates)
    if n <= _MOST_READINGS:
        return updates, weight
    x = filtered(activity, updates.t_ns, priors[0].middle)
    changes = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(np.asarray(x.sum(axis=1)).ravel())))])
    starts = np.arange(0, n - _MOST_READINGS, max(1, _MOST_READINGS // 4))
    first = int(starts[np.argmax(changes[starts + _MOST_READINGS] - changes[starts])])
    stretch = np.arange(first, first + _MOST_READINGS)
    return _part(updates, stretch), weight[stretch]


def _near_edges(
    updates: Updates, activity: _core.Activity, priors: tuple[ResponsePrior, ...]
) -> NDArray[np.bool_]:
    """Whether each reading, or one a few periods away, may hold an edge under any response."""
    margin_s = _CONTEXT * float(np.median(np.diff(updates.t_ns))) / NS_PER_S
    reach_s = max(
        p.delay_high_s + 2 * p.window_s * math.exp(min(2 * p.window_spread, 2.0)) for p in priors
    )
    before = updates.t_ns - round((reach_s + margin_s) * NS_PER_S)
    after = updates.t_ns + round(margin_s * NS_PER_S)
    running = overlaps(activity, before, after).toarray() / (reach_s + 2 * margin_s)
    return np.asarray((np.abs(running - np.round(running)) > 1e-9).any(axis=1))


def _part(updates: Updates, index: NDArray[np.int64]) -> Updates:
    """Some readings; the level has gone all the steps between them."""
    steps = np.cumsum(updates.steps)[index]
    return replace(
        updates,
        t_ns=updates.t_ns[index],
        value=updates.value[index],
        steps=np.diff(steps, prepend=steps[0] - updates.steps[index[0]]),
        u_t_ns=updates.u_t_ns[index],
    )


def _along_windows(
    problem: Problem, candidates: list[Candidate], spread: list[Point]
) -> list[Candidate]:
    """Optimal delays of every window, best first; their posterior is added to ``spread``."""
    better = []
    for candidate in each_window(candidates):
        prior = candidate.prior
        points, drift = refine(problem, candidate, fixed_window=True)
        # Each stands for the windows up to half way to its neighbours.
        room = float(np.log(max(4 * prior.window_spread / 6, 1e-3)))
        spread += [Point(p.log + room, p.response) for p in points]
        top = _top(points)
        better.append(Candidate(top.log, top.response, drift, prior))
    return sorted(better, key=lambda c: -c.log)
