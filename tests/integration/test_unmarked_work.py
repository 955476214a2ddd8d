# SPDX-License-Identifier: Apache-2.0
"""Work that no span names, beside work that one does: the span's interval holds its energy.

Power is piecewise constant and its integral a sum: nothing is shared with the estimator.
"""

from __future__ import annotations

import numpy as np
import pytest

from pyenergy import Trace

MS = 1_000_000
IDLE_W, BUSY_W = 80.0, 350.0
SENSORS = {"volta": (20.1, 10.0, 3.0), "ga100": (100.3, 25.0, 12.0), "hopper": (100.3, 25.0, 40.0)}

Piece = tuple[int, float]  # length in ms, W


def trace_of(
    architecture: str, pieces: list[Piece], spans: list[tuple[str, int, int]], seed: int
) -> Trace:
    """Readings of a boxcar sensor, polled every millisecond."""
    rng = np.random.default_rng(seed)
    period, window, delay = (round(x * MS) for x in SENSORS[architecture])
    edges = np.concatenate([[0], np.cumsum([length * MS for length, _ in pieces])])
    total = np.concatenate([[0.0], np.cumsum(np.diff(edges) * [w for _, w in pieces])]) / 1e9

    def energy_j(t: np.ndarray) -> np.ndarray:
        before = np.minimum(t, 0) * IDLE_W / 1e9
        return before + np.interp(t, edges, total)

    tick = np.arange(-period + rng.integers(period), edges[-1], period)
    seen = tick - delay
    watts = (energy_j(seen) - energy_j(seen - window)) / (window / 1e9)
    watts = np.round(watts + rng.normal(0, 1.0, len(watts)), 3)
    poll = np.arange(0, edges[-1], MS) + rng.integers(0, 200_000, edges[-1] // MS)
    readings = watts[np.searchsorted(tick, poll, side="right") - 1]
    device = {"architecture": architecture, "field": "instant"}
    return Trace.from_readings({"gpu:0/power": (poll, readings)}, spans, devices={"gpu:0": device})


@pytest.mark.parametrize("architecture", SENSORS)
@pytest.mark.parametrize("times", [1, 5, 20])
def test_a_mark_that_ends_before_the_work_does(times: int, architecture: str) -> None:
    inside = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        pieces: list[Piece] = [(2000 + int(rng.integers(100)), IDLE_W)]
        spans = []
        for _ in range(times):
            start = sum(length for length, _ in pieces) * MS
            spans.append(("A", start, start + 100 * MS))
            pieces += [(250, BUSY_W), (int(rng.integers(200, 400)), IDLE_W)]
        trace = trace_of(architecture, [*pieces, (2000, IDLE_W)], spans, seed)
        row = trace.phases().row(0, named=True)
        inside.append(abs(row["energy_j"] - times * BUSY_W / 10) <= 1.96 * row["u_j"])
    assert sum(inside) >= 5


def test_no_sensor_of_the_kind_averages_so_long() -> None:
    """However well that explains the readings."""
    spans, pieces = [], [(2000, IDLE_W)]
    for k in range(20):
        start = sum(length for length, _ in pieces) * MS
        spans.append(("A", start, start + 100 * MS))
        pieces += [(250, BUSY_W), (200 + 7 * k, IDLE_W)]
    trace = trace_of("ga100", [*pieces, (2000, IDLE_W)], spans, 0)
    response = trace._evaluated().models["gpu:0"].model.response
    assert response.window_s < 0.06
