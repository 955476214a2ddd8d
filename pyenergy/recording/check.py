# SPDX-License-Identifier: Apache-2.0
"""Whether a recording that was read from a file can be one: nothing else may be computed from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..errors import RecordingError

if TYPE_CHECKING:
    from .recorded import Recorded
    from .series import ChannelMeta, DeviceData, Runs

__all__ = ["check"]

_UNITS = {"power": "W", "power_average": "W", "power_samples": "W", "energy": "J"}
_LARGEST_W = 1e6  # a reading beyond it is no device's


def check(recorded: Recorded) -> None:
    """Refuse what no sampler can have written.

    Raises
    ------
    RecordingError
        Naming what is wrong.
    """
    if not recorded.devices:
        raise RecordingError("it holds no device")
    if recorded.bounds_ns[1] < recorded.bounds_ns[0]:
        raise RecordingError("it ends before it starts")
    if not isinstance(recorded.extra, dict) or not isinstance(recorded.provenance, dict):
        raise RecordingError("its description is damaged")
    for device in recorded.devices.values():
        _check_device(device)
    for mark in recorded.marks:
        if not isinstance(mark.name, str) or not mark.is_sound():
            raise RecordingError(f"the mark {mark.name!r} is damaged")


def _check_device(device: DeviceData) -> None:
    meta = device.meta
    if not isinstance(device.stats, dict) or not isinstance(device.gap_ns, int):
        raise RecordingError(f"{meta.id}: its statistics are damaged")
    for bound in (meta.power_min_w, meta.power_max_w):
        if not isinstance(bound, (int, float)) or math.isinf(bound):
            raise RecordingError(f"{meta.id}: its power bounds are no numbers")
    for name, channel in device.channels.items():
        _check_channel(f"{meta.id}/{name}", channel, device.runs[name])


def _check_channel(name: str, channel: ChannelMeta, runs: Runs) -> None:
    if _UNITS.get(channel.name, channel.unit) != channel.unit:
        raise RecordingError(f"{name} is in {channel.unit}, not {_UNITS[channel.name]}")
    times = np.stack([runs.t_first_ns, runs.t_last_ns], axis=1).ravel()
    if bool((np.diff(times) < 0).any()):
        raise RecordingError(f"{name}: times decrease")
    if bool((runs.read_first_ns < runs.t_first_ns).any()):
        raise RecordingError(f"{name}: a read ends before it begins")
    values = runs.value[runs.usable]
    if not bool(np.isfinite(values).all()):
        raise RecordingError(f"{name}: a reading is not finite and not marked as missing")
    if channel.unit == "W" and bool(((values < 0) | (values > _LARGEST_W)).any()):
        raise RecordingError(f"{name}: a power reading is impossible")
    if channel.unit == "J" and bool((np.abs(values) > 1e15).any()):
        raise RecordingError(f"{name}: an energy reading is impossible")
