# SPDX-License-Identifier: Apache-2.0
"""What must be said about a device's readings, whatever window is asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from . import _core
from .recording.power_units import BOARD_W, BOARDS
from .sensor.catalog import POWER_CHANNELS, UNKNOWN, prior_for
from .units import NS_PER_S, engineering

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .recording.series import DeviceData, DeviceMeta, Runs

__all__ = ["standing_notes", "why_nothing"]

_STILL_NS = 2 * NS_PER_S  # a counter updates some ten times a second: after this it stands still
# A reading is an outlier above a known limit, beyond what transients do to it; or far above nearly
# all others and more than most boards draw.
_BEYOND_LIMIT = 1.1
_UNLIKE_OTHERS, _USUAL_SHARE, _LARGE_W = 10.0, 0.999, 2e3


def why_nothing(device: DeviceData) -> str:
    """Why a device has no energy, or none by the method that was asked for: what is wrong with its
    power readings and its energy counter."""
    reasons = [why for why in (_why_no_power(device), _why_no_counter(device)) if why]
    return "; ".join(reasons) or "no method can use its readings"


def standing_notes(device: DeviceData, channel: str, bounds_ns: tuple[int, int]) -> list[str]:
    """What holds for every window of this device, whose energy comes from ``channel``."""
    runs = device.runs[channel]
    inside = (runs.read_last_ns >= bounds_ns[0]) & (runs.t_first_ns <= bounds_ns[1])
    notes = list(device.meta.notes)
    if device.channels[channel].note:
        notes.append(device.channels[channel].note)
    if channel != "power" and "power" in device.channels and not _has_value(device, "power"):
        why = _unusable(device, "power", "power reading")
        notes.append(f"{why}; '{channel}' serves instead")
    if dropped := device.stats.get("dropped_in_trace", 0):
        notes.append(f"{dropped} samples were dropped; their gaps are accounted for")
    if missing := _count(runs, _core.FLAG_MISSING, inside):
        notes.append(f"{missing} reads failed")
    if invalid := _count(runs, _core.FLAG_INVALID, inside):
        notes.append(f"{invalid} readings were impossible and not used")
    if channel in POWER_CHANNELS:
        notes += _outliers(device, channel, inside & runs.usable, bounds_ns[0])
    notes += _counter_notes(device, channel)
    notes += _architecture_notes(device, channel)
    return [f"{device.meta.id}: {note}" for note in notes]


def _outliers(
    device: DeviceData, channel: str, used: NDArray[np.bool_], start_ns: int
) -> list[str]:
    """Of power that the device cannot draw, or none of the kind: nothing leaves it out."""
    runs = device.runs[channel]
    if not bool(used.any()):
        return []
    value, count = runs.value[used], runs.count[used]
    worst = int(np.argmax(value))
    if (
        math.isnan(device.meta.power_max_w) and value[worst] <= _LARGE_W
    ):  # as nearly always: nothing to sort
        return []
    line_w, why = _ceiling(device.meta, value, count)
    above = value > line_w
    if not bool(above.any()):
        return []
    at_ns = int(runs.t_first_ns[used][worst])
    cure = " (NaN in the place of one that is wrong does)" * (device.meta.source == "readings")
    return [
        f"readings reach {engineering(float(value[worst]), 'W')}, {why}: {int(count[above].sum())} "
        f"of {int(count.sum())} of '{channel}' are above {engineering(line_w, 'W')}, the highest "
        f"{engineering((at_ns - start_ns) / NS_PER_S, 's')} after the start (at {at_ns} ns); "
        f"nothing leaves them out{cure}"
    ]


def _ceiling(
    meta: DeviceMeta, value: NDArray[np.float64], count: NDArray[np.uint32]
) -> tuple[float, str]:
    """The power above which a reading is named, W, and what it is above."""
    if not math.isnan(meta.power_max_w):
        return _BEYOND_LIMIT * meta.power_max_w, (
            f"the device's limit is {engineering(meta.power_max_w, 'W')}"
        )
    order = np.argsort(value)
    seen = np.cumsum(count[order], dtype=np.int64)
    middle, most = (
        float(value[order][np.searchsorted(seen, share * (seen[-1] - 1), side="right")])
        for share in (0.5, _USUAL_SHARE)
    )
    line_w = max(_UNLIKE_OTHERS * most, _LARGE_W)
    if meta.kind in BOARDS and middle <= BOARD_W:  # else all are large, which has its own note
        line_w = min(line_w, BOARD_W)
    return line_w, f"half of them are at most {engineering(middle, 'W')}"


def _counter_notes(device: DeviceData, channel: str) -> list[str]:
    """Of a counter that is there: also what is not used must be said to be missing."""
    counter = device.runs.get("energy")
    if counter is None:
        return []
    notes = []
    if bool(((counter.flags & _core.FLAG_RESET) != 0).any()):
        notes.append("the energy counter was reset or ran backwards")
    why = _why_no_counter(device)
    # In a short trace it may stand still because its update is yet to come.
    short = bool(counter.usable.any()) and _seen_ns(counter) < _STILL_NS
    if why and channel != "energy" and not short:
        notes.append(f"{why}: it is not used, and nothing checks the power readings")
    return notes


def _architecture_notes(device: DeviceData, channel: str) -> list[str]:
    """Of readings taken elsewhere: what was said of the card, and does not help."""
    given, source = device.meta.architecture, device.channels[channel].source
    if device.meta.source != "readings" or channel not in POWER_CHANNELS or not given:
        return []
    if source == "readings":
        return [
            f"the architecture ({given!r}) is not used: which sensor was read is not known "
            "without 'field' (instant, average or default)"
        ]
    if prior_for(given, source) is not UNKNOWN:
        return []
    return [f"no sensor is known of the architecture {given!r}: taken as any"]


# Inside -------------------------------------------------------------------------------------


def _count(runs: Runs, flag: int, among: NDArray[np.bool_]) -> int:
    return int(runs.count[among & ((runs.flags & np.uint32(flag)) != 0)].sum())


def _has_value(device: DeviceData, channel: str) -> bool:
    return channel in device.runs and bool(device.runs[channel].usable.any())


def _why_no_power(device: DeviceData) -> str:
    """Empty where there is power to integrate."""
    if any(_has_value(device, channel) for channel in POWER_CHANNELS):
        return ""
    for channel in POWER_CHANNELS:
        if channel in device.runs:
            return _unusable(device, channel, "power reading")
    if device.meta.source == "readings" and _has_value(device, "power_average"):
        return (
            "it has no power sensor that can be read ('power_average' alone is not integrated: "
            "give it as 'power', with the device's field 'average')"
        )
    # What the driver said when it was asked at the opening.
    said = [n for n in device.meta.notes if "cannot be read" in n or "no readable power" in n]
    return "it has no power sensor that can be read" + (f" ({'; '.join(said)})" if said else "")


def _why_no_counter(device: DeviceData) -> str:
    """Empty where there is a counter with a difference to take."""
    runs = device.runs.get("energy")
    if runs is None:
        return "it has no energy counter"
    usable = runs.usable
    if not bool(usable.any()):
        return _unusable(device, "energy", "reading of the energy counter")
    total = runs.value[usable]  # never falls: a reset is a flag, and the total stands
    if total[-1] > total[0]:
        return ""
    if falls := int(((runs.flags & _core.FLAG_RESET) != 0).sum()):
        return f"the energy counter never rose, and fell {falls} times"
    read = f"{int(runs.count[usable].sum())} of {int(runs.count.sum())} readings"
    still = engineering(_seen_ns(runs) / NS_PER_S, "s")
    return f"the energy counter stood still for {still} ({read})"


def _seen_ns(runs: Runs) -> int:
    usable = runs.usable
    return int(runs.t_last_ns[usable][-1] - runs.t_first_ns[usable][0])


def _unusable(device: DeviceData, channel: str, what: str) -> str:
    """Why no reading of a channel can be used."""
    runs = device.runs[channel]
    if len(runs) == 0:
        return f"no {what} arrived"
    invalid = (runs.flags & np.uint32(_core.FLAG_INVALID)) != 0
    if bool(invalid.all()):
        return f"every {what} was impossible"
    # Status 0 is a read that succeeded and gave no number.
    status = sorted({int(flag) >> 16 for flag in runs.flags[~invalid]})
    source = device.channels[channel].source
    codes = ", ".join(_core.status_text(source, code) for code in status)
    how = f"failed ({codes})" if status != [0] else "failed (no number came)"
    return f"every {what} {how}" + (" or was impossible" if bool(invalid.any()) else "")
