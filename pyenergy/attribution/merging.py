# SPDX-License-Identifier: Apache-2.0
"""Classes that readings cannot tell apart, and shares where they tell nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["merged_classes", "time_weighted"]

_WIDE = 0.10  # of a group's energy: above it, it is asked whether another one takes the rest
_TOGETHER = 0.9  # variance of the sum over the sum of variances, below which they share an error


def merged_classes(joules: Floats, cov: Floats) -> list[tuple[int, ...]]:
    """Groups of classes whose own energies are wide, while that of all together is not.

    The widest class joins the wide one with which it has most of its error in common, until what
    is left is narrow, or is wide for reasons of its own. A class that is narrow by itself stays so.

    Parameters
    ----------
    joules, cov : ndarray, shapes (p,) and (p, p)
        Energies of the classes, J, and their covariance.
    """
    groups: list[tuple[int, ...]] = [(j,) for j in range(len(joules))]
    energy, cov = joules.astype(float).copy(), cov.astype(float).copy()
    alone: set[tuple[int, ...]] = set()
    while len(groups) > 1:
        variance = np.diag(cov).clip(0)
        wide = np.sqrt(variance) / np.maximum(np.abs(energy), 1e-12)
        open_ = [
            i
            for i, g in enumerate(groups)
            if wide[i] > _WIDE and g not in alone and variance[i] > 0
        ]
        if not open_:
            break
        # The largest error first: it has most to share.
        a = max(open_, key=lambda i: variance[i])
        both = variance + variance[a] + 2 * cov[a]
        ratio = both / np.maximum(variance + variance[a], 1e-300)
        ratio[(wide <= _WIDE) & (np.array([len(g) for g in groups]) == 1)] = np.inf
        ratio[a] = np.inf
        b = int(np.argmin(ratio))
        if ratio[b] >= _TOGETHER:
            alone.add(groups[a])
            continue
        first, second = min(a, b), max(a, b)
        groups[first] = tuple(sorted(groups[a] + groups[b]))
        del groups[second]
        energy[first] += energy[second]
        cov[first] += cov[second]
        cov[:, first] += cov[:, second]
        energy = np.delete(energy, second)
        cov = np.delete(np.delete(cov, second, 0), second, 1)
    return sorted(g for g in groups if len(g) > 1)


def time_weighted(
    class_s: Floats, total_j: float, total_u_j: float, spread_w: float, seconds: Floats
) -> tuple[Floats, Floats]:
    """Energies of groups, were all classes of one power; with what that may be off by.

    Parameters
    ----------
    class_s : ndarray, shape (p,)
        Seconds that each class ran in all.
    total_j, total_u_j : float
        Energy of all classes together, J, and its standard uncertainty.
    spread_w : float
        Standard deviation of the classes' powers about their mean, W: nothing is known of them but
        the board's limits (`class_powers.spreads`).
    seconds : ndarray, shape (g, p)
        Seconds of each class in each group.

    Returns
    -------
    joules, cov : ndarray, shapes (g,) and (g, g)
        Energies, J, and covariance: powers of that spread, given their sum.

    Raises
    ------
    ValueError
        Where no class ran at all, or a figure is not finite.
    """
    class_s, seconds = np.asarray(class_s, float), np.asarray(seconds, float)
    figures = np.array([total_j, total_u_j, spread_w])
    if not (np.isfinite(class_s).all() and np.isfinite(seconds).all()):
        raise ValueError("seconds of classes and groups must be finite numbers")
    if not np.isfinite(figures).all() or total_u_j < 0 or spread_w < 0:
        raise ValueError(
            "total_j, total_u_j and spread_w must be finite, the last two not negative; got "
            f"{total_j!r}, {total_u_j!r}, {spread_w!r}"
        )
    if seconds.ndim != 2 or seconds.shape[1] != len(class_s):
        raise ValueError(f"seconds must have shape (groups, {len(class_s)}), got {seconds.shape}")
    whole = float(class_s.sum())
    if not whole > 0:
        raise ValueError("no class ran: there is no time to share energy by")
    p = len(class_s)
    # beta = mean + deviations; the sum fixes the mean but for the deviations' own sum.
    lever = np.eye(p) - np.outer(np.ones(p), class_s) / whole
    cov = spread_w**2 * lever @ lever.T + (total_u_j / whole) ** 2
    return seconds.sum(axis=1) * (total_j / whole), seconds @ cov @ seconds.T
