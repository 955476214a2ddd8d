# SPDX-License-Identifier: Apache-2.0
"""Processes that record to a path until something ends them, and what is then to be there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import pyenergy
from pyenergy import _core
from pyenergy.testing import SimulatedWorld

POWER_W = 250.0

RECORDER = """
import sys, time
import pyenergy
with pyenergy.trace(devices="sim", path=sys.argv[1]) as t:
    with pyenergy.mark("first"):
        t.annotate(run=7)
    print("open", flush=True)
    while True:
        with pyenergy.mark("step"):
            time.sleep(0.003)
"""


@contextmanager
def recorder(path: Path, code: str = RECORDER) -> Iterator[subprocess.Popen[str]]:
    """A process that records to ``path``, once its trace is open."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def killed(path: Path, after_s: float, number: int = signal.SIGKILL) -> int:
    """Record until a signal ends it; when that was, ns."""
    with recorder(path) as process:
        time.sleep(after_s)
        now_ns = pyenergy.now_ns()
        process.send_signal(number)
        process.wait(10)
        return now_ns


def assert_true(trace: pyenergy.Trace, world: SimulatedWorld) -> None:
    """Every value is what the card had, and the energy is its energy."""
    runs = trace.recorded.devices["gpu:0"].runs
    assert runs["power"].usable.all()
    assert (runs["power"].value == POWER_W).all()
    energy = runs["energy"]
    assert energy.usable.all()
    assert not (energy.flags & _core.FLAG_RESET).any()
    rise_j = (energy.value - energy.value[0]) - POWER_W * (
        energy.t_first_ns - energy.t_first_ns[0]
    ) / 1e9
    assert np.abs(rise_j).max() < POWER_W * 0.005  # within a read or two
    truth = world[0].true_energy_j(*trace.bounds_ns)
    assert abs(trace.energy.joules - truth) <= 4 * trace.energy.u + 1e-9
