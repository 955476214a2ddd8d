# SPDX-License-Identifier: Apache-2.0
"""Devices that contain each other: their sum would count the same joules twice."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from . import _core
from .errors import DeviceError
from .sensor.catalog import POWER_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._devices import Device

__all__ = ["holds_its_cpu", "refuse_overlaps"]

_UNREAL = ("sim", "replay")  # on no machine's board
# What a sensor of a kind contains of other sensors' kinds, on the same machine.
_CONTAINS = {
    "platform": ("cpu", "dram", "gpu", "module", "rail"),
    "module": ("cpu", "dram", "gpu", "rail"),
    "cpu": ("rail",),
}


def refuse_overlaps(devices: Sequence[Device]) -> None:
    """Refuse to sum a device with what it contains.

    Raises
    ------
    DeviceError
        Naming both.
    """
    for whole, part in permutations(devices, 2):
        if why := _overlap(whole, part):
            raise DeviceError(
                f"{whole.id} {why} {part.id}: their sum would count the same joules twice; "
                "measure each in a trace of its own (they share one sampler)"
            )


def holds_its_cpu(device: Device) -> bool:
    """Whether a GPU's power is that of its module, CPU and memory included (superchips)."""
    if device.info.kind != "gpu" or device.info.source in _UNREAL:
        return False
    try:
        channels = _core.open_channels(device.info)
    except RuntimeError:
        return False  # whoever opens it to measure is told why not
    power = next((c for c in channels if c.name in POWER_CHANNELS), None)
    return power is not None and power.scope == "module"


def _overlap(whole: Device, part: Device) -> str:
    one, other = whole.info, part.info
    if one.source in _UNREAL or other.source in _UNREAL:
        return ""
    if one.source == other.source:
        return "contains" if one.argument and one.argument in _above(part) else ""
    if one.kind == other.kind == "cpu":
        return "is the same package as"
    if one.kind == "gpu" and other.kind in ("cpu", "dram", "rail") and holds_its_cpu(whole):
        return "is read as a module that contains"
    return "contains" if other.kind in _CONTAINS.get(one.kind, ()) else ""


def _above(part: Device) -> list[str]:
    """What contains a device, and what contains that."""
    if not part.info.part_of:
        return []
    parents = {info.argument: info.part_of for info in _core.enumerate(part.info.source).devices}
    found, above = [], part.info.part_of
    while above and above not in found:
        found.append(above)
        above = parents.get(above, "")
    return found
