# SPDX-License-Identifier: Apache-2.0
"""``pyenergy attach PID|FILE``: watches a recording that another process makes."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from ..errors import NoReadingsError, OptionError, RecordingError
from ..recording.live_folder import LOCK, SUFFIX, is_live_folder, owner_of
from ..recording.live_read import LiveReader
from ..recording.recover import folder_of, target_of
from ..units import NS_PER_S, engineering

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from .._trace import Trace
    from ..recording.recorded import Recorded
    from ..recording.series import DeviceData

__all__ = ["command"]

_LATEST_NS = 5 * NS_PER_S


def command(
    what: Annotated[
        str, typer.Argument(metavar="PID|FILE", help="A process, or the file that it records to.")
    ],
    every: Annotated[float, typer.Option(help="Seconds between looks.")] = 1.0,
    looks: Annotated[
        int | None, typer.Option(help="End after so many; else when the recording ends.")
    ] = None,
) -> None:
    """Show the power and the energy so far of a live recording. Changes nothing of it."""
    if not 0.05 <= every <= 3600:
        raise OptionError(f"--every must be from 0.05 to 3600 s, got {every:g}")
    if looks is not None and looks < 1:
        raise OptionError(f"--looks must be at least 1, got {looks}")
    console = Console(highlight=False)
    folder = _folder(what)
    reader = LiveReader(folder)
    if owner_of(folder) is None:
        raise RecordingError(
            f"{folder} is not being recorded any more: 'pyenergy recover {folder}' makes a file of "
            "it"
        )
    ended = _watch(reader, every, looks, console)
    if ended:
        console.print(ended, markup=False, soft_wrap=True)


def _watch(reader: LiveReader, every: float, looks: int | None, console: Console) -> str:
    """Show until it ends; what to say then."""
    seen = 0
    with contextlib.ExitStack() as stack:
        show: Callable[[Table], None] = console.print  # into a file, one below the other
        if console.is_terminal:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
            show = functools.partial(live.update, refresh=True)
        while looks is None or seen < looks:
            if seen:
                time.sleep(every)
            try:
                recorded = reader.read()
            except RecordingError:
                if reader.folder.exists():
                    raise
                target = target_of(reader.folder)
                return f"the recording has ended: 'pyenergy show {target}'"
            show(_table(recorded, reader))
            seen += 1
            if reader.owner is None:
                return (
                    f"process {reader.pid} died: 'pyenergy recover {reader.folder}' makes a file "
                    "of what it had read"
                )
    return ""


def _table(recorded: Recorded, reader: LiveReader) -> Table:
    from rich import box
    from rich.table import Table

    from .._trace import Trace

    start, end = recorded.bounds_ns
    trace = Trace(recorded)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.title = (
        f"{escape(str(reader.folder))}: process {reader.pid}, "
        f"{engineering((end - start) / NS_PER_S, 's')}"
    )
    for name in ("device", "power now", "mean of 5 s", "energy so far"):
        table.add_column(name, justify="left" if name == "device" else "right", no_wrap=True)
    for device_id, device in recorded.devices.items():
        latest = max(start, end - _LATEST_NS)
        table.add_row(
            f"{device_id}  {escape(device.meta.name)}",
            _power(device),
            _mean(trace, device_id, latest, end),
            _energy(trace, device_id, start, end),
        )
    if recorded.marks:
        table.caption = f"{len(recorded.marks)} marks, the latest {recorded.marks[-1].name!r}"
    return table


def _power(device: DeviceData) -> str:
    """The latest reading; a sum has no meaning before all of it is read."""
    from ..sensor.catalog import POWER_CHANNELS

    name = next((n for n in POWER_CHANNELS if n in device.runs), None)
    if name is None or not device.runs[name].usable.any():
        return "not readable"
    runs = device.runs[name]
    return engineering(float(runs.value[np.flatnonzero(runs.usable)[-1]]), "W")


def _mean(trace: Trace, device_id: str, start: int, end: int) -> str:
    if end - start < NS_PER_S // 10:
        return ""
    try:
        energy = trace.window(start, end, device_id, method="trapezoid")
    except NoReadingsError:
        return ""
    return engineering(energy.joules / ((end - start) / NS_PER_S), "W")


def _energy(trace: Trace, device_id: str, start: int, end: int) -> str:
    try:
        return str(trace.window(start, end, device_id, method="trapezoid"))
    except NoReadingsError:
        return "not readable"


def _folder(what: str) -> Path:
    """The live folder of a process or a file."""
    if not what.isdecimal() or Path(what).exists():
        return folder_of(Path(what))
    found = _recorded_by(int(what))
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(str(folder) for folder in found)
        raise OptionError(f"process {what} makes several recordings, name one: {several}")
    raise OptionError(
        f"process {what} records to no file: it would with pyenergy.trace(path=...) or under "
        f"'pyenergy run -o FILE'.{_others()}"
    )


def _recorded_by(pid: int) -> list[Path]:
    """Folders whose lock the process holds open."""
    try:
        folders = _locked_by(pid)
    except FileNotFoundError:
        raise OptionError(f"no process {pid} runs.{_others()}") from None
    except PermissionError:
        raise OptionError(
            f"process {pid} is another user's: name the file that it records to"
        ) from None
    # A process in a container has another root.
    seen = [(folder, Path(f"/proc/{pid}/root{folder}")) for folder in folders]
    return [
        next(p for p in both if is_live_folder(p))
        for both in seen
        if any(map(is_live_folder, both))
    ]


def _locked_by(pid: int | str) -> list[Path]:
    open_files = Path(f"/proc/{pid}/fd")
    links = []
    for file in os.listdir(open_files):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(Path(os.readlink(open_files / file)))
    return sorted({p.parent for p in links if p.name == LOCK and SUFFIX in p.parent.name})


def _others() -> str:
    """Who does record, as a hint."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            found += [name] if _locked_by(name) else []
    return f" These do: {', '.join(found)}" if found else " No process of yours does"
