# SPDX-License-Identifier: Apache-2.0
"""Where the energy went, by operation, as a table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._energy import format_with_uncertainty
from ..attribution.tables import BY, GAP
from ..units import engineering

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

__all__ = ["operations_table"]

_LONGEST = 60  # characters of a name: kernels have their whole C++ signature
_TAIL = 20  # of these, from its end: instances of one template differ there
_RESIDUE = 1e-12  # of the whole: less is what rounding leaves of a difference


def operations_table(table: pl.DataFrame, top: int) -> Table:
    """The ``top`` rows of `Trace.kernels` with the most energy, the others together, and gaps."""
    import polars as pl
    from rich import box
    from rich.table import Table

    keys = [column for column in table.columns if column in BY]  # in the order asked for
    static = bool((table["static_j"].fill_null(0.0) != 0).any())
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for key in keys:
        shown.add_column(key)
    for column in ("count", "time", "energy", *(["static"] if static else []), "share", "power"):
        shown.add_column(column, justify="right", no_wrap=True)
    table = _without_residue(table)
    ran = table.filter(kind="operation")
    for row in ran.head(top).iter_rows(named=True):
        shown.add_row(*_cells(row, [row[key] for key in keys], static))
    if len(ran) > top:
        rest = ran.slice(top)
        first = f"… {len(rest)} more"
        together = rest.select(pl.col("count", "time_s", "energy_j", "static_j", "share").sum())
        shown.add_row(
            *_cells(together.row(0, named=True), [first, *[""] * (len(keys) - 1)], static)
        )
    for row in table.filter(pl.col("kind") != "operation").iter_rows(named=True):
        labels = [row[key] for key in keys]
        if keys == ["device"] and row["kind"] == "gap":  # where nothing else tells it apart
            labels = [f"{row['device']} {GAP}"]
        shown.add_row(*_cells(row, labels, static))
    return shown


def _without_residue(table: pl.DataFrame) -> pl.DataFrame:
    """Zero for energies that are rounding's: a gap of no length has what is left of a sum."""
    import polars as pl

    parts = {"energy_j": "u_j", "static_j": "static_u_j"}
    least = _RESIDUE * float(sum(table[part].abs().sum() for part in parts))
    tiny = {
        part: (pl.col(part).abs() < least) & (pl.col(u).abs() < least) for part, u in parts.items()
    }
    zero = {column: tiny[part] for part, u in parts.items() for column in (part, u)}
    zero |= dict.fromkeys(("share", "power_w"), tiny["energy_j"] & tiny["static_j"])
    return table.with_columns(
        pl.when(small & pl.col(column).is_not_null())
        .then(0.0)
        .otherwise(pl.col(column))
        .alias(column)
        for column, small in zero.items()
    )


def _short(text: str) -> str:
    """Begin and end of a long name."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - _TAIL - 1]}…{text[-_TAIL:]}"


def _cells(row: dict[str, Any], labels: list[str], static: bool) -> list[str]:
    from rich.markup import escape

    said = [escape(_short(text)) for text in labels]
    count, time = f"{row['count']:,}", engineering(row["time_s"], "s")
    if row["energy_j"] is None:
        return [*said, count, time, "[bold red]not read[/]", *([""] if static else []), "", ""]
    u_j, power_w = row.get("u_j"), row.get("power_w")
    joules = row["energy_j"]
    energy = format_with_uncertainty(joules, u_j, "J") if u_j else engineering(joules, "J")
    return [
        *said,
        count,
        time,
        energy,
        *([engineering(row["static_j"], "J")] if static else []),
        f"{row['share']:.1%}",
        engineering(power_w, "W") if power_w is not None else "",
    ]
