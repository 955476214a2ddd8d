# SPDX-License-Identifier: Apache-2.0
"""What is known of power sensors before anything is measured.

Update periods and averaging windows of NVIDIA GPUs: Yang, Adamek, Armour, "Accurate and Convenient
Energy Measurements for GPUs: A Detailed Study of NVIDIA GPU's Built-In Power Sensor", SC24
(arXiv 2312.02741), sensor matrix of their repository GPU_Power_Benchmark (sheet "Result Matrix").
Delays: the same sheets (H100 instant 23-97 ms, average about 500 ms, which is the 1-s window's own
middle). The step response of some A100 fits an RC of about 12 ms as well as the study's boxcar. The
default reading (GetPowerUsage) is the instant one up to Turing and on GA100; "Ampere (except GA100)
or newer" average over one second (nvml.h on nvmlDeviceGetPowerUsage). Gain and offset: spread of
the same study's 21 cards against a meter; half-width 6 % rectangular gives a standard uncertainty
of 3.5 %.

The figures themselves are in csrc/sensors/catalog.cpp, for C++ and Python alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .. import _core
from ..units import NS_PER_S
from .response import Response, ResponsePrior

__all__ = ["POWER_CHANNELS", "SensorPrior", "prior_for"]

# Channels that energy may be integrated from, best first; the second is the driver's own sample
# buffer, read in batches where nothing else can be.
POWER_CHANNELS = ("power", "power_samples")

# Standard deviation of the logarithm of a window (the study: A100 17.6-25.4 ms, H100 21.2-24.9).
_WINDOW_SPREAD = 0.25
_WHOLE_SPREAD = _STATED_SPREAD = 0.03
# A sensor of which nothing is known: from a millisecond to seconds, boxcar or RC.
_ANY = (
    ResponsePrior("boxcar", 0.08, 1.3, 0.0, 0.2, weight=0.6),
    ResponsePrior("rc", 0.04, 1.3, 0.0, 0.2, weight=0.4),
)
GAIN_U, OFFSET_U_W = _core.GAIN_U, _core.OFFSET_U_W


@dataclass(frozen=True)
class SensorPrior:
    """Prior knowledge of one power channel.

    Attributes
    ----------
    update_ns : int
        Update period; 0: every read is fresh; -1: not known.
    window_ns : int
        Length of power that one reading averages; -1: not known.
    lag_ns : int
        Longest time from a moment of power to the last reading that still reflects its past:
        update period + window + delay, each at its largest.
    coverage : float
        Smallest share of time that the readings look at (window / update period, at most 1).
    gain_u : float
        Relative standard uncertainty of the gain of an uncalibrated card.
    offset_u_w : float
        Standard uncertainty of the offset, W.
    origin : str
        Where this knowledge comes from.
    responses : tuple of ResponsePrior
        The response families that may be, each with the range of its parameters.
    """

    update_ns: int
    window_ns: int
    lag_ns: int
    coverage: float
    gain_u: float = GAIN_U
    offset_u_w: float = OFFSET_U_W
    origin: str = ""
    responses: tuple[ResponsePrior, ...] = ()

    def lagged(self, response: Response | None) -> SensorPrior:
        """With a calibrated response in the place of the catalogue's range."""
        if response is None:
            return self
        window_ns = round(response.reach_s * NS_PER_S) - round(response.delay_s * NS_PER_S)
        period_ns = max(self.update_ns, 0)
        lag_s = response.reach_s + 2 * (response.delay_u_s + response.window_u_s)
        return replace(
            self,
            window_ns=window_ns,
            lag_ns=period_ns + round(lag_s * NS_PER_S),
            coverage=min(1.0, window_ns / period_ns) if period_ns > 0 else 1.0,
            responses=(
                ResponsePrior(
                    response.family,
                    response.window_s,
                    1e-3 + response.window_u_s / max(response.window_s, 1e-9),
                    response.delay_s - 2 * response.delay_u_s,
                    response.delay_s + 2 * response.delay_u_s,
                ),
            ),
        )

    def of_period(self, period_s: float, spread: float) -> tuple[ResponsePrior, ...]:
        """Its responses, the update period being found to be ``period_s``.

        A sensor that looks at its whole period averages exactly that, to a relative ``spread``.
        """
        if self.update_ns <= 0 or self.window_ns != self.update_ns:
            return self.responses
        return tuple(
            replace(p, window_s=period_s, window_spread=spread) if p.family == "boxcar" else p
            for p in self.responses
        )

    @property
    def known(self) -> bool:
        """Whether the update period is known."""
        return self.update_ns >= 0


def _prior(known: _core.SensorPrior) -> SensorPrior:
    return SensorPrior(
        update_ns=known.update_ns,
        window_ns=known.window_ns,
        lag_ns=known.lag_ns,
        coverage=known.coverage,
        gain_u=known.gain_u,
        offset_u_w=known.offset_u_w,
        origin=known.origin,
        responses=_responses(known),
    )


def _responses(known: _core.SensorPrior) -> tuple[ResponsePrior, ...]:
    if known.known_by == "log":
        return ()  # what readings rarer than any sensor's averaged cannot be told any more
    if known.known_by == "stated":
        return _stated_responses(known.window_ns, known.delay_ns)
    if known.known_by == "nothing":
        return _ANY
    window_s, longest_s = known.window_ns / NS_PER_S, known.delay_ns / NS_PER_S
    # A sensor that looks at its whole period averages exactly that; a second is a second.
    spread = _WINDOW_SPREAD if known.window_ns < known.update_ns else _WHOLE_SPREAD
    families = [ResponsePrior("boxcar", window_s, spread, 0.0, longest_s)]
    if known.rc_ns > 0:
        families.append(ResponsePrior("rc", known.rc_ns / NS_PER_S, _WINDOW_SPREAD, 0.0, longest_s))
    return tuple(families)


# Nothing known: as slow and as part-time as any sensor of the study.
UNKNOWN = _prior(_core.sensor_prior("", ""))


def prior_for(
    architecture: str,
    source: str,
    update_ns: int = -1,
    window_ns: int = -1,
    delay_ns: int = -1,
) -> SensorPrior:
    """Prior of a channel from its architecture and what is read (``Channel.source``).

    The last three are what the source itself states (a simulated or replayed sensor does), -1
    where it states nothing; they win over the catalogue.
    """
    prior = _prior(_core.sensor_prior(architecture, source, update_ns, window_ns, delay_ns))
    return UNKNOWN if prior == UNKNOWN else prior


def _stated_responses(window_ns: int, delay_ns: int) -> tuple[ResponsePrior, ...]:
    """What a source states of its response may be a nominal figure: a little room is left."""
    delay_s = delay_ns / NS_PER_S
    low, high = max(delay_s - 0.002, 0.0), delay_s + 0.002
    if window_ns == 0:
        return (ResponsePrior("continuous", 0.0, 0.0, low, high),)
    window_s = window_ns / NS_PER_S
    return tuple(ResponsePrior(f, window_s, _STATED_SPREAD, low, high) for f in ("boxcar", "rc"))
