# SPDX-License-Identifier: Apache-2.0
"""Columns of events, gathered block by block."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .kineto_number import Stamp
from .profiler_events import GPU_WORK, ProfilerEvents, Provenance
from .shared_ids import shared_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ODD_FIELD", "REPLACED", "Block", "Columns"]

REPLACED = "name with replaced characters"  # keys of `Columns.counts`
ODD_FIELD = "field of an unknown type"

UNIX_NS = 10**18
"""Stamps from September 2001 on; what counts from a boot or a base does not reach it."""

_FAR_NS = 3 * 10**18  # in the year 2065
_IDS = {"device": np.int32, "stream": np.int64, "thread": np.int64, "correlation": np.int64}
_WHY = {
    Stamp.MISSING: "no {} in it",
    Stamp.NOT_A_NUMBER: "a {} that is no number",
    Stamp.OUT_OF_RANGE: "a {} out of range",
}


@dataclass
class Block:
    """Spans as they were read; sequences of one length, ids -1 where none.

    ``start_ns`` counts from the base time; a stamp that is not OK leaves its span out.
    """

    start_ns: NDArray[np.int64]
    duration_ns: NDArray[np.int64]
    start_stamp: NDArray[np.int8]
    duration_stamp: NDArray[np.int8]
    category: Sequence[int]
    name: Sequence[str]
    device: Sequence[int]
    stream: Sequence[int]
    thread: Sequence[int]
    correlation: Sequence[int]
    external_id: Sequence[int]
    grid: Sequence[object] | None = None
    block: Sequence[object] | None = None


class Columns:
    """Takes blocks, gives `ProfilerEvents`."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self._index: dict[str, int] = {}
        self._parts: list[dict[str, NDArray[Any]]] = []

    def add(self, block: Block) -> None:
        """Keep what has a time."""
        good = self._good(block)
        rows = np.flatnonzero(good)
        kept = rows.tolist()
        category = np.asarray(block.category, np.int8)[rows]
        index = self._index
        names = block.name if good.all() else [block.name[row] for row in kept]
        part: dict[str, NDArray[Any]] = {
            "start_ns": block.start_ns[rows],
            "end_ns": (block.start_ns + block.duration_ns)[rows],
            "name": np.array([index.setdefault(name, len(index)) for name in names], np.int32),
            "category": category,
        }
        for name, kind in _IDS.items():
            part[name] = self._numbers(getattr(block, name), kind)[rows]
        part["external_id"] = self._numbers(block.external_id, np.int64)[rows]
        for name in ("correlation", "external_id"):
            part[name][part[name] == 0] = -1  # profilers count from 1; 0 is "none"
        for name in ("grid", "block"):
            shapes = getattr(block, name)
            if shapes is not None:
                part[name] = _triples([shapes[row] for row in kept])
        self._parts.append(part)

    def _numbers(self, values: Sequence[int], kind: type[Any]) -> NDArray[Any]:
        """Ids; -1 for one that is too large to be one."""
        try:
            return np.array(values, kind)
        except OverflowError:
            info = np.iinfo(kind)
            there = [info.min <= value <= info.max for value in values]
            self.counts[ODD_FIELD] += there.count(False)
            known = [value if ok else -1 for value, ok in zip(values, there, strict=True)]
            return np.array(known, kind)

    def _good(self, block: Block) -> NDArray[np.bool_]:
        """Which spans have a start and a length; counts the others by the first reason."""
        good = np.ones(len(block.start_ns), bool)

        def drop(bad: NDArray[np.bool_], why: str) -> None:
            count = int(np.count_nonzero(good & bad))
            if count:
                self.dropped[why] += count
            np.logical_and(good, ~bad, out=good)

        for stamps, what in ((block.start_stamp, "start"), (block.duration_stamp, "duration")):
            if stamps.any():
                for stamp, why in _WHY.items():
                    drop(stamps == stamp, why.format(what))
        start, length = block.start_ns, block.duration_ns
        drop((start == 0) & (length == 0), "a start and a duration of zero")
        drop(start < 0, "a negative start")
        drop(length < 0, "a negative duration")
        for why, odd in (
            ("zero length", good & (length == 0)),
            ("zero start", good & (start == 0)),
        ):
            if odd.any():
                self.counts[why] += int(np.count_nonzero(odd))
        return good

    def finish(self, provenance: Provenance, shapes: bool, complete: bool = True) -> ProfilerEvents:
        """All of it, ordered by start."""
        columns = self._joined(shapes)
        base = provenance.base_time_ns
        near = self._near_now(columns["start_ns"], base, complete)
        if near is not None and not near.all():
            self.dropped["a start out of range"] += int(np.count_nonzero(~near))
            columns = {name: column[near] for name, column in columns.items()}
        if near is not None and base is not None:
            columns["start_ns"] += base
            columns["end_ns"] += base
        if np.any(np.diff(columns["start_ns"]) < 0):
            order = np.argsort(columns["start_ns"], kind="stable")
            for name, column in columns.items():
                columns[name] = column[order]
        names = tuple(self._index)
        counts, notes = shared_ids(
            columns["category"], columns["correlation"], columns["name"], names
        )
        self.counts.update(counts)
        self.notes += [*self._odd(), *notes]
        if not len(columns["start_ns"]):
            self.notes.append("no event with a start and a duration is in it")
        elif not np.isin(columns["category"], GPU_WORK).any():
            self.notes.append("no GPU event is in it: the host's time only")
        if self.dropped:
            said = ", ".join(f"{count} with {why}" for why, count in self.dropped.items())
            self.notes.append(f"left out: {said}")
        return ProfilerEvents(
            **columns,
            names=names,
            provenance=provenance,
            is_unix_time=near is not None,
            dropped=dict(self.dropped),
            skipped=dict(self.skipped),
            counts=dict(self.counts),
            notes=tuple(self.notes),
        )

    def _odd(self) -> list[str]:
        """What was read otherwise than it stands."""
        said = {
            REPLACED: "a name that is not UTF-8: its bad bytes are shown as \ufffd, and names that "
            "differ only in them are one",
            ODD_FIELD: "a field of a type that it never has: taken as not given, a name as text",
        }
        return [
            f"{count:,} {'event has' if count == 1 else 'events have'} {what}"
            for key, what in said.items()
            if (count := self.counts[key])
        ]

    def _joined(self, shapes: bool) -> dict[str, NDArray[Any]]:
        kinds: dict[str, type] = {
            "start_ns": np.int64,
            "end_ns": np.int64,
            "name": np.int32,
            "category": np.int8,
        }
        kinds |= {**_IDS, "external_id": np.int64}
        joined = {}
        for name, kind in kinds.items():  # popped, so that no column is held twice
            pieces = [part.pop(name) for part in self._parts]
            joined[name] = np.concatenate(pieces) if pieces else np.zeros(0, kind)
        for name in ("grid", "block") if shapes else ():
            pieces = [part.pop(name) for part in self._parts]
            joined[name] = np.concatenate(pieces) if pieces else np.zeros((0, 3), np.int32)
        return joined

    def _near_now(
        self, start: NDArray[np.int64], base: int | None, complete: bool
    ) -> NDArray[np.bool_] | None:
        """Which starts are Unix times once the base is added; None where most of them are not."""
        near = (start >= UNIX_NS - (base or 0)) & (start < _FAR_NS - (base or 0))
        if 2 * np.count_nonzero(near) > len(start) or (base is not None and not len(start)):
            return near
        if not len(start):
            return None
        if base is None:
            missing = "is in it" if complete else "was reached before it broke off"
            why = f"no baseTimeNanoseconds {missing}, and they are no Unix time by themselves"
        else:
            why = f"with baseTimeNanoseconds {base} most are not between 2001 and 2065"
        self.notes.append(f"what the stamps count from is not known: {why}; join them by marks")
        return None


def _triples(values: list[object]) -> NDArray[np.int32]:
    """(n, 3), rows of -1 for what is not three numbers of int32."""
    out = np.full((len(values), 3), -1, np.int32)
    for row, value in enumerate(values):
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            continue
        if all(type(each) is int and 0 <= each < 2**31 for each in value):
            out[row] = value
    return out
