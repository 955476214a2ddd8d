# SPDX-License-Identifier: Apache-2.0
"""A card's sensor, found from readings and from when a load ran: what `pyenergy calibrate` does.

No meter is needed for the update period, what a reading averages, its delay, and the power that
idle and load *read*: the posterior of `identify` answers. Every response family is also fitted
alone, and judged by readings that were left out of its fit. Gain and offset need a meter.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import NoReadingsError, OptionError
from ..units import NS_PER_S
from .catalog import POWER_CHANNELS
from .channel_fit import ChannelFit, fit_channel, sensor_prior
from .meter import METER_U, MeterFit, MeterLog, compare
from .profile import Profile

if TYPE_CHECKING:
    from ..recording.series import DeviceData
    from .spans import Spans

__all__ = ["Calibration", "calibrate"]

_STEADY_S = 0.5  # a plateau lasts at least so long after the readings have settled


@dataclass(frozen=True)
class Calibration:
    """Result of `calibrate`.

    Attributes
    ----------
    profile : Profile
        To be stored.
    channel : str
        The channel that it speaks of: the one that traces integrate.
    fits : dict of str to ChannelFit
        By channel.
    meter : MeterFit or None
    spans : Spans
        When the load ran.
    notes : tuple of str
    """

    profile: Profile
    channel: str
    fits: dict[str, ChannelFit]
    meter: MeterFit | None
    spans: Spans
    notes: tuple[str, ...]


def calibrate(
    device: DeviceData,
    spans: Spans,
    *,
    meter: MeterLog | None = None,
    meter_u: float = METER_U,
    previous: Profile | None = None,
    edge_u_s: float = 0.0,
    now_unix_s: float | None = None,
) -> Calibration:
    """Find a card's response, and with a meter its gain and offset.

    Parameters
    ----------
    device : DeviceData
        Readings while a load ran by turns.
    spans : Spans
        When it ran; not empty.
    meter : MeterLog, optional
        A power meter's log over the same time, on the clock of the readings.
    meter_u : float
        Relative standard uncertainty of the meter's scale.
    previous : Profile, optional
        The card's profile so far: what this cannot tell is kept from it.
    edge_u_s : float
        Standard uncertainty of the spans' edges, s; adds to that of the delay.
    now_unix_s : float, optional
        Time of the calibration, s of Unix time; None: now.

    Raises
    ------
    NoReadingsError
        When no power channel has readings with an update clock, or there are no spans.
    OptionError
        When the meter's log does not cover a plateau.
    """
    if not len(spans):
        raise NoReadingsError("no spans say when the load ran: nothing can be told apart")
    notes: list[str] = []
    fits: dict[str, ChannelFit] = {}
    names = [n for n in (*POWER_CHANNELS, *device.channels) if n in device.channels]
    usable = [
        name
        for name in dict.fromkeys(names)
        if device.channels[name].unit == "W" and bool(device.runs[name].usable.any())
    ]
    if not usable:
        raise NoReadingsError(f"{device.meta.id} ({device.meta.name}) gave no power reading")
    for name in usable:
        try:
            fits[name] = fit_channel(device, name, spans, edge_u_s)
        except NoReadingsError as error:
            if name == usable[0]:
                raise
            notes.append(f"{name}: {error}")
    main = fits[usable[0]]
    compared = None
    if meter is not None:
        compared = compare(main.updates, _steady(main, device, spans), meter, meter_u)
    now = time.time() if now_unix_s is None else now_unix_s
    profile, said = _profile(device, main, fits, compared, previous, now)
    notes += [f"{fit.channel}: {note}" for fit in fits.values() for note in fit.notes]
    return Calibration(profile, main.channel, fits, compared, spans, (*notes, *said))


def _steady(fit: ChannelFit, device: DeviceData, spans: Spans) -> list[tuple[int, int]]:
    """Times in which nothing began or ended and the readings had settled, ns."""
    response = fit.response
    if response is None:
        prior = sensor_prior(device.meta.architecture, fit.source)
        response = prior.responses[0].middle
    settle = round((response.reach_s + fit.clock.period_s) * NS_PER_S)
    t = fit.updates.t_ns
    edges = np.unique(np.concatenate([spans.starts_ns, spans.ends_ns, t[:1], t[-1:]]))
    stretches = zip(edges[:-1] + settle, edges[1:], strict=True)
    return [(int(a), int(b)) for a, b in stretches if b - a >= _STEADY_S * NS_PER_S]


def _profile(
    device: DeviceData,
    main: ChannelFit,
    fits: dict[str, ChannelFit],
    compared: MeterFit | None,
    previous: Profile | None,
    now: float,
) -> tuple[Profile, list[str]]:
    notes = []
    details: dict[str, Any] = {
        "driver": device.meta.driver,
        "channels": {name: fit.summary() for name, fit in fits.items()},
    }
    profile = Profile(
        response=main.response,
        update_s=main.clock.period_s,
        uuid=device.meta.uuid,
        name=device.meta.name,
        channel=main.source,
        calibrated_unix_s=now,
    )
    if compared is not None:
        try:
            profile = _scaled(profile, compared)
        except OptionError as error:
            raise OptionError(f"the meter and the card cannot be compared: {error}") from None
        details["meter_unix_s"] = now
        details["meter_points"] = len(compared.meter_w)
        if compared.levels < 2:
            notes.append(
                "the meter saw one plateau only: the offset cannot be told from the gain, and "
                "stays near 0 ± 5 W"
            )
    elif previous is not None and previous.by_meter and previous.channel == main.source:
        profile = _scaled(profile, previous)
        details |= {k: v for k, v in previous.details.items() if k.startswith("meter_")}
        notes.append("no meter this time: gain and offset are kept from the profile so far")
    return replace(profile, details=details), notes


def _scaled(profile: Profile, by: MeterFit | Profile) -> Profile:
    """With another's gain and offset."""
    return replace(
        profile, gain=by.gain, gain_u=by.gain_u, offset_w=by.offset_w, offset_u_w=by.offset_u_w
    )
