# SPDX-License-Identifier: Apache-2.0
"""Whether a recording that was read from a file can be one: nothing else may be computed from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..errors import RecordingError
from .clock_anchor import ClockAnchors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .marks import Mark
    from .recorded import Recorded
    from .series import ChannelMeta, DeviceData, Runs

__all__ = ["check"]

_UNITS = {"power": "W", "power_average": "W", "power_samples": "W", "energy": "J"}
_LARGEST_W = 1e6  # a reading beyond it is no device's
_LATEST_NS = 1 << 62  # 146 years: differences of such times never overflow


def check(recorded: Recorded) -> None:
    """Refuse what no sampler can have written.

    Raises
    ------
    RecordingError
        Naming what is wrong.
    """
    if not recorded.devices:
        raise RecordingError("it holds no device")
    if not all(_is_time(t) for t in recorded.bounds_ns):
        raise RecordingError("its bounds are no times")
    if recorded.bounds_ns[1] < recorded.bounds_ns[0]:
        raise RecordingError("it ends before it starts")
    if not isinstance(recorded.extra, dict) or not isinstance(recorded.provenance, dict):
        raise RecordingError("its description is damaged")
    if not _are_texts(recorded.notes):
        raise RecordingError("its notes are damaged")
    for name, device in recorded.devices.items():
        _check_device(name, device)
    for mark in recorded.marks:
        if not _is_text(mark.name) or not mark.is_sound() or not _is_mark_in_time(mark):
            raise RecordingError(f"the mark {mark.name!r} is damaged")
    for what, times in _times_beside(recorded):
        if not _are_times(times):
            raise RecordingError(f"the {what} have times beyond 146 years")


def _is_time(value: object) -> bool:
    return type(value) is int and -_LATEST_NS < value < _LATEST_NS


def _are_times(values: NDArray[np.int64]) -> bool:
    return bool(((values > -_LATEST_NS) & (values < _LATEST_NS)).all())


def _are_texts(values: object) -> bool:
    return isinstance(values, (list, tuple)) and all(map(_is_text, values))


def _is_text(value: object) -> bool:
    """Also what JSON can hold and no file can: half of a surrogate pair."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def _is_mark_in_time(mark: Mark) -> bool:
    return all(map(_is_time, (mark.start_ns, mark.end_ns, *mark.host_ns, mark.bound_ns)))


def _times_beside(recorded: Recorded) -> list[tuple[str, NDArray[np.int64]]]:
    anchors, found = ClockAnchors.of(recorded.anchors), []
    found += [("clock anchors", t) for t in (anchors.mono_ns, anchors.real_ns, anchors.width_ns)]
    if recorded.operations is not None:
        ran = recorded.operations
        texts = (ran.names, ran.devices, ran.layers, ran.operators, ran.layer_types, ran.notes)
        if not all(map(_are_texts, texts)) or not _is_text(ran.source):
            raise RecordingError("a name of the operations is damaged")
        found += [("operations", t) for t in (ran.start_ns, ran.end_ns)]
    return found


def _check_device(name: str, device: DeviceData) -> None:
    meta = device.meta
    texts = {k: v for k, v in vars(meta).items() if k not in ("power_min_w", "power_max_w")}
    if not _are_texts(texts.pop("notes")) or not _are_texts([*texts.values()]) or meta.id != name:
        raise RecordingError(f"the description of {name} is damaged")
    gap_ns = device.gap_ns  # _LATEST_NS itself: a replay, which never calls a silence one
    if (
        not isinstance(device.stats, dict)
        or type(gap_ns) is not int
        or not 0 <= gap_ns <= _LATEST_NS
    ):
        raise RecordingError(f"{meta.id}: its statistics are damaged")
    for bound in (meta.power_min_w, meta.power_max_w):
        if not isinstance(bound, (int, float)) or math.isinf(bound):
            raise RecordingError(f"{meta.id}: its power bounds are no numbers")
    for name, channel in device.channels.items():
        if channel.name != name:
            raise RecordingError(f"{meta.id}/{name} is called {channel.name!r}")
        _check_channel(f"{meta.id}/{name}", channel, device.runs[name])


def _check_channel(name: str, channel: ChannelMeta, runs: Runs) -> None:
    fields = dict(vars(channel))
    numbers = [fields.pop(key) for key in ("update_ns", "window_ns", "delay_ns")]
    if not _are_texts([*fields.values()]) or not all(map(_is_time, numbers)):
        raise RecordingError(f"the description of {name} is damaged")
    if channel.kind not in ("gauge", "counter"):
        raise RecordingError(f"{name} is no kind of channel that ever was: {channel.kind!r}")
    if _UNITS.get(channel.name, channel.unit) != channel.unit:
        raise RecordingError(f"{name} is in {channel.unit}, not {_UNITS[channel.name]}")
    first, last = (runs.t_first_ns, runs.read_first_ns), (runs.t_last_ns, runs.read_last_ns)
    if not all(map(_are_times, (*first, *last))):
        raise RecordingError(f"{name}: a time is beyond 146 years")
    if _decrease(runs.t_first_ns, runs.t_last_ns):
        raise RecordingError(f"{name}: times decrease")
    if bool((first[1] < first[0]).any()) or bool((last[1] < last[0]).any()):
        raise RecordingError(f"{name}: a read ends before it begins")
    usable = runs.usable
    middles = [(t + (read - t) // 2)[usable] for t, read in (first, last)]
    if _decrease(*middles):
        raise RecordingError(f"{name}: a read ends long after the next began")
    values = runs.value[usable]
    if not bool(np.isfinite(values).all()):
        raise RecordingError(f"{name}: a reading is not finite and not marked as missing")
    if channel.unit == "W" and bool(((values < 0) | (values > _LARGEST_W)).any()):
        raise RecordingError(f"{name}: a power reading is impossible")
    if channel.unit == "J" and bool((np.abs(values) > 1e15).any()):
        raise RecordingError(f"{name}: an energy reading is impossible")


def _decrease(first: NDArray[np.int64], last: NDArray[np.int64]) -> bool:
    return bool((np.diff(np.stack([first, last], axis=1).ravel()) < 0).any())
