# SPDX-License-Identifier: Apache-2.0
"""``pyenergy show FILE``: a recording as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .._api import load
from ..report.text import budget_table, print_trace

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(help="A recording that pyenergy wrote.")],
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the power to this PNG, SVG or PDF.")
    ] = None,
    budget: Annotated[
        bool, typer.Option("--budget", help="Also say where each uncertainty comes from.")
    ] = False,
    profile: Annotated[
        Path | None,
        typer.Option(help="Evaluate with this calibration (`pyenergy calibrate` writes it)."),
    ] = None,
) -> None:
    """Print a recording: devices, spans, energies with their uncertainties, notes."""
    trace = load(file)
    if profile is not None:
        from ..sensor.profile import Profile

        trace = trace.calibrated(Profile.load(profile))
    console = Console(highlight=False)
    print_trace(trace, console)
    if budget:
        console.print(budget_table(trace))
    facts = trace.recorded.provenance
    made = f"{facts.get('written_utc', '?')} on {facts.get('host', '?')}"
    console.print(f"· recorded {made} with pyenergy {facts.get('pyenergy', '?')}", markup=False)
    if plot is not None:
        from ..report.plots import power_plot

        console.print(f"wrote {power_plot(trace, plot)}", markup=False)
