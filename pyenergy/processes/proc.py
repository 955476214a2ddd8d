# SPDX-License-Identifier: Apache-2.0
"""CPU time of processes and of the machine, as /proc tells it (or $PYENERGY_PROC_ROOT)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TICK_S", "CpuTotals", "ProcessTicks", "cpu_totals", "descendants", "process_ticks"]

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
"""Resolution of all these times, s."""


@dataclass(frozen=True)
class CpuTotals:
    """Ticks since boot, all processors together.

    Attributes
    ----------
    busy : int
        Neither idle nor waiting for input and output; stolen time is nobody's here.
    total : int
    processors : int
    """

    busy: int
    total: int
    processors: int


@dataclass(frozen=True)
class ProcessTicks:
    """One process's ticks since it began.

    Attributes
    ----------
    pid : int
    started : int
        Ticks from boot to its start: with the pid it names a process for ever.
    name : str
        As the kernel cuts it, 15 bytes.
    own : int
        Of its threads, in user and kernel mode.
    ended : int
        Of its children that have ended and were waited for, and of theirs.
    """

    pid: int
    started: int
    name: str
    own: int
    ended: int


def proc_root() -> Path:
    return Path(os.environ.get("PYENERGY_PROC_ROOT") or "/proc")


def cpu_totals() -> CpuTotals:
    """What ``/proc/stat`` says now.

    Raises
    ------
    OSError, ValueError
        When it cannot be read, or is none.
    """
    lines = (proc_root() / "stat").read_text().splitlines()
    words = lines[0].split() if lines else []
    if len(words) < 8 or words[0] != "cpu":
        raise ValueError("it does not begin with the times of all processors")
    ticks = [int(word) for word in words[1:8]]  # guests are in user time already
    processors = sum(line.startswith("cpu") for line in lines[1:])
    return CpuTotals(sum(ticks) - ticks[3] - ticks[4], sum(ticks), max(processors, 1))


def process_ticks(pid: int) -> ProcessTicks | None:
    """One process now; None: there is none (any more)."""
    try:
        text = (proc_root() / str(pid) / "stat").read_bytes().decode(errors="replace")
        name, _, rest = text.partition("(")[2].rpartition(")")
        words = rest.split()
        user, system, ended_user, ended_system = (int(word) for word in words[11:15])
        return ProcessTicks(
            pid, int(words[19]), name, user + system, max(ended_user, 0) + max(ended_system, 0)
        )
    except (OSError, ValueError, IndexError):
        return None


def descendants(pid: int) -> list[int]:
    """``pid`` and its children, and theirs, now."""
    told = (proc_root() / str(pid) / "task" / str(pid) / "children").exists()
    parents = {} if told else _parents()  # kernels without CONFIG_PROC_CHILDREN
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        children = _children(found[-1]) if told else parents.get(found[-1], ())
        todo += [child for child in children if child not in found]
    return found


def _children(pid: int) -> list[int]:
    """Children of all its threads; a process that has ended has none."""
    found: list[int] = []
    try:
        threads = os.listdir(proc_root() / str(pid) / "task")
    except OSError:
        return found
    for thread in threads:
        try:
            text = (proc_root() / str(pid) / "task" / thread / "children").read_text()
        except OSError:
            continue
        found += [int(word) for word in text.split() if word.isdecimal()]
    return found


def _parents() -> dict[int, list[int]]:
    """Children of every process that /proc shows."""
    found: dict[int, list[int]] = {}
    for name in os.listdir(proc_root()):
        if not name.isdecimal():
            continue
        try:
            words = (proc_root() / name / "stat").read_bytes().rpartition(b")")[2].split()
            found.setdefault(int(words[1]), []).append(int(name))
        except (OSError, ValueError, IndexError):
            continue
    return found
