# SPDX-License-Identifier: Apache-2.0
"""What must be said about a device's readings, whatever window is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _core
from .sensor.catalog import POWER_CHANNELS
from .units import engineering

if TYPE_CHECKING:
    from .recording.series import DeviceData

__all__ = ["standing_notes", "why_nothing"]


def why_nothing(device: DeviceData) -> str:
    """Why a device has no energy."""
    runs = device.runs.get("power")
    if runs is None:
        return "it has no power sensor that can be read"
    if len(runs) == 0:
        return "no power reading arrived"
    if bool(((runs.flags & _core.FLAG_INVALID) != 0).all()):
        return "every power reading was impossible"
    status = sorted({int(flag) >> 16 for flag in runs.flags})
    return f"every power reading failed (status {', '.join(map(str, status))})"


def standing_notes(device: DeviceData, channel: str, bounds_ns: tuple[int, int]) -> list[str]:
    """What holds for every window of this device."""
    runs = device.runs[channel]
    inside = (runs.read_last_ns >= bounds_ns[0]) & (runs.t_first_ns <= bounds_ns[1])
    device_id = device.meta.id
    notes = [f"{device_id}: {note}" for note in device.meta.notes]
    if device.channels[channel].note:
        notes.append(f"{device_id}: {device.channels[channel].note}")
    if channel != "power" and "power" in device.channels:
        notes.append(f"{device_id}: {why_nothing(device)}; '{channel}' serves instead")
    dropped = device.stats.get("dropped_in_trace", 0)
    if dropped:
        notes.append(f"{device_id}: {dropped} samples were dropped; their gaps are accounted for")
    missing = int(runs.count[inside & ((runs.flags & _core.FLAG_MISSING) != 0)].sum())
    if missing:
        notes.append(f"{device_id}: {missing} reads failed")
    invalid = int(runs.count[inside & ((runs.flags & _core.FLAG_INVALID) != 0)].sum())
    if invalid:
        notes.append(f"{device_id}: {invalid} readings were impossible and not used")
    highest = float(np.max(runs.value[inside & runs.usable], initial=0.0))
    if channel in POWER_CHANNELS and highest > 1.1 * device.meta.power_max_w:
        notes.append(
            f"{device_id}: readings reach {engineering(highest, 'W')}, the device's limit is "
            f"{engineering(device.meta.power_max_w, 'W')}"
        )
    counter = device.runs.get("energy")
    if counter is not None and bool(((counter.flags & _core.FLAG_RESET) != 0).any()):
        notes.append(f"{device_id}: the energy counter was reset or ran backwards")
    return notes
