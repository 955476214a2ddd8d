# SPDX-License-Identifier: Apache-2.0
"""`start` and `stop`: samplers that run before the first trace and between traces."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from . import _devices, _hub, _settling
from .config import Sampling

if TYPE_CHECKING:
    from ._devices import DevicesLike
    from ._hub import SharedStream

__all__ = ["start", "stop"]

_lock = threading.RLock()
_held: list[tuple[int, SharedStream]] = []


def start(
    devices: DevicesLike = "auto",
    *,
    rate_hz: float | None = None,
    pacing: str = "auto",
    update_period_s: float | None = None,
) -> None:
    """Let the samplers of ``devices`` run until `stop`.

    A trace that opens later finds readings from before its start: its first edge is then as well
    known as its last. Takes the options of `trace`; may be called several times. It may run for
    ever: what is older than any trace needs is forgotten.

    Raises
    ------
    OptionError, DeviceError
        For options that cannot be and devices that do not exist.

    Examples
    --------
    >>> import pyenergy
    >>> pyenergy.start("sim:a100")
    >>> with pyenergy.trace(devices="sim:a100") as t:
    ...     pass
    >>> pyenergy.stop()
    """
    sampling = Sampling(rate_hz, pacing, update_period_s)
    found = [_hub.acquire(device, sampling) for device in _devices.resolve(devices)]
    with _lock:
        _held.extend((_hub.generation(), shared) for shared in found)
    for _ in found:
        _settling.hold()


def stop() -> None:
    """End what `start` began; traces that are open go on. Without `start` it does nothing."""
    with _lock:
        held = list(_held)
        _held.clear()
    for generation, shared in held:
        if generation == _hub.generation():  # a fork's parent keeps its own
            shared.release()
            _settling.let_go()
