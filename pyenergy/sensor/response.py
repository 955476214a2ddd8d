# SPDX-License-Identifier: Apache-2.0
"""What one reading averages: the response families, and activity seen through them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._real import real
from ..errors import OptionError
from ..units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from .. import _core

__all__ = [
    "FAMILIES",
    "Family",
    "Response",
    "ResponsePrior",
    "filtered",
    "filtered_dense",
    "overlaps",
]

Family = Literal["boxcar", "rc", "continuous"]
FAMILIES: tuple[Family, ...] = ("boxcar", "rc", "continuous")
_INSTANT_NS = 1_000  # a continuous reading is a boxcar too short to matter
_LONGEST_S = 100.0
_SIGMAS = (
    3.0  # of a window's logarithm, beyond which the catalogue holds it for no sensor of the kind
)
# How far ahead of its time stamp a reading may seem to look, beside two windows: fits pass through
# there on their way, and a log may stamp its lines late. More than that is a sign of a wrong sign.
_AHEAD_S = 0.5


@dataclass(frozen=True)
class Response:
    """``y(t_k) = (h * P)(t_k - delay)``.

    Parameters
    ----------
    family : {"boxcar", "rc", "continuous"}
        ``boxcar``: the mean over the window before; a one-second average is a boxcar of 1 s.
        ``rc``: a first-order low-pass (a capacitor's). ``continuous``: the power itself.
    window_s : float
        Length of the boxcar, or time constant of the RC, s, up to 100; 0 for ``continuous``.
    delay_s : float
        Age of what is averaged when the reading is published, s, up to 100. Positive; a little
        below zero (down to half a second and two windows) where stamps come late.
    window_u_s, delay_u_s : float
        Their standard uncertainties, s; any real number, kept as float, as the others are.

    Raises
    ------
    OptionError
        For a family that does not exist, what is no finite number, lengths that cannot be, a
        reading that would show the future, and a window of the power itself.

    Notes
    -----
    Boxcar and RC sensors: arXiv 2312.02741, section 4; the capacitor: Burtscher, Zecena, Zong,
    "Measuring GPU power with the K20 built-in sensor", GPGPU-7 (2014).
    """

    family: Family
    window_s: float = 0.0
    delay_s: float = 0.0
    window_u_s: float = 0.0
    delay_u_s: float = 0.0

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise OptionError(f"a response is one of {', '.join(FAMILIES)}, not {self.family!r}")
        for name in ("window_s", "delay_s", "window_u_s", "delay_u_s"):
            value = real(name, getattr(self, name))
            if (value < 0 and name != "delay_s") or abs(value) > _LONGEST_S:
                raise OptionError(
                    f"{name} must be a number of seconds from 0 to {_LONGEST_S:g}, got {value!r}"
                )
            object.__setattr__(self, name, value)
        if self.family != "continuous" and self.window_s <= 0:
            raise OptionError(f"a {self.family} needs a window_s above 0")
        if self.family == "continuous" and (self.window_s > 0 or self.window_u_s > 0):
            raise OptionError("a continuous response has no window_s; of an average: 'boxcar'")
        if self.delay_s < -(_AHEAD_S + 2 * self.window_s):
            raise OptionError(
                f"delay_s must not be negative, got {self.delay_s!r}: a reading shows the past; "
                "what is averaged is older than the reading by a positive delay"
            )

    @property
    def lag_s(self) -> float:
        """Mean age of what a reading shows when it is published, s."""
        share = {"boxcar": 0.5, "rc": 1.0, "continuous": 0.0}[self.family]
        return self.delay_s + share * self.window_s

    @property
    def looks_s(self) -> float:
        """Time that a reading averages, s; of an RC the boxcar of its noise bandwidth, 2 tau."""
        return self.window_s * (2 if self.family == "rc" else 1)

    @property
    def holds_edge_s(self) -> float:
        """How long after an edge readings hold something of it: of an RC until 2 % are left, s."""
        return self.window_s * (math.log(50) if self.family == "rc" else 1.0)

    @property
    def reach_s(self) -> float:
        """How far back a reading looks, s (an RC: five time constants)."""
        return self.delay_s + self.window_s * (5.0 if self.family == "rc" else 1.0)

    def __str__(self) -> str:
        if self.family == "continuous":
            return f"continuous, delay {self.delay_s * 1e3:.3g} ms"
        what = {"boxcar": "boxcar of", "rc": "RC with tau"}[self.family]
        return f"{what} {self.window_s * 1e3:.3g} ms, delay {self.delay_s * 1e3:.3g} ms"


@dataclass(frozen=True)
class ResponsePrior:
    """What is believed of a response before the readings are seen.

    Attributes
    ----------
    family : {"boxcar", "rc", "continuous"}
    window_s : float
        Median of the window or time constant, s.
    window_spread : float
        Standard deviation of its logarithm.
    delay_low_s, delay_high_s : float
        The delay lies between, anywhere; beyond them it gets unlikely within 2 ms.
    weight : float
        Of this family against the others of the same sensor.
    """

    family: Family
    window_s: float
    window_spread: float
    delay_low_s: float
    delay_high_s: float
    weight: float = 1.0

    def log_density(self, response: Response) -> float:
        """Up to a constant that all responses of this prior share, and the family's weight."""
        beyond = max(self.delay_low_s - response.delay_s, response.delay_s - self.delay_high_s, 0.0)
        log = float(np.log(self.weight)) - 0.5 * (beyond / 0.002) ** 2
        if self.family != "continuous" and self.window_spread > 0:
            log -= 0.5 * (np.log(response.window_s / self.window_s) / self.window_spread) ** 2
        return log

    def allows(self, window_s: float) -> bool:
        """Whether a sensor may have that window or time constant at all.

        However well another explained the readings: work that no span names looks like a sensor
        that averages longer, and is not to be taken for one.
        """
        if self.family == "continuous" or self.window_spread <= 0:
            return True
        return bool(abs(np.log(window_s / self.window_s)) <= _SIGMAS * self.window_spread)

    @property
    def middle(self) -> Response:
        """Its median."""
        delay = (self.delay_low_s + self.delay_high_s) / 2
        window = 0.0 if self.family == "continuous" else self.window_s
        return Response(self.family, window, delay)


def filtered(activity: _core.Activity, t_ns: NDArray[np.int64], response: Response) -> csr_array:
    """Each class's activity as readings published at ``t_ns`` (non-decreasing) average it.

    Sparse, shape (len(t_ns), classes), dimensionless: 1 where a class ran all the time.
    """
    from scipy.sparse import csr_array

    begin, index, value = _rows(activity, t_ns, response)
    return csr_array((value, index, begin), shape=(len(t_ns), activity.classes))


def filtered_dense(
    activity: _core.Activity, t_ns: NDArray[np.int64], response: Response
) -> NDArray[np.float64]:
    """`filtered` as an array: for few classes, and without the cost of a sparse one."""
    begin, index, value = _rows(activity, t_ns, response)
    x = np.zeros((len(t_ns), activity.classes))
    x[np.repeat(np.arange(len(t_ns)), np.diff(begin)), index] = value
    return x


def _rows(
    activity: _core.Activity, t_ns: NDArray[np.int64], response: Response
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Sparse rows (begin, index, value) of `filtered`."""
    seen = t_ns - round(response.delay_s * NS_PER_S)
    if response.family == "rc":
        return activity.lowpass(seen, max(round(response.window_s * NS_PER_S), 1))
    window = max(round(response.window_s * NS_PER_S), _INSTANT_NS)
    begin, index, value = activity.overlap(seen - window, seen, 1)
    return begin, index, value / (window / NS_PER_S)


def overlaps(
    activity: _core.Activity, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64]
) -> csr_array:
    """Seconds of each class inside each window; sparse, shape (windows, classes)."""
    from scipy.sparse import csr_array

    begin, index, value = activity.overlap(starts_ns, ends_ns)
    return csr_array((value, index, begin), shape=(len(starts_ns), activity.classes))
