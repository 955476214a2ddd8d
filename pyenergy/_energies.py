# SPDX-License-Identifier: Apache-2.0
"""Energies of a recording's devices: which model serves each, and what must be said about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from . import _core
from ._energy import Energy
from .errors import NoReadingsError
from .sensor.catalog import POWER_CHANNELS, SensorPrior, prior_for
from .sensor.counter import Comparison, CounterModel, compare
from .sensor.uncertainty import PowerModel, WindowTerms
from .units import NS_PER_MS, NS_PER_S, engineering

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .recording.series import DeviceData

__all__ = ["DeviceEnergies"]


class DeviceEnergies:
    """Energy of any window of one device, from its power readings or else its counter.

    Raises
    ------
    NoReadingsError
        When the device gave neither a power reading nor a moving counter, with the reason.
    """

    def __init__(self, device: DeviceData, bounds_ns: tuple[int, int]) -> None:
        self.device = device
        self.model, self.method, channel = _model(device, bounds_ns)
        self.scope = device.channels[channel].scope
        self._notes = _standing_notes(device, channel, bounds_ns)
        self._counter: Comparison | None = None
        counter = device.runs.get("energy")
        if counter is not None and isinstance(self.model, PowerModel):
            self._counter = compare(counter, self.model)

    def terms(
        self, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64], threads: int = 0
    ) -> WindowTerms:
        """Energies of checked windows and the terms of their uncertainty."""
        terms = self.model.windows(starts_ns, ends_ns, threads)
        if self._counter is None:
            return terms
        return replace(terms, misfit=self._counter.curve.windows(starts_ns, ends_ns, threads))

    def energy(self, start_ns: int, end_ns: int) -> Energy:
        """Energy of one checked window, with its notes."""
        terms = self.terms(np.array([start_ns]), np.array([end_ns]))
        return Energy(
            joules=float(terms.joules[0]),
            u=float(terms.u[0]),
            method=self.method,
            scope=self.scope,
            notes=(*self._notes, *self._window_notes(start_ns, end_ns), *self._misfit_notes()),
        )

    def _misfit_notes(self) -> list[str]:
        both = self._counter
        if both is None or not both.disagree:
            return []
        return [
            f"{self.device.meta.id}: over {engineering(both.seconds, 's')} the energy counter says "
            f"{engineering(both.counter_j, 'J')}, the integral of power "
            f"{engineering(both.integral_j, 'J')}: the difference is in the uncertainty. A load "
            "in step with the sensor's updates does this"
        ]

    def _window_notes(self, start_ns: int, end_ns: int) -> list[str]:
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
        if isinstance(self.model, PowerModel):
            update_s = self.model.prior.update_ns / NS_PER_S
            if 0 < duration_s < update_s:
                notes.append(
                    f"{device_id}: the window ({engineering(duration_s, 's')}) is shorter than the "
                    f"sensor's update period ({engineering(update_s, 's')})"
                )
        return notes


def _model(
    device: DeviceData, bounds_ns: tuple[int, int]
) -> tuple[PowerModel | CounterModel, str, str]:
    limits = (device.meta.power_min_w, device.meta.power_max_w)
    for name in POWER_CHANNELS:
        power = device.channels.get(name)
        if power is None or not bool(device.runs[name].usable.any()):
            continue
        prior = prior_for(
            device.meta.architecture, power.source, power.update_ns, power.window_ns, power.delay_ns
        )
        what = "estimate from load" if power.source.startswith("estimate") else power.source
        model = PowerModel(device.runs[name], prior, *limits, *bounds_ns, _gap_ns(device, prior))
        return model, f"trapezoid of power readings, held while unchanged ({what})", name
    counter = device.channels.get("energy")
    if counter is not None:
        try:
            by_counter = CounterModel(device.runs["energy"], *limits, *bounds_ns)
            return by_counter, f"difference of the energy counter ({counter.source})", "energy"
        except NoReadingsError:
            pass
    raise NoReadingsError(f"{device.meta.id} ({device.meta.name}): {_why_nothing(device)}")


def _gap_ns(device: DeviceData, prior: SensorPrior) -> int:
    """Silence that counts as a gap; a replay, which knows no polls, has the sensor's period."""
    if device.meta.source == "replay":
        return max(prior.update_ns, 10 * NS_PER_MS)
    return device.gap_ns


def _why_nothing(device: DeviceData) -> str:
    runs = device.runs.get("power")
    if runs is None:
        return "it has no power sensor that can be read"
    if len(runs) == 0:
        return "no power reading arrived"
    if bool(((runs.flags & _core.FLAG_INVALID) != 0).all()):
        return "every power reading was impossible"
    status = sorted({int(flag) >> 16 for flag in runs.flags})
    return f"every power reading failed (status {', '.join(map(str, status))})"


def _standing_notes(device: DeviceData, channel: str, bounds_ns: tuple[int, int]) -> list[str]:
    """What holds for every window of this device."""
    runs = device.runs[channel]
    inside = (runs.read_last_ns >= bounds_ns[0]) & (runs.t_first_ns <= bounds_ns[1])
    device_id = device.meta.id
    notes = [f"{device_id}: {note}" for note in device.meta.notes]
    if device.channels[channel].note:
        notes.append(f"{device_id}: {device.channels[channel].note}")
    if channel != "power" and "power" in device.channels:
        notes.append(f"{device_id}: {_why_nothing(device)}; '{channel}' serves instead")
    dropped = device.stats.get("dropped_in_trace", 0)
    if dropped:
        notes.append(f"{device_id}: {dropped} samples were dropped; their gaps are accounted for")
    missing = int(runs.count[inside & ((runs.flags & _core.FLAG_MISSING) != 0)].sum())
    if missing:
        notes.append(f"{device_id}: {missing} reads failed")
    invalid = int(runs.count[inside & ((runs.flags & _core.FLAG_INVALID) != 0)].sum())
    if invalid:
        notes.append(f"{device_id}: {invalid} readings were impossible and not used")
    highest = float(np.max(runs.value[inside & runs.usable], initial=0.0))
    if channel in POWER_CHANNELS and highest > 1.1 * device.meta.power_max_w:
        notes.append(
            f"{device_id}: readings reach {engineering(highest, 'W')}, the device's limit is "
            f"{engineering(device.meta.power_max_w, 'W')}"
        )
    counter = device.runs.get("energy")
    if counter is not None and bool(((counter.flags & _core.FLAG_RESET) != 0).any()):
        notes.append(f"{device_id}: the energy counter was reset or ran backwards")
    return notes
