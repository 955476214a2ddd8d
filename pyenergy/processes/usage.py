# SPDX-License-Identifier: Apache-2.0
"""Who was busy when, on one device: cumulative busy times at common moments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Usage", "UsageLog", "Who"]

_MOST_MOMENTS = 2000
_MOST_NUMBERS = 200_000  # of all processes together


@dataclass(frozen=True)
class Who:
    """A process, or what stands for several (pid None)."""

    pid: int | None
    name: str
    started: int = 0


@dataclass(frozen=True)
class Usage:
    """Busy times of processes on one device.

    Attributes
    ----------
    t_ns : ndarray of int64, shape (n,)
        Moments, CLOCK_MONOTONIC, increasing.
    who : list of Who
    busy_s : ndarray, shape (len(who), n)
        Busy seconds of each up to each moment.
    total_s : ndarray, shape (n,)
        Busy seconds of the whole device; below the sum of its parts only by resolution.
    units : int
        How many of it can be busy at once: processors; 1 for a GPU.
    resolution_s : float
        Step of the busy times.
    by : str
        What they are, in words.
    notes : tuple of str
    """

    t_ns: NDArray[np.int64]
    who: list[Who]
    busy_s: NDArray[np.float64]
    total_s: NDArray[np.float64]
    units: int
    resolution_s: float
    by: str
    notes: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "t_ns": self.t_ns.tolist(),
            "who": [[w.pid, w.name, w.started] for w in self.who],
            "busy_s": self.busy_s.tolist(),
            "total_s": self.total_s.tolist(),
            "units": self.units,
            "resolution_s": self.resolution_s,
            "by": self.by,
            "notes": list(self.notes),
        }

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Usage:
        """What `described` gave.

        Raises
        ------
        RecordingError
            When it is damaged.
        """
        try:
            t_ns = np.array(described["t_ns"], dtype=np.int64)
            who = [
                Who(None if p is None else int(p), str(n), int(s)) for p, n, s in described["who"]
            ]
            usage = cls(
                t_ns,
                who,
                np.array(described["busy_s"], np.float64).reshape(len(who), len(t_ns)),
                np.array(described["total_s"], np.float64),
                int(described["units"]),
                float(described["resolution_s"]),
                str(described["by"]),
                tuple(str(note) for note in described["notes"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RecordingError(f"the processes of this recording are damaged: {error}") from None
        sound = (
            len(usage.total_s) == len(t_ns)
            and bool((np.diff(t_ns) > 0).all())
            and bool(np.isfinite(usage.busy_s).all() and np.isfinite(usage.total_s).all())
            and usage.units > 0
        )
        if not sound:
            raise RecordingError("the processes of this recording are damaged")
        return usage


@dataclass
class UsageLog:
    """Grows moment by moment, and halves its moments when they become too many."""

    moments: list[tuple[int, float, dict[Who, float]]] = field(default_factory=list)
    _known: dict[Who, float] = field(default_factory=dict)

    def add(self, t_ns: int, total_s: float, busy_s: Mapping[Who, float]) -> None:
        """Cumulative times at ``t_ns``; who is not named has not been busy since."""
        if self.moments and t_ns <= self.moments[-1][0]:
            return
        changed = {w: s for w, s in busy_s.items() if self._known.get(w) != s}
        self._known.update(changed)
        self.moments.append((t_ns, total_s, changed))
        most = min(_MOST_MOMENTS, max(100, _MOST_NUMBERS // max(len(self._known), 1)))
        if len(self.moments) > most:
            self._thin()

    def _thin(self) -> None:
        """Every other moment but the first; what changed in between is told by the next."""
        kept = [self.moments[0]]
        for first, second in zip(self.moments[1::2], self.moments[2::2], strict=False):
            kept.append((second[0], second[1], {**first[2], **second[2]}))
        if len(self.moments) % 2 == 0:
            kept.append(self.moments[-1])
        self.moments = kept

    def usage(self, units: int, resolution_s: float, by: str, notes: tuple[str, ...]) -> Usage:
        """All of it; a process that came later begins with what it had when it was first seen."""
        who = list(self._known)
        row = {w: i for i, w in enumerate(who)}
        busy = np.zeros((len(who), len(self.moments)))
        for column, (_, _, changed) in enumerate(self.moments):
            if column:
                busy[:, column] = busy[:, column - 1]
            for w, seconds in changed.items():
                busy[row[w], column] = seconds
        return Usage(
            np.array([m[0] for m in self.moments], np.int64),
            who,
            busy,
            np.array([m[1] for m in self.moments], np.float64),
            units,
            resolution_s,
            by,
            notes,
        )
