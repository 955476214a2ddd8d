# SPDX-License-Identifier: Apache-2.0
"""When a series has settled: where warm-up ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["FEWEST", "settled_from"]

FEWEST = 6  # values below which nothing can be said


def settled_from(values: ArrayLike, tolerance: float) -> int | None:
    """Index from which ``values`` no longer move, or None while they still do.

    The start that is left out is the one that makes the mean of the rest most certain (the marginal
    standard error rule, MSER: White, Simulation 69 (1997) 323-334). Where that would be more than
    half, the series is still moving - unless it moves by less than ``tolerance`` from the third to
    the fourth quarter.

    Parameters
    ----------
    values : array of float, shape (n,)
        Such as the time of a call, block by block; NaN values are left out.
    tolerance : float
        Relative change that does not matter.

    Examples
    --------
    >>> settled_from([9, 3, 2, 1.01, 1.0, 1.01, 1.0, 1.0, 1.01, 1.0], 0.01)
    3
    >>> settled_from([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 0.01) is None
    True
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    n = len(x)
    if n < FEWEST:
        return None
    left = n - np.arange(n - 1)  # values that stay when the first k go
    tail = np.cumsum(x[::-1])[::-1][:-1]
    square = np.cumsum(x[::-1] ** 2)[::-1][:-1]
    spread = np.maximum(square / left - (tail / left) ** 2, 0.0)
    # The last few are equal by chance: at least a quarter, and three, must stay.
    last = n - max(3, n // 4)
    first = int(np.argmin((spread / left)[: last + 1]))
    if first <= n // 2:
        return first
    quarter = max(n // 4, 1)
    late, before = np.median(x[-quarter:]), np.median(x[-2 * quarter : -quarter])
    if abs(late - before) <= tolerance * abs(late):
        return n // 2
    return None
