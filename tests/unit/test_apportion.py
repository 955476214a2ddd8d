# SPDX-License-Identifier: Apache-2.0
"""Energies shared among processes, against powers that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from processes import ProcTree

from pyenergy.errors import RecordingError
from pyenergy.processes.apportion import Idle, Intervals, apportion, idle_power
from pyenergy.processes.cpu import ENDED, CpuUse
from pyenergy.processes.usage import Usage, UsageLog, Who

IDLE_W, WATTS = 20.0, np.array([10.0, 10.0, 10.0])  # of a busy second of each, the others' last
STATIC = ("separate", "busy", "all")


def driven(seed: int = 1, watts: np.ndarray = WATTS, count: int = 200) -> Intervals:
    """Two processes and all others on four processors, at loads that vary."""
    rng = np.random.default_rng(seed)
    seconds = np.full(count, 0.2)
    busy = rng.uniform(0.0, 1.3, (3, count)) * seconds
    joules = IDLE_W * seconds + watts @ busy
    return Intervals(seconds, joules, busy[:2], busy.sum(axis=0), 0.0, 4, 0.01)


@pytest.mark.parametrize("static", STATIC)
def test_the_parts_are_the_whole_and_nothing_is_clipped(static: str) -> None:
    of = driven(watts=np.array([10.0, -3.0, 5.0]))  # impossible, and still it adds up
    found = apportion(of, idle_power(of), static, 0.3)  # type: ignore[arg-type]
    assert found.joules.sum() == pytest.approx(of.joules.sum(), rel=1e-12)
    assert np.isfinite(found.u_j).all()


def test_powers_that_are_alike_are_shared_as_they_were_used() -> None:
    of = driven()
    idle = idle_power(of)
    assert abs(idle.watts - IDLE_W) < 2 * idle.u_w < 4.0
    shared = apportion(of, idle, "separate", 0.0)
    truth = 10.0 * of.busy_s.sum(axis=1)
    assert (np.abs(shared.joules[:2] - truth) < 2 * shared.u_j[:2]).all()
    exact = apportion(of, Idle(IDLE_W, 0.0), "separate", 0.0)
    np.testing.assert_allclose(exact.joules[:2], truth, rtol=1e-9)
    assert exact.joules[-1] == pytest.approx(IDLE_W * of.seconds.sum())


def test_what_a_second_costs_differs_and_the_interval_knows() -> None:
    rng = np.random.default_rng(7)
    inside = []
    for seed in range(60):
        watts = 10.0 * (1 + 0.3 * rng.standard_normal(3))
        of = driven(seed, watts, 60)
        shared = apportion(of, Idle(IDLE_W, 0.0), "separate", 0.3)
        truth = watts[:2] * of.busy_s.sum(axis=1)
        inside += list(np.abs(shared.joules[:2] - truth) < 1.96 * shared.u_j[:2])
    assert 0.85 < np.mean(inside) < 1.0


def test_who_is_alone_has_no_doubt_from_others() -> None:
    of = driven()
    alone = Intervals(
        of.seconds, of.joules, of.total_s[None], of.total_s, 0.0, of.units, of.resolution_s
    )
    shared = apportion(alone, Idle(IDLE_W, 0.0), "separate", 0.3)
    assert shared.u_j[0] < 0.02 * shared.joules[0]  # the ticks alone


def test_a_steady_load_does_not_tell_idle_and_says_so() -> None:
    of = driven()
    flat = Intervals(
        of.seconds, np.full(200, 10.0), np.full((1, 200), 0.2), np.full(200, 0.2), 0.0, 4, 0.01
    )
    idle = idle_power(flat)
    assert (idle.watts, idle.u_w) == pytest.approx((25.0, 50.0 / 12**0.5))


def test_static_is_shared_by_busy_time_where_that_is_asked_for() -> None:
    of = driven()
    idle = Idle(IDLE_W, 0.0)
    apart, busy, whole = (apportion(of, idle, s, 0.3).joules for s in STATIC)  # type: ignore[arg-type]
    own = of.busy_s.sum(axis=1)
    np.testing.assert_allclose(busy[:2] - apart[:2], IDLE_W * own / 4)
    np.testing.assert_allclose(
        whole[:2] - apart[:2], IDLE_W * of.seconds.sum() * own / of.total_s.sum()
    )
    assert whole[-1] == pytest.approx(0.0, abs=1e-9)


def test_nobody_busy_is_the_others_energy() -> None:
    of = Intervals(np.ones(3), np.full(3, 30.0), np.zeros((1, 3)), np.zeros(3), 0.0, 2, 0.01)
    found = apportion(of, Idle(10.0, 1.0), "all", 0.3)
    np.testing.assert_allclose(found.joules, [0.0, 90.0, 0.0])


# What /proc tells ----------------------------------------------------------------------------


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcTree:
    monkeypatch.setenv("PYENERGY_PROC_ROOT", str(tmp_path))
    return ProcTree(tmp_path)


def busy_of(usage: Usage) -> dict[tuple[int | None, str], list[float]]:
    return {(w.pid, w.name): row.tolist() for w, row in zip(usage.who, usage.busy_s, strict=True)}


def test_time_of_children_is_told_whether_they_are_seen_or_not(proc: ProcTree) -> None:
    use = CpuUse(10)
    proc.machine(busy=1000, idle=5000)
    proc.process(10, own=50, ended=7, name="main (x) y")
    use.sample(1)
    proc.machine(busy=1060, idle=5000)
    proc.process(10, own=60, ended=7, children=(11,), name="main (x) y")
    proc.process(11, own=30)
    use.sample(2)
    # It went on for 4 ticks, was waited for, and another was never seen: 5 ticks.
    proc.machine(busy=1100, idle=5000)
    proc.gone(11)
    proc.process(10, own=61, ended=7 + 34 + 5, name="main (x) y")
    use.sample(3)
    usage = use.usage()
    assert busy_of(usage) == {
        (10, "main (x) y"): pytest.approx([0.0, 0.10, 0.11]),
        (11, "worker"): pytest.approx([0.0, 0.30, 0.30]),
        (None, ENDED.name): pytest.approx([0.0, 0.0, 0.09]),
    }
    assert usage.total_s.tolist() == pytest.approx([0.0, 0.6, 1.0])
    assert (usage.units, usage.notes) == (2, ())


def test_a_child_that_others_wait_for_and_a_pid_used_again(proc: ProcTree) -> None:
    use = CpuUse(10)
    proc.machine(1000, 0)
    proc.process(10, own=0, children=(11,))
    proc.process(11, own=20)
    use.sample(1)
    proc.machine(1100, 0)
    proc.process(10, own=0)
    proc.process(11, own=90, started=999)  # somebody else's
    use.sample(2)
    usage = use.usage()
    assert busy_of(usage) == {(10, "worker"): [0.0, 0.0], (11, "worker"): [0.0, 0.0]}
    assert "no process watched here waited for" in usage.notes[0]


@pytest.mark.parametrize(
    ("stat", "said"),
    [("cpu  0 0 0 0 0 0 0 0 0 0\n", "sandbox"), ("nonsense", "does not begin"), (None, "No such")],
    ids=["no time", "no stat", "absent"],
)
def test_a_machine_that_does_not_tell_is_named(proc: ProcTree, stat: str | None, said: str) -> None:
    if stat is not None:
        (proc.root / "stat").write_text(stat)
    use = CpuUse(10)
    use.sample(1)
    assert said in use.problem
    assert len(use.usage().t_ns) == 0


def test_a_long_trace_keeps_few_moments_and_every_total() -> None:
    log, who = UsageLog(), [Who(i, "p") for i in range(3)]
    for step in range(1, 9001):
        log.add(step, step * 1.0, {w: step * (i + 1.0) for i, w in enumerate(who)})
    usage = log.usage(1, 0.01, "x", ())
    assert 500 < len(usage.t_ns) <= 2000
    assert (usage.t_ns[0], usage.t_ns[-1], usage.total_s[-1]) == (1, 9000, 9000.0)
    np.testing.assert_array_equal(usage.busy_s, np.outer([1.0, 2.0, 3.0], usage.t_ns))
    assert (np.diff(usage.t_ns) > 0).all()


def test_what_was_seen_survives_json_and_damage_is_refused() -> None:
    log = UsageLog()
    log.add(1, 0.0, {Who(5, "a", 9): 0.0})
    log.add(3, 0.5, {Who(5, "a", 9): 0.2, ENDED: 0.1})
    told = log.usage(4, 0.01, "CPU time", ("n",)).described()
    assert Usage.of(told).described() == told
    for damage in ({"t_ns": [3, 1]}, {"total_s": [0.0]}, {"who": [[1]]}, {"units": 0}, {"by": {}}):
        if damage == {"by": {}}:
            damage = {"busy_s": [[float("nan")] * 2] * 2}
        with pytest.raises(RecordingError, match="damaged"):
            Usage.of(told | damage)
