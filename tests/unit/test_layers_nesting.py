# SPDX-License-Identifier: Apache-2.0
"""Innermost spans against a search through all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyenergy.attribution.nesting import nest

# Few values, so that edges coincide; nothing keeps the spans from crossing.
SPANS = st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 12), st.integers(0, 9)), max_size=12)


def columns(spans: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    thread, start, length = np.array(spans, np.int64).reshape(-1, 3).T
    return thread, start, start + length


def searched(spans: list[tuple[int, int, int]], thread: int, t: int) -> int:
    found = [
        (start, -length, index)
        for index, (of, start, length) in enumerate(spans)
        if of == thread and start <= t < start + length
    ]
    return max(found)[2] if found else -1


@given(SPANS)
def test_the_innermost_is_the_one_that_started_last(spans: list[tuple[int, int, int]]) -> None:
    nesting = nest(*columns(spans))
    moments = [(thread, t) for thread in (-1, 0, 1, 2) for t in range(-1, 23)]
    at = np.array(moments, np.int64)
    found = nesting.innermost(at[:, 0], at[:, 1])
    assert found.tolist() == [searched(spans, *moment) for moment in moments]


@given(SPANS)
def test_parents_stand_before_what_is_in_them(spans: list[tuple[int, int, int]]) -> None:
    nesting = nest(*columns(spans))
    assert sorted(nesting.order.tolist()) == list(range(len(spans)))
    place = {span: at for at, span in enumerate(nesting.order.tolist())}
    for span, parent in enumerate(nesting.parent.tolist()):
        thread, start, length = spans[span]
        if parent >= 0:
            assert place[parent] < place[span]
        # it is what was open just before the span: of equal spans, the first holds the others
        before = [
            other
            for other in range(len(spans))
            if (length == 0 and spans[other][2] > 0) or place[other] < place[span]
        ]
        seen = [spans[other] for other in before]
        at = searched(seen, thread, start)
        if length:  # ties among equal ones go to the one sorted in last
            assert (parent >= 0) == (at >= 0)
            if at >= 0:
                assert spans[parent][:2] == seen[at][:2]
                assert spans[parent][2] == seen[at][2]
        else:
            assert parent == searched(spans, thread, start)


def test_crossing_spans_are_counted() -> None:
    assert nest(*columns([(0, 0, 10), (0, 2, 3), (0, 5, 5)])).crossing == 0
    assert nest(*columns([(0, 0, 10), (0, 5, 10)])).crossing == 1
    assert nest(*columns([(0, 0, 10), (1, 5, 10)])).crossing == 0
