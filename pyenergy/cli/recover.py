# SPDX-License-Identifier: Apache-2.0
"""``pyenergy recover FILE``: the recording of a process that died."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import PyEnergyError
from ..recording.recover import recover
from ..report.text import print_trace

__all__ = ["command"]


def command(
    file: Annotated[
        Path, typer.Argument(help="The recording that was asked for, or its folder FILE.live.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; FILE if not given.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite a file that exists.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the folder where it is.")] = False,
) -> None:
    """Make a recording of what a process had read when it was killed or crashed."""
    from .._trace import Trace

    console = Console(highlight=False)
    target, recorded = recover(file, out, replace=replace, keep=keep)
    try:
        print_trace(Trace(recorded), console)
    except PyEnergyError as error:  # it may have died before it could read anything
        console.print(f"no energy: {error}", markup=False)
    console.print(f"wrote {target}", markup=False, soft_wrap=True)
