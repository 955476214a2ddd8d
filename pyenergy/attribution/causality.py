# SPDX-License-Identifier: Apache-2.0
"""What causes and effects say of a device's clock: how far a timeline's kernels may be shifted.

No kernel starts before the call that launched it, and none ends after the synchronisation that
waited for it. Host and device times of one profile are enough for that: no other clock is asked.
In published traces of NVIDIA GPUs no launch of 33 028 violates it, the least gap from the start of
a launch to the start of its kernel being 4.5 us; one of an MI300X has a synchronisation that ends
8 us before its last kernel does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OptionError
from .timeline import as_ns

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Causality", "ShiftWindow", "check_causality"]

# Less than any launch is seen to take, from the start of the call to the start of its kernel.
_LEAST_LAUNCH_NS = 2_000
_FARTHEST_NS = 1 << 62  # differences of such times fit in int64


@dataclass(frozen=True)
class ShiftWindow:
    """Shifts which, added to a device's times, keep causes before effects: ns, from low to high.

    A side that nothing bounds is infinite.
    """

    low_ns: float
    high_ns: float

    @property
    def is_possible(self) -> bool:
        """Whether any one shift satisfies every pair; if not, the two clocks run apart."""
        return self.low_ns <= self.high_ns

    @property
    def contains_zero(self) -> bool:
        """Whether the times may be right as they are."""
        return self.low_ns <= 0 <= self.high_ns

    @property
    def bound_ns(self) -> float:
        """The largest error of times that are left as they are, ns; as an edge's uncertainty."""
        return max(abs(self.low_ns), abs(self.high_ns))

    @property
    def u_ns(self) -> float:
        """The standard uncertainty of times left as they are, ns, any shift being as likely.

        It is common to all kernels: edges move together, and lengths do not change. Where no
        shift is possible it is `bound_ns`, and where a side is open, infinite.
        """
        low, high = self.low_ns, self.high_ns
        if not self.is_possible or self.bound_ns == inf:
            return self.bound_ns
        return sqrt((low * low + low * high + high * high) / 3)


@dataclass(frozen=True)
class Causality:
    """What `check_causality` found. Slacks are None where no pair says anything.

    Attributes
    ----------
    lower_slack_ns : int, optional
        The least time from the start of a launch to the start of its kernel, ns.
    upper_slack_ns : int, optional
        The least time from the end of the last kernel to the end of the synchronisation that
        waited for it, ns.
    launches, syncs : int
        Pairs that were compared.
    launch_violations, sync_violations : int
        Pairs of negative slack.
    unmatched_kernels : int
        Kernels without a launch of their id, of which nothing is known.
    least_launch_ns : int
        What a launch takes at least, ns; `shift_window` assumes it.
    """

    lower_slack_ns: int | None
    upper_slack_ns: int | None
    launches: int
    syncs: int
    launch_violations: int
    sync_violations: int
    unmatched_kernels: int
    least_launch_ns: int

    @property
    def is_sound(self) -> bool:
        """Whether pairs were compared, and none is violated."""
        compared = self.launches + self.syncs
        return compared > 0 and self.launch_violations + self.sync_violations == 0

    @property
    def shift_window(self) -> ShiftWindow:
        """How far the device's times may be off: as an uncertainty of every kernel's edges."""
        lower, upper = self.lower_slack_ns, self.upper_slack_ns
        return ShiftWindow(
            -inf if lower is None else float(self.least_launch_ns - lower),
            inf if upper is None else float(upper),
        )

    def __str__(self) -> str:
        parts = [
            _side("kernels start", "after their launch", self.lower_slack_ns, self.launches),
            _side("syncs end", "after the last kernel", self.upper_slack_ns, self.syncs),
        ]
        if self.launch_violations or self.sync_violations:
            parts.append(
                f"VIOLATED by {self.launch_violations} kernels before their launch and "
                f"{self.sync_violations} syncs before their kernels' end"
            )
        if self.unmatched_kernels:
            parts.append(f"{self.unmatched_kernels} kernels have no launch")
        return "; ".join(parts)

    def __repr__(self) -> str:
        return f"<Causality: {self}>"


def check_causality(
    launch_start_ns: ArrayLike,
    kernel_start_ns: ArrayLike,
    kernel_end_ns: ArrayLike,
    sync_start_ns: ArrayLike = (),
    sync_end_ns: ArrayLike = (),
    *,
    launch_ids: ArrayLike | None = None,
    kernel_ids: ArrayLike | None = None,
    launch_end_ns: ArrayLike | None = None,
    least_launch_ns: int = _LEAST_LAUNCH_NS,
) -> Causality:
    """Compare kernels with their launches, and with the synchronisations that waited for them.

    All times are ns of the profile's clock; kernels and synchronisations are those of one device
    (or one stream). A synchronisation is taken to have waited for every kernel that was launched
    before it started; where several threads launch, give ``launch_end_ns``, since a launch that
    has begun has not queued anything yet.

    Parameters
    ----------
    launch_start_ns, kernel_start_ns, kernel_end_ns : arrays of integers
        Launch calls and kernels, one kernel per launch unless ids are given.
    sync_start_ns, sync_end_ns : arrays of integers
        Synchronising calls.
    launch_ids, kernel_ids : arrays of integers, optional
        Correlation ids. Many kernels may share one (CUDA graphs); of launches with the same id
        the one that started first counts.
    launch_end_ns : array of integers, optional
        Ends of the launch calls.
    least_launch_ns : int
        What a launch takes at least, ns, from the start of the call to that of its kernel.

    Raises
    ------
    OptionError
        For arrays whose lengths do not fit, or of which one ends before it starts.
    TypeError, ValueError
        For times that are not integers.

    Examples
    --------
    >>> check_causality([0, 10_000], [5_000, 16_000], [9_000, 20_000], [11_000], [23_000])
    <Causality: kernels start >= 5.000 us after their launch (2 pairs); syncs end >= 3.000 us \
after the last kernel (1 pair)>
    """
    launch = as_ns(launch_start_ns, "launch_start_ns")
    queued = launch if launch_end_ns is None else as_ns(launch_end_ns, "launch_end_ns")
    start, end = as_ns(kernel_start_ns, "kernel_start_ns"), as_ns(kernel_end_ns, "kernel_end_ns")
    sync, synced = as_ns(sync_start_ns, "sync_start_ns"), as_ns(sync_end_ns, "sync_end_ns")
    _refuse_reversed("launch", launch, queued)
    _refuse_reversed("kernel", start, end)
    _refuse_reversed("synchronisation", sync, synced)
    of, matched = _launch_of(launch, len(start), launch_ids, kernel_ids)
    lower = start[matched] - launch[of]
    upper = _after_last_kernel(queued[of], end[matched], sync, synced)
    return Causality(
        lower_slack_ns=int(lower.min()) if len(lower) else None,
        upper_slack_ns=int(upper.min()) if len(upper) else None,
        launches=len(lower),
        syncs=len(upper),
        launch_violations=int((lower < 0).sum()),
        sync_violations=int((upper < 0).sum()),
        unmatched_kernels=len(start) - len(lower),
        least_launch_ns=least_launch_ns,
    )


def _refuse_reversed(what: str, start: NDArray[np.int64], end: NDArray[np.int64]) -> None:
    if start.ndim != 1 or start.shape != end.shape:
        raise OptionError(f"{what}: starts {start.shape} and ends {end.shape} do not fit together")
    for times in (start, end):
        if len(times) and max(abs(int(times.min())), abs(int(times.max()))) > _FARTHEST_NS:
            raise OptionError(f"{what}: no clock shows times from {times.min()} to {times.max()}")
    if bool((end < start).any()):
        at = int(np.flatnonzero(end < start)[0])
        raise OptionError(f"{what} {at} ends at {end[at]} ns, before it starts at {start[at]} ns")


def _launch_of(
    launch: NDArray[np.int64],
    kernels: int,
    launch_ids: ArrayLike | None,
    kernel_ids: ArrayLike | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(index of the launch, index of the kernel) of each pair."""
    if (launch_ids is None) != (kernel_ids is None):
        raise OptionError("launch_ids and kernel_ids belong together: give both or neither")
    if launch_ids is None or kernel_ids is None:
        if len(launch) != kernels:
            raise OptionError(
                f"{len(launch)} launches and {kernels} kernels: give launch_ids and kernel_ids "
                "to say which belong together"
            )
        return np.arange(kernels), np.arange(kernels)
    ours, theirs = as_ns(launch_ids, "launch_ids"), as_ns(kernel_ids, "kernel_ids")
    if ours.shape != launch.shape or theirs.shape != (kernels,):
        raise OptionError("launch_ids and kernel_ids must be as many as launches and kernels")
    if not len(ours):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order = np.lexsort((launch, ours))  # of equal ids the earliest comes first
    at = np.minimum(np.searchsorted(ours[order], theirs), len(ours) - 1)
    matched = np.flatnonzero(ours[order][at] == theirs)
    return order[at[matched]], matched


def _after_last_kernel(
    queued: NDArray[np.int64],
    end: NDArray[np.int64],
    sync: NDArray[np.int64],
    synced: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Of each synchronisation that has kernels to wait for, its end after the last one's, ns."""
    order = np.argsort(queued, kind="stable")
    latest = np.maximum.accumulate(end[order])
    count = np.searchsorted(queued[order], sync, side="left")
    waited = count > 0
    return synced[waited] - latest[count[waited] - 1]


def _side(what: str, when: str, slack_ns: int | None, pairs: int) -> str:
    if slack_ns is None:
        return f"nothing says when {what}"
    return f"{what} >= {slack_ns / 1e3:.3f} us {when} ({pairs} {'pair' if pairs == 1 else 'pairs'})"
