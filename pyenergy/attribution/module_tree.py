# SPDX-License-Identifier: Apache-2.0
"""Energies of layers rolled up by the tree of modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .groups import Groups
from .layer_tree import tree
from .tables import LEVEL_U, UNATTRIBUTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from .shares import DeviceShares
    from .tables import GroupU

__all__ = ["module_tree"]


def module_tree(
    layers: pl.DataFrame, shares: Sequence[DeviceShares], u_of: Sequence[GroupU]
) -> pl.DataFrame:
    """The table of `Trace.tree`.

    Parameters
    ----------
    layers : DataFrame
        Of `operation_table`, by layer.
    shares : sequence of DeviceShares
    u_of : sequence of functions
        For each device: uncertainties of groups of operations.
    """
    import polars as pl

    table = layers.filter(pl.col("kind") != "unread").with_columns(
        own_j=pl.col("energy_j") + pl.col("static_j"),
        u_j=pl.when(pl.col("static_u_j") == 0)
        .then(pl.col("u_j"))
        .otherwise((pl.col("u_j") ** 2 + pl.col("static_u_j") ** 2).sqrt()),
    )
    is_layer = (pl.col("kind") == "operation") & (pl.col("layer") != UNATTRIBUTED)
    named = table.filter(is_layer)
    names = named["layer"].to_list()
    separator = "/" if any("/" in name for name in names) else "."  # as traces of a file have them
    rolled = tree(names, named["own_j"].to_numpy(), separator=separator)
    below = _below(rolled["path"].to_list(), names, separator)
    variance = (below @ named[LEVEL_U].to_numpy()) ** 2  # one level is under all
    for each, u in zip(shares, u_of, strict=True):
        groups = Groups(_layer_rows(each, names), len(names), below)
        variance += u(groups.sums(each.dynamic.energy_j), groups)[0] ** 2
    rest = table.filter(~is_layer)
    whole = table["own_j"].sum()
    return pl.concat(
        [
            rolled.select("path", "depth", own_j="own", total_j="total", u_j=np.sqrt(variance)),
            rest.select(
                path="layer",
                depth=pl.lit(0, pl.Int64),
                own_j="own_j",
                total_j="own_j",
                u_j="u_j",
            ),
        ]
    ).with_columns(share=pl.col("total_j") / whole)


def _below(paths: list[str], names: list[str], separator: str) -> csr_array:
    """Which layers each module has in it, itself included: shape (modules, layers)."""
    from scipy.sparse import csr_array

    number = {path: i for i, path in enumerate(paths)}
    rows, columns = [], []
    for layer, name in enumerate(names):
        parts = name.split(separator) if name else []
        for depth in range(len(parts) + 1):
            rows.append(number[separator.join(parts[:depth])])
            columns.append(layer)
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(paths), len(names)))


def _layer_rows(shares: DeviceShares, names: list[str]) -> NDArray[np.int64]:
    """Position of each operation's layer in ``names``; -1 where it has none."""
    number = {name: i for i, name in enumerate(names)}
    layers = shares.operations.layers
    position = np.array([*(number.get(name, -1) for name in layers), -1], np.int64)
    return position[shares.operations.layer]
