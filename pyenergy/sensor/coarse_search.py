# SPDX-License-Identifier: Apache-2.0
"""The first step of `identify`: a grid over window and delay, and where on it to look closer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .response import Response, ResponsePrior

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .explain import Problem

__all__ = ["Candidate", "distinct", "each_window", "grid"]

_DRIFTS = (1e-5, 1e-3, 0.1, 10.0)  # of those that the problem allows
_MODES = 3  # local optima that are followed up
_HOPELESS = 60.0  # log posterior below the best: nothing that is refined makes up for it


class Candidate(NamedTuple):
    """A response that may be, its log posterior, the drift that goes with it, and its prior."""

    log: float
    response: Response
    drift: float
    prior: ResponsePrior


def grid(problem: Problem, priors: Iterable[ResponsePrior]) -> list[Candidate]:
    """Windows and delays that the priors allow, each with the best of a few drifts; best first."""
    found = [candidate for prior in priors for candidate in _of_family(problem, prior)]
    return sorted(found, key=lambda c: -c.log)


def _of_family(problem: Problem, prior: ResponsePrior) -> list[Candidate]:
    found = []
    drifts = [d for d in problem.drifts if d in _DRIFTS]
    for window in _windows(prior):
        for delay in _delays(prior, window):
            length = 0.0 if prior.family == "continuous" else window
            response = Response(prior.family, length, delay)
            log, drift = max((problem.log_likelihood(response, d), d) for d in drifts)
            found.append(Candidate(log + prior.log_density(response), response, drift, prior))
    return found


def _windows(prior: ResponsePrior) -> list[float]:
    """Two standard deviations of the prior to either side."""
    if prior.family == "continuous" or prior.window_spread <= 0:
        return [prior.window_s]
    count = 7 if prior.window_spread < 0.5 else 13
    return [
        float(w) for w in prior.window_s * np.exp(np.linspace(-2, 2, count) * prior.window_spread)
    ]


def _delays(prior: ResponsePrior, window: float) -> list[float]:
    """In steps that are short against the window: the likelihood's peaks are as wide as that."""
    width = prior.delay_high_s - prior.delay_low_s
    step = max(0.0015, 0.18 * (window if prior.family != "rc" else 1.5 * window))
    count = int(np.clip(width / step, 1, 40)) + 1
    return [float(d) for d in np.linspace(prior.delay_low_s, prior.delay_high_s, count)]


def each_window(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best two delays of every family and window, of candidates that come best first."""
    found: dict[tuple[str, float], list[Candidate]] = {}
    for candidate in candidates:
        response = candidate.response
        same = found.setdefault((response.family, response.window_s), [])
        near = 0.4 * response.window_s
        apart = [abs(c.response.delay_s - response.delay_s) > near for c in same]
        if len(same) < 2 and all(apart):
            same.append(candidate)
    return [c for same in found.values() for c in same]


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best of each neighbourhood (by where the middle of what is averaged lies)."""
    chosen: list[Candidate] = []
    for candidate in candidates:
        response = candidate.response
        if chosen and candidate.log < chosen[0].log - _HOPELESS:
            break
        near = any(
            c.response.family == response.family
            and abs(c.response.lag_s - response.lag_s) < max(0.6 * response.window_s, 0.002)
            for c in chosen
        )
        if not near:
            chosen.append(candidate)
        if len(chosen) == _MODES:
            break
    return chosen
