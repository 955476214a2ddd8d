# SPDX-License-Identifier: Apache-2.0
"""Microseconds as text become the nearest nanosecond, whatever their length."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyenergy.attribution.kineto_number import LIMIT_NS, Stamp, nanoseconds, nanoseconds_of

EXACT = Context(prec=400, Emax=999999, Emin=-999999)

plain = st.from_regex(r"\A(0|[1-9][0-9]{0,15})(\.[0-9]{1,3})?\Z")
numbers = st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?\Z")


def expected(text: str) -> tuple[int, Stamp]:
    exact = EXACT.multiply(Decimal(text), Decimal(1000))
    value = int(exact.to_integral_value(ROUND_HALF_EVEN, EXACT))
    return (value, Stamp.OK) if abs(value) < LIMIT_NS else (0, Stamp.OUT_OF_RANGE)


@given(numbers | plain)
def test_one_number_is_exact(text: str) -> None:
    assert nanoseconds_of(text.encode()) == expected(text)


@given(st.lists(plain | numbers | st.sampled_from(["", "null", '"12"', '"a b"', "NaN", "1.", "-"])))
def test_many_are_what_each_is(texts: list[str]) -> None:
    values, stamps = nanoseconds([text.encode() for text in texts])
    each = [nanoseconds_of(text.encode()) for text in texts]
    assert values.tolist() == [value for value, _ in each]
    assert stamps.tolist() == [int(stamp) for _, stamp in each]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1712195495519689.125", 1712195495519689125),  # float64 knows quarters of a us
        ("1712195495519689.001", 1712195495519689001),
        ("6520618872325.063", 6520618872325063),
        ("6520618872325.06", 6520618872325060),
        ("12", 12000),
        ("0.0005", 0),
        ("0.0015", 2),
        ("1.7e15", 1_700_000_000_000_000_000),
        ("-0.5", -500),
        ("0.000", 0),
    ],
)
def test_stamps_keep_their_digits(text: str, value: int) -> None:
    assert nanoseconds_of(text.encode()) == (value, Stamp.OK)
    assert nanoseconds([text.encode()])[0].tolist() == [value]


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        (b"", Stamp.MISSING),
        (b"null", Stamp.MISSING),
        (b"NaN", Stamp.NOT_A_NUMBER),
        (b'"12"', Stamp.NOT_A_NUMBER),
        (b"[1]", Stamp.NOT_A_NUMBER),
        (b"1.", Stamp.NOT_A_NUMBER),
        (b"1e99999999999", Stamp.OUT_OF_RANGE),
        (b"1e400", Stamp.OUT_OF_RANGE),
        (b"9" * 5000, Stamp.OUT_OF_RANGE),
        (b"4611686018427387.904", Stamp.OUT_OF_RANGE),
    ],
)
def test_what_is_no_time_says_so(text: bytes, stamp: Stamp) -> None:
    assert nanoseconds_of(text) == (0, stamp)
    assert [each.tolist() for each in nanoseconds([text, b"1"])] == [[0, 1000], [stamp, 0]]


def test_no_text_is_too_long_or_too_small() -> None:
    assert nanoseconds_of(b"1e-99999999999") == (0, Stamp.OK)
    assert nanoseconds_of(b"0.0005" + b"0" * 9000 + b"1") == (1, Stamp.OK)
    assert nanoseconds_of(b"0.0005" + b"0" * 9000) == (0, Stamp.OK)


def test_nothing_is_nothing() -> None:
    values, stamps = nanoseconds([])
    assert values.dtype == np.int64
    assert len(values) == len(stamps) == 0
