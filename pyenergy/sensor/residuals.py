# SPDX-License-Identifier: Apache-2.0
"""What a fit leaves of each reading, laid back over the time that the reading stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..units import NS_PER_S
from .activity_fit import MEDIAN_OF_SQUARES
from .gaps import extended
from .spans import EDGE, Spans, groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .activity_fit import ActivityFit
    from .response import Response

__all__ = ["AddedBack", "active_power", "steps"]

_LEAST_ACTIVE = 0.1  # of the classes' mean power: below it a residual is not theirs
_AROUND = 21  # updates over which what a part-time sensor saw strange may have lain


class AddedBack:
    """Residuals of the readings as curves over time.

    A boxcar as long as the period tiles time: the sum of readings is the energy whatever its
    shape, so its residuals are added back in full. Of a part-time sensor only strange readings
    are, as the best guess for the period around them; one that holds a span's edge rather says
    that the work began or ended a little off its label. What drew clearly more or less than its
    class did so while it ran: inside its period a strange residual lies where classes draw power.

    Attributes
    ----------
    curve : EnergyCurve
        Power to add, W.
    variance : EnergyCurve
        Variance a second of where strange readings belong, J^2/s.
    noise_w2 : float
        Variance of the readings' noise that adding back brings along, W^2.
    """

    def __init__(
        self, fitted: ActivityFit, response: Response, spans: Spans, bounds: tuple[int, int]
    ) -> None:
        period_s = fitted.clock.period_s
        window_s = response.window_s
        tiles = response.family == "boxcar" and abs(window_s / period_s - 1) < 0.05
        edge = groups(fitted.design(response)) == EDGE
        back = fitted.residual if tiles else np.where(fitted.strange & ~edge, fitted.residual, 0.0)
        if window_s > 1.05 * period_s:
            back = np.zeros_like(back)  # many readings share each moment
        self.noise_w2 = float(np.median(back**2)) / MEDIAN_OF_SQUARES if tiles else 0.0
        start = fitted.updates.t_ns - round((response.lag_s + period_s / 2) * NS_PER_S)
        bounds = min(bounds[0], int(start[0])), max(bounds[1], int(start[-1]))
        self.curve = _core.EnergyCurve(
            *_shaped(start, back, fitted.strange, spans, fitted.beta, bounds)
        )
        square = np.where(fitted.strange, fitted.residual**2, 0.0) * period_s
        if tiles:
            square /= 12  # anywhere inside its own period
        else:
            square *= np.where(edge, (window_s / period_s) ** 2, 1.0)
            # What a part-time sensor saw strange it mostly did not see: it may be anywhere near.
            width = min(_AROUND, len(square))
            around = np.convolve(np.where(edge, 0.0, square), np.ones(width) / width, "same")
            square = np.maximum(square, around / min(1.0, window_s / period_s))
        self.variance = _core.EnergyCurve(*steps(start, square, *bounds))


def active_power(
    spans: Spans, beta: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Power of all running classes: (times, power from each time on, W)."""
    t = np.concatenate([spans.starts_ns, spans.ends_ns])
    step = np.concatenate([beta[spans.classes], -beta[spans.classes]])
    order = np.argsort(t, kind="stable")
    running = np.cumsum(step[order])
    running[-1:] = 0.0  # not the rounding of the sum
    return t[order], running


def steps(
    t: NDArray[np.int64], height: NDArray[np.float64], start_ns: int, end_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Knots of a curve that is height[i] from t[i] to t[i + 1], zero elsewhere."""
    knots = np.repeat(t, 2)
    y = np.stack([np.concatenate([[0.0], height[:-1]]), height], axis=1).ravel()
    y[-1] = 0.0
    return extended((knots, y), start_ns, end_ns, 0.0)


def _shaped(
    start: NDArray[np.int64],
    back: NDArray[np.float64],
    strange: NDArray[np.bool_],
    spans: Spans,
    beta: NDArray[np.float64],
    bounds: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Knots of ``back``; of strange readings, where the classes draw power in their interval."""
    times, power = active_power(spans, np.maximum(beta, 0.0))
    inside = times[(times > start[0]) & (times < start[-1])]
    t = np.unique(np.concatenate([start, inside]))
    index = np.searchsorted(start, t, side="right") - 1
    active = np.concatenate([[0.0], power])[np.searchsorted(times, t, side="right")]
    length = np.append(np.diff(t), 0).astype(float)
    whole = np.bincount(index, length, len(start))
    mean = np.bincount(index, length * active, len(start)) / np.maximum(whole, 1.0)
    theirs = strange & (mean > _LEAST_ACTIVE * max(float(np.max(beta, initial=0.0)), 1e-9))
    share = np.where(theirs[index], active / np.where(theirs, mean, 1.0)[index], 1.0)
    return steps(t, back[index] * share, *bounds)
