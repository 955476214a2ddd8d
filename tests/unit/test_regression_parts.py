# SPDX-License-Identifier: Apache-2.0
"""Parts of kernel regression: algebra against dense, tables against the core, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kernels import LIMITS_W, Drawing, Drawn, draw

from pyenergy._trace import Trace
from pyenergy.attribution.merging import merged_classes
from pyenergy.attribution.regression import refusal, regress
from pyenergy.recording.series import Runs
from pyenergy.sensor.catalog import UNKNOWN, SensorPrior, prior_for
from pyenergy.sensor.class_powers import Evidence, prior_precision, spreads
from pyenergy.sensor.fine_search import Found, Stretch, Where, _Scan, search
from pyenergy.sensor.fine_table import Table
from pyenergy.sensor.modes import _Peak
from pyenergy.sensor.response import Response, filtered_dense
from pyenergy.sensor.spans import Spans
from pyenergy.units import NS_PER_S

VOLTA = prior_for("volta", "nvml.field.186")


def spans_of(drawn: Drawn) -> Spans:
    names = tuple(f"k{j}" for j in range(len(drawn.beta_w)))
    return Spans(drawn.starts_ns, drawn.ends_ns, drawn.classes, names)


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return draw(Drawing("v100", kinds=8, seconds=6.0), 0)


def wide(cov: np.ndarray, j: int) -> float:
    return float(np.sqrt(cov[j, j]))


# The solve -------------------------------------------------------------------------------


def dense(
    y: np.ndarray, x: np.ndarray, weight: np.ndarray, steps: np.ndarray, drift: float, prior: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """(beta, covariance, log evidence) by inverting matrices of all readings; noise of 1 W."""
    n, p = x.shape
    walk = np.cumsum(np.concatenate([[0.0], steps[1:]])) * drift * weight.mean() ** -1
    noise = np.diag(1 / weight) + np.minimum.outer(walk, walk) + 1e7
    common = prior**2 * np.eye(p) + 300.0**2
    whole = noise + x @ common @ x.T
    inverse = np.linalg.inv(whole)
    gain = common @ x.T @ inverse
    quadratic = float(y @ inverse @ y)
    log = -0.5 * ((n - 1) * np.log(quadratic / (n - 1)) + np.linalg.slogdet(whole)[1])
    return gain @ y, (common - gain @ x @ common) * quadratic / (n - 1), float(log)


def test_powers_equal_dense_algebra() -> None:
    rng = np.random.default_rng(0)
    n, p = 60, 5
    weight, steps = rng.uniform(0.5, 2, n), rng.integers(1, 4, n).astype(float)
    logs = []
    for _ in range(3):
        x = rng.uniform(0, 1, (n, p))
        y = x @ rng.uniform(50, 150, p) + 60 + rng.standard_normal(n) / np.sqrt(weight)
        found = Evidence(y, weight, steps, 1e-3, np.array([80.0]), 300.0, 1.0)
        solved = found.solve(x)
        beta, cov, log = dense(y, x, weight, steps, 1e-3, 80.0)
        np.testing.assert_allclose(solved.beta, beta, rtol=1e-4)
        student = (n - 1) / (n - 3)
        np.testing.assert_allclose(solved.cov, cov * student, rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(found.log(x), solved.log_evidence, rtol=1e-12)
        logs.append(found.log(x) - log)
    np.testing.assert_allclose(logs, logs[0], atol=0.02)  # the same up to one constant


def test_the_prior_is_a_common_mean_and_a_spread() -> None:
    cov = np.linalg.inv(prior_precision(4, 80.0, 300.0))
    np.testing.assert_allclose(cov, 80.0**2 * np.eye(4) + 300.0**2)
    assert spreads(0.0, 400.0)[0] == pytest.approx(400 / np.sqrt(12))


def test_a_change_that_is_there_is_measured() -> None:
    rng = np.random.default_rng(1)
    n = 200
    x, change = rng.uniform(0, 1, (n, 3)), rng.standard_normal(n)
    y = x @ np.array([100.0, 50.0, 80.0]) + 0.7 * change + 0.1 * rng.standard_normal(n)
    evidence = Evidence(y, np.ones(n), np.ones(n), 1e-5, np.array([80.0]), 300.0, 1.0)
    mean, variance, tilt = evidence.amount(change, x)
    assert mean == pytest.approx(0.7, abs=0.05)
    assert variance < 0.01
    both = evidence.solve(np.column_stack([x, change]))
    np.testing.assert_allclose(evidence.solve(x).beta + mean * tilt, both.beta[:3], rtol=5e-3)
    mean, variance, tilt = evidence.amount(np.zeros(n), x)
    assert (mean, variance) == (0.0, 1.0)
    assert not tilt.any()


# The table and the search ----------------------------------------------------------------


def test_the_table_is_what_the_core_filters(drawn: Drawn) -> None:
    activity = spans_of(drawn).activity()
    t = drawn.tick_ns[50:80]
    table = Table(activity, t, np.arange(-40, 1400) * 1e-4)
    for delay, window in ((0.0, 0.01), (0.0123, 0.0247), (0.0031, 0.02)):
        x = filtered_dense(activity, t, Response("boxcar", window, delay))
        np.testing.assert_allclose(table.boxcar(delay, window), x, atol=0.006)
        x = filtered_dense(activity, t, Response("rc", window / 3, delay))
        np.testing.assert_allclose(table.lowpass(delay, window / 3), x, atol=0.006)
    at = {round(d, 6): x.copy() for d, x in table.lowpasses(0.005, 400, 50)}
    x = filtered_dense(activity, t, Response("rc", 0.005, 0.006))
    np.testing.assert_allclose(at[0.006], x, atol=0.006)


def test_the_search_finds_the_sensor(drawn: Drawn) -> None:
    activity = spans_of(drawn).activity()
    stretch = Stretch(drawn.tick_ns, drawn.tick_w, activity, 115.0, 400.0, 1.0)
    best = search(stretch, Where.of(VOLTA.responses[0]))[0].response
    assert best.delay_s == pytest.approx(drawn.delay_s, abs=2e-4)
    assert best.window_s == pytest.approx(drawn.window_s, abs=4e-4)


@pytest.mark.parametrize("sensor", [VOLTA, prior_for("ga100", "nvml.field.186"), UNKNOWN])
def test_a_search_costs_little_however_wide_the_prior(drawn: Drawn, sensor: SensorPrior) -> None:
    """Responses of any length are tried: their number, and their tables, stay small."""
    activity = spans_of(drawn).activity()
    stretch = Stretch(drawn.tick_ns, drawn.tick_w, activity, 115.0, 400.0, 1.0)
    for prior in sensor.responses:
        scan = _Scan(stretch, Where.of(prior))
        delays, windows = scan.grid()
        rows = len(scan.table.knots_s) if prior.family == "rc" else 0
        steps = rows * len(windows)  # of an RC's filter along the table
        assert len(delays) * len(windows) + steps / 10 < 50_000
        old = scan.table.knots_s[-1] - prior.delay_high_s
        assert prior.family != "rc" or old > 5 * max(windows)


def test_a_peak_does_not_leave_what_can_be(drawn: Drawn) -> None:
    """A second climb once ended where a reading would show the future."""
    evidence = Evidence(
        drawn.tick_w, np.ones(len(drawn.tick_w)), np.ones(len(drawn.tick_w)), 1e-4,
        spreads(*LIMITS_W), 400.0, 1.0,
    )  # fmt: skip
    where = Where.of(VOLTA.responses[0])
    start = Found(0.0, Response("boxcar", drawn.window_s, drawn.delay_s), where)
    peak = _Peak(start, spans_of(drawn).activity(), drawn.tick_ns, evidence)
    assert peak.response(peak.v) == start.response
    for lag_s in (-1.7, -0.02, 0.9):
        far = np.array([lag_s, drawn.window_s])
        assert peak.response(far) is None
        assert peak.log(far) < -1e11
    peak.root = np.diag([0.5, 0.001])  # a peak so broad that most of its grid cannot be
    inside = [point.response for point in peak.points()]
    low, high = where.delays_s
    assert inside
    assert all(low <= response.delay_s <= high for response in inside)


# What is merged --------------------------------------------------------------------------


def test_two_that_share_an_error_are_merged() -> None:
    cov = np.array([[400.0, -395.0, 0.0], [-395.0, 400.0, 0.0], [0.0, 0.0, 1.0]])
    assert merged_classes(np.array([100.0, 80.0, 90.0]), cov) == [(0, 1)]


def test_five_that_share_one_error_are_merged_whole() -> None:
    cov = 900.0 * (np.eye(5) - 0.2)
    assert merged_classes(np.full(5, 100.0), cov + 0.1 * np.eye(5)) == [(0, 1, 2, 3, 4)]


def test_narrow_and_independent_classes_stay_apart() -> None:
    assert merged_classes(np.full(3, 100.0), np.diag([1.0, 4.0, 2500.0])) == []
    # A small class beside a sound one is wide by itself; the sound one stays what it is.
    cov = np.array([[4.0, -3.9], [-3.9, 4.0]])
    assert merged_classes(np.array([1000.0, 3.0]), cov) == []


def test_identical_classes_are_merged_and_known_together(drawn: Drawn) -> None:
    """A kernel of two halves that always follow one another."""
    spans = spans_of(drawn)
    j = int(np.argmax(drawn.class_s))
    split = spans.classes == j
    middle = (spans.starts_ns + spans.ends_ns) // 2
    doubled = Spans(
        np.concatenate([spans.starts_ns, middle[split]]),
        np.concatenate([np.where(split, middle, spans.ends_ns), spans.ends_ns[split]]),
        np.concatenate([spans.classes, np.full(split.sum(), 8, np.int32)]).astype(np.int32),
        (*spans.names, "second half"),
    )
    found = regress(drawn.runs, doubled, VOLTA, LIMITS_W, drawn.bounds_ns)
    assert found is not None
    seconds = np.zeros((1, 9))
    seconds[0, [j, 8]] = found.class_s[[j, 8]]
    joules, cov = found.groups(seconds)
    true = drawn.beta_w[j] * drawn.class_s[j]
    assert abs(joules[0] - true) < 4 * np.sqrt(cov[0, 0])
    alone = wide(found.cov_w2, j) * found.class_s[j]
    assert np.sqrt(cov[0, 0]) < 0.5 * alone


# Whole regressions -----------------------------------------------------------------------


def test_spans_counted_twice_are_merged(drawn: Drawn) -> None:
    """Two streams that run the same at the same time: only their sum is known."""
    spans = spans_of(drawn)
    both = Spans(
        np.concatenate([spans.starts_ns, spans.starts_ns]),
        np.concatenate([spans.ends_ns, spans.ends_ns]),
        np.concatenate([spans.classes, spans.classes + 8]).astype(np.int32),
        (*spans.names, *(f"{name} again" for name in spans.names)),
    )
    found = regress(drawn.runs, both, VOLTA, LIMITS_W, drawn.bounds_ns)
    assert found is not None
    together = {j for group in found.merged for j in group}
    big = np.flatnonzero(drawn.class_s > 0.1 * drawn.class_s.sum())
    assert set(big) <= together
    for j in big:
        group = next(g for g in found.merged if j in g)
        assert j + 8 in group
    sums = found.beta_w[:8] + found.beta_w[8:]
    np.testing.assert_allclose(sums[big], drawn.beta_w[big], rtol=0.05)


def test_one_class() -> None:
    drawn = draw(Drawing("v100", kinds=1, seconds=5.0), 3)
    found = regress(drawn.runs, spans_of(drawn), VOLTA, LIMITS_W, drawn.bounds_ns)
    assert found is not None
    assert found.merged == []
    assert abs(found.beta_w[0] - drawn.beta_w[0]) < 4 * wide(found.cov_w2, 0)
    assert wide(found.cov_w2, 0) < 0.05 * drawn.beta_w[0]


def test_a_class_that_no_reading_saw_is_as_wide_as_the_board(drawn: Drawn) -> None:
    spans = spans_of(drawn)
    late = int(drawn.tick_ns[-1]) + 10 * NS_PER_S
    more = replace(
        spans,
        starts_ns=np.append(spans.starts_ns, late),
        ends_ns=np.append(spans.ends_ns, late + 1_000_000),
        classes=np.append(spans.classes, 8).astype(np.int32),
        names=(*spans.names, "late"),
    )
    found = regress(drawn.runs, more, VOLTA, LIMITS_W, drawn.bounds_ns)
    assert found is not None
    assert wide(found.cov_w2, 8) > 20
    assert any("no reading saw late" in note for note in found.notes)
    np.testing.assert_allclose(found.beta_w[:8], drawn.beta_w, rtol=0.1)


def test_a_name_that_never_ran(drawn: Drawn) -> None:
    spans = spans_of(drawn)
    found = regress(
        drawn.runs, replace(spans, names=(*spans.names, "never")), VOLTA, LIMITS_W, drawn.bounds_ns
    )
    assert found is not None
    assert found.class_s[8] == 0
    assert wide(found.cov_w2, 8) > 20
    assert not any("never" in note for note in found.notes)


def test_unknown_limits(drawn: Drawn) -> None:
    nan = float("nan")
    found = regress(drawn.runs, spans_of(drawn), VOLTA, (nan, nan), drawn.bounds_ns)
    assert found is not None
    big = drawn.class_s > 0.05 * drawn.class_s.sum()
    np.testing.assert_allclose(found.beta_w[big], drawn.beta_w[big], rtol=0.05)


def test_groups_sum_with_their_covariance(drawn: Drawn) -> None:
    found = regress(drawn.runs, spans_of(drawn), VOLTA, LIMITS_W, drawn.bounds_ns)
    assert found is not None
    seconds = np.abs(np.random.default_rng(0).standard_normal((3, 8)))
    joules, cov = found.groups(np.vstack([seconds, seconds.sum(axis=0)]))
    assert joules[3] == pytest.approx(joules[:3].sum())
    if found.scatter_w == 0:
        assert cov[3, 3] == pytest.approx(cov[:3, :3].sum())
    for bad in (np.ones(8), np.ones((2, 7)), np.full((1, 8), np.nan)):
        with pytest.raises(ValueError, match="seconds"):
            found.groups(bad)


def test_without_idle_the_level_may_hold_all() -> None:
    """Busy from the first reading to the last: only differences of classes are known."""
    drawn = draw(Drawing("v100", kinds=8, seconds=8.0), 1)
    runs = drawn.runs
    low, high = drawn.starts_ns[0] + NS_PER_S, drawn.ends_ns[-1] - NS_PER_S
    keep = (runs.t_first_ns > low) & (runs.t_last_ns < high)
    inside = _part(runs, keep)
    found = regress(inside, spans_of(drawn), VOLTA, LIMITS_W, (int(low), int(high)))
    assert found is not None
    total = found.class_s @ found.beta_w
    u = np.sqrt(found.class_s @ found.cov_w2 @ found.class_s)
    assert abs(total - drawn.class_s @ drawn.beta_w) < 3 * u


# Refusals --------------------------------------------------------------------------------


def _part(runs: Runs, keep: np.ndarray) -> Runs:
    columns = {name: getattr(runs, name)[keep] for name in runs.__dataclass_fields__}
    return Runs(**columns)


def test_no_spans(drawn: Drawn) -> None:
    nothing = Spans.of([])
    assert regress(drawn.runs, nothing, VOLTA, LIMITS_W, drawn.bounds_ns) is None
    assert refusal(drawn.runs, nothing, VOLTA) == "no kernel was seen"


def test_all_readings_missing(drawn: Drawn) -> None:
    none = _part(drawn.runs, np.zeros(len(drawn.runs), bool))
    spans = spans_of(drawn)
    assert regress(none, spans, VOLTA, LIMITS_W, drawn.bounds_ns) is None
    assert refusal(none, spans, VOLTA) == "no reading succeeded"
    polls = np.arange(0, 5 * NS_PER_S, 1_000_000)
    trace = Trace.from_readings({"gpu:0/power": (polls, np.full(len(polls), np.nan))})
    lost = trace.recorded.devices["gpu:0"].runs["power"]
    assert refusal(lost, spans, VOLTA) == "no reading succeeded"


def test_too_few_updates(drawn: Drawn) -> None:
    few = _part(drawn.runs, np.arange(len(drawn.runs)) < 15)
    assert "too few" in (refusal(few, spans_of(drawn), VOLTA) or "")


def test_no_update_clock(drawn: Drawn) -> None:
    polls = drawn.bounds_ns[0] + np.arange(0, 5 * NS_PER_S, 1_000_000)
    value = 100 + np.random.default_rng(0).standard_normal(len(polls))
    trace = Trace.from_readings({"gpu:0/power": (polls, value)})
    runs = trace.recorded.devices["gpu:0"].runs["power"]
    assert "no update clock" in (refusal(runs, spans_of(drawn), VOLTA) or "")
    assert regress(runs, spans_of(drawn), VOLTA, LIMITS_W, drawn.bounds_ns) is None


def test_a_log_whose_averaging_nobody_knows(drawn: Drawn) -> None:
    log = replace(VOLTA, responses=())
    assert "what one reading averages" in (refusal(drawn.runs, spans_of(drawn), log) or "")
    known = Response("boxcar", drawn.window_s, drawn.delay_s, 1e-4, 1e-4)
    assert refusal(drawn.runs, spans_of(drawn), log, known) is None
    found = regress(drawn.runs, spans_of(drawn), log, LIMITS_W, drawn.bounds_ns, known)
    assert found is not None
    np.testing.assert_allclose(found.beta_w, drawn.beta_w, rtol=0.2)


def test_a_few_calls_do_not_tell_an_unknown_sensor(drawn: Drawn) -> None:
    spans, first = spans_of(drawn), slice(0, 99)
    few = replace(
        spans,
        starts_ns=spans.starts_ns[first],
        ends_ns=spans.ends_ns[first],
        classes=spans.classes[first],
    )
    assert "99 operations are too few" in (refusal(drawn.runs, few, UNKNOWN) or "")
    assert refusal(drawn.runs, spans, UNKNOWN) is None


def test_work_that_few_readings_saw(drawn: Drawn) -> None:
    spans = spans_of(drawn)
    short = spans.starts_ns < spans.starts_ns[0] + 150_000_000
    brief = replace(
        spans,
        starts_ns=spans.starts_ns[short],
        ends_ns=spans.ends_ns[short],
        classes=spans.classes[short],
    )
    said = refusal(drawn.runs, brief, VOLTA) or ""
    assert "readings while operations ran are too few (at least 20)" in said


def test_spans_outside_of_the_readings(drawn: Drawn) -> None:
    spans = spans_of(drawn)
    for shift in (-1000 * NS_PER_S, 1000 * NS_PER_S):
        far = replace(spans, starts_ns=spans.starts_ns + shift, ends_ns=spans.ends_ns + shift)
        assert "while the reading was recorded" in (refusal(drawn.runs, far, VOLTA) or "")
        assert regress(drawn.runs, far, VOLTA, LIMITS_W, drawn.bounds_ns) is None
