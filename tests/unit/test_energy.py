# SPDX-License-Identifier: Apache-2.0
"""An energy: its interval, its rounding by the PDG rule, and sums of several."""

from __future__ import annotations

import math
import re
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyenergy._energy import Energy, combine, format_with_uncertainty
from pyenergy.errors import OptionError


def energy(joules: float, u: float, **more: object) -> Energy:
    return Energy(joules, u, str(more.get("method", "m")), str(more.get("scope", "gpu")))


@pytest.mark.parametrize(
    ("value", "u", "text"),
    [
        # Three digits of u: 100-354 keep two, 355-949 keep one, 950-999 round up to 1000.
        (12.3456, 0.123, "12.35 ± 0.12"),
        (12.3456, 0.354, "12.35 ± 0.35"),
        (12.3456, 0.3551, "12.3 ± 0.4"),
        (12.3456, 0.949, "12.3 ± 0.9"),
        (12.3456, 0.9501, "12.3 ± 1.0"),
        (827.3, 119.0, "830 ± 120"),
        (0.827, 0.119, "0.83 ± 0.12"),
        (300.0, 25.0, "300 ± 25"),
    ],
)
def test_rounding_follows_the_particle_data_group(value: float, u: float, text: str) -> None:
    assert format_with_uncertainty(value, u, "J") == f"{text} J"


@given(st.floats(1e-6, 1e6), st.floats(1e-4, 0.9))
def test_what_is_printed_is_the_number_to_a_digit_of_its_uncertainty(
    value: float, relative: float
) -> None:
    u = value * relative
    text = format_with_uncertainty(value, u, "J")
    match = re.fullmatch(r"\(?([\d.]+) ± ([\d.]+)\)?(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))? ?(m|µ|n|k|M)?J", text)
    assert match is not None, text
    power = (match.group(3) or "⁰").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    prefix = {"m": 1e-3, "µ": 1e-6, "n": 1e-9, "k": 1e3, "M": 1e6, None: 1.0}[match.group(4)]
    scale = 10.0 ** int(power) * prefix
    # u is cut to at worst one digit from 0.355 on: off by at most 0.05 in 0.355.
    assert float(match.group(2)) * scale == pytest.approx(u, rel=0.15)
    assert abs(float(match.group(1)) * scale - value) <= 0.15 * u


@pytest.mark.parametrize(
    ("value", "u"), [(math.nan, 1.0), (1.0, math.inf), (0.0, 0.0), (5.0, 0.0), (-3.0, 1.0)]
)
def test_odd_numbers_are_printed_too(value: float, u: float) -> None:
    text = format_with_uncertainty(value, u, "J")
    assert "±" in text
    assert text.endswith("J")


@given(st.floats(-1e9, 1e9), st.just(0.0) | st.floats(1e-9, 1e9), st.floats(0.01, 0.99))
def test_an_interval_is_symmetric_and_holds_the_probability(
    joules: float, u: float, level: float
) -> None:
    low, high = energy(joules, u).interval(level)
    slack = 1e-9 * (abs(joules) + u)
    assert (low + high) / 2 == pytest.approx(joules, abs=slack)
    if u > 1e-6 * abs(joules):  # else the digits of the edges are too few
        inside = NormalDist(joules, u)
        assert inside.cdf(high) - inside.cdf(low) == pytest.approx(level, abs=1e-6)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95, math.nan])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(OptionError, match="level must lie inside"):
        energy(1.0, 1.0).interval(level)


def test_relative_uncertainty() -> None:
    assert energy(-200.0, 10.0).relative_u == 0.05
    assert energy(0.0, 1.0).relative_u == math.inf
    assert energy(0.0, 0.0).relative_u == 0.0


def test_a_ufloat_propagates() -> None:
    half = energy(100.0, 3.0).ufloat / 2
    assert (half.nominal_value, half.std_dev) == (50.0, 1.5)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e3)), min_size=1, max_size=16))
def test_a_sum_adds_values_and_squares(parts: list[tuple[float, float]]) -> None:
    total = combine([energy(joules, u) for joules, u in parts])
    assert total.joules == pytest.approx(sum(joules for joules, _ in parts))
    assert total.u == pytest.approx(math.hypot(*(u for _, u in parts)))


def test_a_sum_names_every_method_and_scope_once() -> None:
    total = combine([energy(1, 1), energy(1, 1, method="other", scope="module"), energy(1, 1)])
    assert total.method == "m; other"
    assert total.scope == "gpu+module"
