# SPDX-License-Identifier: Apache-2.0
"""Logs of dcgmi dmon, as it prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from printed_logs import (
    A100,
    DCGMI,
    DCGMI_TIMES,
    read,
)

from pyenergy.errors import OptionError, RecordingError
from pyenergy.recording.logs.times import instant_ns
from pyenergy.units import NS_PER_MS


def test_dcgmi(tmp_path: Path) -> None:
    log = read(tmp_path, DCGMI, **DCGMI_TIMES)
    assert log.kind == "dcgmi"
    start = instant_ns("2026-11-20T13:03:22Z")
    t, watts = log.readings["gpu:0/power"]
    assert t.tolist() == [start + k * 100 * NS_PER_MS for k in range(3)]
    assert np.array_equal(watts, [87.123, np.nan, 90.0], equal_nan=True)
    assert log.readings["gpu:1/energy"][1].tolist() == [5.0, 5.009, 5.018]
    assert log.readings["gpu:0/energy"][1][0] == pytest.approx(123456.789)
    assert any(
        "1 lines are no readings" in note and "dmon was stopped" in note for note in log.notes
    )
    assert any("reckoned from the start" in note for note in log.notes)


def test_dcgmi_with_texts_mig_and_the_instant_field(tmp_path: Path) -> None:
    text = (
        "#Entity   DVNAM                   POWER             POWINST\n"
        "ID                                W                 W\n"
        f"GPU 0     {A100}   87.123            90.000\n"
        "GPU-I 0   N/A                     N/A               N/A\n"
        f"GPU 0     {A100}   87.123            91.000\n"
        "GPU-I 0   N/A                     N/A               N/A\n"
    )
    log = read(tmp_path, text, **DCGMI_TIMES)
    t, watts = log.readings["gpu:0/power"]
    assert watts.tolist() == [90.0, 91.0]
    assert np.diff(t).tolist() == [100 * NS_PER_MS]
    assert list(log.readings) == ["gpu:0/power"]
    assert any("POWER was left out" in note for note in log.notes)
    assert any("lines of GPU-I were left out" in note for note in log.notes)


def test_a_gpu_that_is_silent_for_a_round_leaves_a_gap(tmp_path: Path) -> None:
    text = (
        "#Entity   POWER\nID        W\nGPU 0     1.0\nGPU 1     2.0\nGPU 1     3.0\n"
        "GPU 0     4.0\nGPU 1     5.0\n"
    )
    log = read(tmp_path, text, **DCGMI_TIMES)
    assert np.diff(log.readings["gpu:1/power"][0]).tolist() == [100 * NS_PER_MS] * 2
    start = instant_ns("2026-11-20T13:03:22Z")
    # Rounds: (0, 1), (1, 0), (1): a GPU that is left out cannot be told from one that comes late.
    assert log.readings["gpu:0/power"][0].tolist() == [start, start + 100 * NS_PER_MS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has no times"),
        ({"start": "2026-11-20T13:03:22Z"}, "--interval"),
        ({"start": "2026-11-20T13:03:22", "interval_s": 1.0}, "has no zone"),
        ({"start": "1795183402", "interval_s": 1.0}, "say in which unit"),
        ({"start": "yesterday", "interval_s": 1.0}, "is no time"),
        ({"start": "2026-11-20T13:03:22Z", "interval_s": 0.0}, "interval must be"),
        ({"start": "2026-11-20T13:03:22Z", "interval_s": float("nan")}, "interval must be"),
        ({"start": "2026-13-20T13:03:22Z", "interval_s": 1.0}, "is no time"),
    ],
)
def test_dcgmi_must_be_told_its_times(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read(tmp_path, DCGMI, **options)


def test_dcgmi_without_power_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="dcgmi dmon -e 155,156"):
        read(tmp_path, "#Entity   SMCLK\nID        MHz\nGPU 0     1410\n", **DCGMI_TIMES)
