# SPDX-License-Identifier: Apache-2.0
"""What is left of the part of a trace whose readings were not kept: its energy, once and for all.

The terms of an uncertainty are added up as their causes are: what has one cause in every part is
linear (the card's gain), what every part has by itself is in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import RecordingError
from ..units import NS_PER_S, engineering

__all__ = ["DeviceTally", "PhaseTally", "Settled", "Tally"]

_FIELDS = ("start_ns", "end_ns", "keep_s", "blocks", "marks", "untold_s", "peak_w")


@dataclass(frozen=True)
class Tally:
    """Energy of one device by one method, from the trace's start to ``until_ns``.

    Attributes
    ----------
    until_ns : int
        Up to here, ns of CLOCK_MONOTONIC; before the end of what is settled where the device gave
        nothing usable since.
    joules, rest : float
        Their sum is the energy, J; ``rest`` is what the additions rounded off.
    linear : dict of str to float
        Terms of the standard uncertainty that added up, J.
    square : dict of str to float
        Squares of the others, J^2.
    """

    until_ns: int
    joules: float = 0.0
    rest: float = 0.0
    linear: dict[str, float] = field(default_factory=dict)
    square: dict[str, float] = field(default_factory=dict)

    def u_of(self, name: str) -> tuple[float, bool]:
        """(standard uncertainty of a term in J, whether it adds up linearly)."""
        if name in self.linear:
            return self.linear[name], True
        return math.sqrt(self.square.get(name, 0.0)), False


@dataclass(frozen=True)
class DeviceTally:
    """One device: energy by method, how it was obtained, and notes with how many blocks had them.

    Attributes
    ----------
    tallies : dict of str to Tally
        By method (`pyenergy._energies.METHODS`); absent: nothing usable by that method so far.
    methods : dict of str to int
        How the model's energies were obtained, in words, and in how many blocks.
    scope : str
    notes : dict of str to int
    """

    tallies: dict[str, Tally] = field(default_factory=dict)
    methods: dict[str, int] = field(default_factory=dict)
    scope: str = ""
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PhaseTally:
    """Marks of one name, all devices together: marks that ended, s, J and standard uncertainties.

    The uncertainties of the blocks added up, as if all their errors were common.
    """

    count: int = 0
    time_s: float = 0.0
    joules: float = 0.0
    u: float = 0.0
    u_same_card: float = 0.0

    def plus(self, other: PhaseTally) -> PhaseTally:
        """Both together."""
        return PhaseTally(
            self.count + other.count,
            self.time_s + other.time_s,
            self.joules + other.joules,
            self.u + other.u,
            self.u_same_card + other.u_same_card,
        )


@dataclass(frozen=True)
class Settled:
    """A trace from its start to ``end_ns``, of which no readings are kept.

    Attributes
    ----------
    start_ns, end_ns : int
        ns of CLOCK_MONOTONIC.
    keep_s : float
        How much was to be kept, s.
    blocks : int
        In how many parts it was evaluated.
    marks : int
        Marks that ended in it; their energies by name are in ``phases``.
    untold_s : float
        Time of which the energies by name of the marks are not known: a device gave no reading, s.
    peak_w : float
        Largest sum of the devices' readings, W; NaN where a device gave none.
    devices : dict of str to DeviceTally
    phases : dict of str to PhaseTally
    """

    start_ns: int
    end_ns: int
    keep_s: float
    blocks: int = 0
    marks: int = 0
    untold_s: float = 0.0
    peak_w: float = math.nan
    devices: dict[str, DeviceTally] = field(default_factory=dict)
    phases: dict[str, PhaseTally] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What a reader of the trace must know."""
        gone, kept = engineering((self.end_ns - self.start_ns) / NS_PER_S, "s"), self.keep_s
        marks = f"; of {self.marks} marks in it only phases() tells" if self.marks else ""
        return (
            f"readings of the first {gone} are not kept (keep={engineering(kept, 's')}): their "
            f"energy is settled and part of the trace's{marks}"
        )

    def until_ns(self, device: str, method: str) -> int:
        """From when on a device's energy by a method is still to be told."""
        entry = self.devices.get(device)
        tally = None if entry is None else entry.tallies.get(method)
        return self.start_ns if tally is None else tally.until_ns

    def tally(self, device: str, method: str) -> Tally:
        """A device's energy by a method; nothing where nothing is known."""
        entry = self.devices.get(device)
        found = None if entry is None else entry.tallies.get(method)
        return Tally(self.start_ns) if found is None else found

    def described(self) -> dict[str, Any]:
        """As JSON values; `read` makes the same of them."""
        return {
            **{name: getattr(self, name) for name in _FIELDS if name != "peak_w"},
            "peak_w": None if math.isnan(self.peak_w) else self.peak_w,
            "devices": {
                name: {
                    "tallies": {k: vars(tally) for k, tally in entry.tallies.items()},
                    "methods": entry.methods,
                    "scope": entry.scope,
                    "notes": entry.notes,
                }
                for name, entry in self.devices.items()
            },
            "phases": {name: vars(phase) for name, phase in self.phases.items()},
        }

    @classmethod
    def read(cls, values: Any) -> Settled:
        """From what `described` made.

        Raises
        ------
        RecordingError
            When that is not what it was.
        """
        try:
            known = {name: values[name] for name in _FIELDS}
            known["peak_w"] = math.nan if known["peak_w"] is None else known["peak_w"]
            devices = {
                name: DeviceTally(
                    {k: Tally(**tally) for k, tally in entry["tallies"].items()},
                    entry["methods"],
                    entry["scope"],
                    entry["notes"],
                )
                for name, entry in values["devices"].items()
            }
            phases = {name: PhaseTally(**phase) for name, phase in values["phases"].items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise RecordingError("what was settled of it is damaged") from error
        found = cls(**known, devices=devices, phases=phases)
        if not found._is_sound():
            raise RecordingError("what was settled of it is damaged")
        return found

    def _is_sound(self) -> bool:
        tallies = [t for d in self.devices.values() for t in d.tallies.values()]
        wholes = [self.start_ns, self.end_ns, self.blocks, self.marks]
        wholes += [t.until_ns for t in tallies] + [p.count for p in self.phases.values()]
        numbers: list[Any] = [self.keep_s, self.untold_s]
        for tally in tallies:
            if not (isinstance(tally.linear, Mapping) and isinstance(tally.square, Mapping)):
                return False
            numbers += [tally.joules, tally.rest, *tally.linear.values(), *tally.square.values()]
        for phase in self.phases.values():
            numbers += [phase.time_s, phase.joules, phase.u, phase.u_same_card]
        return (
            all(type(n) is int for n in wholes)
            and all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
            and self.start_ns <= self.end_ns
        )
