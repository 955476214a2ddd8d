# SPDX-License-Identifier: Apache-2.0
"""GPU work is asynchronous: wait for it at the edges of a trace."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._devices import Device

__all__ = ["synchronize"]


def synchronize(devices: Sequence[Device]) -> None:
    """Wait for all work queued by torch on the GPUs among ``devices``.

    Does nothing where torch is not loaded or has not initialised CUDA: then no work of this
    process is under way. ``gpu:i`` is torch's ``cuda:i``, both count in CUDA's visible order.
    """
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return
    count = cuda.device_count()
    for device in devices:
        index = int(device.id.split(":")[1])
        if device.info.source == "nvml" and index < count:
            cuda.synchronize(index)
