# SPDX-License-Identifier: Apache-2.0
"""How to sample: the options that `trace` and `Monitor` share, checked once."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

from .errors import OptionError
from .units import NS_PER_S

__all__ = ["MAX_RATE_HZ", "Sampling"]

MIN_RATE_HZ, MAX_RATE_HZ = 0.001, 20_000.0
DEFAULT_RATE_HZ = 1_000.0
PACINGS = ("auto", "fixed", "edge")


@dataclass(frozen=True)
class Sampling:
    """Checked sampling options.

    Parameters
    ----------
    rate_hz : float or None
        Polls per second; None: 1 kHz, at most 20 kHz.
    pacing : str
        ``"fixed"``: poll at ``rate_hz``. ``"edge"``: once the sensor's update clock is locked,
        poll densely only around each expected update and sparsely elsewhere. ``"auto"``:
        ``"edge"`` where the sensor's update period is known and no rate was asked for.
    update_period_s : float or None
        Known update period of the power reading, s, which seeds ``"edge"``.
    """

    rate_hz: float | None = None
    pacing: str = "auto"
    update_period_s: float | None = None

    def __post_init__(self) -> None:
        if self.rate_hz is not None:
            rate = _checked("rate_hz", self.rate_hz, MIN_RATE_HZ, MAX_RATE_HZ, "Hz")
            object.__setattr__(self, "rate_hz", rate)
        if self.update_period_s is not None:
            period = _checked("update_period_s", self.update_period_s, 1e-6, 100.0, "s")
            object.__setattr__(self, "update_period_s", period)
        if self.pacing not in PACINGS:
            raise OptionError(f"pacing must be one of {', '.join(PACINGS)}, got {self.pacing!r}")

    @property
    def period_ns(self) -> int:
        """Poll period."""
        return round(NS_PER_S / (self.rate_hz or DEFAULT_RATE_HZ))

    def seed_ns(self, prior_update_ns: int) -> int:
        """Update period that seeds ``edge`` pacing; 0 where pacing is to be fixed.

        Raises
        ------
        OptionError
            When ``edge`` is asked for but no period is known.
        """
        if self.pacing == "fixed" or (self.pacing == "auto" and self.rate_hz is not None):
            return 0
        if self.update_period_s is not None:
            return round(self.update_period_s * NS_PER_S)
        # A sensor that updates about as fast as it is polled has no edges worth waiting for.
        if prior_update_ns >= 5 * self.period_ns:
            return prior_update_ns
        if self.pacing == "edge":
            raise OptionError(
                "pacing='edge' needs the sensor's update period, which is not known here: give "
                "update_period_s ('pyenergy doctor' measures it) or use pacing='fixed'"
            )
        return 0


def _checked(name: str, value: object, lowest: float, largest: float, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise OptionError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not lowest <= number <= largest:  # NaN is not
        limits = f"from {lowest:g} to {largest:g} {unit}"
        raise OptionError(f"{name} must be positive, {limits}, got {value!r}")
    return number
