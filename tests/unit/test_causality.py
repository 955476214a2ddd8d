# SPDX-License-Identifier: Apache-2.0
"""Causes before effects: what a timeline's launches and synchronisations say of its clocks."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyenergy.attribution import causality
from pyenergy.attribution.causality import check_causality
from pyenergy.errors import OptionError

REAL_NS = 1_700_000_000_123_456_789
I64 = np.iinfo(np.int64)


@given(
    st.lists(st.integers(2_000, 10**6), min_size=1, max_size=40),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=40),
    st.integers(-(10**7), 10**7),
)
@settings(max_examples=50)
def test_the_shift_that_a_device_clock_has_lies_in_the_window(
    gaps: list[int], tails: list[int], off: int
) -> None:
    """Kernels one after the other, a sync after each; the device's clock shows ``off`` more."""
    n = min(len(gaps), len(tails))
    launch = REAL_NS + np.arange(n) * 10**7
    start = launch + np.array(gaps[:n])
    end = start + 5_000
    synced = end + np.array(tails[:n])
    found = check_causality(launch, start + off, end + off, launch + 1_000, synced)
    assert (found.launches, found.syncs) == (n, n)
    assert found.lower_slack_ns == min(gaps[:n]) + off
    assert found.upper_slack_ns == min(tails[:n]) - off
    assert found.launch_violations == sum(g + off < 0 for g in gaps[:n])
    assert found.sync_violations == sum(t - off < 0 for t in tails[:n])
    window = found.shift_window
    assert window.low_ns <= -off <= window.high_ns
    assert window.is_possible
    assert abs(off) <= window.bound_ns
    assert 0 <= window.u_ns <= window.bound_ns
    assert not found.is_sound or found.lower_slack_ns >= 0


def test_ids_join_what_belongs_together() -> None:
    found = check_causality(
        [100, 50, 300, 900], [140, 320, 321, 5], [150, 330, 400, 6], [350, 20], [390, 30],
        launch_ids=[7, 7, 9, 4], kernel_ids=[7, 9, 9, 8],
    )  # fmt: skip
    assert (found.launches, found.unmatched_kernels) == (3, 1)
    assert found.lower_slack_ns == 20  # of id 9; id 7 began at 50
    assert (found.syncs, found.upper_slack_ns, found.sync_violations) == (1, -10, 1)
    assert not found.is_sound
    assert "VIOLATED by 0 kernels before their launch and 1 syncs" in str(found)
    assert "1 kernels have no launch" in repr(found)


def test_a_launch_under_way_when_a_sync_starts_is_not_waited_for() -> None:
    times = [0, 90], [10, 200], [20, 300], [100], [110]
    assert check_causality(*times).sync_violations == 1
    assert check_causality(*times, launch_end_ns=[5, 120]).upper_slack_ns == 90


def test_what_nothing_says_is_missing_and_not_zero() -> None:
    nothing = check_causality([], [], [])
    assert nothing.lower_slack_ns is None
    assert nothing.upper_slack_ns is None
    assert not nothing.is_sound
    assert nothing.shift_window.u_ns == math.inf
    assert "nothing says when kernels start" in str(nothing)
    one_sided = check_causality([0], [5_000], [6_000])
    assert (one_sided.shift_window.low_ns, one_sided.shift_window.high_ns) == (-3_000, math.inf)
    unknown = check_causality([], [1], [2], launch_ids=[], kernel_ids=[3])
    assert (unknown.launches, unknown.unmatched_kernels) == (0, 1)


def test_clocks_that_run_apart_have_no_shift() -> None:
    found = check_causality([0, 10_000], [-5_000, 12_000], [-4_000, 30_000], [11_000], [20_000])
    assert (found.launch_violations, found.sync_violations) == (1, 1)
    window = found.shift_window
    assert not window.is_possible
    assert not window.contains_zero
    assert window.u_ns == window.bound_ns == 10_000


def test_a_window_of_equally_likely_shifts() -> None:
    window = causality.ShiftWindow(-3_000, 9_000)
    shifts = np.linspace(-3_000, 9_000, 100_001)
    assert window.contains_zero
    assert window.u_ns == pytest.approx(np.sqrt((shifts**2).mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("times", "options", "said"),
    [
        (([0], [1, 2], [3, 4]), {}, "give launch_ids"),
        (([0], [1], [2, 3]), {}, "do not fit"),
        (([0], [5], [4]), {}, "kernel 0 ends at 4 ns"),
        (([0], [1], [2], [9], [8]), {}, "synchronisation 0 ends"),
        (([0], [1], [2], [9]), {}, "do not fit"),
        (([0], [1], [2]), {"launch_ids": [1]}, "give both"),
        (([0], [1], [2]), {"launch_ids": [1], "kernel_ids": [1, 2]}, "as many"),
        (([0], [I64.max - 1], [I64.max]), {}, "no clock shows"),
        (([[0]], [[1]], [[2]]), {}, "do not fit"),
    ],
)
def test_timelines_that_cannot_be_are_refused(
    times: tuple[list[int], ...], options: dict[str, list[int]], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        check_causality(*times, **options)  # type: ignore[arg-type]


def test_floats_are_no_times_of_kernels() -> None:
    with pytest.raises(TypeError, match="kernel_start_ns is float64"):
        check_causality([0], [1.5], [2])


def test_docstring_examples() -> None:
    result = doctest.testmod(causality)
    assert result.failed == 0
    assert result.attempted > 0
