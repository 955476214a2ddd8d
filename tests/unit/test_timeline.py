# SPDX-License-Identifier: Apache-2.0
"""The clock join: exact to the nanosecond between anchors, steps found."""

from __future__ import annotations

import doctest
import json
import math
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulate import sampled

import pyenergy
from pyenergy.attribution import timeline
from pyenergy.attribution.timeline import ClockMap, ClockStepError
from pyenergy.errors import OptionError, PyEnergyError, RecordingError, WindowError
from pyenergy.recording import clock_anchor
from pyenergy.recording.clock_anchor import AnchorWatch, ClockAnchor, ClockAnchors
from pyenergy.testing import simulated
from pyenergy.units import NS_PER_S

REAL_NS = 1_700_000_000_123_456_789
MONO_NS = 5_000_000_000
TENTH_NS = NS_PER_S // 10
WIDTH_NS = 80
I64 = np.iinfo(np.int64)


def anchors(changes: list[int], every_ns: int = TENTH_NS, width_ns: int = 80) -> ClockAnchors:
    """Anchors ``every_ns`` apart; ``changes`` of the offset from each to the next."""
    mono = MONO_NS + np.arange(len(changes) + 1, dtype=np.int64) * every_ns
    offset = REAL_NS - MONO_NS + np.cumsum([0, *changes], dtype=np.int64)
    return ClockAnchors(mono, mono + offset, np.full(len(mono), width_ns))


slews = st.lists(st.integers(-50_000, 50_000), min_size=1, max_size=30)  # 500 ppm of 100 ms


@given(slews, st.lists(st.floats(-0.1, 1.1), min_size=1, max_size=50))
def test_times_come_back_and_keep_their_order(changes: list[int], at: list[float]) -> None:
    clocks = ClockMap(anchors(changes))
    span = len(changes) * TENTH_NS
    unix = np.sort(np.array([REAL_NS + int(a * span) for a in at]))
    mapped = clocks.to_monotonic(unix)
    assert mapped.t_ns.dtype == np.int64
    assert (np.diff(mapped.t_ns) >= 0).all()
    assert (np.abs(clocks.to_unix(mapped.t_ns).t_ns - unix) <= 1).all()
    assert not mapped.stepped.any()


@given(slews, st.integers(0, 2**40))
def test_an_anchor_maps_onto_itself_wherever_the_clocks_are(changes: list[int], by: int) -> None:
    there = anchors(changes)
    there = ClockAnchors(there.mono_ns + by, there.real_ns - by, there.width_ns)
    clocks = ClockMap(there)
    np.testing.assert_array_equal(clocks.to_monotonic(there.real_ns).t_ns, there.mono_ns)
    np.testing.assert_array_equal(clocks.to_unix(there.mono_ns).t_ns, there.real_ns)


@given(st.integers(-50_000, 50_000), st.integers(1, 2 * TENTH_NS - 1))
def test_between_anchors_the_arithmetic_is_exact(change: int, into: int) -> None:
    clocks = ClockMap(anchors([change, change]))
    line, along = divmod(into, TENTH_NS)
    truth = REAL_NS + into + line * change + round(along * change / TENTH_NS)
    assert abs(int(clocks.to_unix([MONO_NS + into]).t_ns[0]) - truth) <= 1


@given(slews)
def test_no_slew_of_the_kernel_is_a_step(changes: list[int]) -> None:
    assert ClockMap(anchors(changes)).steps == ()


@given(
    st.integers(1, 20),
    st.data(),
    st.integers(101_000, 10**17),  # 50 us, and 500 ppm of 100 ms, and the widths
    st.sampled_from([1, -1]),
)
def test_a_step_is_found_at_any_place(n: int, data: st.DataObject, size: int, sign: int) -> None:
    at = data.draw(st.integers(0, n - 1))
    given_ = anchors([sign * size if i == at else 0 for i in range(n)])
    clocks = ClockMap(given_)
    (step,) = clocks.steps
    assert step.size_ns == sign * size
    assert (step.after_ns, step.before_ns) == tuple(given_.mono_ns[at : at + 2])
    with pytest.raises(ClockStepError, match="system's clock was set by"):
        clocks.to_monotonic(given_.real_ns)
    # Whenever it happened between the two anchors, what is not marked is right.
    moment = step.after_ns + data.draw(st.integers(1, TENTH_NS - 1))
    mono = np.sort(data.draw(st.integers(0, n * TENTH_NS)) + MONO_NS - np.arange(3)) + 3
    unix = mono + REAL_NS - MONO_NS + np.where(mono > moment, sign * size, 0)
    mapped = clocks.to_monotonic(unix, on_step="mark")
    sure = ~mapped.stepped
    np.testing.assert_array_equal(mapped.t_ns[sure], mono[sure])
    assert (np.abs(mapped.t_ns - mono) <= mapped.bound_ns).all()
    inside = (mono > step.after_ns) & (mono < step.before_ns)
    np.testing.assert_array_equal(mapped.stepped & inside, inside)
    back = clocks.to_unix(mono, on_step="mark")
    np.testing.assert_array_equal(back.stepped, inside)
    assert (np.abs(back.t_ns - unix) <= back.bound_ns).all()


def test_a_step_beside_the_times_does_not_spoil_them() -> None:
    clocks = ClockMap(anchors([0, 0, 10_000_000, 0, 0]))
    before = REAL_NS + np.arange(10) * 1000
    np.testing.assert_array_equal(clocks.to_monotonic(before).t_ns - before, MONO_NS - REAL_NS)
    after = clocks.to_unix([MONO_NS + 4 * TENTH_NS]).t_ns
    assert clocks.to_monotonic(after).t_ns[0] == MONO_NS + 4 * TENTH_NS
    with pytest.raises(ClockStepError):  # one line through both sides fits neither
        clocks.to_monotonic([before[0], after[0]])
    assert issubclass(ClockStepError, PyEnergyError)


def test_steps_back_and_forth_leave_the_rest_alone() -> None:
    clocks = ClockMap(anchors([0] * 5 + [-(10**9)] + [0] * 5 + [10**9] + [0] * 40))
    assert [s.size_ns for s in clocks.steps] == [-(10**9), 10**9]
    mono = MONO_NS + np.arange(25, 50) * TENTH_NS + 77
    mapped = clocks.to_monotonic(mono - MONO_NS + REAL_NS, on_step="mark")
    np.testing.assert_array_equal(mapped.t_ns, mono)
    assert not mapped.stepped.any()


@given(st.integers(-50_000, 50_000), st.integers(1, TENTH_NS - 1), st.integers(1, TENTH_NS - 1))
def test_the_bound_holds_whenever_the_offset_changed(change: int, moment: int, into: int) -> None:
    mapped = ClockMap(anchors([change])).to_unix([MONO_NS + into])
    truth = REAL_NS + into + (change if into > moment else 0)
    assert abs(int(mapped.t_ns[0]) - truth) <= mapped.bound_ns[0]
    assert mapped.u_ns[0] == pytest.approx(mapped.bound_ns[0] / math.sqrt(3))


def test_the_bound_is_the_half_width_and_grows_beyond_the_anchors() -> None:
    clocks = ClockMap(anchors([0, 0]))
    inside = clocks.to_unix([MONO_NS, MONO_NS + TENTH_NS // 3, MONO_NS + 2 * TENTH_NS])
    assert (inside.bound_ns == WIDTH_NS / 2).all()
    outside = clocks.to_unix([MONO_NS - NS_PER_S, MONO_NS + 2 * TENTH_NS + NS_PER_S])
    assert outside.bound_ns == pytest.approx([500_000 + 40] * 2)  # 500 ppm of 1 s
    assert list(outside.t_ns) == [REAL_NS - NS_PER_S, REAL_NS + 2 * TENTH_NS + NS_PER_S]


def test_a_wide_anchor_is_neither_a_step_nor_trusted() -> None:
    good = list(anchors([0, 0, 0, 0]))
    late = replace(good[2], real_ns=good[2].real_ns + 400_000, width_ns=1_000_000)
    clocks = ClockMap([*good[:2], late, *good[3:]])
    assert clocks.steps == ()
    assert clocks.to_unix([late.mono_ns]).t_ns[0] == good[2].real_ns
    assert "4 anchors (1 more" in repr(clocks)


def test_a_wide_anchor_hides_no_step() -> None:
    good = list(anchors([0, 500_000, 0]))
    wide = ClockAnchor((good[1].mono_ns + good[2].mono_ns) // 2, good[1].real_ns, 10**9)
    assert [s.size_ns for s in ClockMap([*good, wide]).steps] == [500_000]


@given(
    st.lists(
        st.tuples(st.integers(1, 10**7), st.integers(0, 10**7), st.floats(-0.5, 0.5)),
        min_size=1,
        max_size=20,
    )
)
def test_anchors_of_any_width_and_distance_make_no_steps_and_no_disorder(
    drawn: list[tuple[int, int, float]],
) -> None:
    """Clocks that run alike, read badly: each offset is off by up to half of its width."""
    mono, made = MONO_NS, []
    for gap, width, share in drawn:
        mono += gap
        made.append(ClockAnchor(mono, mono - MONO_NS + REAL_NS + int(share * width), width))
    clocks = ClockMap(made)
    assert clocks.steps == ()
    unix = REAL_NS + np.linspace(0, mono - MONO_NS, 200).astype(np.int64)
    mapped = clocks.to_monotonic(unix)
    assert (np.diff(mapped.t_ns) >= 0).all()
    assert (np.abs(mapped.t_ns - (unix - REAL_NS + MONO_NS)) <= mapped.bound_ns + 1).all()


@given(st.sampled_from([I64.min, I64.min + 1, -1, 0, MONO_NS, I64.max - 1, I64.max]))
def test_times_far_away_are_refused_without_wrapping(t: int) -> None:
    clocks = ClockMap(anchors([0, 0, -(10**9), 10**9]))
    with pytest.raises(WindowError, match="1 of 2 times lie over 10 s beyond") as caught:
        clocks.to_monotonic([t, REAL_NS], on_step="mark")
    assert str(t) in str(caught.value)
    assert ("looks like CLOCK_MONOTONIC" in str(caught.value)) == (t == MONO_NS)
    assert ("profilers write" in str(caught.value)) == (t == 0)


@given(st.integers(-(2**62) + 1, 2**62 - 1), st.integers(-(2**62) + 1, 2**62 - 1))
def test_clocks_at_the_ends_of_int64_still_map(mono: int, real: int) -> None:
    clocks = ClockMap([ClockAnchor(mono, real, 10)], extrapolate_s=2e9)
    by = np.array([-(2 * 10**18), -1, 0, 1, 2 * 10**18])
    assert [int(t) for t in clocks.to_unix(mono + by).t_ns] == [real + int(b) for b in by]


@pytest.mark.parametrize("empty", [[], np.zeros(0), np.zeros((0, 3), np.int64)])
def test_no_times_are_no_times(empty: object) -> None:
    for changes in ([0], [10**9]):
        mapped = ClockMap(anchors(changes)).to_monotonic(empty)  # type: ignore[arg-type]
        assert mapped.t_ns.dtype == np.int64
        assert mapped.t_ns.shape == mapped.bound_ns.shape == np.shape(empty)  # type: ignore[arg-type]


def test_shapes_and_long_arrays_are_kept() -> None:
    clocks = ClockMap(anchors([0] * 20))
    unix = REAL_NS + np.random.default_rng(3).integers(0, 20 * TENTH_NS, (100, 1000))
    np.testing.assert_array_equal(clocks.to_monotonic(unix).t_ns, unix - REAL_NS + MONO_NS)
    assert clocks.to_monotonic(REAL_NS).t_ns.shape == ()
    assert clocks.to_monotonic(np.uint64(REAL_NS)).t_ns == MONO_NS


@pytest.mark.parametrize(
    ("times", "error", "said"),
    [
        ([1.7e18], TypeError, "256 ns"),
        ([True], TypeError, "integers"),
        (["x"], TypeError, "integers"),
        ([None], TypeError, "integers"),
        ([2**64], ValueError, "int64"),
        (np.array([2**63], np.uint64), ValueError, "int64"),
    ],
)
def test_times_that_lose_digits_are_refused(
    times: list[int], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        ClockMap(anchors([0])).to_monotonic(times)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], "without clock anchors"),
        ([ClockAnchor(1, 2, -3)], "negative width"),
        ([ClockAnchor(1, 2, 3), ClockAnchor(1, 5, 3)], "same moment"),
        ([ClockAnchor(1, 2**62, 3)], "no clock shows"),
        ([ClockAnchor(1, -(2**60), 3), ClockAnchor(2, 2**60, 3)], "no clock shows"),
    ],
)
def test_anchors_that_cannot_be_are_refused(made: list[ClockAnchor], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ClockMap(made)


@pytest.mark.parametrize("extrapolate_s", [-1.0, math.nan, math.inf])
def test_options_that_cannot_be_are_refused(extrapolate_s: float) -> None:
    with pytest.raises(OptionError, match="extrapolate_s"):
        ClockMap(anchors([0]), extrapolate_s=extrapolate_s)
    with pytest.raises(OptionError, match="on_step"):
        ClockMap(anchors([0])).to_monotonic([REAL_NS], on_step="ignore")


def test_an_imported_log_is_on_unix_time_already() -> None:
    clocks = ClockMap([ClockAnchor(REAL_NS, REAL_NS, 1_000_000)])
    late = clocks.to_monotonic([REAL_NS + 3600 * NS_PER_S])
    assert (late.t_ns[0], late.bound_ns[0]) == (REAL_NS + 3600 * NS_PER_S, 500_000)


# --- anchors while something is traced


def test_live_stamps_map_into_their_brackets() -> None:
    with pyenergy.trace(devices="sim:ideal") as t:
        stamps = []
        for _ in range(400):
            stamps.append((pyenergy.now_ns(), time.time_ns(), pyenergy.now_ns()))
            time.sleep(0.0005)
    before, unix, after = np.array(stamps).T
    mapped = ClockMap.of(t.recorded).to_monotonic(unix)
    slack_ns = mapped.bound_ns + 5_000
    assert (mapped.t_ns >= before - slack_ns).all()
    assert (mapped.t_ns <= after + slack_ns).all()


def anchor_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "pyenergy-anchors"}


@pytest.mark.parametrize(
    ("cpu_us", "period_ms"), [(10, 100), (90, 100), (130, 130), (5_000, 1_000)]
)
def test_anchors_are_a_tenth_of_a_second_apart_unless_that_is_dear(
    cpu_us: int, period_ms: int
) -> None:
    assert clock_anchor._period_ns(cpu_us * 1e3) == pytest.approx(period_ms * 1e6)


def test_one_thread_takes_anchors_for_all_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_anchor, "PERIOD_NS", NS_PER_S // 200)
    monkeypatch.setattr(clock_anchor, "_LONGEST_NS", NS_PER_S // 200)
    monkeypatch.setattr(clock_anchor, "_LINGER_NS", NS_PER_S // 20)
    monkeypatch.setattr(clock_anchor, "_keeper", clock_anchor._Keeper())
    others = anchor_threads()  # of traces before, that end when they like
    outer = AnchorWatch()
    inner = AnchorWatch()
    assert len(anchor_threads() - others) == 1
    deadline = time.monotonic() + 20
    while len(inner.anchors()) < 12 and time.monotonic() < deadline:
        time.sleep(0.01)
    inner.stop()
    inner.stop()  # counts once
    outer.stop()
    found = inner.anchors()
    assert len(outer.anchors()) >= len(found) >= 12
    assert (np.diff(found.mono_ns) > 0).all()
    assert found == inner.anchors()  # what is over does not grow
    while anchor_threads() - others and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not anchor_threads() - others
    again = AnchorWatch()
    assert len(anchor_threads() - others) == 1
    again.stop()
    clock_anchor._keeper.shut()
    assert not anchor_threads() - others


def test_without_a_thread_both_ends_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(clock_anchor, "_keeper", clock_anchor._Keeper())
    monkeypatch.setattr(threading.Thread, "start", fail)
    watch = AnchorWatch()
    watch.stop()
    assert len(watch.anchors()) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_watches_with_a_thread_of_its_own() -> None:
    watch = AnchorWatch()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            watch.stop()  # the parent's: nothing happens
            own = AnchorWatch()
            alive = clock_anchor._keeper._thread
            own.stop()
            is_sound = alive is not None and alive.is_alive() and len(own.anchors()) >= 2
            code = 0 if is_sound and watch._last is None else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    watch.stop()


def test_many_anchors_are_saved_and_old_files_stay_readable(tmp_path: Path) -> None:
    with simulated("ideal"):
        recorded = sampled(seconds=0.1).recorded
    for n in (0, 1, 2, 3, 50_000):
        many = anchors([7] * n)[:n] if n else ClockAnchors.of(())
        trace = pyenergy.Trace(replace(recorded, anchors=many))
        path = trace.save(tmp_path / "run")
        assert pyenergy.load(path).recorded.anchors == many
        with np.load(path) as archive:
            assert ("anchors/mono_ns" in archive) == (n > 2)
            kept = json.loads(bytes(archive["meta"]))["anchors"]
        # What older versions read, as they wrote it.
        assert [ClockAnchor(**a) for a in kept] == ([many[0], many[-1]] if n > 2 else list(many))
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: {"anchors/mono_ns": a["anchors/mono_ns"][::-1]}, "order of time"),
        (lambda a: {"anchors/width_ns": -a["anchors/width_ns"]}, "before it begins"),
        (lambda a: {"anchors/real_ns": a["anchors/real_ns"][1:]}, "length"),
        (lambda a: {"anchors/real_ns": a["anchors/real_ns"] * 1.0}, "not columns"),
    ],
)
def test_damaged_anchors_are_refused(tmp_path: Path, change: object, said: str) -> None:
    with simulated("ideal"):
        trace = pyenergy.Trace(replace(sampled(seconds=0.1).recorded, anchors=anchors([0] * 5)))
    with np.load(trace.save(tmp_path / "run")) as archive:
        members = dict(archive)
    members.update(change(members))  # type: ignore[operator]
    with (tmp_path / "odd").open("wb") as handle:
        np.savez(handle, **members)
    with pytest.raises(RecordingError, match=said):
        pyenergy.load(tmp_path / "odd")


def test_docstring_examples() -> None:
    result = doctest.testmod(timeline)
    assert result.failed == 0
    assert result.attempted > 0
