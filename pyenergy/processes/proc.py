# SPDX-License-Identifier: Apache-2.0
"""CPU time of processes and of the machine, as /proc tells it (or $PYENERGY_PROC_ROOT)."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["TICK_S", "CpuTotals", "ProcessTicks", "cpu_totals", "descendants", "process_ticks"]

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
"""Resolution of all these times, s."""

_CHUNK = 1 << 14  # bytes


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


def proc_root() -> str:
    return os.environ.get("PYENERGY_PROC_ROOT") or "/proc"


def _read(path: str) -> bytes:
    """A whole file: without buffers and objects, as this is done for many."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = part = os.read(file, _CHUNK)
        while part:
            part = os.read(file, _CHUNK)
            text += part
        return text
    finally:
        os.close(file)


def cpu_totals() -> CpuTotals:
    """What ``/proc/stat`` says now.

    Raises
    ------
    OSError, ValueError
        When it cannot be read, or is none.
    """
    lines = _read(f"{proc_root()}/stat").split(b"\n")
    words = lines[0].split()
    if len(words) < 8 or words[0] != b"cpu":
        raise ValueError("it does not begin with the times of all processors")
    ticks = [int(word) for word in words[1:8]]  # guests are in user time already
    processors = sum(line.startswith(b"cpu") for line in lines[1:])
    return CpuTotals(sum(ticks) - ticks[3] - ticks[4], sum(ticks), max(processors, 1))


def process_ticks(pid: int) -> ProcessTicks | None:
    """One process now; None: there is none (any more)."""
    try:
        text = _read(f"{proc_root()}/{pid}/stat")
        name, _, rest = text.partition(b"(")[2].rpartition(b")")
        words = rest.split()
        user, system, ended_user, ended_system = (int(word) for word in words[11:15])
        return ProcessTicks(
            pid,
            int(words[19]),
            name.decode(errors="replace"),
            user + system,
            max(ended_user, 0) + max(ended_system, 0),
        )
    except (OSError, ValueError, IndexError):
        return None


def descendants(pid: int) -> list[int]:
    """``pid`` and its children, and theirs, now."""
    told = os.path.exists(f"{proc_root()}/{pid}/task/{pid}/children")
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
    folder = f"{proc_root()}/{pid}/task"
    try:
        threads = os.listdir(folder)
    except OSError:
        return found
    for thread in threads:
        try:
            words = _read(f"{folder}/{thread}/children").split()
        except OSError:
            continue
        found += [int(word) for word in words if word.isdigit()]
    return found


def _parents() -> dict[int, list[int]]:
    """Children of every process that /proc shows."""
    found: dict[int, list[int]] = {}
    for name in os.listdir(proc_root()):
        if not name.isdecimal():
            continue
        try:
            words = _read(f"{proc_root()}/{name}/stat").rpartition(b")")[2].split()
            found.setdefault(int(words[1]), []).append(int(name))
        except (OSError, ValueError, IndexError):
            continue
    return found
