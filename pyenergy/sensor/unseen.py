# SPDX-License-Identifier: Apache-2.0
"""What a part-time sensor does not look at: how much the readings around it vary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..units import NS_PER_S
from .gaps import step_curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .spans import Spans

__all__ = ["held_at_median", "hidden_swing", "pooled_variance", "unmarked"]

_POOL_NS = 2 * NS_PER_S


def pooled_variance(
    first_ns: NDArray[np.int64],
    last_ns: NDArray[np.int64],
    value_w: NDArray[np.float64],
    period_ns: int,
    limits_w: tuple[float, float],
    bounds_ns: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Variance between neighbouring updates (W^2) on a grid over the bounds.

    Updates that repeat a value are not seen as changes, but they are evidence: the number of
    updates in the pool of two seconds to either side is its length over the update period. One
    pseudo-update from the device's power limits counts with them: a few equal readings prove
    little.

    Parameters
    ----------
    first_ns, last_ns : ndarray, shape (n,)
        When each value was read first and last.
    value_w : ndarray, shape (n,)
        Readings, W.
    """
    return _core.pooled_variance(
        first_ns,
        last_ns,
        value_w,
        period_ns=period_ns,
        low_w=limits_w[0],
        high_w=limits_w[1],
        start_ns=bounds_ns[0],
        end_ns=bounds_ns[1],
    )


def hidden_swing(
    value_w: NDArray[np.float64], limits_w: tuple[float, float], tau_s: float
) -> NDArray[np.float64]:
    """Variance (J^2) of an edge for what a reading of ``value_w`` over tau_s averages away.

    Power inside [low, high] whose mean is y has a variance of at most (high - y)(y - low)
    (Bhatia and Davis, Amer. Math. Monthly 107, 2000); switching between the two bounds over
    tau, the time a reading stands for, moves an edge at random phase by sigma * tau / sqrt(12).
    """
    low, high = limits_w
    # Power that is modelled just beyond the limits leaves no room to swing.
    return np.asarray(np.maximum((high - value_w) * (value_w - low), 0.0) * tau_s**2 / 12)


def unmarked(
    spans: Spans, reach_ns: int, bounds_ns: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and ends of the times of two seconds and more in which no span is, nor within reach.

    Shorter ones are the pauses between labelled work, of which the readings amid work tell.
    """
    order = np.argsort(spans.starts_ns, kind="stable")
    until = np.maximum.accumulate(np.append(bounds_ns[0], spans.ends_ns[order] + reach_ns))
    after = np.append(spans.starts_ns[order] - reach_ns, bounds_ns[1])
    low, high = np.maximum(until, bounds_ns[0]), np.minimum(after, bounds_ns[1])
    long = high - low >= _POOL_NS
    return low[long], high[long]


def held_at_median(
    curve: _core.EnergyCurve,
    starts_ns: NDArray[np.int64],
    ends_ns: NDArray[np.int64],
    bounds_ns: tuple[int, int],
) -> _core.EnergyCurve:
    """The curve's median inside each time, zero elsewhere: its ends are other times' business."""
    heights = np.array(
        [
            np.median(curve.values(np.linspace(a, b, 101).astype(np.int64)))
            for a, b in zip(starts_ns.tolist(), ends_ns.tolist(), strict=True)
        ]
    )
    return step_curve(starts_ns, ends_ns, heights, *bounds_ns)
