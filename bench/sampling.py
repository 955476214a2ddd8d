# SPDX-License-Identifier: Apache-2.0
"""Cost and lateness of sampling at 1 kHz against a bare C loop and a Python thread."""

import threading
import time

import pyenergy
from pyenergy import _core
from pyenergy.testing import SimulatedWorld

from .harness import Result, run_json

SECONDS = 3.0


def run() -> list[Result]:
    """CPU time a sample, lateness."""
    t = run_json("sampling_bench", 1000, SECONDS, 5)
    cpu = t["cpu_ns"] / t["bare_cpu_ns"]
    results = [
        Result(
            "CPU time a sample, 1 kHz, against a bare C loop",
            f"{t['cpu_ns'] / 1e3:.2f} us", f"{t['bare_cpu_ns'] / 1e3:.2f} us",
            cpu, "<= 1.25", cpu <= 1.25,
        )
    ]  # fmt: skip
    for q in ("p50", "p99"):
        ratio = t[f"{q}_ns"] / t[f"bare_{q}_ns"]
        results.append(
            Result(
                f"lateness {q}, 1 kHz, against a bare C loop",
                f"{t[f'{q}_ns'] / 1e3:.1f} us", f"{t[f'bare_{q}_ns'] / 1e3:.1f} us",
                ratio, "<= 1.3", ratio <= 1.3,
            )
        )  # fmt: skip
    return [*results, _against_python()]


def _against_python() -> Result:
    ours, theirs = [], []
    for _ in range(3):
        ours.append(_our_cpu())
        theirs.append(_python_cpu())
    a, b = sorted(ours)[1], sorted(theirs)[1]
    return Result(
        "CPU time a sample, 1 kHz, against a Python thread",
        f"{a * 1e6:.2f} us", f"{b * 1e6:.2f} us", a / b, "< 1", a < b,
    )  # fmt: skip


def _our_cpu() -> float:
    monitor = pyenergy.Monitor(devices="sim:ideal", rate_hz=1000, pacing="fixed")
    cpu = time.process_time()
    monitor.start()
    time.sleep(SECONDS)
    trace = monitor.stop()
    cpu = time.process_time() - cpu
    return cpu / trace.recorded.devices["gpu:0"].stats["polls"]


def _python_cpu() -> float:
    """What a careful Python poller does: absolute deadlines, one read, append to a list."""
    _core.enumerate("sim", "ideal")
    card = SimulatedWorld.current()[0]
    samples: list[tuple[int, float]] = []
    stop = threading.Event()

    def poll() -> None:
        deadline = time.perf_counter()
        while not stop.is_set():
            deadline += 1e-3
            time.sleep(max(0.0, deadline - time.perf_counter()))
            now = time.monotonic_ns()
            samples.append((now, card.reading_w(now)[0]))

    thread = threading.Thread(target=poll)
    cpu = time.process_time()
    thread.start()
    time.sleep(SECONDS)
    stop.set()
    thread.join()
    return (time.process_time() - cpu) / len(samples)
