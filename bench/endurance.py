# SPDX-License-Identifier: Apache-2.0
"""20 kHz from a zero-latency simulated sensor: no drop; with a tiny ring: every drop counted."""

import sys
import time

from pyenergy import _core

from .harness import Result


def run(seconds: float = 60.0) -> list[Result]:
    """Drops at 20 kHz, and what a ring of 16 makes of it."""
    stats, _ = _sample(seconds, 0)
    tiny, runs = _sample(2.0, 16)
    gaps = int(((runs["flags"] & _core.FLAG_GAP_BEFORE) != 0).sum())
    return [
        Result(
            f"20 kHz for {seconds:.0f} s: samples dropped",
            f"{stats['dropped']} of {stats['samples'] + stats['dropped']}",
            f"{stats['missed_deadlines']} deadlines missed", float(stats["dropped"]),
            "0", stats["dropped"] == 0,
        ),
        Result(
            "the same with a ring of 16: drops counted, gaps flagged",
            f"{tiny['dropped']} drops, {gaps} gaps", "", float(gaps), "> 0",
            tiny["dropped"] > 0 and gaps > 0,
        ),
    ]  # fmt: skip


def _sample(seconds: float, capacity: int):
    info = _core.enumerate("sim", "ideal").devices[0]
    stream = _core.Stream(info, period_ns=50_000, ring_capacity=capacity)
    stream.acquire()
    time.sleep(seconds)
    stream.release()
    stream.stop()
    stream.drain()
    stream.recording.seal()
    return stream.stats(), stream.recording.runs(0)


if __name__ == "__main__":
    for result in run(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0):
        print(result)
