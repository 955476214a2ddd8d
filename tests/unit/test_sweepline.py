# SPDX-License-Identifier: Apache-2.0
"""Energy by operation and gap: against a sum over all segments and operations, and conserved."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyenergy import _core
from pyenergy.attribution.sweep import Attribution, StaticPolicy, attribute
from pyenergy.errors import NoReadingsError, OptionError, WindowError
from pyenergy.units import NS_PER_S

START = 40 * 86_400 * NS_PER_S  # CLOCK_MONOTONIC of a machine up for long
POLICIES: tuple[StaticPolicy, ...] = ("separate", "busy", "all")
COLUMNS = ("energy_j", "lower_j", "upper_j", "alone_s", "overlapped_s", "shared")

Times = NDArray[np.int64]


@dataclasses.dataclass
class Case:
    """What a sweep is given; times within 1 s after START, many of them equal."""

    t: Times
    y: NDArray[np.float64]
    starts: Times
    ends: Times
    weights: NDArray[np.float64] | None
    static_w: float
    bounds: tuple[int, int]

    def curve(self) -> _core.EnergyCurve:
        return _core.EnergyCurve(self.t, self.y)

    def attribute(self, static: StaticPolicy, order: Any = slice(None)) -> Attribution:
        weights = None if self.weights is None else self.weights[order]
        return attribute(
            self.curve(),
            self.starts[order],
            self.ends[order],
            weights=weights,
            static_w=self.static_w,
            static=static,
            bounds_ns=self.bounds,
        )


def ns(values: Any) -> Times:
    return np.array(values, dtype=np.int64)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    # A coarse grid makes edges coincide; the fine one makes segments of nanoseconds.
    tick = draw(st.sampled_from([100_000_000, 1_000_003, 1]))
    time = st.integers(0, NS_PER_S // tick).map(lambda k: START + k * tick)
    wider = st.integers(-5, NS_PER_S // tick + 5).map(lambda k: START + k * tick)
    inner = sorted(draw(st.lists(time, max_size=12)))
    t = ns([START, *inner, START + NS_PER_S])
    watts = st.floats(1.0, 700.0)
    y = np.array(draw(st.lists(watts, min_size=t.size, max_size=t.size)))
    spans = [sorted(s) for s in draw(st.lists(st.tuples(wider, wider), max_size=25))]
    n = len(spans)
    weight = st.one_of(
        st.just(0.0), st.floats(0.0, 10.0), st.floats(1e-300, 1e300, allow_subnormal=False)
    )
    weights = draw(st.none() | st.lists(weight, min_size=n, max_size=n))
    a, b = sorted([draw(time), draw(time)])
    return Case(
        t=t,
        y=y,
        starts=ns([s for s, _ in spans]),
        ends=ns([e for _, e in spans]),
        weights=None if weights is None else np.array(weights, dtype=np.float64),
        static_w=draw(st.sampled_from([0.0, 40.0]) | st.floats(0.0, 800.0)),
        bounds=draw(st.sampled_from([(START, START + NS_PER_S), (a, b)])),
    )


def by_hand(case: Case, static: StaticPolicy) -> dict[str, NDArray[np.float64]]:
    """Every segment with every operation."""
    t0, t1 = case.bounds
    starts, ends = np.clip(case.starts, t0, t1), np.clip(case.ends, t0, t1)
    weights = np.ones(starts.size) if case.weights is None else case.weights
    real = starts < ends
    edges = np.unique(np.concatenate([starts[real], ends[real], ns([t0, t1])]))
    energy = case.curve().windows(edges[:-1], edges[1:])
    found: dict[str, NDArray[np.float64]] = {n: np.zeros(starts.size) for n in COLUMNS[:5]}
    fixed = np.zeros(starts.size)
    gaps: list[list[float]] = []
    for a, b, e in zip(edges[:-1].tolist(), edges[1:].tolist(), energy.tolist(), strict=True):
        seconds = (b - a) / NS_PER_S
        still = case.static_w * seconds
        dynamic = e - still
        runs = real & (starts <= a) & (b <= ends)
        if not runs.any():
            gaps.append([a, b, dynamic + (still if static == "busy" else 0.0)])
            continue
        w = weights[runs] / weights[runs].max() if weights[runs].any() else np.ones(runs.sum())
        share = np.zeros(starts.size)
        share[runs] = w / w.sum()
        found["energy_j"] += dynamic * share
        fixed += still * share if static == "busy" else 0.0
        alone = runs.sum() == 1
        found["lower_j"][runs] += dynamic if alone else min(0.0, dynamic)
        found["upper_j"][runs] += dynamic if alone else max(0.0, dynamic)
        found["alone_s" if alone else "overlapped_s"][runs] += seconds
    gap_s = sum(b - a for a, b, _ in gaps) / NS_PER_S
    ran = found["alone_s"] + found["overlapped_s"]
    if static == "all" and t1 > t0:
        rate = case.static_w * (t1 - t0) / NS_PER_S / (ran.sum() + gap_s)
        fixed = rate * ran
        gaps = [[a, b, e + rate * (b - a) / NS_PER_S] for a, b, e in gaps]
    for name in ("energy_j", "lower_j", "upper_j"):
        found[name] += fixed
    found["gaps"] = np.array(gaps, dtype=np.float64).reshape(-1, 3)
    return found


def scale(case: Case) -> float:
    """J that were added up, so that parts of both signs may cancel."""
    t0, t1 = case.bounds
    return float(max(case.y.max(), case.static_w) * (t1 - t0) / NS_PER_S)


@given(cases(), st.sampled_from(POLICIES))
def test_operations_gaps_and_static_are_the_whole(case: Case, static: StaticPolicy) -> None:
    found = case.attribute(static)
    whole = case.curve().windows(ns([case.bounds[0]]), ns([case.bounds[1]]))[0]
    parts = found.energy_j.sum() + found.gap_energy_j.sum() + found.static_j
    tolerance = 1e-9 * (whole if case.static_w <= case.y.min() else scale(case))
    assert abs(parts - whole) <= tolerance
    assert abs(found.total_j - whole) <= tolerance
    assert abs(found.residual_j) <= tolerance
    assert (found.static_j > 0.0) <= (static == "separate")


@given(cases(), st.sampled_from(POLICIES))
def test_it_is_the_sum_over_all_segments(case: Case, static: StaticPolicy) -> None:
    found, truth = case.attribute(static), by_hand(case, static)
    tolerance = 1e-11 * scale(case)
    for name in COLUMNS[:3]:
        np.testing.assert_allclose(getattr(found, name), truth[name], rtol=1e-9, atol=tolerance)
    for name in COLUMNS[3:5]:
        np.testing.assert_allclose(getattr(found, name), truth[name], rtol=1e-9, atol=1e-15)
    gaps = truth["gaps"]
    assert found.gap_starts_ns.tolist() == gaps[:, 0].astype(np.int64).tolist()
    assert found.gap_ends_ns.tolist() == gaps[:, 1].astype(np.int64).tolist()
    np.testing.assert_allclose(found.gap_energy_j, gaps[:, 2], rtol=1e-9, atol=tolerance)
    assert found.shared.tolist() == (truth["overlapped_s"] > 0).tolist()
    slack = tolerance + 1e-9 * np.abs(found.energy_j)
    assert (found.lower_j <= found.energy_j + slack).all()
    assert (found.energy_j <= found.upper_j + slack).all()


@given(cases(), st.sampled_from(POLICIES), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(case: Case, static: StaticPolicy, random: Any) -> None:
    order = list(range(case.starts.size))
    random.shuffle(order)
    found, other = case.attribute(static), case.attribute(static, np.array(order, dtype=np.intp))
    for name in COLUMNS:
        assert getattr(found, name)[order].tolist() == getattr(other, name).tolist()
    assert found.gap_energy_j.tolist() == other.gap_energy_j.tolist()


@given(cases(), st.sampled_from(("separate", "busy")))
def test_neighbouring_windows_add_up(case: Case, static: StaticPolicy) -> None:
    t0, t1 = case.bounds
    middle = (t0 + t1) // 2
    assume(t0 < middle < t1)
    whole = case.attribute(static).energy_j
    parts = [
        dataclasses.replace(case, bounds=b).attribute(static).energy_j
        for b in ((t0, middle), (middle, t1))
    ]
    np.testing.assert_allclose(parts[0] + parts[1], whole, rtol=1e-9, atol=1e-11 * scale(case))


@given(cases())
def test_what_lies_outside_is_counted(case: Case) -> None:
    found = case.attribute("separate")
    (t0, t1), length = case.bounds, case.ends - case.starts
    inside = np.clip(case.ends, t0, t1) - np.clip(case.starts, t0, t1)
    assert found.empty == (length == 0).sum()
    assert found.outside == ((length > 0) & (inside == 0)).sum()
    assert found.cut == ((inside > 0) & (inside < length)).sum()
    assert found.outside_s == pytest.approx((length - inside).sum() / NS_PER_S, abs=1e-12)
    assert found.energy_j[inside == 0].tolist() == [0.0] * int((inside == 0).sum())


def steady(watts: float = 100.0, seconds: int = 10) -> _core.EnergyCurve:
    return _core.EnergyCurve(ns([0, seconds * NS_PER_S]), np.full(2, watts))


def test_two_streams() -> None:
    found = attribute(
        steady(), ns([0, 2]) * NS_PER_S, ns([4, 6]) * NS_PER_S, weights=[3, 1], static_w=40.0
    )
    assert found.energy_j == pytest.approx([210.0, 150.0])
    assert found.lower_j == pytest.approx([120.0, 120.0])
    assert found.upper_j == pytest.approx([240.0, 240.0])
    assert found.shared.tolist() == [True, True]
    assert found.gap_energy_j == pytest.approx([240.0])
    assert (found.static_j, found.total_j) == pytest.approx((400.0, 1000.0))
    assert (found.busy_s, found.overlap_s, found.deepest) == (6.0, 2.0, 2)
    assert found.bounds_ns == (0, 10 * NS_PER_S)


def test_negative_segments_are_kept_and_counted() -> None:
    found = attribute(steady(30.0), ns([0, 0]), ns([NS_PER_S, NS_PER_S]), static_w=50.0)
    assert found.energy_j == pytest.approx([-10.0, -10.0])
    assert found.lower_j == pytest.approx([-20.0, -20.0])
    assert found.upper_j.tolist() == [0.0, 0.0]
    assert found.negative_segments == found.segments == 2
    assert found.negative_j == pytest.approx(-200.0)


def test_no_operations_are_one_gap() -> None:
    found = attribute(steady(), ns([]), ns([]), weights=[])
    assert found.energy_j.size == 0
    assert found.gap_energy_j == pytest.approx([1000.0])


def test_a_million_at_one_moment() -> None:
    n = 1_000_000
    found = attribute(steady(), np.full(n, NS_PER_S), np.full(n, 2 * NS_PER_S))
    assert found.deepest == n
    assert np.ptp(found.energy_j) == 0.0
    assert found.operations_j == pytest.approx(100.0, rel=1e-12)


def test_arrays_are_read_only_and_outlive_the_result() -> None:
    found = attribute(steady(), ns([0]), ns([NS_PER_S]))
    energy = found.energy_j
    for name in (*COLUMNS, "gap_starts_ns", "gap_ends_ns", "gap_energy_j"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(found, name)[0] = 0
    del found
    assert energy == pytest.approx([100.0])


def test_strided_times_are_read_as_they_are() -> None:
    both = ns([[0, 1], [2, 4]]) * NS_PER_S
    assert attribute(steady(), both[:, 0], both[:, 1]).energy_j == pytest.approx([100.0, 200.0])


def test_other_threads_run_meanwhile() -> None:
    curve, n = steady(), 2_000_000
    starts = np.arange(n, dtype=np.int64)
    begun, turns, done = threading.Event(), 0, threading.Event()

    def work() -> None:
        begun.set()
        attribute(curve, starts, starts + 5)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    while not done.is_set():
        turns += 1
        done.wait(0.001)
    thread.join()
    assert turns > 2


@pytest.mark.parametrize(
    "times",
    [[0], (0,), 0, None, np.array([0.0]), np.array([0], np.int32), np.array([0], np.uint64),
     np.array([True]), np.array(["2020"], "datetime64[ns]")],
    ids=repr,
)  # fmt: skip
def test_times_other_than_int64_arrays_are_a_type_error(times: Any) -> None:
    with pytest.raises(TypeError, match="starts_ns must be an int64 array of nanoseconds"):
        attribute(steady(), times, ns([1]))
    with pytest.raises(TypeError, match="ends_ns must be an int64 array of nanoseconds"):
        attribute(steady(), ns([1]), times)


@pytest.mark.parametrize("curve", [None, 100.0, np.ones(3)], ids=repr)
def test_what_is_no_curve_is_a_type_error(curve: Any) -> None:
    with pytest.raises(TypeError, match="curve must be an EnergyCurve of power"):
        attribute(curve, ns([0]), ns([1]))


def test_operations_that_cannot_be_are_named() -> None:
    with pytest.raises(OptionError, match=r"operation 1 ends before it starts \(20, 10\)"):
        attribute(steady(), ns([0, 20, 20]), ns([10, 10, 10]))
    with pytest.raises(OptionError, match="differ in length"):
        attribute(steady(), ns([0, 20]), ns([10]))
    with pytest.raises(OptionError, match="starts_ns must be one-dimensional, got 2"):
        attribute(steady(), ns([[0]]), ns([1]))


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_weights_and_powers_that_cannot_be_are_named(bad: float) -> None:
    times = ns([0, 1]), ns([5, 5])
    with pytest.raises(OptionError, match="the weight of operation 1 must be finite and not neg"):
        attribute(steady(), *times, weights=[0.0, bad])
    with pytest.raises(OptionError, match="static power must be finite and not negative"):
        attribute(steady(), *times, static_w=bad)


@pytest.mark.parametrize("weights", [[1.0], [], np.array([]), [1.0, 2.0, 3.0]])
def test_weights_must_be_as_many(weights: Any) -> None:
    with pytest.raises(OptionError, match="differ in length"):
        attribute(steady(), ns([0, 1]), ns([5, 5]), weights=weights)


def test_weights_must_be_numbers_in_a_row() -> None:
    for weights in (["a"], [True], [None], [1j]):
        with pytest.raises(TypeError, match="weights must be numbers, got dtype"):
            attribute(steady(), ns([0]), ns([5]), weights=weights)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="weights must be one-dimensional, got 2"):
        attribute(steady(), ns([0]), ns([5]), weights=[[1.0]])


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(OptionError, match=r"static must be one of .*'separate', 'busy', 'all'"):
        attribute(steady(), ns([0]), ns([5]), static="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="static must be 'separate', 'busy' or 'all'"):
        _core.sweep(steady(), ns([0]), ns([5]), None, 0, 1, 0.0, "none")


def test_windows_that_cannot_be_are_refused() -> None:
    for bounds in ((-1, 5), (0, 10 * NS_PER_S + 1)):
        with pytest.raises(WindowError, match=r"reaches outside the curve, which spans \[0, "):
            attribute(steady(), ns([0]), ns([5]), bounds_ns=bounds)
    with pytest.raises(WindowError, match=r"\[5, 4\] ends before it starts"):
        attribute(steady(), ns([0]), ns([5]), bounds_ns=(5, 4))
    with pytest.raises(TypeError):
        attribute(steady(), ns([0]), ns([5]), bounds_ns=(0.0, 5))  # type: ignore[arg-type]
    with pytest.raises(NoReadingsError, match="the curve has no points"):
        attribute(_core.EnergyCurve(ns([]), np.array([])), ns([0]), ns([5]))
