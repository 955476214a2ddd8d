# SPDX-License-Identifier: Apache-2.0
"""Windows: what cannot be is refused, what can is answered, none and ten million alike."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from simulate import START_NS, random_windows, sampled

from pyenergy._trace import Trace
from pyenergy.errors import DeviceError, WindowError
from pyenergy.testing import simulated
from pyenergy.units import NS_PER_S

START, END = START_NS, START_NS + 10 * NS_PER_S


@pytest.fixture(scope="module")
def trace() -> Iterator[Trace]:
    """10 s at 300 W after 100 W."""
    with simulated("ideal") as world:
        world[0].script([(0, 100.0), (START + 5 * NS_PER_S, 300.0)])
        yield sampled(seconds=10)


def test_a_reversed_window_is_named(trace: Trace) -> None:
    starts = np.array([START, START + 20, START + 5, START + 9])
    ends = np.array([START + 1, START + 19, START + 6, START + 8])
    with pytest.raises(WindowError, match=r"window 1 \(and 1 more\) ends before it starts") as e:
        trace.windows(starts, ends)
    assert f"[{START + 20}, {START + 19}]" in str(e.value)
    with pytest.raises(WindowError, match="ends before it starts"):
        trace.window(START + 1, START)


@pytest.mark.parametrize(
    ("start", "end"),
    [(START - 1, END), (START, END + 1), (0, 1), (END + 1, END + 2), (-(2**63), 2**63 - 1)],
)
def test_a_window_outside_the_recording_is_refused(trace: Trace, start: int, end: int) -> None:
    with pytest.raises(WindowError, match="reaches outside the recording") as caught:
        trace.window(start, end)
    assert f"the recording spans [{START}, {END}]" in str(caught.value)


@pytest.mark.parametrize(
    "times",
    [
        np.array([START + 0.5]),
        [float(START)],
        [True],
        ["1"],
        [None],
        np.array(["2020-01-01"], dtype="datetime64[ns]"),
        np.array([], dtype=np.float64),
    ],
    ids=["float64", "float", "bool", "text", "None", "datetime64", "empty float64"],
)
def test_times_that_are_no_integers_are_a_type_error(trace: Trace, times: Any) -> None:
    fine = np.full(np.size(times), END)
    with pytest.raises(TypeError, match="starts_ns must be integer nanoseconds"):
        trace.windows(times, fine)
    with pytest.raises(TypeError, match="ends_ns must be integer nanoseconds"):
        trace.windows(fine, times)


def test_integers_that_int64_cannot_hold_are_refused(trace: Trace) -> None:
    with pytest.raises(WindowError, match="beyond int64"):
        trace.windows(np.array([2**63], np.uint64), np.array([2**63], np.uint64))
    with pytest.raises((TypeError, WindowError)):
        trace.window(START, 2**70)


def test_other_shapes_are_refused(trace: Trace) -> None:
    with pytest.raises(WindowError, match="2 starts but 1 ends"):
        trace.windows([START, START], [END])
    with pytest.raises(WindowError, match="one-dimensional, got 2"):
        trace.windows([[START]], [[END]])
    with pytest.raises(WindowError, match="one-dimensional, got 0"):
        trace.windows(START, END)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="no device 'gpu:7' in this trace; it has: gpu:0"):
        trace.windows([START], [END], device="gpu:7")


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.dtype(">i8")], ids=str)
def test_every_integer_that_holds_the_times_will_do(trace: Trace, dtype: Any) -> None:
    joules, u = trace.windows(np.array([START], dtype), np.array([END], dtype))
    assert joules == pytest.approx([2000.0], abs=0.2)
    assert u[0] == pytest.approx(trace.energy.u)


def test_strided_views_are_read_as_they_stand(trace: Trace) -> None:
    edges = np.linspace(START, END, 11).astype(np.int64)
    both = np.stack([edges[:-1], edges[1:]], axis=1)
    joules, _ = trace.windows(both[:, 0], both[:, 1])
    assert joules.sum() == pytest.approx(trace.energy.joules, rel=1e-12)
    backwards, _ = trace.windows(both[::-1, 0], both[::-1, 1])
    np.testing.assert_allclose(backwards[::-1], joules, rtol=1e-12)


def test_no_windows_give_no_energies(trace: Trace) -> None:
    for none in ([], np.array([], np.int64)):
        joules, u = trace.windows(none, none)
        assert joules.shape == u.shape == (0,)
        assert joules.dtype == u.dtype == np.float64


def test_an_empty_window_has_exactly_nothing(trace: Trace) -> None:
    for t in (START, START + 123_456_789, END):
        nothing = trace.window(t, t)
        assert (nothing.joules, nothing.u) == (0.0, 0.0)


def test_order_does_not_matter(trace: Trace) -> None:
    rng = np.random.default_rng(3)
    starts, ends = random_windows(rng, trace.bounds_ns, 2000)
    order = np.argsort(starts)
    joules, u = trace.windows(starts, ends)
    by_start, u_by_start = trace.windows(starts[order], ends[order])
    np.testing.assert_allclose(by_start, joules[order], rtol=1e-12)
    np.testing.assert_allclose(u_by_start, u[order], rtol=1e-12)


def test_one_window_and_many_agree(trace: Trace) -> None:
    starts, ends = random_windows(np.random.default_rng(4), trace.bounds_ns, 50)
    joules, u = trace.windows(starts, ends)
    for i in range(50):
        one = trace.window(int(starts[i]), int(ends[i]))
        assert one.joules == pytest.approx(joules[i], rel=1e-12)
        assert one.u == pytest.approx(u[i], rel=1e-12)


def test_ten_million_windows(trace: Trace) -> None:
    starts, ends = random_windows(np.random.default_rng(5), trace.bounds_ns, 10_000_000)
    before = time.monotonic()
    joules, u = trace.windows(starts, ends)
    assert time.monotonic() - before < 10  # 2 to 4 s on two cores
    assert np.isfinite(joules).all()
    assert (u > 0).all()
    some = slice(0, 10_000_000, 100_003)
    expected, _ = trace.windows(starts[some], ends[some])
    np.testing.assert_allclose(joules[some], expected, rtol=1e-12)
    # A few dozen bytes a window at the peak: ten million may take 4 GiB, not more.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 2**20
