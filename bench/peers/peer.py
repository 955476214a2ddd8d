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
    began, cpu = time.monotonic_ns(), _cpu_s()
    tool.start()
    for label, start_ns, end_ns in plan["windows"]:
        _sleep_until(start_ns)
        tool.begin(label)
        opened = time.monotonic_ns()
        _sleep_until(end_ns)
        stamps.append((opened, time.monotonic_ns()))
        tool.end()
    _sleep_until(plan["end_ns"])
    cpu_run, ended = _cpu_s() - cpu, time.monotonic_ns()
    tool.stop()
    return {
        "answers": tool.answers,
        "stamps": stamps,
        "run_s": (ended - began) / 1e9,
        "cpu_s": cpu_run,
        "answer_cpu_s": _cpu_s() - cpu - cpu_run,
    }


def _sleep_until(t_ns: int) -> None:
    while (left := t_ns - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


def _cpu_s() -> float:
    """CPU time of this process and of those that it polls in, if any."""
    ticks, multiprocessing = 0, sys.modules.get("multiprocessing")
    for child in multiprocessing.active_children() if multiprocessing else ():
        # After the command's name, which may hold anything: state, parent, ...
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / _TICKS_PER_S
