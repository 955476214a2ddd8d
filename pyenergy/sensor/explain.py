# SPDX-License-Identifier: Apache-2.0
"""How well a response explains readings: in a fit of all, and where they were left out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .level import DRIFTS, Likelihood, fit_level
from .response import filtered, filtered_dense

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from .. import _core
    from .response import Response
    from .update_clock import Updates

__all__ = ["Problem", "edge_readings", "held_out", "held_out_residual", "partly"]


@dataclass(frozen=True)
class Problem:
    """Readings and activity; how well a response explains them."""

    updates: Updates
    activity: _core.Activity
    weight: NDArray[np.float64]
    prior_w: float
    collapse: NDArray[np.float64] | None  # powers that make one class of many
    drifts: tuple[float, ...] = DRIFTS
    likelihoods: dict[float, Likelihood] = field(default_factory=dict)  # by drift, as used

    def design(self, response: Response) -> NDArray[np.float64]:
        if self.collapse is not None:
            x = filtered(self.activity, self.updates.t_ns, response)
            # All zero where no reading saw any of them.
            largest = max(float(np.abs(self.collapse).max()), 1e-12)
            return np.asarray(x @ self.collapse)[:, None] / largest
        return filtered_dense(self.activity, self.updates.t_ns, response)

    def log_likelihood(self, response: Response, drift: float) -> float:
        if drift not in self.likelihoods:
            u = self.updates
            made = Likelihood(u.value, self.weight, u.steps, drift, self.prior_w)
            self.likelihoods[drift] = made
        return self.likelihoods[drift].of(self.design(response))


def edge_readings(problem: Problem, response: Response) -> int:
    """Readings that saw some of the work, but not all the time."""
    return partly(filtered(problem.activity, problem.updates.t_ns, response))


def partly(x: NDArray[np.float64] | csr_array) -> int:
    """Rows of a design that hold an edge of the work."""
    total = np.asarray(x.sum(axis=1)).ravel()
    return int(((total > 0.02) & (np.abs(total - np.round(total)) > 0.02)).sum())


def held_out_residual(problem: Problem, response: Response, drift: float) -> float:
    """Root mean square of readings in time blocks that were left out of the fit, W."""
    z, _ = held_out(
        problem.updates, problem.design(response), problem.weight, drift, problem.prior_w
    )
    used = problem.weight > 0
    return float(np.sqrt(np.mean(z[used] ** 2)))


def held_out(
    updates: Updates,
    x: NDArray[np.float64],
    weight: NDArray[np.float64],
    drift: float,
    prior_w: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residual of every reading when its time block is left out, and its predicted variance."""
    n = len(updates)
    blocks = min(10, n // 4)
    block = np.arange(n) * blocks // max(n, 1) if blocks > 1 else np.zeros(n, np.int64)
    residual, variance = np.zeros(n), np.ones(n)
    folds = max(min(5, blocks), 1)
    for fold in range(folds):
        left_out = block % folds == fold
        if left_out.all():
            break
        fit = fit_level(
            updates.value, x, np.where(left_out, 0.0, weight), updates.steps, drift, prior_w
        )
        lever = (x - fit.smooth)[left_out]
        residual[left_out] = fit.residual[left_out]
        variance[left_out] = (
            fit.sigma2 / np.maximum(weight[left_out], 1e-12)
            + fit.level_var[left_out]
            + np.einsum("ij,jk,ik->i", lever, fit.cov, lever)
        )
    return residual, variance
