# SPDX-License-Identifier: Apache-2.0
"""Feeds a recording back as if it were live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .store import load

if TYPE_CHECKING:
    from .series import DeviceData

__all__ = ["register"]


def register(path: str) -> dict[str, str]:
    """Make the devices of a recording known to the core; returns {device id: replay key}.

    Raises
    ------
    RecordingError
        When the file cannot be read.
    """
    keys = {}
    for device_id, device in load(path).devices.items():
        key = f"{Path(path).resolve()}#{device_id}"
        _core.register_replay(key, _info(device, key), _channels(device), *_samples(device))
        keys[device_id] = key
    return keys


def _info(device: DeviceData, key: str) -> _core.DeviceInfo:
    meta = device.meta
    return _core.DeviceInfo(
        source="replay",
        kind=meta.kind,
        uuid=meta.uuid,
        name=meta.name,
        pci_bus_id=meta.pci_bus_id,
        architecture=meta.architecture,
        driver=meta.driver,
        power_min_w=meta.power_min_w,
        power_max_w=meta.power_max_w,
        argument=key,
        notes=[*meta.notes, f"replayed from {key}"],
    )


def _channels(device: DeviceData) -> list[dict[str, Any]]:
    return [
        {
            "name": c.name,
            "unit": c.unit,
            "kind": c.kind,
            "source": c.source,
            "scope": c.scope,
            "note": c.note,
            "update_ns": c.update_ns,
            "window_ns": c.window_ns,
            "delay_ns": c.delay_ns,
        }
        for c in device.channels.values()
    ]


def _samples(device: DeviceData) -> tuple[Any, ...]:
    """(t_ns, read_ns, value, channel, flags) of the first and last read of every run, by time."""
    parts = []
    for index, name in enumerate(device.channels):
        runs = device.runs[name]
        for t, read, again in (
            (runs.t_first_ns, runs.read_first_ns, False),
            (runs.t_last_ns, runs.read_last_ns, True),
        ):
            keep = runs.count > 1 if again else np.ones(len(runs), bool)
            flags = runs.flags & np.uint32(0xFFFF)
            if again:  # what happened before a run is told by its first read
                flags = flags & ~np.uint32(_core.FLAG_GAP_BEFORE | _core.FLAG_CONTINUES)
            channel = np.full(int(keep.sum()), index, np.uint16)
            parts.append((t[keep], read[keep], runs.value[keep], channel, flags[keep]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return tuple(column[order] for column in columns)
