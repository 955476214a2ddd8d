# SPDX-License-Identifier: Apache-2.0
"""Operations of devices on the recording's clock: kernels, copies, operators, in columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Operations"]

# Column, dtype; the file has each as operations/COLUMN.
_COLUMNS: dict[str, type[Any]] = {
    "start_ns": np.int64,
    "end_ns": np.int64,
    "name": np.int32,
    "device": np.int32,
    "stream": np.int64,
    "layer": np.int32,
    "operator": np.int32,
    "begins": np.bool_,
}
_TEXTS = ("names", "devices", "layers", "operators", "layer_types")


@dataclass(frozen=True, eq=False)
class Operations:
    """What ran when, one row for each operation, in order of start.

    Attributes
    ----------
    start_ns, end_ns : ndarray of int64, shape (n,)
        On the recording's clock, ns.
    name : ndarray of int32
        Index into ``names``.
    device : ndarray of int32
        Index into ``devices``, ids such as ``gpu:0``; a device that was not recorded may be among
        them.
    stream : ndarray of int64
        -1 where none is known.
    layer : ndarray of int32
        Index into ``layers``; -1 where the operation belongs to none that is known.
    operator : ndarray of int32
        Index into ``operators``: the operator of the host that asked for it; -1 where none is
        known.
    begins : ndarray of bool
        Whether an operation begins with this row: operators of the host are cut where they call
        others.
    names, devices, layers, operators : tuple of str
    layer_types : tuple of str
        Kind of each layer (Attention, FFN, ...); empty where none is known.
    bound_ns : float
        The largest error of the times that joining the clocks leaves open, ns.
    source : str
        Where they come from.
    notes : tuple of str
        What a reader of results should know.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    name: NDArray[np.int32]
    device: NDArray[np.int32]
    stream: NDArray[np.int64]
    layer: NDArray[np.int32]
    operator: NDArray[np.int32]
    begins: NDArray[np.bool_]
    names: tuple[str, ...]
    devices: tuple[str, ...]
    layers: tuple[str, ...]
    operators: tuple[str, ...] = ()
    layer_types: tuple[str, ...] = ()
    bound_ns: float = 0.0
    source: str = "a table"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for column in _COLUMNS:
            getattr(self, column).flags.writeable = False

    def __len__(self) -> int:
        return len(self.start_ns)

    def __repr__(self) -> str:
        return f"<{len(self)} operations of {', '.join(self.devices)} from {self.source}>"

    def of_device(self, device_id: str) -> Operations:
        """The operations of one device."""
        if device_id not in self.devices:
            return self.part(np.zeros(0, np.int64))
        return self.part(np.flatnonzero(self.device == self.devices.index(device_id)))

    def used_devices(self) -> list[str]:
        """Devices that operations ran on."""
        there = np.unique(self.device).tolist()
        return [self.devices[index] for index in there]

    def busy(self, device_id: str, join_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """When a device had work: starts and ends, pauses of up to ``join_ns`` within."""
        mine = self.of_device(device_id)
        mine = mine.part(np.flatnonzero(mine.end_ns > mine.start_ns))
        order = np.argsort(mine.start_ns, kind="stable")
        start, end = mine.start_ns[order], np.maximum.accumulate(mine.end_ns[order])
        if not len(start):
            return start, end
        first = np.append(True, start[1:] > end[:-1] + join_ns)
        return start[first], end[np.append(first[1:], True)]

    def part(self, rows: NDArray[np.int64]) -> Operations:
        """Some rows; indices keep their meaning."""
        return replace(self, **{column: getattr(self, column)[rows] for column in _COLUMNS})

    # In a file ------------------------------------------------------------------------------

    def members(self) -> dict[str, NDArray[Any]]:
        """Arrays of the file."""
        return {f"operations/{column}": getattr(self, column) for column in _COLUMNS}

    def described(self) -> dict[str, Any]:
        """What is no array: JSON."""
        texts: dict[str, Any] = {name: list(getattr(self, name)) for name in _TEXTS}
        return {
            **texts,
            "bound_ns": self.bound_ns,
            "source": self.source,
            "notes": list(self.notes),
        }

    @classmethod
    def read(cls, described: Mapping[str, Any], archive: Mapping[str, NDArray[Any]]) -> Operations:
        """From what `members` and `described` gave.

        Raises
        ------
        RecordingError
            When they cannot be operations.
        """
        columns: dict[str, Any] = {column: archive[f"operations/{column}"] for column in _COLUMNS}
        for column, values in columns.items():
            if values.dtype != _COLUMNS[column] or values.ndim != 1:
                raise RecordingError(f"operations/{column} is not a column of a recording")
        if len({len(values) for values in columns.values()}) != 1:
            raise RecordingError("the columns of the operations differ in length")
        texts: dict[str, Any] = {
            name: tuple(str(text) for text in described[name]) for name in _TEXTS
        }
        found = cls(
            **columns,
            **texts,
            bound_ns=float(described["bound_ns"]),
            source=str(described["source"]),
            notes=tuple(str(note) for note in described["notes"]),
        )
        found._check()
        return found

    def _check(self) -> None:
        if self.layer_types and len(self.layer_types) != len(self.layers):
            raise RecordingError("the layers of the operations and their types differ in number")
        if bool((self.end_ns < self.start_ns).any()):
            raise RecordingError("an operation ends before it starts")
        for index, texts, least in (
            (self.name, self.names, 0),
            (self.device, self.devices, 0),
            (self.layer, self.layers, -1),
            (self.operator, self.operators, -1),
        ):
            if len(index) and (int(index.min()) < least or int(index.max()) >= len(texts)):
                raise RecordingError(
                    "an operation has a name, device, layer or operator that is not there"
                )
