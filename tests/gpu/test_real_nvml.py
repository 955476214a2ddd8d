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


def test_the_default_pacing_reads_without_failures_or_drops() -> None:
    with pyenergy.trace(devices="gpu:0", pacing="auto") as trace:
        time.sleep(3.0)
    stats = trace.recorded.devices["gpu:0"].stats
    assert stats["failed_reads"] == 0
    assert stats["dropped"] == 0
