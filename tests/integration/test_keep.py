# SPDX-License-Identifier: Apache-2.0
"""Traces with ``keep``, in simulated time: bounded memory, and an energy that lacks nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyenergy
from bench import week
from pyenergy import _core, _devices
from pyenergy._retention import keep_ns_of
from pyenergy._session import Session
from pyenergy._trace import Trace
from pyenergy.config import Sampling
from pyenergy.errors import NoReadingsError, OptionError, RecordingError, StateError, WindowError
from pyenergy.recording.marks import Mark
from pyenergy.recording.settled import Settled
from pyenergy.testing import SimulatedWorld, simulated
from pyenergy.units import NS_PER_S

START_NS = 1_000 * NS_PER_S
PERIOD_NS = NS_PER_S // 200

OPENERS: list[Callable[..., Any]] = [pyenergy.trace, pyenergy.Monitor]
BAD = [0, 9.9, -60, True, "", "9s", "ten", "10 parsecs", "1e9s", float("nan"), float("inf"), [60]]


class Run:
    """A session in simulated time, at 200 polls a second."""

    def __init__(self, world: SimulatedWorld, keep: str | None, path: Path | None = None) -> None:
        self.world = world
        clocks = [_core.ManualClock(START_NS - 3 * NS_PER_S) for _ in world]
        self.session = Session(
            _devices.resolve("sim"),
            Sampling(200.0, "fixed"),
            False,
            path,
            keep_ns=keep_ns_of(keep),
            clocks=clocks,
        )
        self.session.open()
        self.trace = Trace(self.session)

    def go(self, seconds: float) -> None:
        """On, settling as the process's thread would."""
        for _ in range(max(1, round(seconds / 10))):
            self._step(min(seconds, 10.0))
            self.session._settle()  # not `settle`: what it raises is to be seen

    def mark(self, name: str, seconds: float) -> None:
        start = self.session._now_ns()
        self._step(seconds)
        self.session.add_mark(Mark(name, start, self.session._now_ns()))

    def end(self) -> Trace:
        self.session.close()
        self._step(3.0)
        return self.trace

    def true_j(self, start_ns: int, end_ns: int) -> float:
        return sum(card.true_energy_j(start_ns, end_ns) for card in self.world)

    def _step(self, seconds: float) -> None:
        for i, tap in enumerate(self.session._taps):
            self.session.step(i, round(seconds * NS_PER_S / PERIOD_NS))
            _core.write_live(tap.recording)  # as the collector does


@contextmanager
def running(*cards: str, keep: str | None = "1min", path: Path | None = None) -> Iterator[Run]:
    with simulated(*cards) as world:
        for i, card in enumerate(world):
            card.square_wave(90.0 + 10 * i, 240.0 + 20 * i, 3.1 + i, 0.4, at_ns=0)
        yield Run(world, keep, path)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("keep", BAD, ids=repr)
def test_a_keep_that_cannot_be_is_refused_when_written_down(
    opener: Callable[..., Any], keep: Any
) -> None:
    with pytest.raises(OptionError, match="keep must be a time of 10 s to 366 d"):
        opener(devices="sim:ideal", keep=keep)


@pytest.mark.parametrize(
    ("keep", "seconds"), [("10min", 600), ("2 h", 7200), ("1d", 86_400), (90.5, 90.5), ("30", 30)]
)
def test_a_keep_is_a_time(keep: Any, seconds: float) -> None:
    assert keep_ns_of(keep) == round(seconds * NS_PER_S)


def test_an_hour_at_1_khz_is_right_to_a_thousandth_in_bounded_memory() -> None:
    # Every poll of it, for one card; `python -m bench.week` does eight for a week.
    found = week.run(1.0, ("a100",))
    assert found.polls >= 3_600_000
    assert max(map(abs, found.off.values())) < 1e-3
    assert max(map(abs, found.counter_off.values())) < 1e-3
    assert abs(found.sigmas) < 3
    assert found.parts > 0
    assert found.refused
    # Readings of the hour are more than 70 000 runs.
    assert found.rows < 50_000


def test_what_is_settled_and_what_is_kept_are_the_whole() -> None:
    with running("a100", "v100") as run:
        run.go(400)
        trace = run.end()
        start, end = trace.bounds_ns
        low, high = trace.kept_ns
        assert start < low < end == high
        assert 60 <= (high - low) / NS_PER_S < 150
        whole = trace.energy
        assert whole.joules == pytest.approx(run.true_j(start, end), rel=1e-3)
        assert abs(whole.joules - run.true_j(start, end)) < 3 * whole.u_same_card
        assert sum(e.joules for e in trace.energies.values()) == pytest.approx(whole.joules)
        middle = (low + high) // 2
        parts = [trace.window(start, low), trace.window(low, middle), trace.window(middle, high)]
        assert sum(p.joules for p in parts) == pytest.approx(whole.joules, rel=1e-9)
        joules, u = trace.windows([start, start, low], [high, middle, high])
        assert joules[0] == pytest.approx(whole.joules, rel=1e-12)
        assert u[0] == pytest.approx(whole.u, rel=1e-9)
        assert joules[0] - joules[1] == pytest.approx(parts[2].joules, rel=1e-6)
        assert trace.mean_power_w == pytest.approx(whole.joules / trace.duration_s)
        assert trace.peak_power_w >= trace.series("gpu:0/power").values.max()
        assert any("are not kept (keep=60 s)" in note for note in trace.notes)


def test_the_gain_of_a_card_is_one_in_all_parts() -> None:
    def energy(keep: str | None) -> Any:
        with running("a100", keep=keep) as run:
            run.go(300)
            return run.end().energy

    kept, settled = energy(None), energy("30s")
    assert settled.joules == pytest.approx(kept.joules, rel=1e-3)
    assert settled.budget()["gain"] == pytest.approx(kept.budget()["gain"], rel=1e-3)
    assert settled.budget()["offset"] == pytest.approx(kept.budget()["offset"], rel=1e-3)
    assert settled.u_same_card < 3 * kept.u_same_card


@pytest.mark.parametrize("back_s", [0.0, 1.0])
def test_a_window_of_what_is_not_kept_is_refused(back_s: float) -> None:
    with running("a100") as run:
        run.go(300)
        low, _ = run.trace.kept_ns
        a = run.session.start_ns + NS_PER_S
        b = low + round(back_s * NS_PER_S)
        with pytest.raises(WindowError, match=r"not kept.*longer keep, or a path"):
            run.trace.window(a, b)
        with pytest.raises(WindowError, match="not kept"):
            run.trace.windows([low, a], [low + 10, b])
        with pytest.raises(WindowError, match="not kept"):
            run.trace.window(run.session.start_ns, low - 1)
        with pytest.raises(WindowError, match="not kept"):
            run.trace.add_span(Mark("late", a, b))
        with pytest.raises(WindowError, match="reaches outside"):
            run.trace.window(run.session.start_ns - 1, low + 1)
        with pytest.raises(StateError, match="settled with the calibration"):
            run.trace.calibrated(None)


def test_views_that_were_handed_out_stay_as_they_were() -> None:
    with running("v100", keep="10s") as run:
        run.go(60)
        series = run.trace.series("gpu:0/power")
        t_ns, values = series.t_ns.copy(), series.values.copy()
        run.go(300)
        later = run.trace.series("gpu:0/power")
        assert later.t_ns[0] > t_ns[-1]
        assert np.array_equal(series.t_ns, t_ns)
        assert np.array_equal(series.values, values)
        rows = run.session._taps[0].recording.runs(0)["value"]
        assert len(rows) < 50 * 2 * (10 + 2 * 60)  # of 50 updates a second for 363 s


def test_marks_that_are_not_kept_stay_in_the_phases() -> None:
    with running("a100", keep="10s") as run:
        for _ in range(12):
            run.mark("work", 6.0)
            run.go(4.0)
        run.mark("last", 5.0)
        trace = run.end()
        phases = {row["name"]: row for row in trace.phases().iter_rows(named=True)}
        assert phases["work"]["count"] == 12
        assert phases["work"]["time_s"] == pytest.approx(72.0, abs=0.1)
        assert phases["last"]["count"] == 1
        parts = sum(row["energy_j"] for row in phases.values())
        assert parts == pytest.approx(trace.energy.joules, rel=1e-6)
        assert sum(row["share"] for row in phases.values()) == pytest.approx(1.0)
        assert trace.duration_s == pytest.approx(sum(r["time_s"] for r in phases.values()))
        assert len(trace.spans()) < 12
        assert trace.spans()["start_ns"].min() >= trace.kept_ns[0]


def test_a_device_that_falls_silent_is_not_taken_for_idle() -> None:
    with running("a100", keep="10s") as run:
        run.go(50)
        run.world[0].inject("fails", from_ns=run.session._now_ns())
        run.go(100)
        silent = run.trace.energy
        run.world[0].clear_faults()
        run.go(100)
        trace = run.end()
        truth = run.true_j(*trace.bounds_ns)
        assert silent.budget()["gaps"] > 1000
        assert abs(trace.energy.joules - truth) < 2 * trace.energy.u
        assert trace.energy.budget()["gaps"] > 1000


def test_a_device_that_is_never_read_makes_no_sum() -> None:
    with running("a100", "v100", keep="10s") as run:
        run.world[1].inject("fails")
        run.go(100)
        with pytest.raises(NoReadingsError, match="gpu:1"):
            _ = run.trace.energy
        assert list(run.trace.energies) == ["gpu:0"]
        run.world[1].clear_faults()
        run.go(20)
        trace = run.end()  # now it has been read, and the time before is a gap
        truth = run.true_j(*trace.bounds_ns)
        assert trace.energy.budget()["gaps"] > 1000
        assert abs(trace.energy.joules - truth) < 2 * trace.energy.u
        with pytest.raises(NoReadingsError, match="energies by name"):
            trace.phases()


def test_a_file_has_what_is_settled(tmp_path: Path) -> None:
    with running("a100") as run:
        run.go(300)
        trace = run.end()
    loaded = pyenergy.load(trace.save(tmp_path / "kept.pyenergy"))
    assert loaded.energy.joules == trace.energy.joules
    assert loaded.energy.u == pytest.approx(trace.energy.u)
    assert loaded.bounds_ns == trace.bounds_ns
    assert loaded.kept_ns == trace.kept_ns
    assert loaded.notes == trace.notes
    with pytest.raises(WindowError, match="not kept"):
        loaded.window(loaded.bounds_ns[0] + 1, loaded.bounds_ns[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(end_ns=d["start_ns"] - 1),
        lambda d: d.update(keep_s="long"),
        lambda d: d["devices"]["gpu:0"]["tallies"]["model"].update(joules=float("nan")),
        lambda d: d["devices"]["gpu:0"]["tallies"]["model"].update(linear=[1.0]),
        lambda d: d["devices"]["gpu:0"].pop("methods"),
        lambda d: d.update(phases=3),
    ],
)
def test_what_is_settled_and_damaged_is_refused(change: Callable[[Any], Any]) -> None:
    with running("a100", keep="10s") as run:
        run.go(80)
        settled = run.trace.recorded.settled
    assert settled is not None
    assert Settled.read(settled.described()) == settled
    damaged = settled.described()
    change(damaged)
    with pytest.raises(RecordingError, match="settled of it is damaged"):
        Settled.read(damaged)


def test_a_path_keeps_on_disk_what_memory_does_not(tmp_path: Path) -> None:
    path = tmp_path / "run.pyenergy"
    with running("v100", keep="10s", path=path) as run:
        run.mark("early", 5.0)
        run.go(250)
        rows = len(run.session._taps[0].recording.runs(0)["value"])
        trace = run.end()
        assert run.session.live is not None
        run.session.live.finish(trace.recorded)
        whole = pyenergy.load(path)
        early = whole.marks[0].start_ns + NS_PER_S, whole.marks[0].end_ns
        truth = run.true_j(*early)
    assert trace.recorded.settled is not None
    assert not path.with_name("run.pyenergy.live").exists()
    assert whole.bounds_ns == whole.kept_ns == trace.bounds_ns
    assert len(whole.series("gpu:0/power")) > 250 * 45 > rows
    assert [m.name for m in whole.marks] == ["early"]
    found = whole.window(*early, method="trapezoid")
    assert found.joules == pytest.approx(truth, rel=0.02)
    assert whole.total(method="trapezoid").joules == pytest.approx(trace.energy.joules, rel=1e-3)


def test_a_disk_that_refuses_keeps_readings_in_memory(tmp_path: Path) -> None:
    with running("v100", keep="10s", path=tmp_path / "run.pyenergy") as run:
        recording = run.session._taps[0].recording
        run.session.step(0, 4000)  # nothing is written meanwhile
        before = len(recording.runs(0)["value"])
        recording.forget_before(run.session._now_ns())
        assert len(recording.runs(0)["value"]) >= before
        run.session.step(0, 10_000)
        _core.write_live(recording)
        recording.forget_before(run.session._now_ns())
        assert len(recording.runs(0)["value"]) < 1024
        run.session.close()
        assert run.session.live is not None
        run.session.live.discard()


def test_what_cannot_be_settled_stays_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with running("a100", keep="10s") as run:
        run.go(60)
        low = run.trace.kept_ns[0]

        def refuse(*_: object) -> None:
            raise MemoryError("no room")

        monkeypatch.setattr("pyenergy._settled.settle", refuse)
        run._step(60.0)
        run.session.settle()
        assert run.trace.kept_ns[0] == low
        assert any("could not be settled" in note for note in run.trace.notes)
        assert run.trace.energy.joules > 0


def test_sixteen_gpus_are_a_sum_of_independent_parts() -> None:
    with running(*["a100", "v100"] * 8, keep=None) as run:
        run._step(12.0)
        trace = run.end()
        each, whole = trace._evaluated("trapezoid").energies(), trace.total(method="trapezoid")
        assert len(each) == 16
        assert whole.joules == pytest.approx(sum(e.joules for e in each.values()), rel=1e-12)
        for name in ("gain", "offset"):
            own = [e.budget()[name] for e in each.values()]
            assert whole.budget()[name] == pytest.approx(float(np.hypot.reduce(own)))
        assert len({e.u for e in each.values()}) == 16
        assert whole.u == pytest.approx(float(np.hypot.reduce([e.u for e in each.values()])))
        assert abs(whole.joules - run.true_j(*trace.bounds_ns)) < 3 * whole.u_same_card


def test_the_thread_settles_a_trace_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    # In real time, but for how long the parts are.
    monkeypatch.setattr("pyenergy._retention.SHORTEST_S", 0.1)
    monkeypatch.setattr("pyenergy._retention._SHORTEST_PART_NS", NS_PER_S // 10)
    monkeypatch.setattr("pyenergy._hub._MARGIN_NS", NS_PER_S // 10)
    with simulated("ideal") as world:
        world[0].set_power(200.0, at_ns=0)
        with pyenergy.trace(devices="sim", keep=0.2) as trace:
            deadline = pyenergy.now_ns() + 30 * NS_PER_S
            while trace.recorded.settled is None and pyenergy.now_ns() < deadline:
                time.sleep(0.05)
        assert trace.recorded.settled is not None
        truth = world[0].true_energy_j(*trace.bounds_ns)
        assert trace.energy.joules == pytest.approx(truth, rel=0.01)
