# SPDX-License-Identifier: Apache-2.0
"""The readings of one channel, as runs of equal values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["ChannelMeta", "DeviceData", "DeviceMeta", "Runs", "Series"]

UNUSABLE = _core.FLAG_MISSING | _core.FLAG_INVALID


@dataclass(frozen=True)
class Runs:
    """Run-length encoded readings; all arrays have the same length and are read-only.

    ``t_*`` is the moment just before a read, ``read_*`` just after it (int64 ns of
    CLOCK_MONOTONIC); ``*_first`` belongs to the first read that saw ``value``, ``*_last`` to the
    last one. ``flags`` holds the sample flags, the vendor's status code in its upper 16 bits.
    """

    t_first_ns: NDArray[np.int64]
    read_first_ns: NDArray[np.int64]
    t_last_ns: NDArray[np.int64]
    read_last_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    count: NDArray[np.uint32]
    flags: NDArray[np.uint32]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Column names, in order."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> Runs:
        """From a mapping with one array per column."""
        return cls(**{name: arrays[name] for name in cls.names()})

    def __len__(self) -> int:
        return len(self.value)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which runs hold a value (neither missing nor invalid)."""
        return np.asarray((self.flags & np.uint32(UNUSABLE)) == 0)

    def between(self, start_ns: int, end_ns: int) -> Runs:
        """The runs that touch [start_ns, end_ns] and one on either side: views, no copy."""
        first = max(int(np.searchsorted(self.read_last_ns, start_ns)) - 1, 0)
        last = int(np.searchsorted(self.t_first_ns, end_ns, side="right")) + 1
        return Runs(**{name: getattr(self, name)[first:last] for name in self.names()})

    def copied(self, first: int, last: int) -> Runs:
        """Rows [first, last) in memory of their own."""
        return Runs(**{name: getattr(self, name)[first:last].copy() for name in self.names()})

    def after(self, before: Runs, silent: bool) -> Runs:
        """``before`` and these: copies. ``silent``: nothing is known of the time in between."""
        joined = {n: np.concatenate([getattr(before, n), getattr(self, n)]) for n in self.names()}
        if silent:
            joined["flags"][len(before) : len(before) + 1] |= np.uint32(_core.FLAG_GAP_BEFORE)
        for column in joined.values():
            column.setflags(write=False)
        return Runs(**joined)


@dataclass(frozen=True)
class ChannelMeta:
    """What a channel measures (see ``Channel`` in csrc/core/channel.h)."""

    name: str
    unit: str
    kind: str
    source: str
    scope: str
    note: str = ""
    update_ns: int = -1
    window_ns: int = -1
    delay_ns: int = -1

    @classmethod
    def of(cls, channel: _core.Channel) -> ChannelMeta:
        """From the core's description."""
        return cls(**{f.name: getattr(channel, f.name) for f in fields(cls)})


@dataclass(frozen=True)
class DeviceMeta:
    """Identity of a device and the bounds of its power."""

    id: str
    source: str
    kind: str
    name: str
    uuid: str = ""
    pci_bus_id: str = ""
    architecture: str = ""
    driver: str = ""
    power_min_w: float = float("nan")
    power_max_w: float = float("nan")
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceData:
    """One device's part of a recording."""

    meta: DeviceMeta
    channels: dict[str, ChannelMeta]
    runs: dict[str, Runs]
    stats: dict[str, Any]
    gap_ns: int = 0


@dataclass(frozen=True)
class Series:
    """Readings of one channel; zero-copy, read-only views that stay valid after the trace.

    Attributes
    ----------
    t_ns : ndarray of int64
        When each value was first seen: the moment before that read, ns of CLOCK_MONOTONIC.
    last_ns : ndarray of int64
        When it was last seen: the moment after that read.
    values : ndarray of float64
        The readings, in ``unit``; NaN where a reading is missing or invalid.
    unit : str
        SI unit.
    count : ndarray of uint32
        How many reads saw the value.
    flags : ndarray of uint32
        Sample flags (``pyenergy._core.FLAG_*``), the vendor's status code in the upper 16 bits.
    """

    name: str
    unit: str
    t_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    count: NDArray[np.uint32]
    flags: NDArray[np.uint32]

    @classmethod
    def of(cls, name: str, unit: str, runs: Runs) -> Series:
        """Of a channel's runs."""
        return cls(
            name, unit, runs.t_first_ns, runs.read_last_ns, runs.value, runs.count, runs.flags
        )

    def __len__(self) -> int:
        return len(self.values)
