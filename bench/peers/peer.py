# SPDX-License-Identifier: Apache-2.0
"""What the runners share; the standard library only, for each has an interpreter of its own.

A runner sets its tool up and says that it is ready. Then each line on its standard input is one
scenario: it opens and closes the tool's windows at the times asked for, and answers in one line
with what the tool found, when the windows really were, and the CPU time that this took.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# The last of each wait is spun: work starts and ends with its caller's calls, but a sleeper wakes
# 0.1 ms to 1 ms after the simulated GPU's power has changed.
_SPIN_NS = 1_500_000
# Windows open so long before the simulated GPU works: a caller's work begins once the tool's call
# has returned, and the first call after a sleep takes 0.1 ms in any Python.
_OPENING_NS = 200_000


class Tool:
    """One tool. ``answers`` has one entry for each window of the scenario, in order."""

    version = ""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []

    def start(self) -> None:
        """Before the first window of a scenario."""

    def begin(self, label: str) -> None:
        """Open a window."""
        raise NotImplementedError

    def end(self) -> None:
        """Close it."""
        raise NotImplementedError

    def stop(self) -> None:
        """After the scenario; what answers late answers here."""

    def close(self) -> None:
        """Before the process ends."""

    def answer(self, joules: float | None, **more: float) -> None:
        """Keep a window's energy; NaN or None: the tool gives none."""
        known = joules is not None and math.isfinite(joules)
        self.answers.append({"joules": joules if known else None, **more})


def serve(tool: Tool) -> None:
    """Run scenarios until there are no more; whatever the tool itself prints goes to stderr."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _say(channel, {"version": tool.version})
    for line in sys.stdin:
        _say(channel, _run(tool, json.loads(line)))
    tool.close()


def _say(channel: TextIO, what: dict[str, Any]) -> None:
    channel.write(json.dumps(what) + "\n")
    channel.flush()


def _run(tool: Tool, plan: dict[str, Any]) -> dict[str, Any]:
    """One scenario; the stamps lie just inside the tool's calls: what a caller's work would be."""
    tool.answers = []
    stamps = []
    spun = 0.0  # CPU time that is not the tool's
    began, cpu = time.monotonic_ns(), _cpu_s()
    tool.start()
    for label, start_ns, end_ns in plan["windows"]:
        spun += _wait_until(start_ns - _OPENING_NS)
        tool.begin(label)
        opened = time.monotonic_ns()
        spun += _wait_until(end_ns)
        stamps.append((opened, time.monotonic_ns()))
        tool.end()
    spun += _wait_until(plan["end_ns"])
    cpu_run, ended = _cpu_s() - cpu, time.monotonic_ns()
    tool.stop()
    return {
        "answers": tool.answers,
        "stamps": stamps,
        "run_s": (ended - began) / 1e9,
        "cpu_s": cpu_run - spun,
        "answer_cpu_s": _cpu_s() - cpu - cpu_run,
    }


def _wait_until(t_ns: int) -> float:
    """Returns the CPU time, in s, that the end of the wait took of this thread."""
    while (left := t_ns - _SPIN_NS - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)
    began = time.thread_time()
    while time.monotonic_ns() < t_ns:
        pass
    return time.thread_time() - began


def _cpu_s() -> float:
    """CPU time of this process and of those that it polls in, if any."""
    ticks, multiprocessing = 0, sys.modules.get("multiprocessing")
    for child in multiprocessing.active_children() if multiprocessing else ():
        # After the command's name, which may hold anything: state, parent, ...
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / _TICKS_PER_S
