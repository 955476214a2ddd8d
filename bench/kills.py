# SPDX-License-Identifier: Apache-2.0
"""``python -m bench.kills [--kills 200] [--save F]``: ``kill -9`` at random moments of a recording.

Each process records a simulated card whose power and energy are known exactly, and which counts how
often it was read. What is recovered must have no value that the card never had, and lack no read.
``unread`` is the time from the last read to the kill: what the machine kept the sampler waiting.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import pyenergy
from pyenergy.recording.recover import recover
from pyenergy.testing import SimulatedWorld, simulated

from .harness import machine

POWER_W = 250.0
PERIOD_MS = 1.0
SEED = 7

RECORDER = """
import sys, time
import pyenergy
with pyenergy.trace(devices="sim", path=sys.argv[1]) as t:
    print("open", flush=True)
    while True:
        with pyenergy.mark("step"):
            time.sleep(0.003)
"""


def one(path: Path, after_s: float) -> int:
    """Record, and kill after so long; when that was, ns."""
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after_s)
    now_ns = pyenergy.now_ns()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return now_ns


def wrong(trace: pyenergy.Trace, world: SimulatedWorld) -> int:
    """How many values the card never had; an energy beyond its interval is one."""
    runs = trace.recorded.devices["gpu:0"].runs
    power, energy = runs["power"], runs["energy"]
    bad = int((~power.usable | (power.value != POWER_W)).sum())
    since_s = (energy.t_first_ns - energy.t_first_ns[0]) / 1e9
    off_j = energy.value - energy.value[0] - POWER_W * since_s
    # Each read takes its time, the first as well; the card counts in millijoules every so often.
    took_ns = 2 * (energy.read_first_ns - energy.t_first_ns).max()
    tick_ns = max(trace.recorded.devices["gpu:0"].channels["energy"].update_ns, 0)
    allowed_j = POWER_W * (took_ns + tick_ns) / 1e9 + 2e-3
    bad += int((~energy.usable | (np.abs(off_j) > allowed_j)).sum())
    if trace.duration_s == 0.0:  # killed between its start and the next read
        return bad
    truth = world[0].true_energy_j(*trace.bounds_ns)
    return bad + int(abs(trace.energy.joules - truth) > 4 * trace.energy.u + 1e-9)


def main() -> None:
    """Kill, recover, count."""
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--save", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    random_s = random.Random(SEED)
    unread_ms, lost, refused, bad = [], [], [], 0
    with tempfile.TemporaryDirectory() as folder, simulated("ideal") as world:
        world[0].set_power(POWER_W, at_ns=0)
        for number in range(arguments.kills):
            path = Path(folder) / f"run{number}"
            before = world[0].calls("fields")
            end_ns = one(path, random_s.uniform(0.0, 0.6))
            try:
                trace = pyenergy.load(recover(path)[0])
            except pyenergy.PyEnergyError as error:
                refused.append(str(error))
                continue
            kept = int(trace.recorded.devices["gpu:0"].runs["power"].count.sum())
            lost.append(world[0].calls("fields") - before - kept)
            unread_ms.append((end_ns - trace.bounds_ns[1]) / 1e6)
            bad += wrong(trace, world)
    result = {
        "machine": machine(),
        "kills": arguments.kills,
        "recovered": len(lost),
        "refused": refused,
        "wrong_values": bad,
        "lost_reads": {"none": lost.count(0), "one": lost.count(1), "most": max(lost)},
        "lost_ms_at_most": max(lost) * PERIOD_MS,
        "unread_ms": {
            name: float(np.quantile(unread_ms, q))
            for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
        },
    }
    print(json.dumps(result, indent=2))
    if arguments.save:
        arguments.save.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
