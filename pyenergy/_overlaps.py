# SPDX-License-Identifier: Apache-2.0
"""Devices that contain each other: their sum would count the same joules twice."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from . import _core
from .errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._devices import Device

__all__ = ["refuse_overlaps"]

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


def _overlap(whole: Device, part: Device) -> str:
    one, other = whole.info, part.info
    if one.source in _UNREAL or other.source in _UNREAL:
        return ""
    if one.source == other.source:
        return "contains" if one.argument and one.argument in _above(part) else ""
    if one.kind == other.kind == "cpu":
        return "is the same package as"
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
