# SPDX-License-Identifier: Apache-2.0
"""Which operations make a row of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from .shares import DeviceShares

__all__ = ["Groups"]


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of one device's operations.

    Attributes
    ----------
    index : ndarray of int64
        Group of each operation, -1 for none.
    count : int
    below : csr_array, shape (rows, count), optional
        Rows that are sums of groups, as modules are of the layers in them; None: each is a row.
    """

    index: NDArray[np.int64]
    count: int
    below: csr_array | None = None

    def seconds(self, shares: DeviceShares) -> csr_array:
        """Seconds of each class (operations of one name) in each row, shape (rows, classes)."""
        from scipy.sparse import csr_array

        inside = self.index >= 0
        where = self.index[inside], shares.operations.name[inside]
        shape = (self.count, max(len(shares.operations.names), 1))
        found = csr_array((shares.seconds[inside], where), shape=shape)
        return found if self.below is None else self.below @ found

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the operations of each row."""
        inside = self.index >= 0
        found = np.bincount(self.index[inside], values[inside], self.count).astype(np.float64)
        return found if self.below is None else np.asarray(self.below @ found)

    def members(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """(operations, the row that each is in, how many rows there are)."""
        from scipy.sparse import csr_array

        inside = np.flatnonzero(self.index >= 0)
        group = self.index[inside]
        if self.below is None:
            return inside, group, self.count
        ones = np.ones(len(inside), np.int8)
        where = group, np.arange(len(inside))
        found = (self.below @ csr_array((ones, where), (self.count, len(inside)))).tocoo()
        return inside[found.col], found.row.astype(np.int64), self.below.shape[0]
