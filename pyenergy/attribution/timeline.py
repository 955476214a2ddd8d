# SPDX-License-Identifier: Apache-2.0
"""The clock join: Unix times of a profiler on the clock of a recording, and back.

A recording's times are CLOCK_MONOTONIC, a profiler's are Unix times (Kineto maps the CPU's counter
to CLOCK_REALTIME with one line per run). `ClockMap` goes from one to the other through the clock
anchors of the recording, and says how well it knows.

On Linux both clocks are slewed together, so that their offset changes only when somebody sets the
time. Other kernels and sandboxes keep them apart, hence nothing here relies on that: between two
anchors the offset may have been anything between theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OptionError, PyEnergyError, WindowError
from ..recording.clock_anchor import ClockAnchor, ClockAnchors
from ..units import NS_PER_S
from ._clock_pieces import LARGEST_SLEW, Join, split

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..recording.recorded import Recorded

__all__ = ["ClockMap", "ClockStep", "ClockStepError", "MappedTimes", "as_ns"]

_CHUNK = 1 << 15  # stamps at a time: what they need stays in the cache
_FARTHEST_NS = 1 << 61  # 73 years: sums and differences of such times fit in int64
_ON_STEP = ("raise", "mark")


class ClockStepError(PyEnergyError):
    """Somebody set the system's clock while the times were taken: they cannot be trusted.

    Attributes
    ----------
    step : ClockStep or None
        When, and by how much.
    """

    step: ClockStep | None = None


@dataclass(frozen=True)
class ClockStep:
    """Between ``after_ns`` and ``before_ns`` (CLOCK_MONOTONIC) Unix time jumped by ``size_ns``."""

    after_ns: int
    before_ns: int
    size_ns: int

    def __str__(self) -> str:
        return (
            f"the system's clock was set by {self.size_ns / 1e6:+.3f} ms between {self.after_ns} "
            f"and {self.before_ns} ns"
        )


@dataclass(frozen=True, eq=False)
class MappedTimes:
    """Times on the other clock, with how well each is known.

    Attributes
    ----------
    t_ns : int64 array
        The times, ns.
    bound_ns : float64 array
        The largest error that the anchors leave open, ns.
    stepped : bool array
        Times that lie where the clock was set, or that the clock showed twice: of these
        ``bound_ns`` contains the step.
    """

    t_ns: NDArray[np.int64]
    bound_ns: NDArray[np.float64]
    stepped: NDArray[np.bool_]

    @property
    def u_ns(self) -> NDArray[np.float64]:
        """Standard uncertainties, ns: anything within the bound is equally likely."""
        return self.bound_ns / sqrt(3.0)


class ClockMap:
    """Maps Unix time to CLOCK_MONOTONIC and back, between clock anchors.

    Linear between neighbouring anchors, at a constant offset beyond the first and the last. The
    bound of a time is the larger half-width of the two anchors around it, plus how far the offset
    can be from the line if it went from one anchor's to the other's at any moment in between;
    beyond the anchors, plus 500 ppm (the kernel's fastest slew) of the distance.

    A step is a change of the offset between two neighbouring anchors by more than 50 us beyond
    500 ppm of the time between them and beyond what their widths leave open: by more than 0.1 ms
    where they are 100 ms apart. What is less is in the bound.

    Parameters
    ----------
    anchors : iterable of ClockAnchor
        In any order. Where every anchor shows the same time on both clocks, as in imported logs,
        the recording's clock is Unix time itself, and there are no limits.
    extrapolate_s : float
        How far beyond the first and the last anchor times are mapped, s.

    Raises
    ------
    OptionError
        Without anchors, and for anchors that no clock can have shown.

    Examples
    --------
    >>> from pyenergy.recording.clock_anchor import ClockAnchor
    >>> clocks = ClockMap([ClockAnchor(1_000, 1_700_000_000_000_000_000, 40),
    ...                    ClockAnchor(100_001_000, 1_700_000_000_100_000_000, 40)])
    >>> clocks.to_monotonic([1_700_000_000_000_000_007]).t_ns
    array([1007])
    """

    def __init__(self, anchors: Iterable[ClockAnchor], *, extrapolate_s: float = 10.0) -> None:
        rows = _rows(ClockAnchors.of(anchors))
        is_same = bool((rows[:, 0] == rows[:, 1]).all())
        self._limit_ns = _FARTHEST_NS if is_same else _limit_ns(extrapolate_s)
        slew = 0.0 if is_same else LARGEST_SLEW
        pieces = split(rows)
        self._given = len(rows)
        self._used = sum(len(piece) for piece in pieces)
        self._to_mono = Join(pieces, 1, 0, self._limit_ns, slew)
        self._to_unix = Join(pieces, 0, 1, self._limit_ns, slew)
        self.steps = tuple(
            ClockStep(int(a[-1, 0]), int(b[0, 0]), gap.size_ns)
            for a, b, gap in zip(pieces[:-1], pieces[1:], self._to_mono.gaps, strict=True)
        )

    @classmethod
    def of(cls, recorded: Recorded, *, extrapolate_s: float = 10.0) -> ClockMap:
        """The clocks of a recording (``trace.recorded``)."""
        return cls(recorded.anchors, extrapolate_s=extrapolate_s)

    def __repr__(self) -> str:
        spare = f" ({self._given - self._used} more too wide or too close)"
        spare = spare if self._given > self._used else ""
        return f"<ClockMap: {self._used} anchors{spare}, {len(self.steps)} clock steps>"

    def to_monotonic(self, unix_ns: ArrayLike, *, on_step: str = "raise") -> MappedTimes:
        """Unix times on the clock of the recording.

        Parameters
        ----------
        unix_ns : array of integers
            ns since 1970, in any order and shape.
        on_step : str
            ``"raise"``: refuse times of which some lie in a clock step or beyond one from others;
            a profiler that fits one line to its run spreads a step over all its times.
            ``"mark"``: map them, and mark in ``stepped`` those which a step makes ambiguous.

        Raises
        ------
        ClockStepError
            See ``on_step``.
        WindowError
            For times beyond the anchors by more than ``extrapolate_s``.
        TypeError, ValueError
            For times that are not integers, which lose digits, or do not fit in int64.
        """
        return self._map(self._to_mono, as_ns(unix_ns, "unix_ns"), on_step)

    def to_unix(self, mono_ns: ArrayLike, *, on_step: str = "raise") -> MappedTimes:
        """Times of the recording as Unix times; takes and raises what `to_monotonic` does."""
        return self._map(self._to_unix, as_ns(mono_ns, "mono_ns"), on_step)

    def _map(self, join: Join, times: NDArray[np.int64], on_step: str) -> MappedTimes:
        if on_step not in _ON_STEP:
            raise OptionError(f"on_step is {on_step!r}; it must be one of {_ON_STEP}")
        flat = np.ascontiguousarray(times).reshape(-1)
        if on_step == "raise":
            self._refuse_steps(join, flat)
        mapped = np.empty(len(flat), np.int64)
        bound = np.empty(len(flat), np.float64)
        stepped = np.zeros(len(flat), np.bool_)
        for i in range(0, len(flat), _CHUNK):
            part = slice(i, i + _CHUNK)
            outside = join.fill(flat[part], mapped[part], bound[part], stepped[part])
            if outside.any():
                raise self._outside(join, flat)
        shape = times.shape
        return MappedTimes(mapped.reshape(shape), bound.reshape(shape), stepped.reshape(shape))

    def _refuse_steps(self, join: Join, times: NDArray[np.int64]) -> None:
        if not len(times) or not join.gaps:
            return
        first, last = int(times.min()), int(times.max())
        for step, gap in zip(self.steps, join.gaps, strict=True):
            if first < gap.high and last > gap.low:
                error = ClockStepError(
                    f"{step}, while these times were taken: profile again, or take "
                    "on_step='mark' if each time was read from the system's clock by itself"
                )
                error.step = step
                raise error

    def _outside(self, join: Join, times: NDArray[np.int64]) -> WindowError:
        outside = ~join.covered(times)
        example = int(times[outside][0])
        other = self._to_unix if join is self._to_mono else self._to_mono
        names = ("Unix time", "CLOCK_MONOTONIC")
        name, wrong = names if join is self._to_mono else names[::-1]
        hint = f"were they taken in {name}, ns, and during this trace?"
        if example == 0:
            hint = "profilers write 0 where they have no time: leave those out, and count them"
        elif example > 0 and bool(other.covered(times[outside][:1]).all()):
            hint = f"it looks like {wrong}"
        return WindowError(
            f"{int(outside.sum())} of {len(times)} times lie over {self._limit_ns / NS_PER_S:g} s"
            f" beyond the clock anchors, {example} among them: {hint}"
        )


def as_ns(times: ArrayLike, name: str) -> NDArray[np.int64]:
    """``times`` as int64 without losing a digit.

    Raises
    ------
    TypeError, ValueError
        For floats and others that are not integers; for integers beyond int64.
    """
    array: NDArray[Any] = np.asarray(times)
    if array.size == 0:
        return np.zeros(array.shape, np.int64)
    if array.dtype.kind == "f":
        raise TypeError(
            f"{name} is {array.dtype}, which keeps Unix times to 256 ns at best: pass integers, ns"
        )
    if array.dtype == object and all(type(t) is int for t in array.flat):
        raise ValueError(f"{name} has times that do not fit in int64 ns")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, ns; not {array.dtype}")
    if array.dtype.kind == "u" and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} has times that do not fit in int64 ns")
    return array.astype(np.int64, copy=False)


def _rows(anchors: ClockAnchors) -> NDArray[np.int64]:
    """(mono, real, width) in order of time."""
    if not len(anchors):
        raise OptionError("without clock anchors nothing says how the clock relates to Unix time")
    columns = (anchors.mono_ns, anchors.real_ns, anchors.width_ns)
    for column, limit in zip(columns, (_FARTHEST_NS, _FARTHEST_NS, 1 << 60), strict=True):
        low, high = int(column.min()), int(column.max())
        if max(abs(low), abs(high)) >= 2 * _FARTHEST_NS or high - low >= limit:
            raise OptionError(f"no clock shows anchors between {low} and {high} ns")
    rows = np.stack(columns, axis=1)[np.argsort(anchors.mono_ns, kind="stable")]
    if int(rows[:, 2].min()) < 0:
        raise OptionError("a clock anchor has a negative width")
    if bool((np.diff(rows[:, 0]) == 0).any()):
        raise OptionError("two clock anchors are of the same moment")
    return rows


def _limit_ns(extrapolate_s: float) -> int:
    if not 0 <= extrapolate_s <= _FARTHEST_NS / NS_PER_S:
        raise OptionError(f"extrapolate_s is {extrapolate_s!r}; it must be from 0 to 2e9 s")
    return int(extrapolate_s * NS_PER_S)
