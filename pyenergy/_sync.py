# SPDX-License-Identifier: Apache-2.0
"""GPU work is asynchronous: wait for it at the edges of a trace."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._devices import Device

__all__ = ["gpu_indices", "synchronize"]


def synchronize(devices: Sequence[Device]) -> None:
    """Wait for all work queued by torch on the GPUs among ``devices``.

    Does nothing where torch is not loaded or has not initialised CUDA: then no work of this
    process is under way. ``gpu:i`` is torch's ``cuda:i``, both count in CUDA's visible order.
    """
    indices = gpu_indices(devices)
    if any(d.info.source == "dcgm" for d in devices):  # DCGM's numbers are not CUDA's: all of them
        indices = _torch_gpus()
    for index in indices:
        sys.modules["torch"].cuda.synchronize(index)


def gpu_indices(devices: Sequence[Device]) -> list[int]:
    """torch's numbers of the GPUs among ``devices``; none where it cannot have queued work."""
    numbers = [int(d.id.split(":")[1]) for d in devices if d.info.source == "nvml"]
    return [number for number in numbers if number in _torch_gpus()]


def _torch_gpus() -> list[int]:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return []
    return list(range(cuda.device_count()))
