# SPDX-License-Identifier: Apache-2.0
"""``pyenergy run -- CMD``: the energy of any program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

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
    keep: Annotated[
        str | None,
        typer.Option(help="Keep readings of so long in memory: 10min, 2h; the recording has all."),
    ] = None,
) -> None:
    """Run a program, pass its exit code through, and print what it cost.

    Options of pyenergy come before the program: ``pyenergy run --devices gpu:0 -- python x.py``.
    The summary goes to standard error and a recording is written, also when the program is ended
    by Ctrl-C. It grows on disk meanwhile: if pyenergy itself is killed, `pyenergy recover` makes
    it.
    """
    arguments = context.args[1:] if context.args[:1] == ["--"] else context.args
    console = Console(stderr=True, highlight=False)
    if not arguments:
        console.print("[bold red]error:[/] no program given: pyenergy run -- CMD [ARG ...]")
        raise typer.Exit(2)
    target = out or Path(f"pyenergy-{os.getpid()}.pyenergy")
    with _Signals() as signals:  # until the recording is written, whatever comes meanwhile
        with open_trace(devices=devices, rate_hz=rate_hz, path=target, keep=keep) as measured:
            code = _run(arguments, signals, console)
        try:
            print_trace(measured, console)
        except NoReadingsError as error:
            console.print(f"no energy: {error}", markup=False)
        written = "no recording was written" if measured.path is None else f"wrote {target}"
        console.print(f"· {' '.join(arguments[:1])} exited with {code}; {written}", markup=False)
    sys.exit(code)


class _Signals:
    """Ends the program, not us: its energy is still to be printed.

    At a terminal, Ctrl-C reaches the program by itself (same process group), so SIGINT is only
    kept from ending us; elsewhere it is passed on, as SIGTERM and SIGHUP are.
    """

    _PASSED_ON = (signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self._pending: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
        for number in self._PASSED_ON:
            self._before[number] = signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def watch(self, child: subprocess.Popen[bytes]) -> None:
        """Signals go to ``child`` from now on, one that came too early as well."""
        self.child = child
        if self._pending is not None:
            child.send_signal(self._pending)

    def _interrupt(self, number: int, frame: object) -> None:
        if not _at_terminal():
            self._pass_on(number, frame)

    def _pass_on(self, number: int, _: object) -> None:
        if self.child is None:
            self._pending = number
        else:
            self.child.send_signal(number)  # does nothing once it has ended


def _at_terminal() -> bool:
    """Whether a terminal sends its Ctrl-C to our process group."""
    try:
        with open("/dev/tty") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _run(arguments: list[str], signals: _Signals, console: Console) -> int:
    """Exit code as a shell reports it: 127 not found, 126 not executable, 128 + signal."""
    try:
        child = subprocess.Popen(arguments)
    except FileNotFoundError:
        console.print(f"error: no such program: {arguments[0]}", markup=False)
        return 127
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        console.print(f"error: cannot run {arguments[0]}: {reason}", markup=False)
        return 126
    signals.watch(child)
    code = child.wait()
    return code if code >= 0 else 128 - code
