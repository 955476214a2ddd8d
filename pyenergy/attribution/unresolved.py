# SPDX-License-Identifier: Apache-2.0
"""What is not known of operations whose powers the readings do not tell apart.

Sharing a smooth curve gives every operation the power of its surroundings: shares by time. How
much each really took lies anywhere between the device's limits, as long as all together took what
was measured.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from ..sensor.terms import WindowTerms
    from .shares import DeviceShares

__all__ = ["unresolved_u", "window_u"]

_MOST_WINDOWS = 1_000_000  # whose own uncertainties are asked for


def unresolved_u(seconds: csr_array, shares: DeviceShares, range_w: float) -> NDArray[np.float64]:
    """Standard uncertainty of groups' energies, J, the sum of all being known.

    Each class (and the time in which nothing ran) has a power of its own, anywhere in a range of
    ``range_w``: ``s = range_w / sqrt(12)``. Given the sum of ``T_j P_j`` over classes of T_j
    seconds, a group with c_j seconds of each has the variance
    ``s^2 (c.c - (c.T)^2 / T.T)`` (the normal distribution conditioned on a linear sum).

    Parameters
    ----------
    seconds : csr_array, shape (g, classes)
        Seconds of each class in each group.
    shares : DeviceShares
    range_w : float
        Highest less lowest power of the device, W.
    """
    operations = shares.operations
    whole = np.bincount(operations.name, shares.seconds, seconds.shape[1])
    gap_s = float((shares.dynamic.gap_ends_ns - shares.dynamic.gap_starts_ns).sum()) / NS_PER_S
    norm = float(whole @ whole) + gap_s**2
    if norm == 0.0:
        return np.zeros(seconds.shape[0])
    square = np.asarray(seconds.multiply(seconds).sum(axis=1)).ravel()
    along = np.asarray(seconds @ whole).ravel()
    return range_w / math.sqrt(12) * np.sqrt(np.maximum(square - along**2 / norm, 0.0))


def window_u(
    terms: Callable[[NDArray[np.int64], NDArray[np.int64]], WindowTerms], shares: DeviceShares
) -> NDArray[np.float64] | None:
    """Standard uncertainty of each operation as a window by itself, J; None for too many.

    Where operations are long against the sensor's period this is far less than `unresolved_u`; of
    a group they may all err the same way, so that they add up. Only where nothing overlaps.
    """
    operations, attribution = shares.operations, shares.dynamic
    if len(operations) > _MOST_WINDOWS or attribution.overlap_s > 0:
        return None
    low, high = attribution.bounds_ns
    starts = operations.start_ns.clip(low, high)
    return terms(starts, operations.end_ns.clip(low, high)).u_same_card
