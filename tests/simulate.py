# SPDX-License-Identifier: Apache-2.0
"""Recordings of simulated GPUs in simulated time: no test waits."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from pyenergy import _core
from pyenergy._trace import Trace
from pyenergy.recording.recorded import Recorded
from pyenergy.recording.series import ChannelMeta, DeviceData, DeviceMeta, Runs
from pyenergy.units import NS_PER_S

START_NS = 1_000 * NS_PER_S


def sampled(
    index: int = 0,
    seconds: float = 10.0,
    *,
    period_ns: int = 1_000_000,
    lead_s: float = 0.5,
    tail_s: float = 2.0,
    **options: object,
) -> Trace:
    """Sample card ``index`` of the current world from START_NS - lead to START_NS + seconds + tail.

    The trace spans [START_NS, START_NS + seconds]; the script of the card is the caller's.
    """
    info = _core.enumerate("sim", "").devices[index]
    clock = _core.ManualClock(START_NS - round(lead_s * NS_PER_S))
    stream = _core.Stream(info, period_ns=period_ns, clock=clock, **options)
    end_ns = START_NS + round((seconds + tail_s) * NS_PER_S)
    while clock.now_ns() < end_ns:
        stream.run_inline(max(1, min(100_000, (end_ns - clock.now_ns()) // period_ns)))
    return Trace(recorded(stream, (START_NS, START_NS + round(seconds * NS_PER_S))))


def recorded(stream: _core.Stream, bounds_ns: tuple[int, int]) -> Recorded:
    """What a stream has collected, as a recording of one GPU."""
    stream.drain()
    stream.recording.seal()
    info = stream.info
    names = [f.name for f in fields(DeviceMeta) if hasattr(info, f.name) and f.name != "notes"]
    meta = DeviceMeta(id="gpu:0", **{name: getattr(info, name) for name in names})
    channels = {c.name: ChannelMeta.of(c) for c in stream.channels}
    runs = {name: Runs.of(stream.recording.runs(i)) for i, name in enumerate(channels)}
    stats = {**stream.stats(), "dropped_in_trace": stream.dropped}
    data = DeviceData(meta, channels, runs, stats, stream.gap_ns)
    return Recorded(bounds_ns=bounds_ns, devices={"gpu:0": data})


def random_windows(
    rng: np.random.Generator, bounds_ns: tuple[int, int], count: int, shortest_s: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Windows inside the bounds, log-uniform in length."""
    start, end = bounds_ns
    longest = (end - start) / NS_PER_S
    length = np.exp(rng.uniform(np.log(shortest_s), np.log(longest * 0.9), count)) * NS_PER_S
    starts = start + (rng.random(count) * (end - start - length)).astype(np.int64)
    return starts, starts + length.astype(np.int64)
