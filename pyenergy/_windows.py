# SPDX-License-Identifier: Apache-2.0
"""Checks windows before anything is computed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import WindowError
from .units import NS_PER_S, engineering

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .recording.recorded import Recorded
    from .recording.settled import Settled

__all__ = ["checked", "checked_in"]


def checked(
    starts_ns: ArrayLike,
    ends_ns: ArrayLike,
    bounds_ns: tuple[int, int],
    settled: Settled | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both as contiguous int64 arrays of one length. ``settled``: what came before the bounds.

    Raises
    ------
    TypeError
        When a time is not an integer: a float has lost nanoseconds already.
    WindowError
        When lengths differ, a window is reversed, or it reaches outside ``bounds_ns``.
    """
    starts, ends = _times("starts_ns", starts_ns), _times("ends_ns", ends_ns)
    if starts.shape != ends.shape:
        raise WindowError(f"{starts.size} starts but {ends.size} ends")
    if starts.size == 0:
        return starts, ends
    reversed_ = ends < starts
    if reversed_.any():
        _refuse("ends before it starts", starts, ends, reversed_, bounds_ns)
    outside = (starts < bounds_ns[0]) | (ends > bounds_ns[1])
    if settled is not None:
        gone = outside & (starts >= settled.start_ns) & (ends <= bounds_ns[1])
        if gone.any():
            raise WindowError(_gone(starts, ends, gone, bounds_ns, settled))
    if outside.any():
        _refuse("reaches outside the recording", starts, ends, outside, bounds_ns)
    return starts, ends


def checked_in(
    starts_ns: ArrayLike, ends_ns: ArrayLike, recorded: Recorded
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """`checked` windows of a recording, cut to what its readings are of, and which were cut.

    Of a recording that keeps only its latest readings, a window may also begin with the trace: what
    is settled then belongs to it.

    Raises
    ------
    TypeError, WindowError
        As `checked` does.
    """
    bounds, settled = recorded.bounds_ns, recorded.settled
    if settled is None:
        starts, ends = checked(starts_ns, ends_ns, bounds)
        return starts, ends, np.zeros(starts.shape, np.bool_)
    starts, ends = checked(starts_ns, ends_ns, (min(settled.start_ns, bounds[0]), bounds[1]))
    whole = (starts == settled.start_ns) & (ends >= bounds[0]) & (starts < bounds[0])
    starts = np.where(whole, bounds[0], starts)
    return *checked(starts, ends, bounds, settled), whole


def _gone(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    gone: NDArray[np.bool_],
    bounds_ns: tuple[int, int],
    settled: Settled,
) -> str:
    first = int(np.flatnonzero(gone)[0])
    others = int(gone.sum()) - 1
    more = f" (and {others} more)" if others else ""
    ago = engineering((bounds_ns[1] - bounds_ns[0]) / NS_PER_S, "s")
    return (
        f"window {first}{more} needs readings that are not kept: [{starts[first]}, {ends[first]}] "
        f"ns; this trace keeps the latest {ago}, from {bounds_ns[0]} ns on, and knows the energy "
        f"from its start ({settled.start_ns} ns) up to any time since then. Give a longer keep, or "
        "a path: its file has every reading"
    )


def _times(name: str, values: Any) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size == 0 and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)  # an empty list has no dtype of its own
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} must be integer nanoseconds of CLOCK_MONOTONIC (pyenergy.now_ns()), "
            f"got dtype {array.dtype}"
        )
    if array.ndim != 1:
        raise WindowError(f"{name} must be one-dimensional, got {array.ndim} dimensions")
    if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise WindowError(f"{name} holds times beyond int64")
    return np.ascontiguousarray(array, dtype=np.int64)


def _refuse(
    problem: str,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    bad: NDArray[np.bool_],
    bounds_ns: tuple[int, int],
) -> None:
    first = int(np.flatnonzero(bad)[0])
    others = int(bad.sum()) - 1
    more = f" (and {others} more)" if others else ""
    raise WindowError(
        f"window {first}{more} {problem}: [{starts[first]}, {ends[first]}] ns; "
        f"the recording spans [{bounds_ns[0]}, {bounds_ns[1]}] ns"
    )
