# SPDX-License-Identifier: Apache-2.0
"""Classes that readings cannot tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["merged_classes"]

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
