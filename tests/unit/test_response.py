# SPDX-License-Identifier: Apache-2.0
"""Response families against filters that are summed on a fine grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pyenergy import _core
from pyenergy.errors import OptionError
from pyenergy.sensor.response import FAMILIES, Response, ResponsePrior, filtered, overlaps
from pyenergy.units import NS_PER_MS, NS_PER_S

STEP_NS = 10_000


@pytest.mark.parametrize("family", ["", "Boxcar", "gauss", "mean", None])
def test_families_that_do_not_exist(family: object) -> None:
    with pytest.raises(OptionError, match="boxcar, rc, continuous"):
        Response(family, 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["window_s", "delay_s", "window_u_s", "delay_u_s"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 101.0, 1e9])
def test_lengths_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=name):
        Response("boxcar", **{"window_s": 0.1, name: value})


LENGTHS = ("window_s", "delay_s", "window_u_s", "delay_u_s")


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize(
    "value", ["1", None, True, np.True_, [0.1], np.array([0.1, 0.2]), 0.1j], ids=repr
)
def test_lengths_that_are_no_numbers(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"^{name} must be a number, got"):
        Response("boxcar", **{"window_s": 0.1, name: value})


def test_a_length_beyond_any_float() -> None:
    with pytest.raises(OptionError, match="window_s must be finite"):
        Response("boxcar", 10**400)


@pytest.mark.parametrize("number", [np.float32(0.25), np.float64(0.25), np.float16(0.25)], ids=repr)
def test_lengths_of_numpy_are_kept_as_floats(number: Any) -> None:
    response = Response("boxcar", number, number, number, number)
    assert response == Response("boxcar", 0.25, 0.25, 0.25, 0.25)
    assert all(type(getattr(response, name)) is float for name in LENGTHS)
    assert Response("boxcar", np.int32(1)).window_s == 1.0


@pytest.mark.parametrize(
    ("family", "window_s", "delay_s"),
    [("boxcar", 0.1, -1), ("boxcar", 0.025, -0.6), ("rc", 0.01, -0.6), ("continuous", 0.0, -0.51)],
)
def test_a_reading_does_not_show_the_future(family: Any, window_s: float, delay_s: float) -> None:
    with pytest.raises(OptionError, match=r"delay_s must not be negative, .* a reading shows the"):
        Response(family, window_s, delay_s)


@pytest.mark.parametrize("name", ["window_s", "window_u_s"])
def test_the_power_itself_has_no_window(name: str) -> None:
    with pytest.raises(OptionError, match="a continuous response has no window_s"):
        Response("continuous", **{name: 0.1})


@pytest.mark.parametrize("name", ["window_s", "window_u_s", "delay_u_s"])
def test_negative_lengths(name: str) -> None:
    with pytest.raises(OptionError, match=name):
        Response("rc", **{"window_s": 0.1, name: -1e-3})


@pytest.mark.parametrize("family", ["boxcar", "rc"])
def test_an_average_needs_a_window(family: str) -> None:
    with pytest.raises(OptionError, match=f"{family} needs a window_s"):
        Response(family)  # type: ignore[arg-type]
    assert Response("continuous").window_s == 0.0


def test_a_delay_may_be_negative() -> None:
    """Of stamps that come late, and of fits on the way."""
    assert Response("boxcar", 0.1, -0.003).delay_s == -0.003


def test_lag_and_reach() -> None:
    boxcar = Response("boxcar", 0.1, 0.02)
    assert boxcar.lag_s == pytest.approx(0.07)
    assert boxcar.reach_s == pytest.approx(0.12)
    rc = Response("rc", 0.01, 0.02)
    assert rc.lag_s == pytest.approx(0.03)
    assert rc.reach_s == pytest.approx(0.07)
    continuous = Response("continuous", delay_s=0.02)
    assert continuous.lag_s == continuous.reach_s == 0.02
    assert str(boxcar) == "boxcar of 100 ms, delay 20 ms"
    assert str(rc) == "RC with tau 10 ms, delay 20 ms"
    assert str(continuous) == "continuous, delay 20 ms"


@pytest.mark.parametrize("family", FAMILIES)
def test_lag_is_the_shift_of_a_long_ramp(family: str) -> None:
    """Behind any response a ramp is a ramp that is late by the lag."""
    window_s = 0.0 if family == "continuous" else 0.012
    response = Response(family, window_s, 0.005)  # type: ignore[arg-type]
    # A staircase of spans that all end late: one more every 100 us.
    starts = np.arange(0, NS_PER_S, 100_000, dtype=np.int64)
    ends = np.full(len(starts), 2 * NS_PER_S)
    ramp = _core.Activity(starts, ends, np.zeros(len(starts), np.int32), 1)
    t = np.array([NS_PER_S // 2 + 37_000])
    height = filtered(ramp, t, response).toarray()[0, 0]
    late_s = (0.500037 + 50e-6) - height * 100e-6
    assert late_s == pytest.approx(response.lag_s, abs=60e-6)


def drawn_activity(seed: int, classes: int = 3) -> tuple[_core.Activity, np.ndarray, np.ndarray]:
    """(activity, grid of times, running spans of each class in each step of the grid)."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, 40_000, 50) * STEP_NS
    ends = starts + rng.integers(1, 4_000, 50) * STEP_NS
    cls = rng.integers(0, classes, 50).astype(np.int32)
    grid = np.arange(-20_000, 60_000) * STEP_NS
    running = np.zeros((len(grid), classes))
    for a, b, j in zip(starts, ends, cls, strict=True):
        running[(grid >= a) & (grid < b), j] += 1
    return _core.Activity(starts, ends, cls, classes), grid, running


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window_ms", [0.1, 25, 100])
def test_boxcar_is_a_moving_mean(seed: int, window_ms: float) -> None:
    activity, grid, running = drawn_activity(seed)
    delay_ns = 13 * NS_PER_MS
    total = np.vstack([np.zeros(3), np.cumsum(running, axis=0)])
    n = round(window_ms * NS_PER_MS / STEP_NS)
    at = np.arange(n, len(grid), 777)
    truth = (total[at] - total[at - n]) / n
    response = Response("boxcar", window_ms / 1e3, delay_ns / NS_PER_S)
    found = filtered(activity, grid[at] + delay_ns, response)
    assert found.shape == (len(at), 3)
    np.testing.assert_allclose(found.toarray(), truth, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tau_ms", [1, 12, 200])
def test_rc_is_a_first_order_low_pass(seed: int, tau_ms: float) -> None:
    from scipy.signal import lfilter

    activity, grid, running = drawn_activity(seed)
    keep = math.exp(-STEP_NS / (tau_ms * NS_PER_MS))
    truth = lfilter([0.0, 1 - keep], [1.0, -keep], running, axis=0)  # at the beginning of a step
    at = np.arange(0, len(grid), 777)
    response = Response("rc", tau_ms / 1e3, 0.013)
    found = filtered(activity, grid[at] + 13 * NS_PER_MS, response)
    np.testing.assert_allclose(found.toarray(), truth[at], atol=1e-9)


def test_continuous_is_the_activity_itself() -> None:
    activity, grid, running = drawn_activity(5)
    at = np.arange(0, len(grid), 777)
    t = grid[at] + STEP_NS // 2 + 7 * NS_PER_MS
    found = filtered(activity, t, Response("continuous", delay_s=0.007))
    np.testing.assert_allclose(found.toarray(), running[at], atol=1e-12)


def test_overlaps_are_seconds() -> None:
    activity, grid, running = drawn_activity(6)
    total = np.vstack([np.zeros(3), np.cumsum(running, axis=0)]) * STEP_NS / NS_PER_S
    rng = np.random.default_rng(0)
    a, b = np.sort(rng.integers(0, len(grid), (2, 500)), axis=0)
    found = overlaps(activity, grid[a], grid[b])
    np.testing.assert_allclose(found.toarray(), total[b] - total[a], atol=1e-9)
    assert overlaps(activity, grid[:0], grid[:0]).shape == (0, 3)


def test_prior_prefers_its_median_and_its_range_of_delays() -> None:
    prior = ResponsePrior("boxcar", 0.025, 0.25, 0.0, 0.1)
    middle = prior.middle
    assert middle == Response("boxcar", 0.025, 0.05)
    assert prior.log_density(middle) == 0.0
    # Normal in the logarithm of the window: one deviation costs one half, either way.
    for sign in (-1, 1):
        off = Response("boxcar", 0.025 * math.exp(sign * 0.25), 0.05)
        assert prior.log_density(off) == pytest.approx(-0.5)
        off = Response("boxcar", 0.025 * math.exp(2 * sign * 0.25), 0.05)
        assert prior.log_density(off) == pytest.approx(-2.0)
    # Any delay of the range is as good; beyond it 2 ms are one deviation.
    for delay_s in (0.0, 0.03, 0.1):
        assert prior.log_density(Response("boxcar", 0.025, delay_s)) == 0.0
    for delay_s in (-0.002, 0.102):
        assert prior.log_density(Response("boxcar", 0.025, delay_s)) == pytest.approx(-0.5)


def test_priors_of_families_that_compete() -> None:
    boxcar = ResponsePrior("boxcar", 0.08, 1.3, 0.0, 0.2, weight=0.6)
    rc = ResponsePrior("rc", 0.04, 1.3, 0.0, 0.2, weight=0.4)
    odds = boxcar.log_density(boxcar.middle) - rc.log_density(rc.middle)
    assert odds == pytest.approx(math.log(1.5))
    known = ResponsePrior("boxcar", 0.08, 0.0, 0.0, 0.2)
    assert known.log_density(Response("boxcar", 0.5, 0.1)) == 0.0  # a window that is not searched
    continuous = ResponsePrior("continuous", 0.0, 0.0, 0.0, 0.02)
    assert continuous.middle == Response("continuous", 0.0, 0.01)
    assert continuous.log_density(continuous.middle) == 0.0
