# SPDX-License-Identifier: Apache-2.0
"""Energies of a recording's devices: which model serves each, and what must be said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _core
from ._curves import constant, weighted_sum
from ._energy import Energy
from ._notes import standing_notes, why_nothing
from .errors import NoReadingsError
from .sensor.alike import activity_model
from .sensor.catalog import POWER_CHANNELS, SensorPrior, prior_for
from .sensor.counter import Fusion, fuse
from .sensor.counter_model import CounterModel
from .sensor.estimate import ActivityModel
from .sensor.profile import Profile
from .sensor.spans import Spans
from .sensor.terms import WindowTerms
from .sensor.uncertainty import PowerModel
from .units import NS_PER_MS, NS_PER_S, engineering

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .recording.series import DeviceData, Runs
    from .sensor.response import Response

__all__ = ["METHODS", "DeviceEnergies"]

# How an energy can be asked for: the model's own choice, or by name for comparison.
METHODS = ("model", "trapezoid", "counter")
_FEW_LOOKS = 5  # of a part-time sensor: a span of so few may be in step with it
_MUCH_WORSE = 3.0  # times as uncertain of the whole: no gain of the spans is worth that
_LONG_SPAN_S = 5.0  # fifty updates of a slow sensor, that all look at the same part of a step
_SLOWEST_UPDATE_NS = 100 * NS_PER_MS  # of the catalogue: for what is unknown


class DeviceEnergies:
    """Energy of any window of one device.

    Parameters
    ----------
    device : DeviceData
        What was read.
    bounds_ns : (int, int)
        The recording's.
    spans : Spans, optional
        Labelled times: with them the powers of the labels are solved for.
    profile : Profile, optional
        The card's calibration.
    method : {"model", "trapezoid", "counter"}
        ``"model"``: activity where spans are labelled, readings where none are, the counter where
        nothing else can be read. The others by name: the integral of the readings as they came,
        and the difference of the counter held between its updates.
    cut : bool
        The bounds are a part of a trace: what ran goes on beyond them.
    periods : dict, optional
        See `fuse`.

    Raises
    ------
    NoReadingsError
        When the device gave neither a power reading nor a moving counter, with the reason.
    """

    def __init__(
        self,
        device: DeviceData,
        bounds_ns: tuple[int, int],
        spans: Spans | None = None,
        profile: Profile | None = None,
        method: str = "model",
        cut: bool = False,
        periods: dict[str, float] | None = None,
    ) -> None:
        self.device = device
        self.bounds_ns = bounds_ns
        self._cut = cut
        self._why_plain = self._counter_note = ""
        self._unmarked = False  # long times without a span
        self.model, self.method, channel, prior = self._choose(
            device, bounds_ns, spans, profile, method
        )
        self.channel = channel
        self.scope = device.channels[channel].scope
        self.profile = profile or _uncalibrated(prior)
        self.is_calibrated = profile is not None
        self._notes = standing_notes(device, channel, bounds_ns)
        if self._why_plain:
            self._notes.append(f"{device.meta.id}: spans are not used: {self._why_plain}")
        if self._counter_note:
            self._notes.append(self._counter_note)
        self._fusion: Fusion | None = None
        counter = device.runs.get("energy")
        # A reading that is always fresh has nothing to learn from a counter.
        slow = prior.update_ns != 0
        model = self.model
        if (
            counter is not None
            and slow
            and method == "model"
            and not isinstance(model, CounterModel)
        ):
            self._fusion = fuse(counter, device.runs[channel], model, periods)
            if self._fusion is not None and self._fusion.weight > 0:
                self.method += f", energy counter ({device.channels['energy'].source})"

    def _choose(
        self,
        device: DeviceData,
        bounds_ns: tuple[int, int],
        spans: Spans | None,
        profile: Profile | None,
        method: str,
    ) -> tuple[PowerModel | ActivityModel | CounterModel, str, str, SensorPrior]:
        limits = (device.meta.power_min_w, device.meta.power_max_w)
        for name in POWER_CHANNELS if method != "counter" else ():
            if not _read(device, name):
                continue
            power = device.channels[name]
            prior = prior_for(
                device.meta.architecture,
                power.source,
                power.update_ns,
                power.window_ns,
                power.delay_ns,
            )
            used = profile if method == "model" else None
            lagged = prior if used is None else used.narrowed(prior, power.source)
            gap_ns = _gap_ns(device, prior)
            by_power = PowerModel(device.runs[name], lagged, *limits, *bounds_ns, gap_ns)
            what = "estimate from load" if power.source.startswith("estimate") else power.source
            if method == "model":
                response = None if used is None else used.response_of(power.source)
                by_activity = self._by_activity(name, prior, response, spans, bounds_ns, by_power)
                if by_activity is not None:
                    told = f"activity of {by_activity.spans.source} behind {what}"
                    return by_activity, told, name, prior
            held = f"trapezoid of power readings, held while unchanged ({what})"
            return by_power, held, name, prior
        counter = device.channels.get("energy")
        if counter is not None and method != "trapezoid":
            try:
                # Asked for by name beside power, it is the plain difference, for comparison.
                alone = not any(_read(device, name) for name in POWER_CHANNELS)
                coverage = _counter_coverage(device) if alone else 1.0
                by_counter = CounterModel(device.runs["energy"], *limits, *bounds_ns, coverage)
                if coverage < 1.0:
                    self._counter_note = (
                        f"{device.meta.id}: what an energy counter integrates is not documented, "
                        "and no power was read to tell: the true power, or readings of a sensor "
                        f"that looks at {coverage:.0%} of the time; the uncertainty has both"
                    )
                what = f"difference of the energy counter ({counter.source})"
                prior = prior_for(device.meta.architecture, counter.source)
                return by_counter, what, "energy", prior
            except NoReadingsError:
                pass
        raise NoReadingsError(f"{device.meta.id} ({device.meta.name}): {why_nothing(device)}")

    def _by_activity(
        self,
        name: str,
        prior: SensorPrior,
        response: Response | None,
        spans: Spans | None,
        bounds_ns: tuple[int, int],
        by_power: PowerModel,
    ) -> ActivityModel | None:
        """The channel's readings explained by what ran; None where that says nothing more."""
        if prior.update_ns == 0 or (response is None and not prior.responses):
            return None
        runs, meta = self.device.runs[name], self.device.meta
        labelled = spans is not None and len(spans) > 0
        marked = spans is not None and labelled and spans.source == "spans"
        if spans is None or not labelled:
            # Two edges cannot tell the response of a sensor of which nothing is known.
            if self._cut or (response is None and not prior.known):
                return None
            update_ns = max(prior.update_ns, _SLOWEST_UPDATE_NS)
            if not (_reads_beyond(runs, bounds_ns, update_ns) and _edges_rule(by_power)):
                return None
            spans = Spans.unlabelled(*bounds_ns)
        limits = (meta.power_min_w, meta.power_max_w)
        try:
            by_activity = activity_model(runs, spans, prior, limits, bounds_ns, response)
        except NoReadingsError as error:
            self._why_plain = str(error) if marked else ""
            return None
        if labelled and by_power.unseen_curve is not None:
            self._unmarked = by_activity.widen_unmarked(by_power.unseen_curve)
        # Short spans say what a part-time sensor may have missed; its readings alone do not.
        short = prior.coverage < 1.0 and _short(spans, max(prior.update_ns, 0))
        if short or _tells_more(by_activity, by_power, bounds_ns):
            return by_activity
        self._why_plain = "the readings alone are more certain" if marked else ""
        return None

    def curves(self) -> tuple[_core.EnergyCurve, _core.EnergyCurve]:
        """(dynamic, static) power, W: together they are what `terms` integrates.

        Static is the level of a model that has one: what is there with nothing running. Others do
        not tell them apart, and have zero.
        """
        model, card, bounds = self.model, self.profile, self.bounds_ns
        whole = [(curve, 1 / card.gain) for curve in model.energy_curves()]
        if self._fusion is not None and self._fusion.hypothesis == "truth":
            whole.append((self._fusion.curve, self._fusion.weight / card.gain))
        zero = card.offset_w if not isinstance(model, CounterModel) else 0.0
        nothing = constant(0.0, *bounds)
        if not isinstance(model, ActivityModel) or not model.spans.labelled:
            return weighted_sum(
                [*whole, (constant(-zero / card.gain, *bounds), 1.0)], *bounds
            ), nothing
        level = weighted_sum(
            [(model.level_curve, 1 / card.gain), (constant(-zero / card.gain, *bounds), 1.0)],
            *bounds,
        )
        dynamic = weighted_sum([*whole, (model.level_curve, -1 / card.gain)], *bounds)
        return dynamic, level

    def terms(
        self, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64], threads: int = 0
    ) -> WindowTerms:
        """Energies of checked windows and the terms of their uncertainty."""
        terms = self.model.windows(starts_ns, ends_ns, threads)
        if self._fusion is not None:
            terms = self._fusion.applied(terms, starts_ns, ends_ns, threads)
        duration_s = (ends_ns - starts_ns) / NS_PER_S
        card = self.profile
        zero = card.offset_w if not isinstance(self.model, CounterModel) else 0.0
        joules = (terms.joules - zero * duration_s) / card.gain
        scaled = {name: value / card.gain for name, value in terms.terms.items()}
        offset_u_w = 0.0 if isinstance(self.model, CounterModel) else card.offset_u_w
        return WindowTerms(
            joules,
            {
                "gain": np.abs(joules) * card.gain_u / card.gain,
                "offset": duration_s * offset_u_w / card.gain,
                **scaled,
            },
        )

    def energy(self, start_ns: int, end_ns: int) -> Energy:
        """Energy of one checked window, with its notes."""
        terms = self.terms(np.array([start_ns]), np.array([end_ns]))
        return Energy(
            joules=float(terms.joules[0]),
            u=float(terms.u[0]),
            method=self.method,
            scope=self.scope,
            notes=(*self._notes, *self._window_notes(start_ns, end_ns, terms)),
            u_same_card=float(terms.u_same_card[0]),
            duration_s=(end_ns - start_ns) / NS_PER_S,
            terms=tuple((name, float(value[0])) for name, value in terms.terms.items()),
        )

    def _window_notes(self, start_ns: int, end_ns: int, terms: WindowTerms) -> list[str]:
        device_id = self.device.meta.id
        notes = []
        gap_s = self.model.gap_s(start_ns, end_ns)
        duration_s = (end_ns - start_ns) / NS_PER_S
        # The first and last poll lie within a poll of the edges: only more than that is news.
        if gap_s > 0.005 and gap_s > 1e-3 * duration_s:
            share = gap_s / duration_s
            notes.append(
                f"{device_id}: nothing was read for {engineering(gap_s, 's')} ({share:.0%} of the "
                "window); the uncertainty covers any power the device can draw meanwhile"
            )
        if not isinstance(self.model, CounterModel) and self._begins_blind(start_ns):
            notes.append(
                f"{device_id}: no reading from before the start: the first edge is less certain "
                "(pyenergy.start() lets the sampler run beforehand)"
            )
        unlabelled = isinstance(self.model, ActivityModel) and not self.model.spans.labelled
        if unlabelled or isinstance(self.model, PowerModel) or self._unmarked or self._long():
            notes += self._unseen_note()
        if isinstance(self.model, PowerModel):
            update_s = self.model.prior.update_ns / NS_PER_S
            if 0 < duration_s < update_s:
                notes.append(
                    f"{device_id}: the window ({engineering(duration_s, 's')}) is shorter than the "
                    f"sensor's update period ({engineering(update_s, 's')}); label it with "
                    "pyenergy.mark and repeat it, or use pyenergy.measure"
                )
        if isinstance(self.model, ActivityModel):
            notes += [f"{device_id}: {note}" for note in self.model.notes()]
            notes += self._unresolved(duration_s, terms)
        if self._fusion is not None:
            notes += [f"{device_id}: {note}" for note in self._fusion.notes()]
        return notes

    def _unseen_note(self) -> list[str]:
        """Nothing would betray a load in step with a sensor that looks away."""
        prior = self.model.prior  # type: ignore[union-attr]
        counted = self._fusion is not None and self._fusion.hypothesis != "sensor"
        counter = self.device.runs.get("energy")
        moves = counter is not None and bool((np.diff(counter.value[counter.usable]) > 0).any())
        if prior.coverage >= 1.0 or counted or moves:
            return []
        return [
            f"{self.device.meta.id}: the sensor looks at {prior.coverage:.0%} of the time and no "
            "energy counter tells of the rest: a load in step with it would not show; label the "
            "work with pyenergy.mark, step by step"
        ]

    def _long(self) -> bool:
        """Whether a label covers so much time that nobody said what ran in it."""
        if not isinstance(self.model, ActivityModel):
            return False
        length_s = (self.model.spans.ends_ns - self.model.spans.starts_ns) / NS_PER_S
        return bool((length_s > _LONG_SPAN_S).any())

    def _begins_blind(self, start_ns: int) -> bool:
        """Whether the window begins before a reading could have told what came before it."""
        update_ns = self.model.prior.update_ns  # type: ignore[union-attr]
        runs = self.device.runs[self.channel]
        seen = np.asarray(runs.t_first_ns[runs.usable])
        return update_ns > 0 and int(seen[0]) > start_ns - update_ns

    def _unresolved(self, duration_s: float, terms: WindowTerms) -> list[str]:
        own = float(terms.u_same_card[0])
        if duration_s <= 0 or own < 0.2 * abs(float(terms.joules[0])):
            return []
        return [
            f"{self.device.meta.id}: the readings hardly tell this window's energy; run it longer "
            "or more often, not in step with the sensor "
            f"(period {engineering(self.model.period_s, 's')}), "  # type: ignore[union-attr]
            "with idle before and after"
        ]


def _reads_beyond(runs: Runs, bounds_ns: tuple[int, int], update_ns: int) -> bool:
    """Whether readings from before the start or after the end show what a trace adds to idle."""
    seen = np.asarray(runs.t_first_ns[runs.usable])
    before, after = bounds_ns[0] - int(seen[0]), int(seen[-1]) - bounds_ns[1]
    return max(before, after) > 3 * update_ns


def _edges_rule(by_power: PowerModel) -> bool:
    """Whether most of what is not known of the whole lies at its edges."""
    whole = by_power.windows(np.array([by_power.start_ns]), np.array([by_power.end_ns])).terms
    return bool(whole["edges"][0] > np.hypot(whole["inside"][0], whole["gaps"][0]))


def _short(spans: Spans, update_ns: int) -> bool:
    """Whether the spans are no longer than a few looks of the sensor."""
    length_ns = np.median(spans.ends_ns - spans.starts_ns)
    return bool(0 < length_ns < _FEW_LOOKS * update_ns)


def _tells_more(
    by_activity: ActivityModel, by_power: PowerModel, bounds_ns: tuple[int, int]
) -> bool:
    """Whether the spans make energies more certain: of the whole, or of the spans themselves."""
    spans = by_activity.spans
    inside = (spans.starts_ns >= bounds_ns[0]) & (spans.ends_ns <= bounds_ns[1])
    starts = np.append(spans.starts_ns[inside][:1000], bounds_ns[0])
    ends = np.append(spans.ends_ns[inside][:1000], bounds_ns[1])
    ratio = by_activity.windows(starts, ends).unseen / np.maximum(
        by_power.windows(starts, ends).unseen, 1e-12
    )
    whole, each = float(ratio[-1]), float(np.median(ratio[:-1])) if len(ratio) > 1 else np.inf
    return whole <= 1.0 or (each <= 1.0 and whole <= _MUCH_WORSE)


def _read(device: DeviceData, channel: str) -> bool:
    return channel in device.channels and bool(device.runs[channel].usable.any())


def _counter_coverage(device: DeviceData) -> float:
    """Share of the time that a counter knows of, if it adds up the power sensor's readings."""
    if not device.meta.id.startswith("gpu"):
        return 1.0
    power = device.channels.get("power")
    source = "nvml.field.186" if power is None else power.source  # the instantaneous reading
    return prior_for(device.meta.architecture, source).coverage


def _gap_ns(device: DeviceData, prior: SensorPrior) -> int:
    """Silence that counts as a gap; a replay, which knows no polls, has the sensor's period."""
    if device.meta.source == "replay":
        return max(prior.update_ns, 10 * NS_PER_MS)
    return device.gap_ns


def _uncalibrated(prior: SensorPrior) -> Profile:
    return Profile(gain_u=prior.gain_u, offset_u_w=prior.offset_u_w)
