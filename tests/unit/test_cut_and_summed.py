# SPDX-License-Identifier: Apache-2.0
"""What sharing energy is built on: nested spans cut into pieces, and sums of curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attached import S
from hypothesis import given, settings
from hypothesis import strategies as st

from pyenergy._curves import constant, weighted_sum
from pyenergy.attribution.nesting import innermost_pieces

_spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(0, 2)), min_size=0, max_size=25
)


@given(_spans)
@settings(deadline=None)
def test_innermost_is_what_began_last(spans: list[tuple[int, int, int]]) -> None:
    start = np.array([s for s, _, _ in spans], np.int64)
    end = start + np.array([d for _, d, _ in spans], np.int64)
    thread = np.array([t for _, _, t in spans], np.int64)
    pieces = innermost_pieces(thread, start, end)
    assert sorted(set(pieces.row.tolist())) == list(range(len(spans)))
    assert int(pieces.begins.sum()) == len(spans)
    for which in range(3):
        for t in range(95):
            running = [
                i for i in range(len(spans)) if thread[i] == which and start[i] <= t < end[i]
            ]
            covering = [
                int(row)
                for a, b, row in zip(pieces.start_ns, pieces.end_ns, pieces.row, strict=True)
                if a <= t < b and thread[row] == which
            ]
            assert len(covering) == min(len(running), 1)
            if running:
                assert start[covering[0]] == max(start[i] for i in running)


def test_pieces_are_cut_where_spans_start_and_where_the_innermost_ends() -> None:
    spans = [(0, 30), (10, 40), (20, 25), (20, 25), (35, 35)]
    start, end = np.array(spans, np.int64).T
    pieces = innermost_pieces(np.zeros(len(spans), np.int64), start, end)
    found = zip(pieces.row.tolist(), pieces.start_ns.tolist(), pieces.end_ns.tolist(), strict=True)
    assert list(found) == [
        (0, 0, 10),
        (1, 10, 20),
        (1, 25, 35),  # whole, though the span that it crosses ends at 30
        (1, 35, 40),
        (2, 20, 20),
        (3, 20, 25),
        (4, 35, 35),
    ]
    assert pieces.begins.tolist() == [True, True, False, False, True, True, True]
    assert pieces.crossing == 1


_curve = st.lists(st.tuples(st.integers(0, 40), st.floats(-5, 5)), min_size=0, max_size=12)


@given(_curve, _curve, st.floats(-3, 3), st.integers(0, 50), st.integers(0, 50))
@settings(deadline=None)
def test_the_integral_of_a_sum_is_the_sum_of_integrals(
    one: Any, other: Any, factor: float, a: int, b: int
) -> None:
    from pyenergy import _core

    def curve(knots: list[tuple[int, float]]) -> Any:
        knots = sorted(knots, key=lambda k: k[0])
        t = np.array([0, *(k for k, _ in knots), 50], np.int64) * S
        return _core.EnergyCurve(t, np.array([1.0, *(y for _, y in knots), 2.0]))

    first, second = curve(one), curve(other)
    total = weighted_sum(
        [(first, 1.0), (second, factor), (constant(3.0, 0, 50 * S), 1.0)], 0, 50 * S
    )
    window = np.array([min(a, b) * S]), np.array([max(a, b) * S])
    expected = first.windows(*window) + factor * second.windows(*window) + 3.0 * abs(a - b)
    assert total.windows(*window) == pytest.approx(expected, abs=1e-8)
