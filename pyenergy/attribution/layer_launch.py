# SPDX-License-Identifier: Apache-2.0
"""From what a GPU worked on back to the host: the call that launched it, the operator around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .nesting import nest
from .profiler_events import GPU_WORK, Category

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .profiler_events import ProfilerEvents

__all__ = ["Origins", "host_thread", "on_host", "operators_of", "origins"]

_HOST = (
    Category.RUNTIME,
    Category.DRIVER,
    Category.CPU_OP,
    Category.ANNOTATION,
    Category.PYTHON,
)
_CALLS = (Category.RUNTIME, Category.DRIVER)
_OPERATORS = (Category.CPU_OP, Category.ANNOTATION)
_MISSING, _AGREED, _UNCLEAR = 0, 1, 2


@dataclass(frozen=True)
class Origins:
    """Where GPU operations come from; arrays with one entry for each of ``rows``.

    Attributes
    ----------
    rows : int64
        The GPU operations.
    host : int64
        Row of the launch, or of the operator where no launch is known; -1 where neither is, or
        where several share the id and do not agree.
    unclear : bool
        That they do not agree.
    """

    rows: NDArray[np.int64]
    host: NDArray[np.int64]
    unclear: NDArray[np.bool_]


def on_host(events: ProfilerEvents) -> NDArray[np.int64]:
    """Rows of which a host's thread is known."""
    return _with_thread(events, _HOST)


def host_thread(events: ProfilerEvents) -> NDArray[np.int64]:
    """The thread of every row, calls being on that of the operator which they were made in.

    Traces before 2023 number the threads of calls and of operators differently.
    """
    thread: NDArray[np.int64] = events.thread.copy()
    calls = events.rows(*_CALLS)
    operators = _operators(events)
    row, state = _by_id(
        events.external_id[operators],
        events.thread[operators],
        events.external_id[calls],
    )
    known = state == _AGREED
    calls, operators = calls[known], operators[row[known]]
    at = events.start_ns[calls]
    inside = (at >= events.start_ns[operators]) & (at < events.end_ns[operators])
    thread[calls[inside]] = events.thread[operators[inside]]
    return thread


def origins(events: ProfilerEvents, label: NDArray[np.int64]) -> Origins:
    """Find the launch or the operator of every GPU operation.

    An id that several launches share is followed where they have the same ``label`` (one number
    for every row of the events); otherwise nothing says which of them it was.
    """
    rows = events.rows(*GPU_WORK)
    host = np.full(len(rows), -1, np.int64)
    unclear = np.zeros(len(rows), bool)
    calls, operators = events.rows(*_CALLS), _operators(events)
    for among, ids in ((calls, events.correlation), (operators, events.external_id)):
        found, state = _by_id(ids[among], label[among], ids[rows])
        take = (state == _AGREED) & (host < 0)
        host[take] = among[found[take]]
        unclear |= state == _UNCLEAR
    unclear &= host < 0
    return Origins(rows, host, unclear)


def operators_of(events: ProfilerEvents) -> NDArray[np.int32]:
    """The operator that asked for each event, as an index into its names; -1 where none is known.

    Of an operator itself it is its own name, of a GPU operation that of the innermost operator
    around its launch.
    """
    thread = host_thread(events)
    operators = _with_thread(events, (Category.CPU_OP,))
    spans = nest(events.thread[operators], events.start_ns[operators], events.end_ns[operators])
    found = np.full(len(events), -1, np.int32)
    rows = on_host(events)
    inside = spans.innermost(thread[rows], events.start_ns[rows])
    named = inside >= 0
    found[rows[named]] = events.name[operators[inside[named]]]
    found[operators] = events.name[operators]
    of = origins(events, found.astype(np.int64))
    has = of.host >= 0
    found[of.rows[has]] = found[of.host[has]]
    return found


def _operators(events: ProfilerEvents) -> NDArray[np.int64]:
    return _with_thread(events, _OPERATORS)


def _with_thread(events: ProfilerEvents, categories: tuple[Category, ...]) -> NDArray[np.int64]:
    rows = events.rows(*categories)
    threaded: NDArray[np.int64] = rows[events.thread[rows] != -1]
    return threaded


def _by_id(
    ids: NDArray[np.int64], label: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """(index of the first with the wanted id, whether there is one and all have its label)."""
    found = np.full(len(wanted), -1, np.int64)
    state = np.full(len(wanted), _MISSING, np.int8)
    has = np.flatnonzero(ids >= 0)
    if not len(has) or not len(wanted):
        return found, state
    order = has[np.argsort(ids[has], kind="stable")]
    first = np.flatnonzero(np.diff(ids[order], prepend=ids[order[0]] - 1))
    unique = ids[order[first]]
    sorted_label = label[order]
    same = np.minimum.reduceat(sorted_label, first) == np.maximum.reduceat(sorted_label, first)
    at = np.minimum(np.searchsorted(unique, wanted), len(unique) - 1)
    match = (unique[at] == wanted) & (wanted >= 0)
    found[match] = order[first[at[match]]]
    state[match] = np.where(same[at[match]], _AGREED, _UNCLEAR)
    return found, state
