# SPDX-License-Identifier: Apache-2.0
"""``python -m bench.many_devices [--seconds 300] [--rounds 5] [--save F]``: sixteen simulated GPUs
through the simulated libnvidia-ml at 1 kHz, in real time.

Our monitor (a thread for each device, ring, run stores, slow channels) in turn with the least C
loop that makes the same fast calls: with a thread for each device, and with one thread for all.
CPU is of the whole process, as a share of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pyenergy.testing import nvml_environment, simulated

from .harness import ROOT, machine

CARDS = 16
RATE_HZ = 1000

OURS = """
import json, sys, time
import pyenergy
monitor = pyenergy.Monitor(devices="gpu", rate_hz=float(sys.argv[1]), pacing="fixed", keep="1min")
monitor.start()
cpu, wall = time.process_time(), time.monotonic()
time.sleep(float(sys.argv[2]))
cpu, wall = time.process_time() - cpu, time.monotonic() - wall
stats = [d.stats for d in monitor.stop().recorded.devices.values()]
late = [s["lateness"] for s in stats]
print(json.dumps({
    "polls": sum(s["polls"] for s in stats),
    "missed": sum(s["missed_deadlines"] for s in stats),
    "dropped": sum(s["dropped"] for s in stats),
    "cpu_share": cpu / wall,
    "p50_us": sorted(l["p50_ns"] for l in late)[len(late) // 2] / 1e3,
    "p99_us": max(l["p99_ns"] for l in late) / 1e3,
    "max_us": max(l["max_ns"] for l in late) / 1e3,
}))
"""


def built() -> Path:
    """The loop, compiled when it is older than its source."""
    source, program = ROOT / "bench/cpp/nvml_loop.cpp", ROOT / "build/bench/nvml_loop"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        headers = (h for root in sys.path for h in Path(root).glob("nvidia/*/include/nvml.h"))
        header = next(headers)  # of the build requirement nvidia-nvml-dev
        program.parent.mkdir(parents=True, exist_ok=True)
        include = ["-isystem", str(header.parent)]
        command = ["c++", "-std=c++20", "-O2", *include, str(source), "-o", str(program)]
        subprocess.run([*command, "-ldl", "-pthread"], check=True)
    return program


def run(seconds: float, rounds: int) -> dict[str, Any]:
    """Medians over the rounds; ``seconds`` is of each of the three altogether."""
    each = str(seconds / rounds)
    loop = str(built())
    ways = {
        "pyenergy": [sys.executable, "-c", OURS, str(RATE_HZ), each],
        "loop, a thread a device": [loop, "each", str(RATE_HZ), each],
        "loop, one thread": [loop, "one", str(RATE_HZ), each],
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    with simulated(*["h100"] * CARDS) as world:
        for card in world:
            card.square_wave(120.0, 500.0, 2.3, at_ns=0)
        environment = nvml_environment(world)
        for _ in range(rounds):
            for name, command in ways.items():
                text = subprocess.run(
                    command, env=environment, check=True, capture_output=True, text=True
                ).stdout
                found[name].append(json.loads(text))
    return {name: _summary(rows) for name, rows in found.items()}


def _summary(rows: list[dict[str, float]]) -> dict[str, float]:
    polls, missed = sum(r["polls"] for r in rows), sum(r["missed"] for r in rows)
    medians = {k: statistics.median(r[k] for r in rows) for k in ("cpu_share", "p50_us", "p99_us")}
    return {
        "polls": polls,
        "missed": missed,
        "missed_share": missed / (polls + missed),
        **medians,
        "cpu_share_a_device": medians["cpu_share"] / CARDS,
        "cpu_us_a_poll": medians["cpu_share"] * 1e6 / (polls / _seconds(rows)),
        "max_us": max(r["max_us"] for r in rows),
        "dropped": sum(r.get("dropped", 0) for r in rows),
    }


def _seconds(rows: list[dict[str, float]]) -> float:
    """Time in which the rounds' polls and misses lay, s."""
    return sum(r["polls"] + r["missed"] for r in rows) / (CARDS * RATE_HZ)


def main() -> None:
    """Run, print, perhaps save."""
    parser = argparse.ArgumentParser(prog="python -m bench.many_devices", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="of each way, all rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    began = time.perf_counter()
    results = run(arguments.seconds, arguments.rounds)
    result = {
        "machine": {**machine(), "load_before": load, "load_after": os.getloadavg()[0]},
        "devices": CARDS,
        "rate_hz": RATE_HZ,
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "wall_s": time.perf_counter() - began,
        "results": results,
    }
    print(json.dumps(result, indent=1))
    if arguments.save:
        arguments.save.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
