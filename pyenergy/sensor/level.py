# SPDX-License-Identifier: Apache-2.0
"""Linear regression of readings on activity, over a level that wanders.

``y_k = x_k beta + m_k + e_k``: m a random walk (heat, leakage, and whatever no class explains)
with variance ``drift`` a step, e independent with variance ``1 / weight_k``. Both come out in one
Bayesian solve: the level's posterior precision is tridiagonal, so n readings and p classes cost
O(n p^2). The level begins anywhere (diffuse prior); classes have a normal prior about zero as wide
as the board's power. Harvey, "Forecasting, structural time series models and the Kalman filter"
(1989), ch. 2 and 4: the local level model; REML: Harville, JASA 72 (1977).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DRIFTS", "SHARED_DRIFTS", "LevelFit", "Likelihood", "best_drift", "fit_level"]

# A level is slow: one that follows every reading would explain away the activity.
DRIFTS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1)
# Readings that share most of their window have next to no noise of their own.
SHARED_DRIFTS = (*DRIFTS, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class LevelFit:
    """Posterior of the classes' powers and of the level.

    Attributes
    ----------
    beta : ndarray of float64, shape (p,)
        Power of each class above the level, W.
    cov : ndarray of float64, shape (p, p)
        Its covariance, W^2.
    level : ndarray of float64, shape (n,)
        m at each reading, W.
    smooth : ndarray of float64, shape (n, p)
        Derivative of the level with respect to beta, sign reversed: the part of each class's
        activity that the level could have explained.
    level_var : ndarray of float64, shape (n,)
        Variance of the level given beta, W^2.
    persistence : float
        Correlation of the level's errors from one reading to the next, given beta.
    residual : ndarray of float64, shape (n,)
        y - x beta - m, W.
    sigma2 : float
        Estimated scale of the variance: 1 where the weights are right.
    drift : float
        Variance of the level's step over that of a reading.
    log_likelihood : float
        Restricted log-likelihood, up to a constant that is common to fits of the same readings.
    dof : float
        Degrees of freedom left for sigma2.
    """

    beta: NDArray[np.float64]
    cov: NDArray[np.float64]
    level: NDArray[np.float64]
    smooth: NDArray[np.float64]
    level_var: NDArray[np.float64]
    persistence: float
    residual: NDArray[np.float64]
    sigma2: float
    drift: float
    log_likelihood: float
    dof: float


def fit_level(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    weight: NDArray[np.float64],
    steps: NDArray[np.float64],
    drift: float,
    prior_w: float,
    full: bool = True,
) -> LevelFit:
    """Solve for one ``drift`` (variance of the level's step over the mean variance of a reading).

    Parameters
    ----------
    y, weight, steps : ndarray, shape (n,)
        Readings, W; their inverse variances up to a scale (0: not used); updates since the one
        before.
    x : ndarray, shape (n, p)
        Filtered activity.
    prior_w : float
        Standard deviation of each class's prior, W.
    full : bool
        False leaves out what only windows need (``smooth``, ``level_var``).
    """
    from scipy.linalg import cho_solve_banded, cholesky_banded

    n, p = x.shape
    diagonal, link = _precision(weight, steps, drift)
    bands = np.zeros((2, n))
    bands[1] = diagonal
    bands[0, 1:] = -link
    factor = cholesky_banded(bands)
    right = np.column_stack([y, x]) * weight[:, None]
    smoothed = cho_solve_banded((factor, False), right)
    whitened = right - weight[:, None] * smoothed  # V^-1 (y, x)
    gram = x.T @ whitened[:, 1:]
    score = x.T @ whitened[:, 0]
    used = int((weight > 0).sum())
    solved = _powers(gram, score, float(y @ whitened[:, 0]), used, prior_w)
    beta, precision, sigma2, dof = solved.beta, solved.precision, solved.sigma2, solved.dof
    log_det = 2 * float(np.log(factor[1]).sum()) - float(np.log(link).sum())
    log_det += float(np.linalg.slogdet(precision)[1]) if p else 0.0
    log_det -= float(np.log(weight[weight > 0]).sum())
    level = smoothed[:, 0] - smoothed[:, 1:] @ beta
    inverse, persistence = np.zeros(0), 0.0
    if full:
        inverse, persistence = _inverse_diagonal(factor)
    return LevelFit(
        beta=beta,
        cov=np.asarray(sigma2 * np.linalg.inv(precision)) if p else np.zeros((0, 0)),
        level=level,
        smooth=smoothed[:, 1:],
        level_var=sigma2 * inverse,
        persistence=persistence,
        residual=y - x @ beta - level,
        sigma2=sigma2,
        drift=drift,
        log_likelihood=-0.5 * (dof * np.log(sigma2) + log_det),
        dof=float(dof),
    )


def _precision(
    weight: NDArray[np.float64], steps: NDArray[np.float64], drift: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tridiagonal posterior precision of the level: (diagonal, precision of each step)."""
    mean_weight = float(weight[weight > 0].mean())
    link = mean_weight / (drift * steps[1:])
    diagonal = weight.copy()
    diagonal[:-1] += link
    diagonal[1:] += link
    # A diffuse level has no precision of its own; this keeps the factor positive definite.
    diagonal[0] += 1e-12 * mean_weight
    return diagonal, link


class _Powers(NamedTuple):
    beta: NDArray[np.float64]
    precision: NDArray[np.float64]
    sigma2: float
    dof: int


def _powers(
    gram: NDArray[np.float64], score: NDArray[np.float64], yy: float, used: int, prior_w: float
) -> _Powers:
    """Powers under their prior and the scale of the variance, from sums over the readings."""
    p = len(score)
    dof = max(used - p - 1, 1)
    if p == 1:  # by far the most often, without the cost of small matrices
        return _power(max(float(gram[0, 0]), 0.0), float(score[0]), yy, used, prior_w)
    sigma2 = 1.0
    for _ in range(2):  # the prior's share depends on the scale, weakly
        precision = gram + np.eye(p) * (sigma2 / prior_w**2)
        beta = np.linalg.solve(precision, score)
        quadratic = yy - 2 * float(beta @ score) + float(beta @ gram @ beta)
        quadratic += float(beta @ beta) * sigma2 / prior_w**2
        sigma2 = max(quadratic, 1e-9 * used) / dof
    return _Powers(np.asarray(beta), precision, sigma2, dof)


def _power(gram: float, score: float, yy: float, used: int, prior_w: float) -> _Powers:
    dof, sigma2 = max(used - 2, 1), 1.0
    for _ in range(2):
        precision = gram + sigma2 / prior_w**2
        beta = score / precision
        quadratic = yy - 2 * beta * score + beta * beta * precision
        sigma2 = max(quadratic, 1e-9 * used) / dof
    return _Powers(np.array([beta]), np.array([[precision]]), sigma2, dof)


def _inverse_diagonal(factor: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Diagonal of the inverse of U'U for a bidiagonal U, and its typical neighbour correlation."""
    diagonal, off = factor[1], factor[0, 1:]
    n = len(diagonal)
    variance = np.empty(n)
    variance[-1] = 1 / diagonal[-1] ** 2
    ratio = off / diagonal[:-1]
    own = 1 / diagonal**2
    for i in range(n - 2, -1, -1):
        variance[i] = own[i] + ratio[i] ** 2 * variance[i + 1]
    if n < 2:
        return variance, 0.0
    correlation = -ratio * np.sqrt(variance[1:] / variance[:-1])
    return variance, float(np.clip(np.median(correlation), 0.0, 1 - 1e-9))


class Likelihood:
    """Restricted log-likelihood of many designs for the same readings, weights and drift.

    The same figure as ``fit_level(...).log_likelihood``, many times faster: a search for the
    response tries thousands of designs.

    Parameters are those of `fit_level`.
    """

    def __init__(
        self,
        y: NDArray[np.float64],
        weight: NDArray[np.float64],
        steps: NDArray[np.float64],
        drift: float,
        prior_w: float,
    ) -> None:
        from scipy.linalg.lapack import dpttrf, dpttrs

        self._weight, self._prior_w, self._solve = weight, prior_w, dpttrs
        diagonal, link = _precision(weight, steps, drift)
        self._diagonal, self._off, info = dpttrf(diagonal, -link)
        if info != 0:
            raise np.linalg.LinAlgError("the level's precision is not positive definite")
        self._y = weight * (y - self._solved(weight * y))
        self._yy = float(y @ self._y)
        used = weight > 0
        self._used = int(used.sum())
        self._log_det = float(np.log(self._diagonal).sum() - np.log(link).sum())
        self._log_det -= float(np.log(weight[used]).sum())

    def _solved(self, right: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self._solve(self._diagonal, self._off, right)[0])

    def of(self, x: NDArray[np.float64]) -> float:
        """For filtered activity x, shape (n, p)."""
        weighted = x * self._weight[:, None]
        gram = weighted.T @ x - weighted.T @ self._solved(weighted)
        score = x.T @ self._y
        solved = _powers(gram, score, self._yy, self._used, self._prior_w)
        if len(score) == 1:
            log_det = self._log_det + math.log(solved.precision[0, 0])
        else:
            log_det = self._log_det + float(np.linalg.slogdet(solved.precision)[1])
        return -0.5 * (solved.dof * math.log(solved.sigma2) + log_det)


def best_drift(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    weight: NDArray[np.float64],
    steps: NDArray[np.float64],
    prior_w: float,
    drifts: tuple[float, ...] = DRIFTS,
) -> float:
    """The drift of highest restricted likelihood among ``drifts``."""
    fits = [fit_level(y, x, weight, steps, d, prior_w, full=False) for d in drifts]
    return max(fits, key=lambda fit: fit.log_likelihood).drift
