# SPDX-License-Identifier: Apache-2.0
"""What pyenergy costs its host: entering and leaving a trace, importing, an hour's memory."""

import os
import statistics
import subprocess
import sys
import time

import pyenergy
from pyenergy import _core

from .harness import Result, interleaved


def run() -> list[Result]:
    """Trace entry and exit, import time, memory of an hour."""
    return [_enter_and_leave(), _import(), _memory()]


def _enter_and_leave() -> Result:
    times = []
    with pyenergy.trace(devices="sim:a100"):
        for _ in range(2000):
            start = time.perf_counter()
            with pyenergy.trace(devices="sim:a100"):
                pass
            times.append(time.perf_counter() - start)
    typical = statistics.median(times) * 1e6
    return Result(
        "enter and leave a trace, sampler running (us)",
        f"{typical:.1f} us", "50 us", typical / 50, "<= 1", typical <= 50,
    )  # fmt: skip


def _import() -> Result:
    def load(module: str) -> None:
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)

    a, b = interleaved(lambda: load("pyenergy"), lambda: load("numpy"), 15)
    return Result(
        "import pyenergy against import numpy (whole process)",
        f"{a * 1e3:.0f} ms", f"{b * 1e3:.0f} ms", a / b, "<= 1.5", a / b <= 1.5,
    )  # fmt: skip


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _memory() -> Result:
    """An hour at 1 kHz on a steady reading, in simulated time."""
    info = _core.enumerate("sim", "a100").devices[0]
    clock = _core.ManualClock(_core.now_ns())
    before = _resident()
    stream = _core.Stream(info, period_ns=1_000_000, clock=clock)
    stream.run_inline(3_600_000)
    stream.recording.seal()
    grown = (_resident() - before) / 1e6
    return Result(
        "memory of an hour at 1 kHz on a steady reading (MB)",
        f"{grown:.2f} MB", "5 MB", grown / 5, "<= 1", grown <= 5,
    )  # fmt: skip
