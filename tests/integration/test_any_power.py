# SPDX-License-Identifier: Apache-2.0
"""Shares by time: each operation's own power may be anything that the device can draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from pyenergy import Trace

S = 1_000_000_000
MS = 1_000_000
WATTS = {"k0": 200.0, "k1": 300.0, "k2": 380.0}
IDLE_W = 80.0


def boxcar(
    edges: list[int], watts: list[float], rng: np.random.Generator, sensor: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Readings of a power that is constant between edges, ms."""
    period, window, delay, poll = (sensor[k] * MS for k in ("period", "window", "delay", "poll"))
    joules = np.concatenate([[0.0], np.cumsum(np.array(watts) * np.diff(edges))])
    t = np.arange(edges[0] + window + delay + rng.uniform(0, period), edges[-1], period)
    ends = np.interp(t - delay, edges, joules)
    y = (ends - np.interp(t - delay - window, edges, joules)) / window + rng.normal(0, 1, len(t))
    polls = np.arange(t[0], edges[-1], poll)
    return polls.astype(np.int64), y[np.searchsorted(t, polls, side="right") - 1]


V100 = {"period": 20.1, "window": 10.0, "delay": 3.0, "poll": 1.0}
A100 = {"period": 100.3, "window": 25.0, "delay": 12.0, "poll": 5.0}


def profiled(
    seed: int, sensor: dict[str, float], lengths_ms: tuple[float, float], profile_s: float
) -> tuple[Trace, dict[str, float]]:
    """6 s of kernels of which a profiler saw some in the middle; and the joules of those."""
    rng = np.random.default_rng(seed)
    t, edges, watts, power = S, [0], [], IDLE_W
    seen: list[dict[str, Any]] = []
    while t < 7 * S:
        name = f"k{rng.integers(3)}"
        edges.append(t)
        watts.append(power)
        length, power = int(rng.uniform(*lengths_ms) * MS), WATTS[name]
        if 3 * S <= t < 3 * S + profile_s * S:
            layer = str(rng.choice(["a.x", "a.y", "b"]))
            seen.append({"name": name, "start_ns": t, "end_ns": t + length, "layer": layer})
        t += length
    edges += [t, t + S]
    watts += [power, IDLE_W]
    architecture = "volta" if sensor is V100 else "ga100"
    trace = Trace.from_readings(
        {"gpu:0/power": boxcar(edges, watts, rng, sensor)},
        devices={"gpu:0": {"architecture": architecture, "field": "instant", "power_max_w": 400.0}},
    )
    trace.attach(seen)
    truth: dict[str, float] = {}
    for row in seen:
        name, joules = str(row["name"]), (row["end_ns"] - row["start_ns"]) / S
        for key in (name, row["layer"], "all"):
            truth[key] = truth.get(key, 0.0) + joules * WATTS[name]
    return trace, truth


def off(table: pl.DataFrame, key: str, truth: dict[str, float]) -> list[float]:
    """Errors over the uncertainties of the rows."""
    rows = table.filter(kind="operation")
    joules = rows["energy_j"] + rows["static_j"]
    wrong = joules.to_numpy() - np.array([truth[name] for name in rows[key]])
    return [float(z) for z in wrong / rows["u_j"].to_numpy()]


@pytest.mark.parametrize(("sensor", "profile_s"), [(V100, 0.3), (A100, 0.3), (A100, 1.0)])
@pytest.mark.parametrize("static", ["separate", "busy"])
def test_a_profile_of_a_part_of_the_work_holds_any_power(
    sensor: dict[str, float], profile_s: float, static: Any
) -> None:
    z = []
    for seed in range(3):
        trace, truth = profiled(seed, sensor, (0.5, 6.0), profile_s)
        assert "shares by time" in trace.attribution_notes()[0]
        z += off(trace.kernels(static=static), "name", truth)
        z += off(trace.layers("layer", static=static), "layer", truth)
    assert np.mean(np.abs(z) < 1.96) >= 0.95
    assert np.sqrt(np.mean(np.square(z))) < 1.2


def test_what_all_operations_took_is_known_though_none_is() -> None:
    trace, truth = profiled(0, V100, (0.5, 6.0), 0.3)
    each = trace.kernels(static="busy").filter(kind="operation")
    together = trace.kernels("device", static="busy").filter(kind="operation")
    assert together["energy_j"].to_list()[0] == pytest.approx(truth["all"], rel=0.15)
    least = each["u_same_card_j"].to_numpy().min()
    assert together["u_same_card_j"].to_numpy()[0] < 0.5 * least
    # The gaps' row holds what of the whole the operations do not.
    assert trace.kernels(static="busy")["energy_j"].sum() == pytest.approx(trace.energy.joules)


def test_modules_hold_any_power_as_their_layers_do() -> None:
    trace, _ = profiled(1, V100, (0.5, 6.0), 0.3)
    layers = trace.layers("layer", static="busy").rows_by_key("layer", named=True, unique=True)
    modules = trace.tree(static="busy").rows_by_key("path", named=True, unique=True)
    assert modules["b"]["u_j"] == pytest.approx(layers["b"]["u_j"], rel=1e-6)
    assert modules["a.x"]["u_j"] == pytest.approx(layers["a.x"]["u_j"], rel=1e-6)
    assert modules[""]["u_j"] < modules["a"]["u_j"]  # all together are what was measured
