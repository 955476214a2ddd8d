# SPDX-License-Identifier: Apache-2.0
"""Where an NVIDIA GPU and driver are; elsewhere skipped. Changes no clock, limit or mode."""

from __future__ import annotations

import time

import pytest

import pyenergy
from pyenergy import _core

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _needs_a_gpu() -> None:
    report = _core.enumerate("nvml")
    if not report.available:
        pytest.skip(f"no NVIDIA GPU: {report.reason}")


def test_an_idle_second_has_an_energy_within_the_boards_limits() -> None:
    with pyenergy.trace(devices="gpu:0") as trace:
        time.sleep(1.0)
    limit_w = trace.recorded.devices["gpu:0"].meta.power_max_w
    assert 1.0 < trace.mean_power_w < limit_w
    assert trace.energy.u > 0


def test_counter_and_integral_agree_within_their_uncertainty() -> None:
    with pyenergy.trace(devices="gpu:0") as trace:
        time.sleep(3.0)
    if "gpu:0/energy" not in trace.channels:
        pytest.skip("this GPU has no energy counter")
    counter = trace.series("gpu:0/energy")
    start, end = int(counter.t_ns[1]), int(counter.t_ns[-2])
    low, high = trace.bounds_ns
    window = trace.window(max(start, low), min(end, high))
    assert window.joules == pytest.approx(
        float(counter.values[-2] - counter.values[1]), abs=3 * window.u + 0.1 * window.joules
    )


def test_edge_pacing_locks_on_to_the_sensor() -> None:
    with pyenergy.trace(devices="gpu:0", pacing="auto") as trace:
        time.sleep(3.0)
    stats = trace.recorded.devices["gpu:0"].stats
    assert stats["failed_reads"] == 0
    assert stats["dropped"] == 0
