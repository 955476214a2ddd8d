# SPDX-License-Identifier: Apache-2.0
"""``pyenergy kernels TRACE --recording FILE``: a profiler's trace, with joules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .._api import load
from ..attribution.kineto_json import read_kineto
from ..attribution.nsys import is_nsys
from ..attribution.profiler_events import ProfilerEvents
from ..attribution.tables import BY
from ..errors import OptionError
from ..report.operations import operations_table

__all__ = ["command"]


def command(
    trace: Annotated[
        Path,
        typer.Argument(help="A Kineto trace (.json, .json.gz), or SQLite of Nsight Systems."),
    ],
    recording: Annotated[
        Path, typer.Option("--recording", "-r", help="What pyenergy recorded at the same time.")
    ],
    by: Annotated[
        str,
        typer.Option(help=f"What makes a row: {', '.join(BY)}; or several of them: layer,name."),
    ] = "name",
    device: Annotated[str | None, typer.Option(help="Only this one, such as gpu:0.")] = None,
    static: Annotated[
        str, typer.Option(help="What idle power becomes: separate, busy or all.")
    ] = "separate",
    salvage: Annotated[
        bool,
        typer.Option("--salvage", help="Take what stands before the damage in a Kineto trace."),
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 20,
    csv: Annotated[Path | None, typer.Option(help="Also write every row to this CSV file.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the recording with operations.")
    ] = None,
) -> None:
    """Say where the energy went: to each kernel of a profiler's trace, and to the gaps between.

    The recording must have been made while the profiler ran, on the same machine.
    """
    measured = load(recording)
    measured.attach(_salvaged(trace) if salvage else trace)
    keys = [key.strip() for key in by.split(",")]
    table = measured.kernels(keys, device=device, static=static)  # type: ignore[arg-type]
    console = Console(highlight=False)
    console.print(operations_table(table, top))
    for note in measured.attribution_notes(device=device):
        console.print(f"· {note}", markup=False)
    for name, energy in measured.energies.items():
        if device in (None, name):
            console.print(f"· {name}: {energy}, {energy.method}", markup=False)
            for note in energy.notes:
                console.print(f"· {note}", markup=False)
    for note in measured.notes:
        console.print(f"· {note}", markup=False)
    if csv is not None:
        table.write_csv(csv)
        console.print(f"wrote {csv}", markup=False)
    if out is not None:
        console.print(f"wrote {measured.save(out)}", markup=False)


def _salvaged(trace: Path) -> ProfilerEvents:
    if is_nsys(trace):
        raise OptionError(
            f"--salvage is for Kineto traces, and {trace} is an SQLite database: export the report "
            "of Nsight Systems again"
        )
    return read_kineto(trace, salvage=True)
