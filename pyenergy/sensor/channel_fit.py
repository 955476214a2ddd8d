# SPDX-License-Identifier: Apache-2.0
"""One power channel of a card, identified from readings and from when a load ran."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import NoReadingsError
from ..units import NS_PER_S
from .catalog import UNKNOWN, SensorPrior, prior_for
from .identify import Belief, identify
from .level import DRIFTS, SHARED_DRIFTS, LevelFit, fit_level
from .response import Response, ResponsePrior, filtered
from .update_clock import UpdateClock, Updates, fit_clock, updates_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import DeviceData
    from .spans import Spans

__all__ = ["ChannelFit", "FamilyFit", "fit_channel", "sensor_prior"]

_FEWEST_UPDATES = 30
_BETTER = 0.8  # held-out residual of a family that the catalogue does not know, over its own
_VISIBLE = 8.0  # the load's power, in its standard uncertainties
# In-process simulated cards say what they are; to be found out, they are taken at less than that.
_SIMULATED = {
    "sim.power.instant": "nvml.field.186",
    "sim.power.average": "nvml.field.185",
}
_WHOLE_PERIOD_SPREAD = 0.03
# An unknown sensor that the usual search does not explain may be a slow one.
_BAD = 3.0  # held-out residual over the noise
_SLOW_S, _SLOW_SPREAD = 0.7, 0.8
_MOST_MOVES = 6
_MOST_READINGS = 1500  # that identify; more only take longer
_ALIKE = 20  # changes in a row that the grid of the polls may shift alike


@dataclass(frozen=True)
class FamilyFit:
    """The best response of one family, and what it leaves unexplained.

    Attributes
    ----------
    response : Response
    held_out_w : float
        Root mean square residual of readings that were left out of the fit, W.
    informative : bool
        Whether the readings said more than the prior.
    catalogued : bool
        Whether the catalogue expects this family of the sensor.
    """

    response: Response
    held_out_w: float
    informative: bool
    catalogued: bool


@dataclass(frozen=True)
class ChannelFit:
    """What was found of one power channel.

    Attributes
    ----------
    channel, source : str
        Its name, and what is read (``Channel.source``).
    clock : UpdateClock
    response : Response or None
        None: the readings could not tell; the catalogue's stands.
    families : tuple of FamilyFit
        Each family alone, the best first.
    idle_w, idle_u_w, load_w, load_u_w : float
        What the sensor reads (gain and offset not taken off) when idle and under load, with
        standard uncertainties, W.
    noise_w : float
        Scatter of the readings on the plateaus, W.
    residual_w : float
        Root mean square of reading - model, W.
    updates : Updates
        The readings, W.
    model_w : ndarray of float64, shape (n,)
        The model at each reading, W.
    notes : tuple of str
    """

    channel: str
    source: str
    clock: UpdateClock
    response: Response | None
    families: tuple[FamilyFit, ...]
    idle_w: float
    idle_u_w: float
    load_w: float
    load_u_w: float
    noise_w: float
    residual_w: float
    updates: Updates
    model_w: NDArray[np.float64]
    notes: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "update_s": self.clock.period_s,
            "update_u_s": self.clock.u_s,
            "changes": self.clock.changes,
            "violations": self.clock.violations,
            "idle_w": self.idle_w,
            "idle_u_w": self.idle_u_w,
            "load_w": self.load_w,
            "load_u_w": self.load_u_w,
            "noise_w": self.noise_w,
            "residual_w": self.residual_w,
            "held_out_w": {f.response.family: f.held_out_w for f in reversed(self.families)},
            "response": str(self.response) if self.response else None,
        }


def sensor_prior(architecture: str, source: str) -> SensorPrior:
    """What the catalogue says of a channel, whatever the source itself states."""
    return prior_for(architecture, _SIMULATED.get(source, source))


def fit_channel(device: DeviceData, name: str, spans: Spans, edge_u_s: float = 0.0) -> ChannelFit:
    """Identify one power channel (see `calibrate`).

    Raises
    ------
    NoReadingsError
        When the reading has no update clock of its own, or hardly ever changed.
    """
    channel, runs = device.channels[name], device.runs[name]
    prior = sensor_prior(device.meta.architecture, channel.source)
    clock = fit_clock(runs, float(max(prior.update_ns, 0)))
    if clock is None:
        raise NoReadingsError(
            f"{name}: no update clock can be recovered from {max(len(runs) - 1, 0)} changes: the "
            "reading is fresh at every read, or the load never showed"
        )
    updates = updates_of(runs, clock)
    if len(updates) < _FEWEST_UPDATES:
        raise NoReadingsError(f"{name}: {len(updates)} updates are too few; take longer")
    problem = _Channel(updates, spans, device.meta.power_max_w, prior, clock)
    best, families = problem.solve()
    response, notes = _accepted(problem, best, prior)
    if response is not None:
        response = _blurred(response, clock, edge_u_s)
    fit = problem.fitted(best.best)
    idle, idle_u, load, load_u = _powers(fit, problem.design(best.best))
    return ChannelFit(
        channel=name,
        source=channel.source,
        clock=clock,
        response=response,
        families=families,
        idle_w=idle,
        idle_u_w=idle_u,
        load_w=load,
        load_u_w=load_u,
        noise_w=problem.noise_w,
        residual_w=float(np.sqrt(np.mean(fit.residual**2))),
        updates=updates,
        model_w=updates.value - fit.residual,
        notes=tuple(notes),
    )


def _blurred(response: Response, clock: UpdateClock, edge_u_s: float) -> Response:
    """Beyond the fit: what the times of updates and of edges leave open."""
    timing_s = clock.scatter_ns / NS_PER_S * min(1.0, np.sqrt(_ALIKE / clock.changes))
    delay_u = float(np.sqrt(response.delay_u_s**2 + timing_s**2 + edge_u_s**2))
    window_u = float(np.hypot(response.window_u_s, np.sqrt(2) * timing_s))
    return replace(response, window_u_s=window_u, delay_u_s=delay_u)


class _Channel:
    """Readings of one channel and the fits of it."""

    def __init__(
        self,
        updates: Updates,
        spans: Spans,
        power_max_w: float,
        prior: SensorPrior,
        clock: UpdateClock,
    ) -> None:
        self.updates, self.activity = updates, spans.activity()
        self.weight = np.ones(len(updates))
        spread = 2 * float(np.ptp(updates.value))
        self.prior_w = float(np.nanmax([power_max_w, spread, 50.0]))
        self.priors = prior.of_period(clock.period_s, _WHOLE_PERIOD_SPREAD)
        shared = prior.window_ns < 0 or prior.window_ns > 2 * clock.period_ns
        self.drifts = SHARED_DRIFTS if shared else DRIFTS
        self.drift = self.drifts[0]
        self.noise_w = 0.0
        # A calibration begins with its plateaus, without which a slow low-pass has no scale.
        first = max(int(np.searchsorted(updates.t_ns, spans.starts_ns.min() - NS_PER_S)) - 1, 0)
        self.part = slice(first, first + _MOST_READINGS)
        self.found_s: dict[str, float] = {}  # windows of families of which nothing was known
        self.surprised = False  # by a response that the catalogue does not expect

    def identified(self, *priors: ResponsePrior) -> Belief:
        """Posterior; where the prior is a guess, it is searched from where the answer lies."""
        u, part = self.updates, self.part
        few = Updates(u.t_ns[part], u.value[part], u.steps[part], u.u_t_ns[part])
        weight = self.weight[part]
        priors = tuple(
            replace(p, window_s=self.found_s.get(p.family, p.window_s))
            if p.window_spread >= 1
            else p
            for p in priors
        )
        for _ in range(_MOST_MOVES):
            belief = identify(few, self.activity, priors, self.prior_w, weight, None, self.drifts)
            best = belief.best
            own = next(p for p in priors if p.family == best.family)
            if own.window_spread < 1 or abs(np.log(best.window_s / own.window_s)) < 0.5:
                break
            self.found_s[best.family] = best.window_s
            moved = replace(own, window_s=best.window_s)
            priors = tuple(moved if p is own else p for p in priors)
        return belief

    def solve(self) -> tuple[Belief, tuple[FamilyFit, ...]]:
        """The belief that stands, and every family alone."""
        best = self.identified(*self.priors)
        self._reweigh(best)
        best = self.identified(*self.priors)
        alone: list[tuple[Belief, bool]] = []
        for prior in self.priors:
            alone.append((self.identified(prior) if len(self.priors) > 1 else best, True))
        left = min(b.held_out_w[b.best.family] for b, _ in alone)
        if self.priors == UNKNOWN.responses and left > _BAD * self.noise_w:
            slow = [
                self.identified(replace(p, window_s=_SLOW_S, window_spread=_SLOW_SPREAD))
                for p in self.priors
            ]
            if min(b.held_out_w[b.best.family] for b in slow) < _BETTER * left:
                alone = [(b, True) for b in slow]
                best = min(slow, key=lambda b: b.held_out_w[b.best.family])
                self._reweigh(best)
        if self.priors != UNKNOWN.responses:
            alone += [(self.identified(prior), False) for prior in UNKNOWN.responses]
        found = sorted(((_family(b, c), b) for b, c in alone), key=lambda f: f[0].held_out_w)
        known = min(f.held_out_w for f, _ in found if f.catalogued)
        first, belief = found[0]
        if first.informative and not first.catalogued and first.held_out_w < _BETTER * known:
            best, self.surprised = belief, True
            self._reweigh(best)
        else:  # of the families that the catalogue expects, its own priors count
            expected = {f.response.family for f, _ in found if f.catalogued}
            found = [(f, b) for f, b in found if f.catalogued or f.response.family not in expected]
        return best, tuple(f for f, _ in found)

    def _reweigh(self, belief: Belief) -> None:
        """Readings weigh by the scatter of what they saw: idle, load or an edge; outliers less."""
        fit = self.fitted(belief.best, belief.drift)
        share = self.design(belief.best).sum(axis=1)
        group = np.where(share < 0.02, 0, np.where(share > 0.98, 1, 2))
        scale = np.empty(len(share))
        pooled = float(np.median(np.abs(fit.residual)))
        for g in np.unique(group):
            inside = np.abs(fit.residual[group == g])
            middle = (float(np.median(inside)) * len(inside) + 4 * pooled) / (len(inside) + 4)
            scale[group == g] = max(1.4826 * middle, 1e-3)
        self.noise_w = float(scale[group < 2].mean()) if (group < 2).any() else float(scale.mean())
        strange = np.maximum(np.abs(fit.residual) / (3 * scale), 1.0)
        self.weight = (scale.min() / scale) ** 2 / strange**2

    def design(self, response: Response) -> NDArray[np.float64]:
        return np.asarray(filtered(self.activity, self.updates.t_ns, response).toarray())

    def fitted(self, response: Response, drift: float | None = None) -> LevelFit:
        u, x = self.updates, self.design(response)
        candidates = self.drifts if drift is None else (drift,)
        fits = [fit_level(u.value, x, self.weight, u.steps, d, self.prior_w) for d in candidates]
        return max(fits, key=lambda f: f.log_likelihood)


def _family(belief: Belief, catalogued: bool) -> FamilyFit:
    family = belief.best.family
    return FamilyFit(belief.best, belief.held_out_w[family], belief.informative, catalogued)


def _powers(fit: LevelFit, x: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Idle and the strongest class, W, with standard uncertainties."""
    quiet = x.sum(axis=1) < 0.02
    idle = float(fit.level[quiet].mean()) if quiet.any() else float(fit.level.mean())
    idle_u = float(np.sqrt(fit.level_var.mean()))
    top = int(np.argmax(np.abs(fit.beta)))
    u = float(np.sqrt(fit.cov[top, top]))
    return idle, idle_u, idle + float(fit.beta[top]), float(np.hypot(idle_u, u))


def _accepted(
    problem: _Channel, best: Belief, prior: SensorPrior
) -> tuple[Response | None, list[str]]:
    """The response if the readings tell it, and what there is to say."""
    fit = problem.fitted(best.best)
    rise = np.abs(fit.beta) / np.sqrt(np.diag(fit.cov))
    if float(rise.max()) < _VISIBLE:
        return None, ["the load hardly shows in the readings: the catalogue's response is kept"]
    if not best.informative:
        return None, ["the readings cannot tell the response: the catalogue's is kept"]
    notes = []
    if problem.surprised:
        notes.append(
            f"not what the catalogue expects ({prior.origin}): {best.best} explains the readings "
            "better, and is taken"
        )
    share = sum(p.weight for p in best.points if p.response.family == best.best.family)
    if share < 0.95:
        other = {"boxcar": "an RC", "rc": "a boxcar"}.get(best.best.family, "another family")
        notes.append(f"{other} explains the readings nearly as well ({1 - share:.0%})")
    held = best.held_out_w[best.best.family]
    if held > 0.1 * float(np.abs(fit.beta).max()):
        notes.append(f"the model leaves {held:.3g} W unexplained: was the load steady, and alone?")
    return best.best, notes
