# SPDX-License-Identifier: Apache-2.0
"""Traces that operations are attached to, in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pyenergy import Trace

S = 1_000_000_000
BOUNDS = 1 * S, 9 * S


def taken(devices: tuple[str, ...] = ("gpu:0",), **more: Any) -> Trace:
    """Ten seconds of a power that steps, read every 10 ms."""
    t = np.arange(0, 10 * S, 10_000_000)
    watts = 200 + 100 * np.sin(np.arange(len(t)) / 50) + np.arange(len(t)) % 7
    readings = {f"{name}/power": (t, watts * (1 + i)) for i, name in enumerate(devices)}
    return Trace.from_readings(readings, bounds_ns=BOUNDS, **more)


def rows(**columns: Any) -> dict[str, Any]:
    return {
        "name": ["gemm", "softmax", "gemm"],
        "start_ns": [2 * S, 3 * S, 5 * S],
        "end_ns": [3 * S, 4 * S, 7 * S],
        **columns,
    }


def whole(table: pl.DataFrame) -> float:
    return float(table["energy_j"].sum() + table["static_j"].sum())


def around(path: Path) -> Trace:
    """A power recorded on every device of a profile, with the profile attached."""
    from pyenergy.attribution import read_kineto

    events = read_kineto(path)
    busy = events.on_gpu() if len(events.on_gpu()) else np.arange(len(events))
    low, high = int(events.start_ns[busy].min()), int(events.end_ns[busy].max())
    devices = sorted({f"gpu:{n}" if n >= 0 else "cpu:0" for n in events.device[busy].tolist()})
    t = np.linspace(low - 2 * S, high + 2 * S, 2000).astype(np.int64)
    watts = 150 + 100 * np.random.default_rng(3).random(len(t))
    trace = Trace.from_readings(
        {f"{device}/power": (t, watts) for device in devices}, bounds_ns=(low - S, high + S)
    )
    trace.attach(events)
    operations = trace.operations
    assert operations is not None
    assert operations.used_devices() == devices
    expected = len(events.on_gpu()) or int((events.category == 5).sum())
    assert trace.kernels().filter(kind="operation")["count"].sum() == expected
    return trace
