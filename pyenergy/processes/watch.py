# SPDX-License-Identifier: Apache-2.0
"""The thread that watches processes while a trace runs. It is no sampler: five times a second."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from .. import _core
from .cpu import CpuUse
from .gpu import GpuUse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..recording.series import DeviceMeta
    from .usage import Usage

__all__ = ["CPU", "KEY", "ProcessWatch"]

KEY = "processes"  # in a recording's extra values
CPU = "cpu"  # all packages together: a process is on any of them

_PERIOD_S = 0.2
_LONGEST_S = 5.0
_LONGEST_WAIT_S = 0.5
_MOST_SHARE = 5e-3  # of a core; with many processes it looks more rarely


class _Use(Protocol):
    problem: str

    def sample(self, t_ns: int) -> None: ...
    def usage(self) -> Usage: ...


class ProcessWatch:
    """Watches from `start` to `stop`, then tells what it saw as JSON values."""

    def __init__(self, devices: Iterable[DeviceMeta]) -> None:
        self._uses: dict[str, _Use] = {}
        self._whole: dict[str, str] = {}  # devices that nobody can share, and why
        for device in devices:
            if device.kind == "cpu":
                self._uses.setdefault(CPU, CpuUse())
            elif device.source == "nvml":
                self._uses[device.id] = GpuUse(device.uuid)
            else:
                self._whole[device.id] = _why_not(device)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._stuck = False

    def start(self) -> None:
        """Begin to watch."""
        self._sample()
        if self._uses:
            self._thread = threading.Thread(
                target=self._run, name="pyenergy-processes", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Look for the last time."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_LONGEST_WAIT_S)
            if self._thread.is_alive():
                self._stuck = True  # a call of the driver does not return: whoever leaves goes on
                return
        self._sample()

    def described(self) -> dict[str, Any]:
        """What was seen: ``use`` by device and ``whole``, those that cannot be shared and why."""
        use, whole = {}, dict(self._whole)
        if self._stuck:
            why = "the thread that watches processes did not answer when the trace ended"
            return {"use": {}, "whole": whole | dict.fromkeys(self._uses, why)}
        for name, each in self._uses.items():
            usage = each.usage()
            if each.problem or len(usage.t_ns) < 2:
                whole[name] = each.problem or "it was watched for less than two samples"
            else:
                use[name] = usage.described()
        return {"use": use, "whole": whole}

    def _run(self) -> None:
        period_s, ticks = _PERIOD_S, 0
        while not self._over.wait(period_s):
            self._sample()
            ticks += 1
            cost_s = time.thread_time() / ticks
            period_s = min(max(_PERIOD_S, cost_s / _MOST_SHARE), _LONGEST_S)

    def _sample(self) -> None:
        for use in self._uses.values():
            use.sample(_core.now_ns())


def _why_not(device: DeviceMeta) -> str:
    if device.kind == "gpu":
        return f"only NVML tells who uses a GPU; this one is read by {device.source}"
    if device.kind == "dram":
        return "nothing tells whose memory accesses they were"
    return "nothing tells who used it"
