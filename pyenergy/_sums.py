# SPDX-License-Identifier: Apache-2.0
"""Sums over windows of one trace: their energy, and what is known of it.

The uncertainty of a sum is the least of what holds in any case:

- every window's own uncertainty, added up linearly, as if all errors were common;
- of stretches of windows that touch: the mean weight times the uncertainty of the stretch as a
  whole, whose inner edges cancel, and each window's for the rest of its weight;
- where the readings are explained by what ran, what `_combined` finds: the errors of a class are
  common to all its windows, those of the windows' edges are their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._combined import combined
from .sensor.estimate import ActivityModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ._energies import DeviceEnergies
    from .attribution.steps_tables import WeightedWindows

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

__all__ = ["summed"]


def summed(
    models: Sequence[DeviceEnergies], rows: Sequence[WeightedWindows]
) -> tuple[Floats, Floats, Floats]:
    """(joules, u, u_same_card) of each row, all devices together, whose errors are independent.

    Parameters
    ----------
    models : sequence of DeviceEnergies
    rows : sequence of WeightedWindows
        Checked; the windows of a row in order of time, not overlapping.
    """
    runs = [_runs(row) for row in rows]
    joules, variance, own = (np.zeros(len(rows)) for _ in range(3))
    for model in models:
        each = _of_device(model, runs)
        joules += each[:, 0]
        variance += each[:, 1] ** 2
        own += each[:, 2] ** 2
    return joules, np.sqrt(variance), np.sqrt(own)


_Runs = tuple["Times", "Times", "Floats"]


def _runs(row: WeightedWindows) -> _Runs:
    """Windows of a row that touch and weigh the same, as one; without those of no length."""
    kept = row.ends_ns > row.starts_ns
    starts, ends, weights = row.starts_ns[kept], row.ends_ns[kept], row.weights[kept]
    if not len(starts):
        return starts, ends, weights
    joined = (starts[1:] == ends[:-1]) & (weights[1:] == weights[:-1])
    first, last = np.append(True, ~joined), np.append(~joined, True)
    return starts[first], ends[last], weights[first]


def _of_device(model: DeviceEnergies, rows: Sequence[_Runs]) -> Floats:
    """Shape (rows, 3): joules, u, u_same_card."""
    starts = np.concatenate([np.zeros(0, np.int64), *(row[0] for row in rows)])
    ends = np.concatenate([np.zeros(0, np.int64), *(row[1] for row in rows)])
    terms = model.terms(starts, ends)
    each = np.stack([terms.joules, terms.u, terms.u_same_card], axis=1)
    of_row = np.split(each, np.cumsum([len(row[0]) for row in rows])[:-1]) if rows else []
    return np.array(
        [_sum(model, row, mine) for row, mine in zip(rows, of_row, strict=True)], np.float64
    ).reshape(-1, 3)


def _sum(model: DeviceEnergies, row: _Runs, each: Floats) -> tuple[float, float, float]:
    starts, ends, weights = row
    joules = float(weights @ each[:, 0])
    linear = np.abs(weights) @ each[:, 1:]
    if len(starts) < 2:
        return joules, float(linear[0]), float(linear[1])
    least = np.minimum(linear, _by_stretch(model, row, each))
    if isinstance(model.model, ActivityModel):
        found = combined([model], weights[None, :], starts, ends)
        # It leaves the counter out of the energy: by how much that moved the sum, it may be wrong.
        moved2 = (joules - float(found.joules[0])) ** 2
        both = found.cov(same_card=False)[0, 0], found.cov()[0, 0]
        least = np.minimum(least, np.sqrt(np.maximum(both, 0.0) + moved2))
    return joules, float(least[0]), float(least[1])


def _by_stretch(model: DeviceEnergies, row: _Runs, each: Floats) -> Floats:
    """(u, u_same_card) with the mean weight of each stretch taken as that of the whole of it."""
    starts, ends, weights = row
    stretch = np.cumsum(np.append(False, starts[1:] != ends[:-1]))
    count = int(stretch[-1]) + 1
    if count == len(starts):
        return np.full(2, np.inf)
    first, last = np.append(True, np.diff(stretch) > 0), np.append(np.diff(stretch) > 0, True)
    length = (ends - starts).astype(np.float64)
    mean = np.bincount(stretch, weights * length, count) / np.bincount(stretch, length, count)
    whole = model.terms(starts[first], ends[last])
    together = np.abs(mean) @ np.stack([whole.u, whole.u_same_card], axis=1)
    return np.asarray(together + np.abs(weights - mean[stretch]) @ each[:, 1:])
