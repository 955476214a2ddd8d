# SPDX-License-Identifier: Apache-2.0
"""Checks windows before anything is computed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import WindowError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["checked"]


def checked(
    starts_ns: ArrayLike, ends_ns: ArrayLike, bounds_ns: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both as contiguous int64 arrays of one length.

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
    if outside.any():
        _refuse("reaches outside the recording", starts, ends, outside, bounds_ns)
    return starts, ends


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
