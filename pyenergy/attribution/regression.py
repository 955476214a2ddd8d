# SPDX-License-Identifier: Apache-2.0
"""Power of each kernel class, from readings that are far slower than kernels.

``P(t) = sum_j beta_j u_j(t) + m(t)``: u_j counts the running kernels of class j, m is a level that
wanders. Every reading overlaps many kernels in different proportions, and thousands of readings
together tell the classes' powers, the level and the sensor's response (`kernel_fit`). What they
leave open stays open: classes that always run in the same proportions have wide intervals of their
own and a narrow one together (`Regression.merged`), and a repeated step that several delays
explain alike spreads over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..sensor.explain import held_out
from ..sensor.gaps import extended, power_bounds
from ..sensor.residuals import active_power
from ..sensor.terms import MISFIT
from ..sensor.update_clock import UpdateClock, Updates, fit_clock, updates_of
from ..units import NS_PER_S
from .kernel_fit import KernelFit, fit_kernels, given_response, of_catalogue
from .merging import merged_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from ..sensor.catalog import SensorPrior
    from ..sensor.fine_search import Where
    from ..sensor.identify import Weighted
    from ..sensor.response import Response
    from ..sensor.spans import Spans

    Floats = NDArray[np.float64]

__all__ = ["Regression", "refusal", "regress"]

FEWEST_UPDATES = 20
_WHOLE_PERIOD_SPREAD = 0.004  # of a window that is a whole period (see `activity_fit`)
_FEWEST_CALLS = 100  # that may tell the response of a sensor of which nothing is known
_UNSURE = 0.1  # relative uncertainty of all classes together that is worth a note
_OTHERS = 0.05  # of the posterior, that other peaks hold
_SURE = 3.0  # standard errors from which a scatter counts
_LONGEST_NAME = 80  # characters of a class in a note
_LEAST_VOTE = 0.25  # a reading below that is not explained, and is no test of the fit


@dataclass(frozen=True)
class Regression:
    """Powers of kernel classes above a wandering level.

    Attributes
    ----------
    names : tuple of str
        Of the classes.
    beta_w, cov_w2 : ndarray, shapes (p,) and (p, p)
        Power of each above the level, W, and covariance, W^2: noise, level, response, and misfit.
    class_s : ndarray, shape (p,)
        Seconds that each class ran.
    level : EnergyCurve
        The level, W over time within the bounds.
    curve : EnergyCurve
        The whole power: level and running classes.
    response : Response
        The likeliest, with the standard uncertainties of window and delay.
    points : tuple of Weighted
        Its posterior.
    merged : list of tuple of int
        Classes that cannot be told apart: their sum is known, their own powers are not.
    scatter_w : float
        Standard deviation of a call's power about its class, W; 0 where none is significant.
    misfit_ratio : float
        Residuals of left-out readings over what the fit predicts; above 1.5 ``cov_w2`` holds it.
    sigma_w : float
        Noise of a reading, W.
    notes : tuple of str
    """

    names: tuple[str, ...]
    beta_w: Floats
    cov_w2: Floats
    class_s: Floats
    level: _core.EnergyCurve
    curve: _core.EnergyCurve
    response: Response
    points: tuple[Weighted, ...]
    merged: list[tuple[int, ...]]
    scatter_w: float
    misfit_ratio: float
    sigma_w: float
    notes: tuple[str, ...]
    _call_s: Floats

    def groups(self, seconds: Floats) -> tuple[Floats, Floats]:
        """Energies above the level of sums of class-seconds.

        Parameters
        ----------
        seconds : ndarray, shape (g, p)
            Seconds of each class in each group.

        Returns
        -------
        joules, cov : ndarray, shapes (g,) and (g, g)
            J, and J^2. Calls that differ inside a class widen each group by itself.
        """
        seconds = np.asarray(seconds, dtype=np.float64)
        if seconds.ndim != 2 or seconds.shape[1] != len(self.names):
            raise ValueError(
                f"seconds must have shape (groups, {len(self.names)}), got {seconds.shape}"
            )
        if not np.isfinite(seconds).all():
            raise ValueError("seconds of classes must be finite numbers")
        cov = seconds @ self.cov_w2 @ seconds.T
        inside = self.scatter_w**2 * (np.abs(seconds) @ self._call_s)
        return seconds @ self.beta_w, cov + np.diag(inside)

    def variances(self, seconds: Floats) -> Floats:
        """The diagonal of the covariance that `groups` gives, for many groups, shape (g,), J^2."""
        inside = self.scatter_w**2 * (np.abs(seconds) @ self._call_s)
        return np.asarray(np.einsum("ij,ij->i", seconds @ self.cov_w2, seconds) + inside)


def refusal(
    runs: Runs, spans: Spans, prior: SensorPrior, response: Response | None = None
) -> str | None:
    """Why readings cannot support a regression; None where they can."""
    seen = _updates(runs, spans, prior, response)
    return seen if isinstance(seen, str) else None


def regress(
    runs: Runs,
    spans: Spans,
    prior: SensorPrior,
    limits_w: tuple[float, float],
    bounds_ns: tuple[int, int],
    response: Response | None = None,
) -> Regression | None:
    """Solve the power of every class.

    Parameters
    ----------
    runs : Runs
        Readings of a power channel, W.
    spans : Spans
        Kernels by class; they may overlap.
    prior : SensorPrior
        What is known of the sensor.
    limits_w : (float, float)
        Bounds of the device's power, W; NaN where unknown.
    bounds_ns : (int, int)
        The time that ``level`` and ``curve`` cover.
    response : Response, optional
        Known from a calibration, with its uncertainty; where readings clearly contradict it they
        win, and a note says so.

    Returns
    -------
    Regression or None
        None where the readings cannot support it: `refusal` says why.
    """
    seen = _updates(runs, spans, prior, response)
    if isinstance(seen, str):
        return None
    clock, updates = seen
    limits = power_bounds(*limits_w, updates.value)
    where = _where(clock, prior, response)
    fit = fit_kernels(updates, spans.activity(), where, limits, clock.u_period_ns)
    return _regression(fit, spans, bounds_ns, limits[1] - limits[0], response)


def _updates(
    runs: Runs, spans: Spans, prior: SensorPrior, response: Response | None
) -> tuple[UpdateClock, Updates] | str:
    """The readings as published, or why there is nothing to solve."""
    if len(spans) == 0:
        return "no kernel was seen"
    if len(runs) == 0 or not bool(runs.usable.any()):
        return "no reading succeeded"
    if response is None and not prior.responses:
        return "what one reading averages is not known, as it comes from a log"
    if response is None and not prior.known and len(spans) < _FEWEST_CALLS:
        return (
            f"what one reading averages is not known, and {len(spans)} operations are too few to "
            f"find out (at least {_FEWEST_CALLS}; a known architecture, or 'pyenergy calibrate')"
        )
    clock = fit_clock(runs, float(max(prior.update_ns, 0)))
    if clock is None:
        return "the reading has no update clock that could be recovered"
    updates = updates_of(runs, clock)
    if len(updates) < FEWEST_UPDATES:
        return f"{len(updates)} updates of the reading are too few (at least {FEWEST_UPDATES})"
    reach_s = max(
        [r.delay_high_s + 5 * r.window_s for r in prior.responses]
        + ([response.reach_s] if response is not None else [])
    )
    first = int(updates.t_ns[0]) - round(reach_s * NS_PER_S)
    last = int(updates.t_ns[-1])
    if not bool(((spans.ends_ns > first) & (spans.starts_ns < last)).any()):
        return "no kernel ran while the reading was recorded"
    begin = int(spans.starts_ns.min())
    seen = int(((updates.t_ns > begin) & (updates.t_ns < int(spans.ends_ns.max()))).sum())
    if seen < FEWEST_UPDATES:
        return f"{seen} readings while operations ran are too few (at least {FEWEST_UPDATES})"
    return clock, updates


def _where(clock: UpdateClock, prior: SensorPrior, response: Response | None) -> list[Where]:
    priors = prior.of_period(clock.period_s, _WHOLE_PERIOD_SPREAD)
    total = sum(p.weight for p in priors)
    log = -float(np.log(total)) if priors else 0.0
    if response is None:
        return [of_catalogue(p, log) for p in priors]
    given = given_response(response, clock.u_t0_ns / NS_PER_S)
    # One in a hundred: readings then have to say a good deal before they win.
    return [given, *(of_catalogue(p, log + float(np.log(0.01))) for p in priors)]


def _regression(
    fit: KernelFit,
    spans: Spans,
    bounds_ns: tuple[int, int],
    width_w: float,
    given: Response | None,
) -> Regression:
    u, p = fit.updates, len(spans.names)
    length = (spans.ends_ns - spans.starts_ns) / NS_PER_S
    class_s = np.bincount(spans.classes, length, p).astype(np.float64)
    # A class's typical call, by time: long calls are what scatters.
    call_s = np.bincount(spans.classes, length**2, p) / np.maximum(class_s, 1e-12)
    residual, variance = held_out(u, fit.design, fit.weight, fit.drift, width_w)
    votes = fit.weight > _LEAST_VOTE
    ratio = float(np.sqrt(np.mean(residual[votes] ** 2 / variance[votes])))
    cov = fit.cov * (ratio**2 if ratio > MISFIT else 1.0)
    merged = merged_classes(fit.beta * class_s, cov * np.outer(class_s, class_s))
    centre = u.t_ns - round(fit.response.lag_s * NS_PER_S)
    level = extended((centre, fit.level), *bounds_ns)
    return Regression(
        names=spans.names,
        beta_w=fit.beta,
        cov_w2=cov,
        class_s=class_s,
        level=_core.EnergyCurve(*level),
        curve=_core.EnergyCurve(*_whole(level, spans, fit.beta)),
        response=fit.response,
        points=fit.points,
        merged=merged,
        scatter_w=_scatter(fit, call_s),
        misfit_ratio=ratio,
        sigma_w=float(np.sqrt(fit.sigma2)),
        notes=tuple(_notes(fit, spans, cov, class_s, merged, ratio, given)),
        _call_s=call_s,
    )


def _whole(
    level: tuple[NDArray[np.int64], Floats], spans: Spans, beta: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """Knots of level and running classes together; power jumps where a kernel begins or ends."""
    times, after = active_power(spans, beta)
    inside = (times >= level[0][0]) & (times <= level[0][-1])
    before = np.concatenate([[0.0], after[:-1]])[inside]
    at = np.searchsorted(times, level[0], side="right")
    t = np.concatenate([np.repeat(times[inside], 2), level[0]])
    y = np.concatenate(
        [
            np.stack([before, after[inside]], axis=1).ravel(),
            np.concatenate([[0.0], after])[at],
        ]
    )
    order = np.argsort(t, kind="stable")
    t, y = t[order], y[order]
    return t, y + np.interp(t.astype(float), level[0].astype(float), level[1])


def _scatter(fit: KernelFit, call_s: Floats) -> float:
    """Scatter of calls about their class, W: readings that hold few, long calls miss by more."""
    lever = np.minimum(fit.design @ call_s / max(fit.response.looks_s, 1e-6), 1.0)
    votes = fit.weight > _LEAST_VOTE
    lever, square = lever[votes], fit.residual[votes] ** 2
    apart = lever - lever.mean()
    spread = float(apart @ apart)
    if spread <= 0 or len(lever) < FEWEST_UPDATES:
        return 0.0
    slope = float(apart @ square) / spread
    u = float(np.sqrt(2 * (apart**2 @ np.full(len(apart), fit.sigma2**2)))) / spread
    return float(np.sqrt(slope)) if slope > _SURE * u else 0.0


def _notes(
    fit: KernelFit,
    spans: Spans,
    cov: Floats,
    class_s: Floats,
    merged: list[tuple[int, ...]],
    ratio: float,
    given: Response | None,
) -> list[str]:
    notes = []
    best = fit.response
    if given is not None and fit.contradicted > 0.5:
        notes.append(
            f"the readings contradict the response that was given ({given}): {best} explains them "
            "and was used"
        )
    other = 1 - sum(p.weight for p in fit.points if _same_peak(p.response, best))
    if other > _OTHERS:
        notes.append(
            f"the readings leave open which response the sensor has ({best} is the likeliest, "
            f"others hold {other:.0%}): powers are spread over all of them"
        )
    if merged:
        shown = "; ".join(
            ", ".join(_short(spans.names[j]) for j in group[:6])
            + (f" and {len(group) - 6} more" if len(group) > 6 else "")
            for group in merged[:5]
        )
        notes.append(
            f"classes that the readings cannot tell apart are known only together: {shown}"
        )
    total = float(fit.beta @ class_s)
    u_total = float(np.sqrt(max(float(class_s @ cov @ class_s), 0.0)))
    if u_total > _UNSURE * abs(total):
        notes.append(
            f"all classes together are known to {_share(u_total, total)} only: too little idle "
            "time was read to tell their power from the level"
        )
    unseen = np.flatnonzero((fit.design.sum(axis=0) <= 0) & (class_s > 0))
    if len(unseen):
        names = ", ".join(_short(spans.names[j]) for j in unseen[:6])
        notes.append(f"no reading saw {names}: their power is that of the others, as far as known")
    if ratio > MISFIT:
        notes.append(
            f"readings that were left out of the fit miss it by {ratio:.1f} times what it predicts:"
            " uncertainties are widened by as much"
        )
    strange = int((fit.weight <= _LEAST_VOTE).sum())
    if strange > 0.01 * len(fit.weight):
        notes.append(
            f"{strange} of {len(fit.weight)} readings are explained by no class and no level"
        )
    return notes


def _share(u: float, total: float) -> str:
    return f"{u / abs(total):.0%}" if u < abs(total) else "more than themselves"


def _short(name: str) -> str:
    """A kernel's name, for a line of text: templates run to thousands of characters."""
    shown = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
    return shown or repr(name)


def _same_peak(a: Response, b: Response) -> bool:
    """Whether two responses are of one family and much alike."""
    apart = abs(a.delay_s - b.delay_s) + abs(a.window_s - b.window_s)
    return a.family == b.family and apart < 1e-3 + 0.05 * b.window_s
