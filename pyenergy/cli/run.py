# SPDX-License-Identifier: Apache-2.0
"""``pyenergy run -- CMD``: the energy of any program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .._api import trace as open_trace
from ..errors import NoReadingsError
from ..report.text import print_trace

__all__ = ["command"]


def command(
    context: typer.Context,
    devices: Annotated[str, typer.Option(help="What to measure.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Recording to write [default: pyenergy-PID.pyenergy]."),
    ] = None,
    rate_hz: Annotated[float | None, typer.Option(help="Polls per second.")] = None,
) -> None:
    """Run a program, pass its exit code through, and print what it cost.

    Options of pyenergy come before the program: ``pyenergy run --devices gpu:0 -- python x.py``.
    The summary goes to standard error and a recording is written, also when the program is ended
    by Ctrl-C.
    """
    arguments = context.args[1:] if context.args[:1] == ["--"] else context.args
    console = Console(stderr=True, highlight=False)
    if not arguments:
        console.print("[bold red]error:[/] no program given: pyenergy run -- CMD [ARG ...]")
        raise typer.Exit(2)
    with open_trace(devices=devices, rate_hz=rate_hz) as measured:
        code = _run(arguments, console)
    target = out or Path(f"pyenergy-{os.getpid()}.pyenergy")
    try:
        print_trace(measured, console)
    except NoReadingsError as error:
        console.print(f"[bold red]no energy:[/] {error}")
    measured.save(target)
    console.print(f"[dim]·[/] {' '.join(arguments[:1])} exited with {code}; wrote {target}")
    sys.exit(code)


def _run(arguments: list[str], console: Console) -> int:
    """Exit code as a shell reports it: 127 not found, 126 not executable, 128 + signal."""
    try:
        child = subprocess.Popen(arguments)
    except FileNotFoundError:
        console.print(f"[bold red]error:[/] no such program: {arguments[0]}")
        return 127
    except OSError as error:
        console.print(f"[bold red]error:[/] cannot run {arguments[0]}: {error.strerror}")
        return 126
    # Ctrl-C reaches the child by itself (same process group); SIGTERM does not.
    previous_int = signal.signal(signal.SIGINT, signal.SIG_IGN)
    previous_term = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGINT, previous_int)
        signal.signal(signal.SIGTERM, previous_term)
    return code if code >= 0 else 128 - code
