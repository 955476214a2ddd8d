# SPDX-License-Identifier: Apache-2.0
"""``pyenergy report FILE``: where the joules went, for a browser, Perfetto or a flame graph."""

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
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; by default FILE with .html.")
    ] = None,
    attach: Annotated[
        Path | None,
        typer.Option(help="First attach this profiler's trace (Kineto, or nsys as SQLite)."),
    ] = None,
    perfetto: Annotated[
        Path | None, typer.Option(help="Also a trace for ui.perfetto.dev: .json or .json.gz.")
    ] = None,
    merge: Annotated[
        Path | None, typer.Option(help="With --perfetto: put it into a copy of this Kineto trace.")
    ] = None,
    speedscope: Annotated[
        Path | None, typer.Option(help="Also a flame graph of joules for speedscope.app.")
    ] = None,
    folded: Annotated[
        Path | None, typer.Option(help="Also folded stacks of microjoules, for flamegraph.pl.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="Evaluate with this calibration (`pyenergy calibrate` writes it)."),
    ] = None,
) -> None:
    """Write a report that opens in any browser, without a network."""
    if merge is not None and perfetto is None:
        raise OptionError("--merge says what to put the joules into: give --perfetto OUT.json too")
    out = file.with_suffix(".html") if out is None else out
    _distinct({"FILE": file, "--attach": attach, "--merge": merge},
              {"--out": out, "--perfetto": perfetto, "--speedscope": speedscope,
               "--folded": folded})  # fmt: skip
    trace = load(file)
    if profile is not None:
        from ..sensor.profile import Profile

        trace = trace.calibrated(Profile.load(profile))
    if attach is not None:
        trace.attach(attach)
    written = [trace.report(out)]
    if perfetto is not None:
        written.append(trace.perfetto(perfetto, merge))
    if speedscope is not None:
        written.append(trace.speedscope(speedscope))
    if folded is not None:
        written.append(trace.folded(folded))
    console = Console(highlight=False)
    for path in written:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)


def _distinct(read: dict[str, Path | None], written: dict[str, Path | None]) -> None:
    """No file is written twice, and none over what is read."""
    taken = {path.resolve(): name for name, path in read.items() if path is not None}
    for name, path in written.items():
        if path is None:
            continue
        other = taken.setdefault(path.resolve(), name)
        if other != name:
            raise OptionError(f"{name} and {other} are the same file, {path}")
