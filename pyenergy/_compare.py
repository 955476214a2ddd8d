# SPDX-License-Identifier: Apache-2.0
"""Ratio of two measurements, with what they share left out of its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import NoReadingsError, OptionError
from .sensor.counter_model import CounterModel

if TYPE_CHECKING:
    from ._energies import DeviceEnergies
    from ._energy import Energy
    from ._trace import Trace
    from .recording.recorded import Recorded

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """``a / b`` of two energies.

    Attributes
    ----------
    ratio : float
        Energy of a over energy of b.
    u : float
        Its standard uncertainty.
    shared : tuple of str
        UUIDs (or ids) of the devices in both, whose gain cancels.
    notes : tuple of str
        What a reader must know: which devices were taken as different ones, and why.
    """

    ratio: float
    u: float
    shared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Coverage interval, normal (GUM G.1.3).

        Raises
        ------
        OptionError
            When ``level`` is not inside (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise OptionError(f"level must lie inside (0, 1), got {level!r}")
        from statistics import NormalDist

        k = NormalDist().inv_cdf(0.5 + level / 2)
        return self.ratio - k * self.u, self.ratio + k * self.u

    def __str__(self) -> str:
        from ._energy import format_with_uncertainty

        return format_with_uncertainty(self.ratio, self.u, "").strip()


def compare(a: Trace, b: Trace) -> Comparison:
    """Ratio of the energies of two traces, the gain of a card that is in both cancelled.

    With ``E = (E' - o T) / g`` on each card, a relative error of the gain moves both energies
    alike and leaves the ratio; an error of the offset moves it by ``(T_a / E_a - T_b / E_b)``,
    which vanishes at equal mean power. What is of the window alone stays (GUM 5.2.2, correlated
    quantities).

    A card is the same one by its UUID. A device without a UUID (a CPU) is the same one where both
    traces were taken on one host and its id and name agree, which a note says. Whatever else may
    or may not be the same one, such as readings taken elsewhere without a UUID, counts as two: its
    errors add up, and a note says so. They do as well where the two energies do not share them:
    by different calibrations, or by the power readings and by the energy counter.

    Raises
    ------
    TypeError
        For what is no trace.
    NoReadingsError
        When a device could not be read, or when b has no energy to divide by.

    Examples
    --------
    >>> import pyenergy
    >>> with pyenergy.trace(devices="sim:ideal") as a:
    ...     _ = sum(range(100_000))
    >>> with pyenergy.trace(devices="sim:ideal") as b:
    ...     _ = sum(range(100_000))
    >>> pyenergy.compare(a, a).u < pyenergy.compare(a, a).ratio
    True
    """
    first, second = _measured(a), _measured(b)
    total_a = math.fsum(device.energy.joules for device in first)
    total_b = math.fsum(device.energy.joules for device in second)
    if total_b == 0:
        raise NoReadingsError("the second trace has no energy to compare with")
    ratio = total_a / total_b
    pairs, notes = _pairs(first, second, a is b)
    # d(A/B) = dA/B - (A/B) dB/B
    by_a, by_b = 1 / total_b, -ratio / total_b
    variance = 0.0
    for device in (*first, *second):
        scale = by_a if device in first else by_b
        variance += (device.energy.u_same_card * scale) ** 2
        if not any(device in pair for pair in pairs):
            variance += math.fsum((moved * scale) ** 2 for moved in device.systematic())
    for one, other in pairs:
        both = zip(one.systematic(), other.systematic(), strict=True)
        variance += math.fsum((x * by_a + y * by_b) ** 2 for x, y in both)
    shared = tuple(one.label for one, _ in pairs)
    return Comparison(ratio, math.sqrt(variance), shared, tuple(notes))


@dataclass(frozen=True, eq=False)
class _Measured:
    """A device of one of the traces; every one is itself only."""

    id: str
    energy: Energy
    model: DeviceEnergies
    recorded: Recorded

    @property
    def label(self) -> str:
        return self.model.device.meta.uuid or self.id

    def systematic(self) -> tuple[float, float]:
        """What an error of the gain and one of the offset move the energy by, J."""
        terms = dict(self.energy.terms)
        gain, offset = terms.get("gain", 0.0), terms.get("offset", 0.0)
        return math.copysign(gain, self.energy.joules), offset


def _measured(trace: Trace) -> list[_Measured]:
    from ._trace import Trace

    if not isinstance(trace, Trace):
        raise TypeError(f"compare takes two traces, got {trace!r}")
    recorded, models = trace._models()
    if trace.unreadable:
        raise NoReadingsError("no energy for " + "; ".join(trace.unreadable.values()))
    bounds = recorded.bounds_ns
    return [_Measured(id_, m.energy(*bounds), m, recorded) for id_, m in models.items()]


def _pairs(
    first: list[_Measured], second: list[_Measured], one_trace: bool
) -> tuple[list[tuple[_Measured, _Measured]], list[str]]:
    """Devices of both whose errors are the same, and what must be said about the others."""
    pairs: list[tuple[_Measured, _Measured]] = []
    notes: list[str] = []
    for one in first:
        free = [other for other in second if not any(other is taken for _, taken in pairs)]
        for other in sorted(free, key=lambda other: other.id != one.id):  # the namesake first
            same, why = _identity(one, other, one_trace)
            if same and (apart := _apart(one, other)):
                same, why = False, apart
            if why:
                notes.append(why)
            if same:
                pairs.append((one, other))
                break
    return pairs, notes


def _identity(one: _Measured, other: _Measured, one_trace: bool) -> tuple[bool, str]:
    """Whether two devices are the same one, and what must be said about that."""
    if one_trace:
        return one.id == other.id, ""
    metas = one.model.device.meta, other.model.device.meta
    if metas[0].uuid and metas[1].uuid:
        return metas[0].uuid == metas[1].uuid, ""
    if one.id != other.id:
        return False, ""
    two = f"{one.id} counts as two devices, whose gains do not cancel: "
    if metas[0].name != metas[1].name:
        return False, f"{two}it is {metas[0].name} in one trace and {metas[1].name} in the other"
    elsewhere = {"readings", "replay"} & {meta.source for meta in metas}
    hosts = {str(m.recorded.provenance.get("host", "")) for m in (one, other)}
    if not elsewhere and len(hosts) == 1 and "" not in hosts:
        return True, (
            f"{one.id} has no UUID: it is taken as the same device, {metas[0].name} on "
            f"{hosts.pop()} in both"
        )
    cure = f'; devices={{"{one.id}": {{"uuid": ...}}}} tells' if elsewhere else ""
    return False, f"{two}without a UUID in both traces nothing tells that it is the same{cure}"


def _apart(one: _Measured, other: _Measured) -> str:
    """Why the same device's errors are not the same in both; empty: they are."""
    by_counter = [isinstance(m.model.model, CounterModel) for m in (one, other)]
    if by_counter[0] != by_counter[1]:
        return (
            f"the gain of {one.label} does not cancel: one energy is its counter's, the other its "
            "power readings'"
        )
    cards = [
        (p.gain, p.gain_u, p.offset_w, p.offset_u_w)
        for p in (one.model.profile, other.model.profile)
    ]
    if cards[0] != cards[1]:
        return (
            f"the gain of {one.label} does not cancel: the traces are evaluated with different "
            "calibrations (Trace.calibrated makes them one)"
        )
    return ""
