# SPDX-License-Identifier: Apache-2.0
"""What is not known of operations whose powers the readings do not tell apart.

Sharing a smooth curve gives every operation the power of its surroundings: shares by time. How
much each really took lies anywhere between the device's limits, as long as all that ran within one
stretch of what the readings resolve took together what was measured there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from ..sensor.terms import WindowTerms
    from .groups import Groups
    from .shares import DeviceShares

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

__all__ = ["Unresolved", "windows_u"]

_MOST_WINDOWS = 1_000_000  # whose own uncertainties are asked for
_MOST_PIECES = 20_000_000  # of operations cut at the cells' edges
_MOST_ROWS = 1 << 16  # at a time, each with the classes that ran beside it


class Unresolved:
    """Standard uncertainty of groups whose powers are not told apart, J.

    Every class (operations of one name) and the time in which nothing ran has a power of its own,
    anywhere in a range of ``range_w``: ``s = range_w / sqrt(12)``. So has what a group holds of a
    class: two layers' calls of one kernel need not be alike. Time is cut into cells as long as
    what the readings resolve. Of a cell of tau seconds, in which class i has ``T_i``, the group
    ``c_i`` and in all ``c``, the group is given ``c / tau`` of the sum of ``T_i P_i``, and took the
    sum of ``c_i P_i``. The difference is linear in the powers; its coefficients are added up over
    the cells, as a class errs in all of them alike, and then in quadrature over the classes.

    Parameters
    ----------
    shares : DeviceShares
    cell_ns : int
        Time that the readings resolve.
    range_w : float
        Highest less lowest power of the device, W.
    """

    def __init__(self, shares: DeviceShares, cell_ns: int, range_w: float) -> None:
        self._s_w = range_w / math.sqrt(12)
        low, high = shares.dynamic.bounds_ns
        operations = shares.operations
        starts = operations.start_ns.clip(low, high)
        ends = operations.end_ns.clip(low, high)
        cell_ns = max(cell_ns, 1)
        # Wider cells tell less, so that this errs on the safe side.
        while (ends - starts).sum() / cell_ns + len(starts) + (high - low) / cell_ns > _MOST_PIECES:
            cell_ns *= 2
        gaps = shares.dynamic.gap_starts_ns, shares.dynamic.gap_ends_ns
        # Operations in step with one grid would look resolved: the other cuts them.
        self._grids = [
            _Grid.of((starts, ends), gaps, operations.name, len(operations.names), origin, cell_ns)
            for origin in (low, low - cell_ns // 2)
        ]

    def u(self, groups: Groups) -> Floats:
        """Of each row of ``groups``."""
        variance = np.max([_variance(grid, groups) for grid in self._grids], axis=0)
        return np.asarray(self._s_w * np.sqrt(variance))


class WindowsU(NamedTuple):
    """What the readings leave open of the power at each row's times, whoever took it; J."""

    inside_j: Floats  # windows err independently
    gaps_j: Floats  # gaps in the reading hide any power from all that ran in them alike
    together_j: Floats  # all of it, as if every window erred the same way


def windows_u(
    terms: Callable[[Times, Times], WindowTerms], shares: DeviceShares, groups: Groups
) -> WindowsU | None:
    """Of each row, operations of one group that touch being one window; None for too many."""
    operation, row, rows = groups.members()
    if len(operation) > _MOST_WINDOWS:
        return None
    starts, ends, row = _windows(shares, operation, row)
    found = terms(starts, ends)
    u = found.u_same_card
    gaps = found.terms.get("gaps", np.zeros_like(u))
    inside2 = np.maximum(u**2 - gaps**2, 0.0)
    summed = [np.bincount(row, values, rows).astype(np.float64) for values in (inside2, gaps, u)]
    return WindowsU(np.sqrt(summed[0]), summed[1], summed[2])


def _windows(shares: DeviceShares, operation: Times, row: Times) -> tuple[Times, Times, Times]:
    """(starts, ends, row) of the stretches in which operations of one row ran on end."""
    low, high = shares.dynamic.bounds_ns
    order = np.lexsort((shares.operations.start_ns[operation], row))
    operation, row = operation[order], row[order]
    starts = shares.operations.start_ns[operation].clip(low, high)
    ends = shares.operations.end_ns[operation].clip(low, high)
    begins = np.append(True, (row[1:] != row[:-1]) | (starts[1:] > ends[:-1]))[: len(row)]
    first = np.flatnonzero(begins)
    latest = np.maximum.reduceat(ends, first) if len(first) else ends
    return starts[first], latest, row[first]


class _Grid(NamedTuple):
    """Operations cut at the edges of cells; a pair is a cell and a class that ran in it."""

    operation: Times  # of each piece
    pair: Times
    piece_s: Floats
    cell: Times  # of each pair
    name: Times
    beside: csr_array  # seconds of each class in each cell; the gaps come last
    whole_s: Floats  # of each cell: all its operations and gaps

    @classmethod
    def of(
        cls,
        ran: tuple[Times, Times],
        gaps: tuple[Times, Times],
        name: NDArray[np.int32],
        classes: int,
        origin_ns: int,
        cell_ns: int,
    ) -> _Grid:
        from scipy.sparse import csr_array

        operation, cell, piece_s = _cut(*ran, origin_ns, cell_ns)
        _, gap_cell, gap_s = _cut(*gaps, origin_ns, cell_ns)
        key, pair = np.unique(cell * classes + name[operation], return_inverse=True)
        of_cell, of_name = np.divmod(key, max(classes, 1))
        # Cells in which nothing is cut are left out: an hour has many.
        used, number = np.unique(np.concatenate([of_cell, gap_cell]), return_inverse=True)
        class_s = np.bincount(pair, piece_s, len(key))
        every_s = np.concatenate([class_s, gap_s])
        every_name = np.concatenate([of_name, np.full(len(gap_s), classes, np.int64)])
        beside = csr_array((every_s, (number, every_name)), shape=(len(used), classes + 1))
        whole_s = np.bincount(number, every_s, len(used)).astype(np.float64)
        return cls(operation, pair, piece_s, number[: len(key)], of_name, beside, whole_s)


def _cut(starts: Times, ends: Times, origin_ns: int, cell_ns: int) -> tuple[Times, Times, Floats]:
    """(interval, cell, seconds) of each piece of intervals that are cut at the cells' edges."""
    kept = np.flatnonzero(ends > starts)
    starts, ends = starts[kept] - origin_ns, ends[kept] - origin_ns
    first = starts // cell_ns
    count = (ends - 1) // cell_ns - first + 1
    row = np.repeat(np.arange(len(kept)), count)
    cell = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]
    begin = np.maximum(starts[row], cell * cell_ns)
    finish = np.minimum(ends[row], (cell + 1) * cell_ns)
    return kept[row], cell, (finish - begin) / NS_PER_S


def _variance(grid: _Grid, groups: Groups) -> Floats:
    """Sum of the squared coefficients of each row, s^2."""
    from scipy.sparse import csr_array

    group = groups.index[grid.operation]
    inside = group >= 0
    shape = (groups.count, len(grid.cell))
    own = csr_array((grid.piece_s[inside], (group[inside], grid.pair[inside])), shape=shape)
    if groups.below is not None:
        own = groups.below @ own
    cells, classes = grid.beside.shape
    to_cell = csr_array((np.ones(shape[1]), (np.arange(shape[1]), grid.cell)), (shape[1], cells))
    to_name = csr_array((np.ones(shape[1]), (np.arange(shape[1]), grid.name)), (shape[1], classes))
    given = (own @ to_cell).multiply(1 / np.maximum(grid.whole_s, 1e-12)).tocsr()  # share of a cell
    found = np.zeros(own.shape[0])
    for first in range(0, own.shape[0], _MOST_ROWS):
        rows = slice(first, first + _MOST_ROWS)
        mine, share = own[rows], given[rows]
        # What a group is given of its own powers, by class; the rest it is given of others'.
        of_itself = (mine * (share @ to_cell.T)) @ to_name
        kept = mine @ to_name - of_itself
        of_others = share @ grid.beside - of_itself
        found[rows] = _squares(kept) + _squares(of_others)
    return found


def _squares(matrix: csr_array) -> Floats:
    return np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
