# SPDX-License-Identifier: Apache-2.0
"""Correlation ids that several events share, and what that leaves open."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from .profiler_events import GPU_WORK, Category

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["GRAPH_LAUNCH", "shared_ids"]

GRAPH_LAUNCH = re.compile(r"\w*GraphLaunch")
"""Names of calls that launch many kernels at once, all with the call's id."""

_CALLS = (Category.RUNTIME, Category.DRIVER)


def shared_ids(
    category: NDArray[np.int8],
    correlation: NDArray[np.int64],
    name: NDArray[np.int32],
    names: Sequence[str],
) -> tuple[Mapping[str, int], list[str]]:
    """(how many events share an id with another of their side, what to say of those).

    A call of the runtime and the call of the driver in it may have one id, and so do a graph's
    launch and its kernels: they are counted, and there is nothing to say of them.
    """
    has = correlation >= 0
    work = np.flatnonzero(np.isin(category, GPU_WORK) & has)
    calls = np.flatnonzero(np.isin(category, _CALLS) & has)
    shared_work, shared_calls = _shared(correlation[work]), _shared(correlation[calls])
    counts = {
        "GPU events sharing a correlation id": int(shared_work.sum()),
        "launches sharing a correlation id": int(shared_calls.sum()),
    }
    notes = []
    unclear = np.zeros(0, np.int64)
    for kind in _CALLS:
        ids = correlation[calls[category[calls] == kind]]
        unclear = np.union1d(unclear, ids[_shared(ids)])
    of_many = np.isin(correlation[work], unclear)
    if of_many.any():
        launches = int(np.isin(correlation[calls], unclear).sum())
        notes.append(
            f"{int(of_many.sum()):,} GPU operations and {launches:,} launches share "
            f"{len(np.unique(correlation[work[of_many]])):,} correlation ids: which launch asked "
            "for which is not known, so they have an operator or a layer only where all launches "
            "of their id have the same"
        )
    graph = np.array([GRAPH_LAUNCH.match(each) is not None for each in names], bool)
    graphs = correlation[calls[graph[name[calls]]]] if len(names) else np.zeros(0, np.int64)
    launched = np.setdiff1d(correlation[calls], np.union1d(unclear, graphs))
    odd = shared_work & np.isin(correlation[work], launched)
    if odd.any():
        notes.append(
            f"{int(odd.sum()):,} GPU operations share {len(np.unique(correlation[work[odd]])):,} "
            "correlation ids, of launches that are no CUDA graph's: all of an id are taken to come "
            "from its launch"
        )
    return {what: count for what, count in counts.items() if count}, notes


def _shared(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether another has the same."""
    _, index, counts = np.unique(ids, return_inverse=True, return_counts=True)
    shared: NDArray[np.bool_] = (counts > 1)[index]
    return shared
