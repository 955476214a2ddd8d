# SPDX-License-Identifier: Apache-2.0
"""``devices="node"``: all of a machine that can be measured, nothing twice, and what is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._devices import Device

__all__ = ["Found", "Node", "node_of"]

_NEVER = (
    "fans",
    "power supply losses",
    "network cards and disks",
    "the rest of the board, voltage regulators included",
)


@dataclass(frozen=True)
class Found:
    """What a machine has.

    Attributes
    ----------
    gpus : sequence of Device
        Visible GPUs with a readable power.
    silent : sequence of Device
        Visible GPUs without.
    cpus, dram : sequence of Device
        CPU packages and their memory with a sensor.
    modules : sequence of Device
        Sensors of a module that holds CPU, GPU and memory (Jetson, Grace).
    whole : sequence of str
        Ids of GPUs whose power is that of a module with its CPU (superchips).
    why_no_cpu, why_no_dram : str
        What a user can do about those that are absent.
    psys : bool
        Whether the platform has a counter of its own.
    """

    gpus: Sequence[Device]
    silent: Sequence[Device]
    cpus: Sequence[Device]
    dram: Sequence[Device]
    modules: Sequence[Device]
    whole: Sequence[str]
    why_no_cpu: str
    why_no_dram: str
    psys: bool


@dataclass(frozen=True)
class Node:
    """The devices that add up to the node, and what of it they leave out, in words."""

    devices: tuple[Device, ...]
    not_measured: tuple[str, ...]


def node_of(found: Found) -> Node:
    """Choose devices that contain none of each other."""
    if found.whole:
        # The CPU and its memory are in the module's power: added, they would count twice.
        return Node(tuple(found.gpus), _left_out(found, cpu=True, dram=True))
    if found.modules and not found.gpus:
        return Node(tuple(found.modules), _left_out(found, cpu=True, dram=True))
    devices = (*found.gpus, *found.cpus, *found.dram)
    return Node(devices, _left_out(found, cpu=bool(found.cpus), dram=bool(found.dram)))


def _left_out(found: Found, cpu: bool, dram: bool) -> tuple[str, ...]:
    """What the node has and the sum has not; ``cpu``, ``dram``: they are in the sum."""
    missing = [f"{gpu.id} ({gpu.meta.name}): it has no readable power" for gpu in found.silent]
    if not cpu:
        missing.append(f"CPU: {found.why_no_cpu}; devices='node+estimate' adds an estimate of it")
    if not dram:
        missing.append(f"DRAM: {found.why_no_dram}")
    rest = ", ".join(_NEVER)
    if found.psys:
        rest += " (some of it is in devices='psys', the platform's counter, in a trace of its own)"
    return (*missing, rest)
