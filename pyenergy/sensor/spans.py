# SPDX-License-Identifier: Apache-2.0
"""Labelled times by class, and what readings see of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EDGE", "IDLE", "Spans", "distance", "groups", "in_step"]

# Groups of readings that are no class: what saw nothing, and what holds an edge.
IDLE, EDGE = -1, -2
_FEWEST_CALLS = 4  # of which one may say that they are in step


@dataclass(frozen=True)
class Spans:
    """Labelled times, by class.

    Attributes
    ----------
    starts_ns, ends_ns : ndarray of int64, shape (s,)
    classes : ndarray of int32, shape (s,)
        Index into ``names``.
    names : tuple of str
    labelled : bool
        Whether someone said that spans of one class are alike and filled with work; False for a
        trace that stands for what ran in it.
    edge_u_s : float
        Standard uncertainty of a usual edge as the time when the device's power changed, s.
    own_u_s : ndarray of float64, shape (s,), optional
        That of each span's edges, where they differ.
    source : str
        Who says so, for the method of an energy.
    """

    starts_ns: NDArray[np.int64]
    ends_ns: NDArray[np.int64]
    classes: NDArray[np.int32]
    names: tuple[str, ...]
    labelled: bool = True
    edge_u_s: float = 0.0
    source: str = "spans"
    own_u_s: NDArray[np.float64] | None = None

    @classmethod
    def unlabelled(cls, start_ns: int, end_ns: int) -> Spans:
        """A trace as the one class of what ran in it."""
        whole = np.array([start_ns], np.int64), np.array([end_ns], np.int64)
        return cls(
            *whole, np.zeros(1, np.int32), ("the trace",), labelled=False, source="the whole trace"
        )

    @classmethod
    def of(
        cls,
        spans: list[tuple[str, int, int]],
        edge_u_s: float = 0.0,
        own_u_s: NDArray[np.float64] | None = None,
    ) -> Spans:
        """From (name, start_ns, end_ns); spans with the same name are one class."""
        names = tuple(dict.fromkeys(name for name, _, _ in spans))
        number = {name: i for i, name in enumerate(names)}
        return cls(
            np.array([s for _, s, _ in spans], dtype=np.int64),
            np.array([e for _, _, e in spans], dtype=np.int64),
            np.array([number[name] for name, _, _ in spans], dtype=np.int32),
            names,
            edge_u_s=edge_u_s,
            own_u_s=own_u_s,
        )

    def __len__(self) -> int:
        return len(self.starts_ns)

    def seen(self, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many spans of each class overlap one of some sorted windows, shape (p,)."""
        first = np.searchsorted(ends_ns, self.starts_ns, side="right")
        last = np.searchsorted(starts_ns, self.ends_ns, side="left")
        return np.bincount(self.classes[last > first], minlength=len(self.names))

    def each(self) -> Spans:
        """Each span a class of its own."""
        names = tuple(f"{self.names[c]} ({i})" for i, c in enumerate(self.classes.tolist(), 1))
        return replace(self, classes=np.arange(len(self), dtype=np.int32), names=names)

    def each_edge_u_s(self, edges_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Standard uncertainties at the sorted times ``edges_ns``: the widest of each."""
        found = np.zeros(len(edges_ns))
        if self.own_u_s is None:
            return found + self.edge_u_s
        for t in (self.starts_ns, self.ends_ns):
            np.maximum.at(found, np.searchsorted(edges_ns, t), self.own_u_s)
        return found

    def activity(self) -> _core.Activity:
        """As the core computes with it."""
        return _core.Activity(self.starts_ns, self.ends_ns, self.classes, len(self.names))


def groups(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """What each reading mostly saw: a class, -1 nothing, -2 an edge."""
    total = x.sum(axis=1)
    group: NDArray[np.int64] = np.argmax(x, axis=1).astype(np.int64)
    top = x.max(axis=1)
    group[top < 0.02] = IDLE
    group[(top >= 0.02) & ((top < 0.98) | (total > 1.02 * np.maximum(np.round(total), 1)))] = EDGE
    return group


def in_step(spans: Spans, period_ns: int, looks_s: float) -> NDArray[np.bool_]:
    """Classes whose short spans begin at much the same phase of a sensor's updates.

    Each reading then sees the same part of a span: power, delay and level cannot be told apart,
    however many there are. Phases are taken together on the circle (Mardia and Jupp, "Directional
    statistics", 2000, 2.3): their deviation is less than an eighth of what a reading looks at.
    """
    stuck = np.zeros(len(spans.names), bool)
    for j in range(len(spans.names)):
        mine = spans.classes == j
        length = np.median(spans.ends_ns[mine] - spans.starts_ns[mine]) if mine.any() else 0
        if int(mine.sum()) < _FEWEST_CALLS or length > period_ns:
            continue
        phase = (spans.starts_ns[mine] % period_ns) / period_ns
        together = min(float(np.abs(np.exp(2j * np.pi * phase).mean())), 1.0)
        apart_s = np.sqrt(-2 * np.log(max(together, 1e-12))) / (2 * np.pi) * period_ns / 1e9
        stuck[j] = apart_s < looks_s / 8
    return stuck


def distance(t: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """To the nearest of the sorted ``edges``."""
    after = np.searchsorted(edges, t).clip(0, len(edges) - 1)
    before = (after - 1).clip(0)
    return np.asarray(np.minimum(np.abs(edges[after] - t), np.abs(t - edges[before])))
