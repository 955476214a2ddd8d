# SPDX-License-Identifier: Apache-2.0
"""The load of a calibration: idle and busy by turns, never in step with a sensor.

A load in step with a sensor's updates shows it the same part of every period, and one whose period
is the sensor's window shows it nothing at all. So the periods lie apart from simple fractions and
multiples of the update period and from the window, and no two cycles are alike.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import _core
from .errors import DeviceError, OptionError
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._devices import Device
    from ._simulated import SimulatedCard

__all__ = ["CommandLoad", "Load", "Phase", "SimulatedLoad", "TorchLoad", "drive", "periods", "plan"]

RATIOS = (0.37, 0.61, 1.3, 1.7, 2.3)  # of the update period
_LONG_RATIOS = (0.61, 1.7)  # of a window much longer than that
_UNKNOWN_UPDATES_S = (0.02, 0.1)  # the two that most sensors have (sensor/catalog.py)
_JITTER = 0.1  # of each cycle
_NEAR = 0.15  # a period nearer to the window than this says little
_EDGE_S, _PLATEAU_S, _CHUNK_S, _CHUNK_CYCLES = 1.0, 3.0, 0.2, 10
SHORTEST_S = 5.0


_LONGEST_RUN_S = 30.0  # of a command: a phase lasts a second or two


@dataclass(frozen=True)
class Phase:
    """Busy or idle for a while.

    Attributes
    ----------
    busy : bool
    seconds : float
        How long, s.
    stage : str
        What it is for: ``"idle"``, ``"plateau"`` or ``"wave"``.
    """

    busy: bool
    seconds: float
    stage: str


def periods(update_s: float, window_s: float) -> tuple[float, ...]:
    """Base periods of the load, s, for an expected update period and window (s; below 0: unknown).

    None lies within 15 % of the window, nor of the update period or half, twice or thrice it.
    """
    updates = (update_s,) if update_s > 0 else _UNKNOWN_UPDATES_S
    found = [ratio * update for update in updates for ratio in RATIOS]
    if window_s > max(RATIOS) * updates[-1]:
        found += [ratio * window_s for ratio in _LONG_RATIOS]
    apart = [p for p in found if window_s <= 0 or abs(p / window_s - 1) > _NEAR]
    return tuple(sorted(apart))


def plan(seconds: float, update_s: float, window_s: float, seed: int | None = None) -> list[Phase]:
    """The phases of a calibration.

    An idle and a busy plateau (for the power of both, and for a meter), then chunks of a square
    wave with each of the `periods` in random order, every cycle 10 % longer or shorter and on for
    35 to 65 % of it; at least a second of idle at either end.

    Parameters
    ----------
    seconds : float
        Total, s; at least 5.
    update_s, window_s : float
        Expected of the sensor, s; below 0: unknown.
    seed : int, optional
        Of the random lengths.

    Raises
    ------
    OptionError
        When that is too short.
    """
    if not SHORTEST_S <= seconds <= 3600:
        raise OptionError(f"a calibration takes from {SHORTEST_S:g} to 3600 s, got {seconds:g}")
    rng = np.random.default_rng(seed)
    plateau = min(max(_PLATEAU_S, 3 * window_s, 0.1 * seconds), seconds / 5)
    head = [
        Phase(False, max(plateau, _EDGE_S), "idle"),
        Phase(True, plateau, "plateau"),
        Phase(False, _EDGE_S / 2, "idle"),
    ]
    left = seconds - sum(p.seconds for p in head) - _EDGE_S
    return [*head, *_wave(left, periods(update_s, window_s), rng), Phase(False, _EDGE_S, "idle")]


def _wave(left: float, bases: tuple[float, ...], rng: np.random.Generator) -> list[Phase]:
    phases: list[Phase] = []
    while left > 0:
        for base in rng.permutation(np.array(bases)):
            chunk = min(max(_CHUNK_CYCLES * base, _CHUNK_S), left)
            while chunk > 0:
                cycle = float(base * (1 + rng.uniform(-_JITTER, _JITTER)))
                on = cycle * float(rng.uniform(0.35, 0.65))
                phases += [Phase(True, on, "wave"), Phase(False, cycle - on, "wave")]
                chunk -= cycle
                left -= cycle
    return phases


class Load(Protocol):
    """Something that can keep a device busy.

    Attributes
    ----------
    name : str
        What it is, in words.
    edge_u_s : float
        How well its edges are known, s (standard uncertainty).
    notes : tuple of str
        What a reader must know.
    """

    name: str
    edge_u_s: float
    notes: tuple[str, ...]

    def run(self, until_ns: int, stage: str) -> list[tuple[int, int]]:
        """Keep the device busy until then; the busy spans, ns of CLOCK_MONOTONIC."""
        ...

    def close(self) -> None:
        """Leave the device idle."""
        ...


def drive(
    phases: Sequence[Phase],
    load: Load,
    progress: Callable[[float, str], None] | None = None,
) -> list[tuple[int, int]]:
    """Go through the phases in real time.

    A load whose phases last longer than planned leaves out the last waves, never the idle end.

    Parameters
    ----------
    phases : sequence of Phase
    load : Load
    progress : callable, optional
        Told the seconds gone and the stage.

    Returns
    -------
    list of (int, int)
        When the load ran, ns of CLOCK_MONOTONIC, in order.
    """
    spans: list[tuple[int, int]] = []
    begin = _core.now_ns()
    waves_end = begin + round((sum(p.seconds for p in phases) - phases[-1].seconds) * NS_PER_S)
    for phase in phases:
        now = _core.now_ns()
        if phase.stage == "wave" and now > waves_end:
            continue
        if progress is not None:
            progress((now - begin) / NS_PER_S, phase.stage)
        until = now + round(phase.seconds * NS_PER_S)
        if phase.busy:
            spans += load.run(until, phase.stage)
        else:
            sleep_until(until)
    return spans


def sleep_until(until_ns: int) -> None:
    """Sleep until a moment of CLOCK_MONOTONIC."""
    while (left := until_ns - _core.now_ns()) > 0:
        time.sleep(left / NS_PER_S)


class SimulatedLoad:
    """Sets the power of a simulated card (80 % of its limit); its edges are exact."""

    name = "simulated card"
    edge_u_s = 0.0
    notes: tuple[str, ...] = ()

    def __init__(self, card: SimulatedCard, busy_w: float | None = None) -> None:
        info = card.info
        self._card, self._idle_w = card, info.idle_w
        self._busy_w = 0.8 * info.limit_w if busy_w is None else busy_w
        card.set_power(self._idle_w)

    def run(self, until_ns: int, stage: str) -> list[tuple[int, int]]:
        start = _core.now_ns()
        self._card.set_power(self._busy_w, start)
        sleep_until(until_ns)
        end = _core.now_ns()
        self._card.set_power(self._idle_w, end)
        return [(start, end)]

    def close(self) -> None:
        self._card.set_power(self._idle_w)


class CommandLoad:
    """Runs a program once in each busy phase: its start and its end are the edges.

    Raises
    ------
    OptionError
        When it cannot be run, or fails.
    """

    edge_u_s = 0.002

    def __init__(self, command: str) -> None:
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise OptionError(f"cannot read the command {command!r}: {error}") from None
        if not self._arguments:
            raise OptionError("the command is empty")
        self.name = f"command {command!r}"
        self.notes: tuple[str, ...] = (
            "the load is a command: starting and ending a process blurs the edges, and the delay "
            "that is found holds the command's own start-up",
        )

    def run(self, until_ns: int, stage: str) -> list[tuple[int, int]]:
        """Once; on a plateau again and again until then."""
        spans = [self._once()]
        while stage == "plateau" and _core.now_ns() < until_ns:
            spans.append(self._once())
        return spans

    def _once(self) -> tuple[int, int]:
        start = _core.now_ns()
        try:
            done = subprocess.run(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                timeout=_LONGEST_RUN_S,
            )
        except subprocess.TimeoutExpired:
            raise OptionError(
                f"{self._arguments[0]!r} still ran after {_LONGEST_RUN_S:g} s and was stopped: the "
                "load is a program that works for a second or so and ends"
            ) from None
        except OSError as error:
            why = error.strerror or error
            raise OptionError(f"cannot run {self._arguments[0]!r}: {why}") from None
        if done.returncode != 0:
            raise OptionError(f"{self._arguments[0]!r} failed with exit code {done.returncode}")
        return start, _core.now_ns()

    def close(self) -> None:
        """Nothing runs between its phases."""


class TorchLoad:
    """Matrix products of about a millisecond each, at most two queued, on torch's CUDA device.

    Raises
    ------
    DeviceError
        When torch is not installed, has no CUDA, or does not see the device.
    """

    name = "torch matrix products"
    edge_u_s = 100e-6  # launch and synchronise
    notes: tuple[str, ...] = ()

    def __init__(self, device: Device) -> None:
        try:
            import torch
        except ImportError:
            raise DeviceError(
                "the load needs torch: pip install torch, or give --command CMD"
            ) from None
        if not torch.cuda.is_available():
            raise DeviceError("torch sees no CUDA device; give --command CMD to load the GPU")
        self._torch: Any = torch
        self._index = _torch_index(torch.cuda, device)
        self._matrices: list[Any] = []
        with torch.cuda.device(self._index):
            self._size()

    def _size(self) -> None:
        """Grow the matrices until a product lasts a millisecond; this warms up, too."""
        torch, n = self._torch, 512
        while True:
            a = torch.randn(n, n, device="cuda", dtype=torch.float16)
            self._matrices = [a, a.T.contiguous(), torch.empty_like(a)]
            for _ in range(3):
                self._launch()
            torch.cuda.synchronize()
            start = _core.now_ns()
            for _ in range(10):
                self._launch()
            torch.cuda.synchronize()
            if (_core.now_ns() - start) / 10 >= 0.7e6 or n >= 16384:
                return
            n = n * 5 // 4 // 64 * 64

    def _launch(self) -> None:
        a, b, out = self._matrices
        self._torch.mm(a, b, out=out)

    def run(self, until_ns: int, stage: str) -> list[tuple[int, int]]:
        cuda = self._torch.cuda
        with cuda.device(self._index):
            events = [cuda.Event(), cuda.Event()]
            start = _core.now_ns()
            launched = 0
            while _core.now_ns() < until_ns:
                event = events[launched % 2]
                if launched >= 2:
                    event.synchronize()
                self._launch()
                event.record()
                launched += 1
            cuda.synchronize()
        return [(start, _core.now_ns())]

    def close(self) -> None:
        self._matrices = []
        self._torch.cuda.synchronize(self._index)


def _torch_index(cuda: Any, device: Device) -> int:
    """torch's number of a device: by UUID where torch tells it, else both count alike."""
    count = int(cuda.device_count())
    uuids = [str(getattr(cuda.get_device_properties(i), "uuid", "")) for i in range(count)]
    for index, uuid in enumerate(uuids):
        if uuid and device.meta.uuid.lower().endswith(uuid.lower()):
            return index
    index = int(device.id.split(":")[1])
    if index >= count or uuids[index]:
        raise DeviceError(f"torch does not see {device}: it has {count} CUDA device(s)")
    return index
