# SPDX-License-Identifier: Apache-2.0
"""The banded solve of classes over a wandering level against dense Bayesian algebra."""

from __future__ import annotations

import numpy as np
import pytest

from pyenergy.sensor.identify import held_out
from pyenergy.sensor.level import DRIFTS, SHARED_DRIFTS, LevelFit, best_drift, fit_level
from pyenergy.sensor.update_clock import Updates
from pyenergy.units import NS_PER_S

PRIOR_W = 400.0


def problem(
    seed: int, n: int = 40, p: int = 3, noise_w: float = 1.0, walk_w: float = 0.3
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(readings, activity, weights, steps, true powers)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (n, p)) * (rng.random((n, p)) < 0.6)
    beta = rng.uniform(50, 300, p)
    steps = rng.integers(1, 4, n).astype(float)
    weight = rng.uniform(0.3, 3.0, n)
    level = 60 + np.cumsum(rng.normal(0, walk_w, n) * np.sqrt(steps))
    y = x @ beta + level + rng.normal(0, noise_w, n) / np.sqrt(weight)
    return y, x, weight, steps, beta


class Dense:
    """The same posterior from the covariance of the readings; nothing banded, nothing clever."""

    def __init__(
        self,
        y: np.ndarray,
        x: np.ndarray,
        weight: np.ndarray,
        steps: np.ndarray,
        drift: float,
        sigma2: float,
    ) -> None:
        used = weight > 0
        n, p = x.shape
        scale = 1 / weight[used].mean()
        # Level: m_k = m_0 + the steps since; m_0 is one more coefficient without a prior.
        walk = np.concatenate([[0.0], np.cumsum(drift * scale * steps[1:])])
        covariance = np.minimum.outer(walk, walk)
        noise = np.diag(1 / weight[used])
        total = covariance[np.ix_(used, used)] + noise
        inverse = np.linalg.inv(total)
        full = np.column_stack([x, np.ones(n)])
        prior = np.diag([*np.full(p, sigma2 / PRIOR_W**2), 0.0])
        precision = full[used].T @ inverse @ full[used] + prior
        both = np.linalg.solve(precision, full[used].T @ inverse @ y[used])
        self.beta = both[:p]
        self.cov = sigma2 * np.linalg.inv(precision)[:p, :p]
        rest = y[used] - full[used] @ both
        self.quadratic = rest @ inverse @ rest + self.beta @ self.beta * sigma2 / PRIOR_W**2
        # The level given beta: what is left of the readings, with a diffuse beginning.
        ones = np.ones(int(used.sum()))
        begin = ones @ inverse / (ones @ inverse @ ones)
        without = y[used] - x[used] @ self.beta
        gain = covariance[:, used] @ inverse
        self.level = begin @ without + gain @ (without - begin @ without)
        shrunk = covariance - gain @ covariance[used]
        lever = 1 - gain @ ones
        self.level_var = sigma2 * (np.diag(shrunk) + lever**2 / (ones @ inverse @ ones))
        _, logdet = np.linalg.slogdet(total)
        _, logdet_precision = np.linalg.slogdet(precision)
        dof = max(int(used.sum()) - p - 1, 1)
        self.log_likelihood = -0.5 * (dof * np.log(sigma2) + logdet + logdet_precision)


def both(args: tuple[np.ndarray, ...], drift: float) -> tuple[LevelFit, Dense]:
    y, x, weight, steps = args[:4]
    fit = fit_level(y, x, weight, steps, drift, PRIOR_W)
    return fit, Dense(y, x, weight, steps, drift, fit.sigma2)


@pytest.mark.parametrize("drift", [1e-5, 1e-3, 0.1, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_powers_level_and_covariance_are_those_of_dense_algebra(drift: float, seed: int) -> None:
    args = problem(seed)
    fit, dense = both(args, drift)
    np.testing.assert_allclose(fit.beta, dense.beta, rtol=1e-5)
    np.testing.assert_allclose(fit.cov, dense.cov, rtol=1e-4, atol=1e-6 * np.abs(dense.cov).max())
    np.testing.assert_allclose(fit.level, dense.level, rtol=1e-5)
    np.testing.assert_allclose(fit.level_var, dense.level_var, rtol=1e-4)
    y, x = args[:2]
    np.testing.assert_allclose(fit.residual, y - x @ dense.beta - dense.level, atol=1e-3)
    assert fit.dof == 40 - 3 - 1
    # The prior's weight depends on the scale, which is found in two rounds.
    assert fit.sigma2 == pytest.approx(dense.quadratic / fit.dof, rel=1e-2)


@pytest.mark.parametrize("seed", range(3))
def test_smooth_is_how_the_level_answers_beta(seed: int) -> None:
    y, x, weight, steps, _ = problem(seed)
    fit = fit_level(y, x, weight, steps, 1e-3, PRIOR_W)
    # Readings that are one class alone: the level's share of it.
    for j in range(3):
        fit_j = fit_level(x[:, j], x[:, :0], weight, steps, 1e-3, PRIOR_W)
        np.testing.assert_allclose(fit.smooth[:, j], fit_j.level, atol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_restricted_likelihood_orders_drifts_as_dense_algebra_does(seed: int) -> None:
    args = problem(seed, n=60)
    found, truth = [], []
    for drift in SHARED_DRIFTS:
        fit, dense = both(args, drift)
        found.append(fit.log_likelihood)
        truth.append(dense.log_likelihood)
    np.testing.assert_allclose(np.diff(found), np.diff(truth), atol=1e-3)
    y, x, weight, steps, _ = args
    best = best_drift(y, x, weight, steps, PRIOR_W, SHARED_DRIFTS)
    assert best == SHARED_DRIFTS[int(np.argmax(truth))]


def test_readings_without_weight_are_left_out() -> None:
    y, x, weight, steps, _ = problem(7)
    weight[[3, 10, 11, 12, 39]] = 0.0
    fit, dense = both((y, x, weight, steps), 1e-2)
    wild = y.copy()
    wild[weight == 0] = 1e5
    fit_wild = fit_level(wild, x, weight, steps, 1e-2, PRIOR_W)
    np.testing.assert_allclose(fit_wild.beta, fit.beta, rtol=1e-9)
    np.testing.assert_allclose(fit_wild.level, fit.level, rtol=1e-9)
    assert fit_wild.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert fit.dof == 40 - 5 - 3 - 1
    np.testing.assert_allclose(fit.beta, dense.beta, rtol=1e-5)
    np.testing.assert_allclose(fit.level, dense.level, rtol=1e-5)
    # The level is less certain where nothing was read.
    np.testing.assert_allclose(fit.level_var, dense.level_var, rtol=1e-4)
    assert fit.level_var[11] > fit.level_var[20]


def test_restricted_likelihood_with_readings_left_out() -> None:
    y, x, weight, steps, _ = problem(8, n=60)
    weight[5:15] = 0.0
    pairs = [both((y, x, weight, steps), drift) for drift in DRIFTS]
    found = np.array([fit.log_likelihood for fit, _ in pairs])
    truth = np.array([dense.log_likelihood for _, dense in pairs])
    np.testing.assert_allclose(found - found[0], truth - truth[0], atol=1e-3)


def test_a_common_scale_of_the_weights_is_estimated() -> None:
    y, x, weight, steps, _ = problem(9)
    one = fit_level(y, x, weight, steps, 1e-3, PRIOR_W)
    ten = fit_level(y, x, 10 * weight, steps, 1e-3, PRIOR_W)
    assert ten.sigma2 == pytest.approx(10 * one.sigma2, rel=1e-3)
    np.testing.assert_allclose(ten.beta, one.beta, rtol=1e-3)
    np.testing.assert_allclose(ten.cov, one.cov, rtol=1e-3)
    np.testing.assert_allclose(ten.level_var, one.level_var, rtol=1e-3)


def test_a_class_that_never_ran_keeps_its_prior() -> None:
    y, x, weight, steps, _ = problem(10)
    x[:, 1] = 0.0
    fit = fit_level(y, x, weight, steps, 1e-3, PRIOR_W)
    assert fit.beta[1] == 0.0
    assert np.sqrt(fit.cov[1, 1]) == pytest.approx(PRIOR_W, rel=0.05)


def test_no_classes_at_all_is_a_level_alone() -> None:
    y, x, weight, steps, _ = problem(11)
    fit, dense = both((y, x[:, :0], weight, steps), 1e-2)
    assert fit.beta.shape == (0,)
    assert fit.cov.shape == (0, 0)
    np.testing.assert_allclose(fit.level, dense.level, rtol=1e-6)


def test_powers_lie_within_their_covariance() -> None:
    z = []
    for seed in range(60):
        y, x, weight, steps, beta = problem(seed, n=80, walk_w=0.1)
        fit = fit_level(y, x, weight, steps, 0.01 * weight.mean(), PRIOR_W)
        z.append((fit.beta - beta) / np.sqrt(np.diag(fit.cov)))
    assert 0.8 < np.std(z) < 1.25
    assert abs(np.mean(z)) < 0.3


def test_a_short_fit_is_the_same_fit() -> None:
    y, x, weight, steps, _ = problem(12)
    long = fit_level(y, x, weight, steps, 1e-3, PRIOR_W)
    short = fit_level(y, x, weight, steps, 1e-3, PRIOR_W, full=False)
    assert np.array_equal(long.beta, short.beta)
    assert long.log_likelihood == short.log_likelihood


def test_persistence_is_the_correlation_of_neighbours() -> None:
    """Given beta, in the middle of a long recording."""
    n = 200
    y, x = np.full(n, 100.0) + np.random.default_rng(0).normal(0, 1, n), np.zeros((n, 0))
    for drift in (1e-3, 0.1, 10.0):
        fit = fit_level(y, x, np.ones(n), np.ones(n), drift, PRIOR_W)
        walk = drift * np.arange(n)
        prior = np.minimum.outer(walk, walk) + 1e6
        posterior = prior - prior @ np.linalg.solve(prior + np.eye(n), prior)
        middle = posterior[100, 101] / np.sqrt(posterior[100, 100] * posterior[101, 101])
        assert fit.persistence == pytest.approx(middle, abs=0.02)


def updates_of(y: np.ndarray, steps: np.ndarray) -> Updates:
    t = (np.cumsum(steps) * 0.1 * NS_PER_S).astype(np.int64)
    return Updates(t, y, steps, np.zeros(len(y)))


def test_held_out_residuals_are_predictions() -> None:
    """Each reading is predicted from the others, and misses by what the variance says."""
    z = []
    for seed in range(20):
        y, x, weight, steps, _ = problem(seed, n=100, walk_w=0.1)
        drift = 0.01 * weight.mean()
        residual, variance = held_out(updates_of(y, steps), x, weight, drift, PRIOR_W)
        assert residual.shape == variance.shape == (100,)
        z.append(residual / np.sqrt(variance))
    assert np.mean(np.square(z)) == pytest.approx(1.0, abs=0.15)


def test_held_out_blocks_do_not_see_themselves() -> None:
    y, x, weight, steps, _ = problem(13, n=100)
    before, _ = held_out(updates_of(y, steps), x, weight, 1e-2, PRIOR_W)
    wild = y.copy()
    wild[20:30] += 1000.0  # one block of ten, and one of the fifth fold
    after, _ = held_out(updates_of(wild, steps), x, weight, 1e-2, PRIOR_W)
    np.testing.assert_allclose(after[20:30] - before[20:30], 1000.0, rtol=1e-9)
    np.testing.assert_allclose(after[70:80], before[70:80], atol=1e-6)


def test_held_out_of_very_few_readings_is_nothing() -> None:
    for n in (1, 2, 3, 5):
        y, x, weight, steps, _ = problem(14, n=n, p=1)
        residual, variance = held_out(updates_of(y, steps), x, weight, 1e-2, PRIOR_W)
        assert residual.shape == (n,)
        assert np.all(variance > 0)
