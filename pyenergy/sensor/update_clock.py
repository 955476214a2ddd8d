# SPDX-License-Identifier: Apache-2.0
"""The update period of a reading, from the brackets of its changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs

__all__ = ["UpdatePeriod", "measure_period"]

_MIN_CHANGES = 5


@dataclass(frozen=True)
class UpdatePeriod:
    """Measured update period.

    Attributes
    ----------
    period_s : float
        Fitted period, s.
    u_s : float
        Its standard uncertainty, s.
    changes : int
        Changes that were seen.
    violations : int
        Changes whose bracket (widened by the scatter of the rest) the fitted clock misses.
    """

    period_s: float
    u_s: float
    changes: int
    violations: int


def measure_period(runs: Runs) -> UpdatePeriod | None:
    """Fit ``t_k = t0 + k T`` to the changes of a reading.

    A change lies between the last poll that saw the old value and the first that saw the new one.
    Updates that repeat a value leave no change, so intervals are integer multiples of the period:
    the candidates are the observed short intervals, each refined by least squares over all
    changes; the largest period that explains at least nine changes in ten wins (half of a period
    that explains everything explains everything too).

    Returns None when fewer than five changes were seen, or when the reading changes with nearly
    every poll: then it has no slower clock of its own.
    """
    lower, upper = _brackets(runs)
    if len(upper) < _MIN_CHANGES:
        return None
    middle = (lower + upper) / 2
    width = upper - lower
    gaps = np.diff(middle)
    poll = float(np.median(width))
    if float(np.median(gaps)) < 3 * poll:
        return None
    best: UpdatePeriod | None = None
    for candidate in _candidates(gaps, poll):
        fit = _refine(middle, width, candidate)
        if fit is None or fit.violations > 0.1 * fit.changes:
            continue
        if best is None or fit.period_s > best.period_s * 1.5:
            best = fit
    return best


def _brackets(runs: Runs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of each change's bracket, ns relative to the first run."""
    split = np.uint32(_core.FLAG_CONTINUES | _core.FLAG_GAP_BEFORE)
    usable = runs.usable
    fresh = usable[1:] & usable[:-1] & ((runs.flags[1:] & split) == 0)
    origin = int(runs.t_first_ns[0]) if len(runs) else 0
    lower = (runs.t_last_ns[:-1][fresh] - origin).astype(np.float64)
    upper = (runs.read_first_ns[1:][fresh] - origin).astype(np.float64)
    return lower, upper


def _candidates(gaps: NDArray[np.float64], poll: float) -> NDArray[np.float64]:
    low = float(np.quantile(gaps, 0.1))
    near = gaps[(gaps >= low - poll) & (gaps < 1.5 * low + poll)]
    base = float(np.median(near))
    return np.array([base / 3, base / 2, base])


def _refine(
    middle: NDArray[np.float64], width: NDArray[np.float64], period: float
) -> UpdatePeriod | None:
    """Integer indices from successive intervals, then least squares; twice."""
    index = np.concatenate([[0.0], np.cumsum(np.round(np.diff(middle) / period))])
    if index[-1] < 2:
        return None
    phase = 0.0
    for _ in range(2):
        design = np.stack([np.ones_like(index), index], axis=1)
        (phase, period), *_ = np.linalg.lstsq(design, middle, rcond=None)
        if period <= 0:
            return None
        index = np.round((middle - phase) / period)
    residual = middle - phase - index * period
    scatter = float(np.sqrt(np.mean(residual**2)))
    allowed = width / 2 + 2 * scatter
    # Residuals that fill the whole period mean that the indices are arbitrary.
    violations = int((np.abs(residual) > np.minimum(allowed, period / 5)).sum())
    spread = float(np.sqrt(np.sum((index - index.mean()) ** 2)))
    noise = max(scatter, float(np.median(width)) / np.sqrt(12))
    return UpdatePeriod(period / NS_PER_S, noise / spread / NS_PER_S, len(middle), violations)
