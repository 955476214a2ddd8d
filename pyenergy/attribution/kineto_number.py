# SPDX-License-Identifier: Apache-2.0
"""Microseconds as text into integer nanoseconds, without a float between.

A float64 of 1.7e15 us (Unix time) is a multiple of 0.25 us, and already one of 6.5e12 us (a stamp
of torch 2.4 and later) a multiple of 0.98 ns.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LIMIT_NS", "Stamp", "nanoseconds", "nanoseconds_of"]

LIMIT_NS = 1 << 62
"""No stamp is as large: two of them can be added in int64."""

_NUMBER = re.compile(rb"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?")
_WIDEST = 16  # digits before the point: 1e16 us as ns overflow int64 once, which shows as negative
_SPACE, _MINUS, _POINT, _ZERO = 32, 45, 46, 48


class Stamp(IntEnum):
    """What a text was."""

    OK = 0
    MISSING = 1  # nothing, or null
    NOT_A_NUMBER = 2
    OUT_OF_RANGE = 3


def nanoseconds_of(text: bytes) -> tuple[int, Stamp]:
    """A JSON number of microseconds as ns, rounded half to even; exact at any length.

    Returns
    -------
    (int, Stamp)
        0 where the stamp is not OK.
    """
    if text in (b"", b"null"):
        return 0, Stamp.MISSING
    match = _NUMBER.fullmatch(text)
    if match is None:
        return 0, Stamp.NOT_A_NUMBER
    sign, whole, part, exponent = match.groups()
    digits = (whole + (part or b"")).lstrip(b"0")
    if not digits:
        return 0, Stamp.OK
    if exponent is not None and len(exponent) > 7:
        return (0, Stamp.OK) if exponent[:1] == b"-" else (0, Stamp.OUT_OF_RANGE)
    power = int(exponent or 0) - len(part or b"") + 3
    if len(digits) + power > 19:
        return 0, Stamp.OUT_OF_RANGE
    if len(digits) + power < 0:
        return 0, Stamp.OK  # less than 0.1 ns
    if len(digits) > 4000:  # more than Python converts; far beyond anything that rounds
        rest = b"1" if digits[4000:].strip(b"0") else b"0"
        digits, power = digits[:4000] + rest, power + len(digits) - 4001
    value = _scaled(int(digits), power)
    if value >= LIMIT_NS:
        return 0, Stamp.OUT_OF_RANGE
    return (-value if sign else value), Stamp.OK


def _scaled(value: int, power: int) -> int:
    """``value * 10**power``, rounded half to even."""
    if power >= 0:
        return value * int(10**power)
    unit = int(10**-power)
    whole, rest = divmod(value, unit)
    return whole + (2 * rest > unit or (2 * rest == unit and whole % 2 == 1))


def nanoseconds(
    texts: Sequence[bytes | memoryview],
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Many at once: (ns, `Stamp` of each).

    What has at most three decimals and no exponent, as profilers write it, is read by columns of
    digits; the rest one by one.
    """
    count = len(texts)
    if not count:
        return np.zeros(0, np.int64), np.zeros(0, np.int8)
    text = b" ".join(texts) + b" "
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(codes == _SPACE)
    if len(ends) != count:  # a string with spaces stands among them
        return _one_by_one([bytes(each) for each in texts])
    starts = np.concatenate([[0], ends[:-1] + 1])
    values, plain = _by_columns(codes, starts, ends)
    stamps = np.zeros(count, np.int8)
    for row in np.flatnonzero(~plain):
        values[row], stamps[row] = nanoseconds_of(text[starts[row] : ends[row]])
    return values, stamps


def _one_by_one(texts: list[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    both = [nanoseconds_of(text) for text in texts]
    return (
        np.array([value for value, _ in both], np.int64),
        np.array([stamp for _, stamp in both], np.int8),
    )


def _by_columns(
    codes: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(ns, which rows are plain); rows that are not hold anything."""
    points = np.flatnonzero(codes == _POINT)
    row = np.searchsorted(ends, points)
    plain = np.ones(len(starts), bool)
    plain[row[1:][np.diff(row) == 0]] = False  # a second point
    point = ends.copy()
    point[row] = points
    strange = (codes - np.uint8(_ZERO) > 9) & (codes != _SPACE) & (codes != _POINT)
    plain[np.searchsorted(ends, np.flatnonzero(strange))] = False
    before, after = point - starts, ends - point - 1
    plain &= (before >= 1) & (before <= _WIDEST) & (after <= 3) & (after != 0)
    value = np.zeros(len(starts), np.int64)
    if not plain.any():
        return value, plain
    for back in range(int(before[plain].max()), 0, -1):
        value = value * 10 + _digit(codes, point - back, back <= before)
    for ahead in (1, 2, 3):
        value = value * 10 + _digit(codes, point + ahead, ahead <= after)
    return value, plain & (value >= 0) & (value < LIMIT_NS)


def _digit(
    codes: NDArray[np.uint8], at: NDArray[np.int64], there: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The digit at each position; 0 where there is none."""
    inside = np.clip(at, 0, len(codes) - 1)
    return np.where(there, codes[inside].astype(np.int64) - _ZERO, 0)
