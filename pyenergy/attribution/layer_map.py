# SPDX-License-Identifier: Apache-2.0
"""The layer of every operation of a profile, and how much of its time has one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OptionError
from .layer_tree import tree
from .layer_types import layer_type
from .profiler_events import Category

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import ArrayLike, NDArray

    from .layer_types import LayerType
    from .profiler_events import ProfilerEvents

__all__ = ["How", "LayerMap"]


class How(IntEnum):
    """How the layer of an operation is known."""

    NONE = 0
    TREE = 1  # launched in a call of this very module of the model
    LAUNCH = 2  # launched in a call of a module, by the name that the profiler gave it
    RANGE = 3  # launched in a record_function range, and in no module


@dataclass(frozen=True)
class LayerMap:
    """Layers of the rows of a `ProfilerEvents`.

    What runs in a compiled region or a CUDA graph is under the innermost module around it, in a
    row of its own named ``(compiled)`` or ``(CUDA graph)``: the layers inside are hidden, and such
    a row does not count as covered.

    Attributes
    ----------
    layer : int32
        Index into ``names``; -1 where nothing says which: unattributed.
    how : int8
        A `How` for each row.
    hidden : bool
        That the layers inside are hidden, so that ``layer`` only says what is around them.
    paths : tuple of tuple of str
        Each layer as its place in the tree, outermost first; () is the model itself.
    separator : str
        What joins a path to a name: ``"."`` as in ``named_modules()``, ``"/"`` from a file.
    classes : tuple
        The class of each layer's module, None where it is not known.
    aliases : dict of str to tuple of str
        All names of modules that have more than one, by the name that is used.
    notes : tuple of str
        What a reader of results should know.
    """

    layer: NDArray[np.int32]
    how: NDArray[np.int8]
    hidden: NDArray[np.bool_]
    paths: tuple[tuple[str, ...], ...]
    separator: str
    classes: tuple[str | None, ...]
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """One name for each layer: as in ``named_modules()``, or joined from those of a file."""
        return tuple(self.separator.join(path) for path in self.paths)

    @cached_property
    def types(self) -> tuple[LayerType, ...]:
        """One kind of layer for each: Embedding, Attention, FFN, ..."""
        return tuple(
            layer_type(path, of) for path, of in zip(self.paths, self.classes, strict=True)
        )

    @cached_property
    def of_ranges(self) -> bool:
        """Whether user ranges stand for layers, as no module is in the profile."""
        in_module = (self.how == How.TREE) | (self.how == How.LAUNCH)
        return len(self.paths) > 0 and not bool(in_module.any())

    def coverage(self, events: ProfilerEvents) -> float | None:
        """Share of the GPU's time that has a layer; of the operators' time where there is no GPU.

        None where there is no time to share, and where the layers are but user ranges: how much
        those hold (``shares(events)["range"]``) says nothing of modules. What is hidden has no
        layer.
        """
        shares = self.shares(events)
        if shares is None or self.of_ranges:
            return None
        return 1.0 - shares["hidden"] - shares["unattributed"]

    def shares(self, events: ProfilerEvents) -> dict[str, float] | None:
        """The same time by how its layer is known: tree, launch, range, hidden, unattributed."""
        self._check(events)
        rows, time_ns = measured(events)
        total = int(time_ns.sum())
        if total == 0:
            return None
        kind = np.where(self.hidden[rows] & (self.layer[rows] >= 0), len(How), self.how[rows])
        parts = np.bincount(kind, weights=time_ns, minlength=len(How) + 1) / total
        return {
            **{how.name.lower(): float(parts[how]) for how in How if how is not How.NONE},
            "hidden": float(parts[len(How)]),
            "unattributed": float(parts[How.NONE]),
        }

    def sums(self, rows: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], float]:
        """(sum of the values for each layer, sum of those without one).

        Parameters
        ----------
        rows : array of int
            Rows of the events.
        values : array of float
            What each of them took: energy, time, or 1 to count.
        """
        at, value = np.asarray(rows), np.asarray(values, np.float64)
        if at.shape != value.shape or at.ndim != 1:
            raise OptionError(f"{at.shape} rows and {value.shape} values do not fit together")
        if not len(at):
            return np.zeros(len(self.paths)), 0.0
        count = len(self.paths) + 1
        sums = np.bincount(self.layer[at] + 1, value, count).astype(np.float64, copy=False)
        return sums[1:], float(sums[0])

    def tree(self, values: ArrayLike) -> pl.DataFrame:
        """Sums for each layer (of `sums`) rolled up by the tree of modules; see `tree`."""
        return tree(self.paths, values, separator=self.separator)

    def _check(self, events: ProfilerEvents) -> None:
        if len(events) != len(self.layer):
            raise OptionError(
                f"layers of {len(self.layer)} events do not fit {len(events)}: pass the events "
                "they were made from"
            )


def measured(events: ProfilerEvents) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows, ns) of what the time is shared of: GPU operations, else the outermost operators."""
    rows = events.on_gpu()
    if not len(rows):
        rows = _outermost(events, events.rows(Category.CPU_OP))
    return rows, events.end_ns[rows] - events.start_ns[rows]


def _outermost(events: ProfilerEvents, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those in no other of their thread: nested ones would count their time twice."""
    if not len(rows):
        return rows
    start, end, thread = events.start_ns[rows], events.end_ns[rows], events.thread[rows]
    order = np.lexsort((-end, start, thread))
    kept = np.zeros(len(rows), bool)
    for part in np.split(order, np.flatnonzero(np.diff(thread[order])) + 1):
        before = np.maximum.accumulate(end[part])
        kept[part[0]] = True
        kept[part[1:]] = start[part[1:]] >= before[:-1]
    return rows[kept]
