# SPDX-License-Identifier: Apache-2.0
"""Powers of many classes from readings, and how well a design explains them.

``y_k = x_k beta + m_k + e_k`` as in `level`, but ``beta_j ~ N(mu, s^2)`` about a mean that is
solved too: sixty kernel classes of one trace are alike to a spread s that the readings tell (or do
not: then every s up to the board's range is kept). Noise and prior scale together, so that the
noise integrates out: Gelman et al., "Bayesian Data Analysis" (3rd ed.), sections 14.2 and 15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .level import _precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["ClassPowers", "Evidence", "prior_precision", "spreads"]

_SHARES = (1.0, 0.7, 0.5)  # of the widest spread that the board's limits allow; fewer readings than
# classes say little of it, and a spread taken too small makes every class sure of the mean


def spreads(low_w: float, high_w: float) -> Floats:
    """Standard deviations of the classes about their mean that are tried, W.

    The widest is that of a power anywhere between the bounds.
    """
    return np.asarray((high_w - low_w) / np.sqrt(12) * np.array(_SHARES))


def prior_precision(p: int, spread_w: float, mean_w: float) -> Floats:
    """Inverse covariance of p powers of a common mean ``N(0, mean_w^2)``, 1/W^2."""
    common = mean_w**2 / (spread_w**2 + p * mean_w**2)
    return (np.eye(p) - common) / spread_w**2


@dataclass(frozen=True)
class ClassPowers:
    """Posterior of the classes' powers.

    Attributes
    ----------
    beta, cov : ndarray, shapes (p,) and (p, p)
        Power of each class above the level, W, and its covariance, W^2.
    sigma2 : float
        Variance of a reading of weight 1, W^2.
    log_evidence : float
        Of the design, up to a constant of the readings.
    """

    beta: Floats
    cov: Floats
    sigma2: float
    log_evidence: float


class Evidence:
    """Readings with their weights and the level's drift; solves any design.

    Parameters
    ----------
    y, weight, steps : ndarray, shape (n,)
        As `level.fit_level`.
    drift : float
        Variance of the level's step over that of a reading.
    spreads_w : ndarray
        Standard deviations of the classes about their mean, W.
    mean_w : float
        Standard deviation of that mean about zero, W.
    noise_w : float
        About that of a reading, W: the scale at which ``spreads_w`` holds.
    """

    def __init__(
        self,
        y: Floats,
        weight: Floats,
        steps: Floats,
        drift: float,
        spreads_w: Floats,
        mean_w: float,
        noise_w: float,
    ) -> None:
        from scipy.linalg.lapack import dpttrf, dpttrs

        self._weight, self._solve = weight, dpttrs
        self._spreads, self._mean_w, self._noise_w = spreads_w, mean_w, noise_w
        diagonal, link = _precision(weight, steps, drift)
        self._diagonal, self._off, info = dpttrf(diagonal, -link)
        if info != 0:
            raise np.linalg.LinAlgError("the level's precision is not positive definite")
        self._whitened = weight * (y - self._smoothed(y))
        self._yy = float(y @ self._whitened)
        self.y, self.drift = y, drift
        used = weight > 0
        self._dof = int(used.sum()) - 1
        self._log_det = float(np.log(self._diagonal).sum() - np.log(link).sum())
        self._log_det -= float(np.log(weight[used]).sum())

    def _smoothed(self, columns: Floats) -> Floats:
        """The level that fits each column best."""
        right = (columns.T * self._weight).T
        return np.asarray(self._solve(self._diagonal, self._off, right)[0])

    def level(self, x: Floats, beta: Floats) -> Floats:
        """The level at each reading, W."""
        return self._smoothed(self.y - x @ beta)

    def _sums(self, x: Floats) -> tuple[Floats, Floats]:
        apart = x - self._smoothed(x)
        return (x.T * self._weight) @ apart, x.T @ self._whitened

    def log(self, x: Floats) -> float:
        """Log evidence of a design, shape (n, p); over the spreads, all alike likely."""
        gram, score = self._sums(x)
        logs = [self._solved(gram, score, s)[0] for s in self._spreads]
        return float(np.logaddexp.reduce(logs))

    def _solved(
        self, gram: Floats, score: Floats, spread_w: float
    ) -> tuple[float, Floats, float, Floats]:
        """(log evidence, beta, variance, Cholesky factor of the precision) for one spread."""
        from scipy.linalg.lapack import dpotrf, dpotrs

        p = len(score)
        unit = prior_precision(p, spread_w / self._noise_w, self._mean_w / self._noise_w)
        factor, info = dpotrf(gram + unit)
        if info != 0:
            raise np.linalg.LinAlgError("the powers' precision is not positive definite")
        beta = dpotrs(factor, score)[0]
        # Not yy - score @ beta: their difference loses the digits that a quiet sensor needs.
        quadratic = self._yy - 2 * float(beta @ score) + float(beta @ (gram + unit) @ beta)
        quadratic = max(quadratic, 1e-9 * self._dof)
        ratio = (spread_w / self._noise_w) ** 2
        common = (self._mean_w / self._noise_w) ** 2
        log_det = 2 * float(np.log(np.diag(factor)).sum()) + (p - 1) * float(np.log(ratio))
        log_det += float(np.log(ratio + p * common)) + self._log_det
        log = -0.5 * (self._dof * float(np.log(quadratic / self._dof)) + log_det)
        return log, beta, quadratic / self._dof, factor

    def amount(self, change: Floats, x: Floats) -> tuple[float, float, Floats]:
        """(mean, variance) of how much of a ``change`` of the readings, W, is in them, beside
        powers of a design; and by what the powers move with it, W.

        Before they are seen: ``N(0, 1)``.
        """
        solved = self.solve(x)
        apart = self._weight * (change - self._smoothed(change))
        rest = self.y - x @ solved.beta
        shared = solved.cov @ (x.T @ apart) / solved.sigma2
        known = float(change @ apart) - float((x.T @ apart) @ shared)
        variance = 1 / (1 + max(known / solved.sigma2, 0.0))
        return variance * float(rest @ apart) / solved.sigma2, variance, -shared

    def solve(self, x: Floats) -> ClassPowers:
        """Posterior of the powers for a design, over the spreads."""
        gram, score = self._sums(x)
        p = len(score)
        solved = [self._solved(gram, score, s) for s in self._spreads]
        logs = np.array([log for log, _, _, _ in solved])
        total = float(np.logaddexp.reduce(logs))
        share = np.exp(logs - total)
        betas = np.array([beta for _, beta, _, _ in solved])
        beta = share @ betas
        cov = np.einsum("k,ki,kj->ij", share, betas - beta, betas - beta)
        student = self._dof / max(self._dof - 2, 1)
        for weight, (_, _, sigma2, factor) in zip(share, solved, strict=True):
            if weight < 1e-6:
                continue
            root = np.linalg.solve(np.triu(factor).T, np.eye(p))
            cov = cov + weight * sigma2 * student * (root.T @ root)
        sigma2 = float(share @ np.array([v for _, _, v, _ in solved]))
        return ClassPowers(beta, cov, sigma2, total)
