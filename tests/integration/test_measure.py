# SPDX-License-Identifier: Apache-2.0
"""`measure` in real time on simulated cards that work through a queue, as GPUs do."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threads import samplers

import pyenergy
from pyenergy import _campaign, _marks, _sync
from pyenergy.report.measured import _WIDER
from pyenergy.testing import SimulatedCard, SimulatedWorld, simulated
from pyenergy.units import NS_PER_S

IDLE_W = 55.0


class Queue:
    """Work queued on a simulated card: it runs on, whatever the host does meanwhile."""

    def __init__(self, card: SimulatedCard) -> None:
        self.card, self.watts = card, 0.0
        self.begin_ns = self.end_ns = 0
        card.set_power(IDLE_W, at_ns=0)

    def add(self, seconds: float, watts: float = 300.0) -> None:
        """Keep the card busy for so long, after what is queued already."""
        now = time.monotonic_ns()
        if now > self.end_ns or watts != self.watts:
            self.begin_ns = self.end_ns = max(now, self.end_ns)
            self.watts = watts
        self.end_ns += round(seconds * NS_PER_S)
        self.card.set_power(watts, self.begin_ns)
        self.card.set_power(IDLE_W, self.end_ns)

    def wait(self, devices: object = None) -> None:
        while (left := self.end_ns - time.monotonic_ns()) > 0:
            time.sleep(max(left - 50_000, 0) / NS_PER_S)

    def truth(self, m: pyenergy.Measurement) -> float:
        """True energy per call of what was counted, J."""
        starts, ends = (m.samples[c].to_numpy() for c in ("start_ns", "end_ns"))
        return float(self.card.true_energies_j(starts, ends).sum()) / m.n


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    with simulated("v100") as world:
        made = Queue(world[0])
        monkeypatch.setattr(_sync, "synchronize", made.wait)
        yield made


def assert_true(m: pyenergy.Measurement, queue: Queue) -> None:
    truth = queue.truth(m)
    assert abs(m.energy.joules - truth) < 3 * m.energy.u_same_card + 1e-3 * truth
    assert m.energy.u > m.energy.u_same_card
    net = truth - IDLE_W * m.time_s
    assert abs(m.net_energy.joules - net) < 3 * m.net_energy.u_same_card + 2e-3 * net


def test_the_truth_lies_in_the_interval_and_what_was_done_is_said(queue: Queue) -> None:
    def matmul() -> None:
        queue.add(1e-3)

    m = pyenergy.measure(matmul, rel=0.2, budget_s=5, devices="sim", seed=1)
    assert_true(m, queue)
    assert m.name == "matmul"
    assert m.converged == (m.rel <= 0.2)
    assert m.n == m.samples["calls"].sum()
    assert m.samples.columns == ["start_ns", "end_ns", "calls", "energy_j"]
    assert m.samples["energy_j"].sum() == pytest.approx(m.energy.joules * m.n)
    assert m.power_w == pytest.approx(m.energy.joules / m.time_s)
    low, high = m.interval()
    assert high - low == pytest.approx(2 * m.rel * m.energy.joules, rel=1e-6)
    assert any("warm-up of" in note and "discarded" in note for note in m.notes)
    names = set(m.trace.spans()["name"])
    assert names == {"matmul", "matmul (warm-up)"}
    text = str(m)
    assert text.startswith("matmul: ")
    assert "J/call" in text
    assert "same card" in text
    # The gain is worth a word where it rules; on a busy machine the edges may.
    assert text.count("pyenergy calibrate") == (m.energy.u > _WIDER * m.energy.u_same_card)
    assert "converged" not in repr(m) or not m.converged


def test_what_is_not_reached_is_said_with_the_reason(queue: Queue) -> None:
    m = pyenergy.measure(
        lambda: queue.add(2e-3), rel=1e-7, budget_s=2.5, warmup=10, devices="sim", name="hard"
    )
    assert not m.converged
    assert_true(m, queue)
    assert any("reached" in note and "of the variance is" in note for note in m.notes)
    assert any("1/sqrt(time)" in note for note in m.notes)
    assert any("warm-up of 10 calls" in note for note in m.notes)
    assert "NOT as narrow" in str(m)
    assert "not converged" in repr(m)


def longest_alone_s(m: pyenergy.Measurement) -> float:
    """The longest stretch of resets, without the one that belongs to the next call, s."""
    longest_ns, stretch = 0, []
    for name, start_ns, end_ns in m.trace.spans().select("name", "start_ns", "end_ns").rows():
        if name == "(reset)":
            stretch.append((start_ns, end_ns))
            continue
        if len(stretch) > 1:
            longest_ns = max(longest_ns, stretch[-2][1] - stretch[0][0])
        stretch = []
    return longest_ns / NS_PER_S


def test_reset_runs_before_every_call_and_is_not_measured(queue: Queue) -> None:
    resets = calls = 0

    def reset() -> None:
        nonlocal resets
        resets += 1
        queue.add(2e-3, watts=150.0)

    def work() -> None:
        nonlocal calls
        calls += 1
        assert resets >= calls
        queue.add(8e-3)

    m = pyenergy.measure(work, budget_s=3, warmup=0, reset=reset, devices="sim")
    assert sum(m.trace.spans()["name"] == "work") == calls
    # On a busy machine polls may be late: the notes say which calls do not count for that.
    left_out = [int(n.split()[0]) for n in m.energy.notes if "blocks left out" in n]
    assert m.n == len(m.samples) == calls - sum(left_out)
    assert m.samples["calls"].max() == 1
    assert set(m.trace.spans()["name"]) == {"work", "(reset)"}
    assert resets > calls  # and by itself, so that its power is known
    assert longest_alone_s(m) > 8e-3  # the V100's window of 10 ms finds little else
    assert m.time_s >= 8e-3
    assert_true(m, queue)


def test_functions_measured_together(queue: Queue) -> None:
    both = pyenergy.measure_many(
        {"short": lambda: queue.add(2e-4, 320.0), "long": lambda: queue.add(15e-3, 160.0)},
        rel=0.1,
        budget_s=6,
        devices="sim",
        seed=2,
    )
    assert list(both) == ["short", "long"]
    assert len(both) == 2
    for m in both.values():
        assert_true(m, queue)
        assert m.trace is both.trace
    assert both.covariance.shape == (2, 2)
    total = both.total({"short": 75, "long": 1})
    want = 75 * both["short"].energy.joules + both["long"].energy.joules
    assert total.joules == pytest.approx(want)
    counts = np.array([75.0, 1.0])
    assert total.u_same_card == pytest.approx(np.sqrt(counts @ both.covariance @ counts))
    assert both.total().joules == pytest.approx(sum(m.energy.joules for m in both.values()))
    with pytest.raises(pyenergy.errors.OptionError, match="was not measured"):
        both.total({"other": 1})
    text = str(both)
    assert "short" in text
    assert "energy/call" in text
    assert repr(both) == "<pyenergy.Measurements of short, long>"


def test_an_exception_passes_and_nothing_runs_on(queue: Queue) -> None:
    calls = 0

    def fails() -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise ZeroDivisionError("of fn")

    with pytest.raises(ZeroDivisionError, match="of fn"):
        pyenergy.measure(fails, budget_s=5, devices="sim")
    assert _marks._open == ()
    deadline = time.monotonic() + 5  # a sampler lingers for a moment
    while samplers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert samplers() == 0


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """Shells start what runs in the background with SIGINT ignored, and Python keeps to that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
@pytest.mark.parametrize("moment", ["call", "pause"])
def test_ctrl_c_returns_what_is_there(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """After a thousand calls, however long they took."""
    calls, pauses_after = 0, 0

    def work() -> None:
        nonlocal calls
        calls += 1
        queue.add(1e-3)
        if moment == "call" and calls == 1000:
            signal.raise_signal(signal.SIGINT)

    def pause(seconds: float) -> None:
        nonlocal pauses_after
        pauses_after += calls >= 1000
        if moment == "pause" and pauses_after == 1:
            signal.raise_signal(signal.SIGINT)
        time.sleep(seconds)

    monkeypatch.setattr(_campaign, "time", SimpleNamespace(sleep=pause))
    m = pyenergy.measure(work, rel=1e-6, budget_s=60, warmup=1, devices="sim")
    assert any("interrupted after" in note for note in m.notes)
    assert not m.converged
    assert 0 < m.n < calls  # warm-up, and a block that was cut short, do not count
    assert m.elapsed_s < 60
    assert m.energy.joules > 0
    cut_short = "work (interrupted)" in set(m.trace.spans()["name"])
    assert cut_short == (moment == "call")


def test_ctrl_c_before_anything_was_measured_is_ctrl_c(queue: Queue) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pyenergy.measure(interrupted, budget_s=60, devices="sim")
    assert _marks._open == ()


def test_a_function_longer_than_the_budget_is_measured_once(queue: Queue) -> None:
    m = pyenergy.measure(lambda: queue.add(1.2), budget_s=1.0, devices="sim", name="slow")
    assert m.n == 1
    assert not m.converged
    assert any("no more than the warm-up" in note for note in m.notes)
    assert m.energy.joules == pytest.approx(queue.truth(m), rel=0.1)


def test_marks_inside_the_function_are_not_labels_of_the_measurement(
    world: SimulatedWorld,
) -> None:
    def work() -> None:
        with pyenergy.mark("inside"):
            time.sleep(0.01)

    with pyenergy.trace(devices="sim:ideal") as t:
        m = pyenergy.measure(work, budget_s=0.6, warmup=None, devices="sim:ideal")
    assert set(m.trace.spans()["name"]) == {"work"}
    assert "inside" in set(t.spans()["name"])


def test_a_measurement_is_saved_as_a_recording(world: SimulatedWorld, tmp_path: Path) -> None:
    m = pyenergy.measure(
        lambda: time.sleep(0.01), budget_s=0.6, warmup=None, devices="sim:ideal", name="sleep"
    )
    loaded = pyenergy.load(m.trace.save(tmp_path / "m.pyenergy"))
    assert loaded.recorded.extra["measure"]["budget_s"] == 0.6
    assert len(loaded.spans()) == len(m.samples)
