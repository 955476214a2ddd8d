# SPDX-License-Identifier: Apache-2.0
"""What is known of power sensors before anything is measured.

Update periods and averaging windows of NVIDIA GPUs: Yang, Adamek, Armour, "Accurate and Convenient
Energy Measurements for GPUs: A Detailed Study of NVIDIA GPU's Built-In Power Sensor", SC24
(arXiv 2312.02741), sensor matrix of their repository GPU_Power_Benchmark (sheet "Result Matrix").
Delays: the same sheets (H100 instant 23-97 ms, average about 500 ms, which is the 1-s window's own
middle). Gain and offset: spread of the same study's 21 cards against a meter; half-width 6 %
rectangular gives a standard uncertainty of 3.5 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..units import NS_PER_MS, NS_PER_S
from .host_catalog import host_gain
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
GAIN_U = 0.035
OFFSET_U_W = 5.0
ESTIMATE_U = 0.5  # a TDP table knows neither the part's voltage nor what the load executes


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


def _prior(
    update_ms: float, window_ms: float, delay_ms: float, origin: str, rc_ms: float = 0.0
) -> SensorPrior:
    # A sensor that looks at its whole period averages exactly that; a second is a second.
    spread = _WINDOW_SPREAD if window_ms < update_ms else _WHOLE_SPREAD
    families = [ResponsePrior("boxcar", window_ms / 1e3, spread, 0.0, delay_ms / 1e3)]
    if rc_ms > 0:
        families.append(ResponsePrior("rc", rc_ms / 1e3, _WINDOW_SPREAD, 0.0, delay_ms / 1e3))
    return SensorPrior(
        update_ns=round(update_ms * NS_PER_MS),
        window_ns=round(window_ms * NS_PER_MS),
        lag_ns=round((update_ms + window_ms + delay_ms) * NS_PER_MS),
        coverage=min(1.0, window_ms / update_ms) if update_ms > 0 else 1.0,
        origin=origin,
        responses=tuple(families),
    )


_STUDY = "arXiv 2312.02741, sensor matrix"
_INSTANT = {
    "pascal": _prior(20, 10, 20, _STUDY),
    "volta": _prior(20, 10, 20, _STUDY),
    "turing": _prior(100, 100, 100, _STUDY),
    # The step response of some A100 fits an RC of about 12 ms as well as the study's boxcar.
    "ga100": _prior(100, 25, 100, _STUDY, rc_ms=12),
    "ampere": _prior(100, 100, 100, _STUDY),
    "ada": _prior(100, 100, 100, _STUDY),
    "hopper": _prior(100, 25, 100, _STUDY),
}
_AVERAGE = _prior(100, 1000, 100, _STUDY)
# Architectures whose default reading (GetPowerUsage) is the instant one: nvml.h on
# nvmlDeviceGetPowerUsage, "Ampere (except GA100) or newer" average over one second.
_DEFAULT_IS_INSTANT = ("pascal", "volta", "turing", "ga100")
# Nothing known: as slow and as part-time as any sensor of the study.
UNKNOWN = SensorPrior(
    update_ns=-1,
    window_ns=-1,
    lag_ns=1_300 * NS_PER_MS,
    coverage=0.25,
    origin="unknown sensor: widest of " + _STUDY,
    responses=_ANY,
)


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
    if source.startswith("estimate"):
        stated = _stated(update_ns, window_ns, delay_ns, "the estimate's own definition")
        return replace(stated, gain_u=ESTIMATE_U, offset_u_w=0.0)
    if (host := host_gain(source, architecture)) is not None:
        gain_u, offset_u_w, origin = host
        stated = _stated(update_ns, window_ns, delay_ns, origin)
        return replace(stated, gain_u=gain_u, offset_u_w=offset_u_w)
    if update_ns >= 0 and source == "readings":
        # A log rarer than any sensor: what its readings averaged cannot be told any more.
        return replace(_stated(update_ns, window_ns, delay_ns, "a log"), responses=())
    if update_ns >= 0:
        return _stated(update_ns, window_ns, delay_ns, "stated by the source")
    if source in ("nvml.field.186", "dcgm.field.157"):
        return _INSTANT.get(architecture, UNKNOWN)
    if source == "nvml.field.185":
        return _AVERAGE if architecture in _INSTANT else UNKNOWN
    if source in ("nvml.GetPowerUsage", "dcgm.field.155") and architecture in _INSTANT:
        return _INSTANT[architecture] if architecture in _DEFAULT_IS_INSTANT else _AVERAGE
    return UNKNOWN


def _stated(update_ns: int, window_ns: int, delay_ns: int, origin: str) -> SensorPrior:
    if update_ns < 0:
        return replace(UNKNOWN, origin=origin)
    window = max(window_ns, 0)
    return SensorPrior(
        update_ns=update_ns,
        window_ns=window,
        lag_ns=update_ns + window + max(delay_ns, 0),
        coverage=min(1.0, window / update_ns) if update_ns > 0 and window > 0 else 1.0,
        origin=origin,
        responses=_stated_responses(window_ns, max(delay_ns, 0)),
    )


def _stated_responses(window_ns: int, delay_ns: int) -> tuple[ResponsePrior, ...]:
    """What a source states of its response may be a nominal figure: a little room is left."""
    if window_ns < 0:
        return _ANY
    delay_s = delay_ns / NS_PER_S
    low, high = max(delay_s - 0.002, 0.0), delay_s + 0.002
    if window_ns == 0:
        return (ResponsePrior("continuous", 0.0, 0.0, low, high),)
    window_s = window_ns / NS_PER_S
    return tuple(ResponsePrior(f, window_s, _STATED_SPREAD, low, high) for f in ("boxcar", "rc"))
