# SPDX-License-Identifier: Apache-2.0
"""Time-weighted shares, which `bench.kernels` sets beside the regression."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import time_weighted


def test_shares_add_up_whatever_the_powers_are() -> None:
    class_s = np.array([1.0, 2.0, 3.0])
    joules, cov = time_weighted(class_s, 600.0, 6.0, 80.0, np.diag(class_s))
    np.testing.assert_allclose(joules, [100, 200, 300])
    assert cov.sum() == pytest.approx(36.0)  # the sum is as well known as the total


def test_shares_hold_powers_of_their_spread() -> None:
    rng = np.random.default_rng(0)
    class_s = rng.uniform(0.1, 3, 12)
    z = []
    for _ in range(400):
        beta = 200 + 80 * rng.standard_normal(12)
        total = float(beta @ class_s)
        joules, cov = time_weighted(class_s, total, 0.0, 80.0, np.diag(class_s))
        z.append((joules - beta * class_s) / np.sqrt(np.diag(cov)))
    assert np.std(np.concatenate(z)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_s": np.zeros(3)}, "no class ran"),
        ({"class_s": np.array([1.0, np.nan, 1.0])}, "finite"),
        ({"total_j": float("nan")}, "finite"),
        ({"total_u_j": -1.0}, "not negative"),
        ({"spread_w": -1.0}, "not negative"),
        ({"seconds": np.ones((2, 4))}, "shape"),
        ({"seconds": np.ones(3)}, "shape"),
    ],
)
def test_shares_refuse_what_cannot_be(change: dict[str, object], message: str) -> None:
    good = {
        "class_s": np.ones(3), "total_j": 10.0, "total_u_j": 1.0, "spread_w": 80.0,
        "seconds": np.ones((2, 3)),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        time_weighted(**{**good, **change})  # type: ignore[arg-type]
