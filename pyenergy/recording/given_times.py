# SPDX-License-Identifier: Apache-2.0
"""Times as callers give them: int64 nanoseconds of them, or how they become that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OptionError
from ..units import NS_PER_S, engineering
from .time_units import advice

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["array_of", "instant", "narrow_notes", "shape_of", "times_of"]

_INT64 = np.iinfo(np.int64)
_FARTHEST_NS = 4 * 10**18  # in the year 2096: sums with a few seconds fit in int64
_DATES = "np.asarray(times, 'datetime64[ns]').astype(np.int64) gives them (in UTC)"


def times_of(name: str, times: Any) -> NDArray[np.int64]:
    """Times of the channel ``name``: int64 ns, not decreasing.

    Raises
    ------
    TypeError, OptionError
        For what is not that, with what to do about it.
    """
    given = _integers(name, times)
    t = np.ascontiguousarray(given, dtype=np.int64)
    if len(t) == 0:
        return t
    if bool((none := t == _INT64.min).any()):  # NumPy's NaT, made an integer
        raise OptionError(f"{name}: {_without_time(none)}")
    if bool((t[1:] < t[:-1]).any()):
        raise OptionError(f"{name}: {_decrease(t, given.dtype)}")
    if int(t[-1]) - int(t[0]) > _INT64.max:
        raise OptionError(f"{name}: times too far apart for int64")
    if max(abs(int(t[0])), abs(int(t[-1]))) > _FARTHEST_NS:
        raise OptionError(f"{name}: no clock shows {t[-1]} ns (Unix time today is 1.8e18)")
    return t


def narrow_notes(readings: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Notes on times in integers that hold seconds of ns: they may have wrapped, unseen."""
    notes = []
    for name, (times, _) in readings.items():
        if isinstance(times, (list, tuple, range)):
            continue  # Python's own integers have no width
        dtype = np.asarray(times).dtype
        if dtype.itemsize < 8:
            notes.append(
                f"{name}: times are {dtype}, which holds {_held(8 * dtype.itemsize)} of "
                "nanoseconds and wraps beyond: make them int64 where they come from"
            )
    return notes


def instant(what: str, value: Any) -> int:
    """One moment of ``what``, int64 ns.

    Raises
    ------
    TypeError, OptionError
        For what is not that.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        cure = ""
        if isinstance(value, (date, np.datetime64)):
            cure = ": int(np.datetime64(time, 'ns').astype(np.int64)) gives them (in UTC)"
        raise TypeError(f"{what}: times must be integer nanoseconds, got {value!r}{cure}")
    if not _INT64.min <= value <= _INT64.max:
        raise OptionError(f"{what}: times beyond int64")
    return int(value)


def array_of(name: str, given: Any) -> NDArray[Any]:
    """What was given, as an array of whatever it holds."""
    try:
        return np.asarray(given)
    except ValueError:  # lists of different lengths in a list
        raise OptionError(f"{name}: times and values must be one-dimensional") from None


def shape_of(given: Any, array: NDArray[Any]) -> str:
    """What has another shape than (n,), in words."""
    return f"shape {array.shape}" if array.ndim else f"one {type(given).__name__}"


# Inside -------------------------------------------------------------------------------------


def _integers(name: str, times: Any) -> NDArray[Any]:
    if np.ma.is_masked(times):
        raise OptionError(f"{name}: a time is masked: leave such readings out")
    array = array_of(name, times)
    if array.size == 0:
        array = array.astype(np.int64)  # an empty list has no dtype of its own
    if array.ndim != 1:
        raise OptionError(f"{name}: times must be one-dimensional, got {shape_of(times, array)}")
    # NumPy makes floats or objects of a list with integers that no dtype of its holds.
    if array.dtype.kind in "fO" and all(type(time) is int for time in times):
        try:
            array = np.array(list(times), dtype=np.int64)
        except OverflowError:
            raise OptionError(f"{name}: times beyond int64") from None
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: times must be integer nanoseconds, {_cure(array)}")
    if array.dtype == np.uint64 and array.size and int(array.max()) > _INT64.max:
        raise OptionError(f"{name}: times beyond int64")
    return array


def _cure(array: NDArray[Any]) -> str:
    """What was given in the place of integers, and how it becomes them."""
    none = _missing(array)
    if not bool(none.any()):
        return f"got {_dates(array) or _others(array)}"
    rest = array[~none]
    if rest.dtype.kind == "O" and all(isinstance(time, (int, np.integer)) for time in rest):
        return f"but {_without_time(none)}"
    return f"but {_without_time(none)}; got {_dates(rest) or _others(rest)}"


def _dates(array: NDArray[Any]) -> str:
    """The cure for dates of any kind; empty for what is none."""
    kind, got = array.dtype.kind, f"dtype {array.dtype}"
    if kind == "M":
        return f"{got}: {_DATES}"
    if kind == "m":
        return f"{got}: {_DATES.replace('datetime64', 'timedelta64').removesuffix(' (in UTC)')}"
    if kind == "O" and len(array) and isinstance(array[0], date):  # a datetime is a date
        return f"objects ({type(array[0]).__name__}): {_DATES}"
    if kind in "US":
        text = str(np.char.decode(array[:1])[0] if kind == "S" else array[0])
        return f"text ({text!r}): {_reading(text)}"
    return ""


def _reading(text: str) -> str:
    """How times in text are read, of which this is one."""
    if text.isdigit():
        return "np.array(times).astype(np.int64) reads them"
    try:
        float(text)
    except ValueError:
        return _DATES
    return "np.array(times).astype(float) reads them, and then nanoseconds are to be made of them"


def _others(array: NDArray[Any]) -> str:
    if array.dtype.kind == "f":
        return f"dtype {array.dtype}: {advice(array)}"
    if array.dtype.kind == "O" and len(array):
        return f"objects ({type(array[0]).__name__}): pyenergy takes int64 nanoseconds"
    return f"dtype {array.dtype}"


def _missing(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the times are none: NaN, NaT, None or pandas' NA."""
    if array.dtype.kind in "mM":
        return np.asarray(np.isnat(array))
    if array.dtype.kind == "f":
        return np.asarray(np.isnan(array))
    if array.dtype.kind == "O":
        names = ("NoneType", "NAType", "NaTType")
        return np.array([type(t).__name__ in names or t is np.nan for t in array], bool)
    return np.zeros(len(array), bool)


def _without_time(none: NDArray[np.bool_]) -> str:
    first, count = int(np.flatnonzero(none)[0]), int(none.sum())
    return f"{count} of {len(none)} readings (the first is {first}) have no time: leave them out"


def _decrease(t: NDArray[np.int64], dtype: np.dtype[Any]) -> str:
    """That times decrease, and why they may."""
    back = np.flatnonzero(t[1:] < t[:-1]) + 1
    first = int(back[0])
    before, after = int(t[first - 1]), int(t[first])
    said = f"times decrease at reading {first} ({before}, {after})"
    # A counter of b bits falls by nearly 2^b; of signed ones, made int64 too late, from + to -.
    bits = 8 * dtype.itemsize if dtype.itemsize < 8 else 32
    within = int(t.min()) >= -(2**31) and int(t.max()) < 2**31
    if before - after > 2 ** (bits - 1) and (bits < 32 or dtype.itemsize < 8 or within):
        return (
            f"{said}, as integers of {bits} bits do, which hold {_held(bits)} of nanoseconds: make "
            "them int64 where they come from, before they are multiplied or added up"
        )
    more = f" and {len(back) - 1} times more" if len(back) > 1 else ""
    return (
        f"{said}{more}: sort the readings (order = np.argsort(times, kind='stable')), or give "
        "those from before and after a change of the clock apart"
    )


def _held(bits: int) -> str:
    return engineering(2.0**bits / NS_PER_S, "s")
