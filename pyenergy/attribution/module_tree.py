# SPDX-License-Identifier: Apache-2.0
"""Energies of layers rolled up by the tree of modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layer_tree import tree
from .tables import UNATTRIBUTED

if TYPE_CHECKING:
    import polars as pl


__all__ = ["module_tree"]


def module_tree(layers: pl.DataFrame) -> pl.DataFrame:
    """The table of `Trace.tree` from that of ``kernels(\"layer\")``."""
    import polars as pl

    joules = pl.col("energy_j") + pl.col("static_j")
    table = layers.filter(pl.col("kind") != "unread").with_columns(own_j=joules)
    whole = table["own_j"].sum()
    is_layer = (pl.col("kind") == "operation") & (pl.col("layer") != UNATTRIBUTED)
    named = table.filter(is_layer)
    paths = named["layer"].to_list()
    slashed = any("/" in path for path in paths)  # as traces of a file have them
    rolled = tree(paths, named["own_j"].to_numpy(), separator="/" if slashed else ".")
    rest = table.filter(~is_layer).select(
        path="layer",
        depth=pl.lit(0, pl.Int64),
        own_j="own_j",
        total_j="own_j",
    )
    rolled = rolled.rename({"own": "own_j", "total": "total_j"})
    return pl.concat([rolled, rest]).with_columns(share=pl.col("total_j") / whole)
