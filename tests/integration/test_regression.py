# SPDX-License-Identifier: Apache-2.0
"""Kernel regression against drawn truth; ``python -m bench.kernels`` has the full table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from kernels import LIMITS_W, SENSORS, Drawing, Drawn, draw, time_weighted

from pyenergy import Trace
from pyenergy.attribution.kernel_fit import fit_kernels, given_response
from pyenergy.attribution.regression import Regression, regress
from pyenergy.attribution.sweep import StaticPolicy
from pyenergy.sensor import Profile
from pyenergy.sensor.catalog import prior_for
from pyenergy.sensor.class_powers import spreads
from pyenergy.sensor.response import Response
from pyenergy.sensor.spans import Spans
from pyenergy.sensor.update_clock import Updates
from pyenergy.units import NS_PER_S

BIG = 0.02  # of the energy: classes that are scored
LOOP = Drawing("a100", kinds=60, step_s=0.015)


@dataclass
class Solved:
    drawn: Drawn
    found: Regression
    big: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """Relative to each class's own energy."""
        return self._relative(self.found.beta_w - self.drawn.beta_w)

    @property
    def u(self) -> np.ndarray:
        return self._relative(np.sqrt(np.diag(self.found.cov_w2)))

    @property
    def z(self) -> np.ndarray:
        return self.error / self.u

    def _relative(self, watts: np.ndarray) -> np.ndarray:
        return (watts / (self.drawn.beta_w + self.drawn.idle_w))[self.big]

    def oracle_u(self) -> np.ndarray:
        """Of the same model, told the updates and the response."""
        drawn = self.drawn
        n = len(drawn.tick_ns)
        updates = Updates(drawn.tick_ns, drawn.tick_w, np.ones(n), np.zeros(n))
        where = given_response(Response(drawn.family, drawn.window_s, drawn.delay_s), 0.0)  # type: ignore[arg-type]
        fit = fit_kernels(updates, spans_of(drawn).activity(), [where], LIMITS_W)
        return self._relative(np.sqrt(np.diag(fit.cov)))

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """(relative errors, errors over u) of time-weighted shares of the true energy."""
        drawn = self.drawn
        total = float(drawn.beta_w @ drawn.class_s)
        spread = float(spreads(*LIMITS_W)[0])
        seconds = np.diag(drawn.class_s)
        joules, cov = time_weighted(drawn.class_s, total, 0.0, spread, seconds)
        off = joules / drawn.class_s - drawn.beta_w
        return self._relative(off), (off * drawn.class_s / np.sqrt(np.diag(cov)))[self.big]


def spans_of(drawn: Drawn) -> Spans:
    names = tuple(f"k{j}" for j in range(len(drawn.beta_w)))
    return Spans(drawn.starts_ns, drawn.ends_ns, drawn.classes, names)


@cache
def solved(what: Drawing, seed: int, response: Response | None = None) -> Solved:
    drawn = draw(what, seed)
    architecture, source, *_ = SENSORS[what.sensor]
    prior = prior_for(architecture, source)
    found = regress(drawn.runs, spans_of(drawn), prior, LIMITS_W, drawn.bounds_ns, response)
    assert found is not None
    energy = (drawn.beta_w + drawn.idle_w) * drawn.class_s
    return Solved(drawn, found, energy > BIG * energy.sum())


def held(runs: list[Solved]) -> float:
    """Share of the classes whose 95 % interval holds the truth."""
    return float(np.mean(np.abs(np.concatenate([r.z for r in runs])) <= 1.96))


@pytest.mark.parametrize(("sensor", "worst"), [("v100", 0.03), ("a100", 0.05)])
def test_random_order_reaches_the_bound(sensor: str, worst: float) -> None:
    runs = [solved(Drawing(sensor), seed) for seed in range(3)]
    error = np.concatenate([np.abs(r.error) for r in runs])
    assert np.median(error) < 0.008
    assert error.max() < worst
    assert held(runs) >= 0.85
    assert all((r.u <= 1.3 * r.oracle_u()).all() for r in runs)
    assert all(abs(r.found.response.delay_s - r.drawn.delay_s) < 5e-4 for r in runs)


def test_sixty_classes_in_random_order() -> None:
    run = solved(Drawing("v100", kinds=60, seconds=30.0), 1)
    assert np.median(np.abs(run.error)) < 0.01
    assert held([run]) >= 0.8
    assert (run.u <= 1.3 * run.oracle_u()).all()


@pytest.mark.parametrize("sensor", ["v100", "a100"])
def test_a_repeated_step(sensor: str) -> None:
    runs = [solved(replace(LOOP, sensor=sensor), seed) for seed in range(2)]
    assert held(runs) >= 0.8
    for run in runs:
        assert np.abs(run.z).max() < 4
        assert np.median(run.u / run.oracle_u()) < 1.3
        shares, _ = run.shares()
        assert np.median(np.abs(run.error)) < 0.5 * np.median(np.abs(shares))


def test_a_window_of_whole_steps_is_wide_and_says_which_classes() -> None:
    what = Drawing("a100", kinds=60, step_s=0.0125, window_steps=True)
    run = solved(what, 1)
    assert np.abs(run.z).max() < 4
    assert run.found.merged
    assert any("cannot tell apart" in note for note in run.found.notes)
    alone = np.sqrt(np.diag(run.found.cov_w2)) * run.found.class_s
    for group in run.found.merged:
        seconds = np.zeros((1, len(run.found.names)))
        seconds[0, list(group)] = run.found.class_s[list(group)]
        joules, cov = run.found.groups(seconds)
        off = joules[0] - (seconds @ run.drawn.beta_w)[0]
        assert abs(off) < 4 * np.sqrt(cov[0, 0])
        assert cov[0, 0] < (alone[list(group)] ** 2).sum()


def test_an_rc_sensor_is_told_from_a_boxcar() -> None:
    run = solved(Drawing("a100 rc"), 0)
    assert run.found.response.family == "rc"
    assert np.median(np.abs(run.error)) < 0.01
    assert np.abs(run.z).max() < 4


def test_a_one_second_average() -> None:
    run = solved(Drawing("1-s average"), 0)
    assert np.abs(run.z).max() < 4
    assert np.median(np.abs(run.error)) < 0.1


def test_a_level_that_warms_and_wanders() -> None:
    run = solved(Drawing("a100", drift=True), 0)
    assert np.median(np.abs(run.error)) < 0.01
    assert np.abs(run.z).max() < 4
    low, high = run.drawn.starts_ns[0], run.drawn.ends_ns[-1]
    middle = np.array([(low + high) // 2])
    rise = run.found.level.values(middle) - run.drawn.idle_w
    assert 2 < float(rise[0]) < 14  # of 8 W, wandering by 2 W


@pytest.mark.parametrize("what", [Drawing("a100"), replace(LOOP, sensor="v100")])
def test_a_wrong_delay_is_contradicted(what: Drawing) -> None:
    true = draw(what, 0)
    wrong = Response("boxcar", true.window_s, true.delay_s + 0.005, 1e-4, 1e-3)
    run = solved(what, 0, wrong)
    assert any("contradict the response that was given" in note for note in run.found.notes)
    assert abs(run.found.response.delay_s - true.delay_s) < 5e-4
    assert np.abs(run.z).max() < 4


def test_a_right_response_is_believed() -> None:
    true = draw(Drawing("a100"), 0)
    given = Response("boxcar", true.window_s, true.delay_s, 1e-4, 5e-4)
    run = solved(Drawing("a100"), 0, given)
    assert not any("contradict" in note for note in run.found.notes)
    assert np.abs(run.z).max() < 4


@pytest.mark.parametrize("what", [Drawing("a100", seconds=10.0), replace(LOOP, seconds=10.0)])
def test_ten_seconds(what: Drawing) -> None:
    runs = [solved(what, seed) for seed in (0, 1)]
    assert all(np.abs(run.z).max() < 4.5 for run in runs)
    assert held(runs) >= 0.75


def test_time_weighted_shares_know_how_wrong_they_are() -> None:
    runs = [solved(Drawing("v100", seconds=10.0), seed) for seed in range(3)]
    error = np.concatenate([np.abs(r.shares()[0]) for r in runs])
    z = np.concatenate([r.shares()[1] for r in runs])
    assert np.median(error) > 0.1  # where regression has less than a hundredth
    assert np.mean(np.abs(z) <= 1.96) >= 0.9


def test_the_curve_is_the_power() -> None:
    run = solved(Drawing("v100", seconds=10.0), 0)
    drawn, found = run.drawn, run.found
    low, high = drawn.bounds_ns
    busy = int(drawn.starts_ns[0]), int(drawn.ends_ns[-1])
    joules = found.curve.windows(np.array([low, busy[0]]), np.array([high, busy[1]]))
    active = float(drawn.beta_w @ drawn.class_s)
    idle = np.array([high - low, busy[1] - busy[0]]) / 1e9 * drawn.idle_w
    np.testing.assert_allclose(joules, active + idle, rtol=0.01)
    all_classes, _ = found.groups(found.class_s[None, :])
    above = found.curve.windows(*(np.array([t]) for t in busy)) - found.level.windows(
        *(np.array([t]) for t in busy)
    )
    np.testing.assert_allclose(all_classes, above, rtol=1e-6)


def test_calls_that_differ_widen_a_group_of_few_calls() -> None:
    run = solved(Drawing("v100", kinds=20, scatter=0.2), 0)
    assert run.found.scatter_w > 5
    one_call = np.zeros((1, len(run.found.names)))
    j = int(np.argmax(run.found.class_s))
    one_call[0, j] = 1e-3
    _, cov = run.found.groups(one_call)
    assert cov[0, 0] > 1e-6 * run.found.cov_w2[j, j] + 1e-9
    assert np.abs(run.z).max() < 4


# Through a trace, as users have it ------------------------------------------------------------


def attached(what: Drawing, seed: int, offset_w: float = 0.0) -> tuple[Trace, Drawn]:
    drawn, (architecture, source, *_) = draw(what, seed), SENSORS[what.sensor]
    start, end = drawn.bounds_ns
    polls = np.arange(start - NS_PER_S, end + NS_PER_S, 1_000_000)
    watts = offset_w + drawn.tick_w[np.searchsorted(drawn.tick_ns, polls, side="right") - 1]
    sensor = {
        "architecture": architecture,
        "field": {"nvml.field.186": "instant"}[source],
        "power_min_w": LIMITS_W[0],
        "power_max_w": LIMITS_W[1],
    }
    trace = Trace.from_readings(
        {"gpu:0/power": (polls, watts)}, bounds_ns=drawn.bounds_ns, devices={"gpu:0": sensor}
    )
    names = np.array([f"k{j}" for j in range(len(drawn.beta_w))])
    trace.attach(
        {"name": names[drawn.classes], "start_ns": drawn.starts_ns, "end_ns": drawn.ends_ns}
    )
    return trace, drawn


def test_a_trace_gives_each_kernel_its_energy() -> None:
    trace, drawn = attached(Drawing("v100", seconds=30.0), 0)
    table = trace.kernels()
    whole = table["energy_j"].sum() + table["static_j"].sum()
    assert whole == pytest.approx(trace.energy.joules, rel=1e-9)
    ran = table.filter(table["kind"] == "operation")
    true_j = (drawn.beta_w * drawn.class_s)[[int(name[1:]) for name in ran["name"]]]
    off = ran["energy_j"].to_numpy() - true_j
    assert np.abs(off / ran["u_same_card_j"].to_numpy()).max() < 4
    assert np.median(np.abs(off / true_j)) < 0.01
    assert trace.attribution_notes()[0] == "gpu:0: regression of the readings on what ran"


def test_a_trace_names_the_kernels_that_it_knows_only_together() -> None:
    trace, _ = attached(Drawing("a100", kinds=60, step_s=0.0125, window_steps=True), 1)
    trace.kernels()
    assert any("cannot tell apart" in note for note in trace.attribution_notes(device="gpu:0"))


@pytest.mark.parametrize("static", ["busy", "all"])
def test_static_power_brings_its_uncertainty_wherever_it_is_counted(static: StaticPolicy) -> None:
    """The sensor's zero is off by 8 W, of which 5 W are a standard deviation."""
    trace, drawn = attached(Drawing("v100", seconds=20.0), 0, offset_w=8.0)
    trace = trace.calibrated(Profile(gain=1.0, gain_u=0.005))
    low, high = trace.bounds_ns
    gaps_j = drawn.idle_w * ((high - low) / NS_PER_S - drawn.class_s.sum())
    true_j = (drawn.beta_w + drawn.idle_w) * drawn.class_s
    if static == "all":
        true_j = true_j + gaps_j * drawn.class_s / drawn.class_s.sum()
    apart, table = trace.kernels(), trace.kernels(static=static)
    assert "level_u_j" not in table.columns
    ran = table.filter(table["kind"] == "operation")
    off = ran["energy_j"].to_numpy() - true_j[[int(name[1:]) for name in ran["name"]]]
    assert np.abs(off / ran["u_j"].to_numpy()).max() < 3
    assert (ran["static_u_j"] == 0).all()
    (gap,) = table.filter(table["kind"] == "gap").iter_rows(named=True)
    true_gap_j = gaps_j if static == "busy" else 0.0
    assert abs(gap["energy_j"] - true_gap_j) < 3 * gap["u_j"] + 1e-6
    # A row that has both parts is as uncertain as the two of the other table.
    both = apart.join(ran, on="name")
    parts = np.hypot(both["u_j"], both["static_u_j"])
    assert both["u_j_right"].to_numpy() == pytest.approx(parts, rel=0.3)
    tree = trace.tree(static=static)
    assert tree["u_j"].max() > ran["u_j"].max()
