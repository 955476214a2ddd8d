# SPDX-License-Identifier: Apache-2.0
"""What a process had read but not yet kept as rows when it was killed.

The tail has the latest samples as the sampler took them. Those that are later than a channel's last
row go through the very code that made the rows: scales, checks, counters, runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .series import UNUSABLE, Runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["resumed"]

_CHANNEL_FIELDS = (
    "name", "unit", "kind", "group", "scale", "modulus", "valid_min", "valid_max", "source",
    "scope", "note", "update_ns", "window_ns", "delay_ns",
)  # fmt: skip
_SAMPLE_FIELDS = ("t_ns", "read_ns", "value", "channel", "flags", "status")


def resumed(
    channels: list[dict[str, Any]],
    rows: list[NDArray[Any]],
    slots: NDArray[Any],
    overwritten: bool,
    gap_ns: int,
    slow_gap_ns: int,
) -> list[Runs]:
    """The runs of all channels, with what the tail knows beyond their rows.

    Parameters
    ----------
    channels
        Descriptions of the channels, by index.
    rows
        Their rows (`live_layout.ROW`).
    slots, overwritten
        The tail (`live_layout.read_tail`).
    """
    described = [
        {k: c[k] for k in _CHANNEL_FIELDS if c[k] is not None} for c in channels
    ]  # a bound that is null is none
    recording = _core.resumed_recording(described, gap_ns, slow_gap_ns)
    slots = slots[slots["channel"] < len(channels)]
    new = np.ones(len(slots), bool)
    flags = slots["flags"].copy()
    for index, channel in enumerate(channels):
        mine = np.flatnonzero(slots["channel"] == index)
        if not len(rows[index]):
            continue
        last = rows[index][-1]
        kept = _kept(slots[mine], last)
        new[mine[kept]] = False
        if overwritten and not kept.any() and len(mine):
            # The tail does not reach back to the rows: what came in between is not known.
            flags[mine[0]] |= _core.FLAG_GAP_BEFORE
        _core.resume_run(recording, index, tuple(last[name].item() for name in Runs.names()))
        if channel["kind"] == "counter":
            read = [(s["value"].item(), s["t_ns"].item()) for s in slots[mine[kept]]
                    if not s["flags"] & UNUSABLE and s["value"] >= 0]  # fmt: skip
            stood = [tuple(channel["stood"][:2])] if "stood" in channel else []
            _resume_counter(recording, index, rows[index], [*stood, *read])
    later = slots[new]
    samples = {name: np.ascontiguousarray(later[name]) for name in _SAMPLE_FIELDS}
    samples["flags"] = flags[new]
    _core.take_samples(recording, **samples)
    recording.seal()
    return [_joined(rows[i], recording.runs(i)) for i in range(len(channels))]


def _kept(slots: NDArray[Any], last: Any) -> NDArray[np.bool_]:
    """Which samples are in the rows already: no later than the last read of the last row."""
    same = slots["t_ns"] == last["t_last_ns"]
    before = slots["t_ns"] < last["t_last_ns"]
    return np.asarray(before | (same & (slots["read_ns"] <= last["read_last_ns"])))


def _resume_counter(
    recording: _core.Recording, index: int, rows: NDArray[Any], read: list[tuple[float, int]]
) -> None:
    """Where the counter stood at the last row that has its total."""
    usable = rows[(rows["flags"] & UNUSABLE) == 0]
    if not len(usable):
        return
    total = usable[-1]
    within = [raw for raw, t in read if total["t_first_ns"] <= t <= total["t_last_ns"]]
    raw = float(within[-1]) if within else None
    _core.resume_counter(recording, index, float(total["value"]), raw, int(total["t_first_ns"]))


def _joined(rows: NDArray[Any], more: dict[str, Any]) -> Runs:
    """The rows, the last of them as it went on, and what followed."""
    columns = {}
    for name in Runs.names():
        column = np.concatenate([rows[name][:-1], more[name]]).astype(more[name].dtype)
        column.setflags(write=False)
        columns[name] = column
    return Runs(**columns)
