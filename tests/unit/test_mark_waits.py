# SPDX-License-Identifier: Apache-2.0
"""How late a mark may be because its thread waited for a processor."""

from __future__ import annotations

import os
import threading

import pytest

import pyenergy
from pyenergy import _core
from pyenergy.recording.marks import longest_wait_ns


@pytest.mark.parametrize(
    ("waited", "turns", "bound"),
    [(0, 0, 0), (12_000_000, 1, 12_000_000), (500_000_000, 100, 15_000_000), (9, 3, 9)],
)
def test_one_wait_or_three_mean_ones(waited: int, turns: int, bound: int) -> None:
    assert longest_wait_ns((5, 7), (5 + waited, 7 + turns)) == bound


@pytest.mark.parametrize(("before", "after"), [((-1, -1), (5, 5)), ((5, 5), (-1, -1))])
def test_a_kernel_that_does_not_tell_bounds_nothing(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    assert longest_wait_ns(before, after) == 0


@pytest.mark.skipif(
    not os.path.exists("/proc/thread-self/schedstat"), reason="this kernel keeps no schedstat"
)
def test_a_mark_on_a_crowded_processor_may_be_late() -> None:
    waited: list[int] = []

    def crowded() -> None:
        cpu = min(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpu})  # this thread alone, and its children
        children = [os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "while :; do :; done") for _ in "ab"]
        try:
            with pyenergy.trace(devices="sim:ideal", sync=False) as t, pyenergy.mark("busy"):
                before, end_ns = _core.run_delay()[0], _core.now_ns() + 200_000_000
                while _core.now_ns() < end_ns:
                    pass
                waited.append(_core.run_delay()[0] - before)
        finally:
            for child in children:
                os.kill(child, 9)
                os.waitpid(child, 0)
        waited.append(t.marks[0].bound_ns)

    thread = threading.Thread(target=crowded)
    thread.start()
    thread.join()
    assert waited[0] > 50_000_000
    assert 1_000_000 < waited[1] <= waited[0]
