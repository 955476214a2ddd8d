# SPDX-License-Identifier: Apache-2.0
"""``pyenergy export FILE``: the readings as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .._api import load
from ..errors import OptionError

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(help="A recording that pyenergy wrote.")],
    parquet: Annotated[
        Path | None, typer.Option(help="Parquet file to write; all else is in its metadata.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="CSV file to write; all else is in its first line.")
    ] = None,
) -> None:
    """Write every reading as a row, for pandas, polars, DuckDB or a spreadsheet."""
    wanted = [path for path in (parquet, csv) if path is not None]
    if not wanted:
        raise OptionError("say what to write: --parquet FILE, --csv FILE or both")
    if len({path.resolve() for path in (file, *wanted)}) <= len(wanted):
        raise OptionError("FILE, --parquet and --csv must be different files")
    trace = load(file)
    console = Console(highlight=False)
    if parquet is not None:
        console.print(f"wrote {trace.to_parquet(parquet)}", markup=False, soft_wrap=True)
    if csv is not None:
        console.print(f"wrote {trace.to_csv(csv)}", markup=False, soft_wrap=True)
