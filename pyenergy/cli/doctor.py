# SPDX-License-Identifier: Apache-2.0
"""``pyenergy doctor``: which sensors there are, what each can read, and what would mend a lack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from .. import _core
from .._devices import Device, devices, resolve
from ..errors import DeviceError, RecordingError
from ..recording.series import DeviceMeta, Runs
from ..sensor.catalog import prior_for
from ..sensor.profile import find_profile
from ..sensor.update_clock import fit_clock
from ..units import NS_PER_S, engineering

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["calibration_lines", "command"]

_OLD_S = 180 * 86_400
_UNREAL = ("sim", "replay")


def command(
    seconds: Annotated[float, typer.Option(help="How long to watch each device.", min=0.2)] = 3.0,
    only: Annotated[str, typer.Option("--devices", help="Which devices to examine.")] = "all",
) -> None:
    """Examine every sensor: availability, permissions, update periods, call latencies."""
    console = Console(highlight=False)
    _print_sources(console)
    try:
        found = devices() if only == "all" else list(resolve(only))
    except DeviceError as error:
        console.print(f"[bold red]devices:[/] {escape(str(error))}")
        raise typer.Exit(1) from None
    for device in track(found, "reading sensors", console=console, transient=True):
        _examine(device, seconds, console)


def _print_sources(console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Sources", title_justify="left")
    for name in ("source", "state", "detail"):
        table.add_column(name)
    for source in _core.sources():
        if source in _UNREAL:
            continue
        report = _core.enumerate(source)
        state = "[green]available[/]" if report.available else "[yellow]not available[/]"
        detail = escape(report.reason) or f"{len(report.devices)} device(s)"
        if report.fix:
            detail += f"\n[bold]fix:[/] {escape(report.fix)}"
        table.add_row(source, state, detail)
    console.print(table)


def _examine(device: Device, seconds: float, console: Console) -> None:
    console.print(f"[bold]{device.id}[/]  {escape(device.meta.name)}  {device.meta.uuid}")
    for name, value in device.info.facts.items():
        console.print(f"  {name}: {value}", markup=False)
    for note in device.meta.notes:
        console.print(f"  [yellow]note:[/] {escape(note)}")
    if device.info.kind == "gpu" and device.meta.uuid:  # a profile is kept by it
        for line in calibration_lines(device.meta, time.time()):
            console.print(f"  {line}", soft_wrap=True)
    try:
        stream = _core.Stream(device.info, period_ns=NS_PER_S // 1000)
    except RuntimeError as error:
        console.print(f"  [bold red]cannot be opened:[/] {escape(str(error))}")
        return
    for line in _activity_lines(stream):
        console.print(f"  {escape(line)}", soft_wrap=True)
    stream.acquire()
    time.sleep(seconds)
    stream.release(0)
    stream.stop(5.0)
    stream.drain()
    recording = stream.recording
    recording.seal()
    console.print(_channel_table(device, stream, recording))
    _print_calls(stream.stats(), console)


def calibration_lines(meta: DeviceMeta, now_unix_s: float) -> list[str]:
    """What is calibrated of a card and how old that is, in rich's markup."""
    try:
        profile = find_profile(meta.uuid)
    except RecordingError as error:
        return [f"[red]calibrated: cannot be told:[/] {escape(str(error))}"]
    if profile is None:
        return ["calibrated: never (pyenergy calibrate)"]
    age_s = profile.age_s(now_unix_s)
    parts = [
        f"response calibrated {_ago(age_s)}: {escape(str(profile.response))}"
        if profile.response is not None
        else f"calibrated {_ago(age_s)}, which did not tell the response"
    ]
    meter_age_s = age_s
    if profile.by_meter:
        made = profile.details.get("meter_unix_s", profile.calibrated_unix_s)
        meter_age_s = now_unix_s - float(made) if isinstance(made, (int, float)) else age_s
        parts.append(f"gain by meter {_ago(meter_age_s)}")
    else:
        parts.append("gain not compared with a meter")
    lines = [", ".join(parts)]
    if max(age_s, meter_age_s) > _OLD_S:
        lines.append("[yellow]calibration is older than 180 days:[/] run pyenergy calibrate again")
    driver = profile.details.get("driver", "")
    if driver and meta.driver and driver != meta.driver:
        lines.append(
            f"[yellow]calibrated with driver {escape(str(driver))}, now it is "
            f"{escape(meta.driver)}:[/] run pyenergy calibrate again"
        )
    return lines


def _ago(seconds: float) -> str:
    days = int(seconds // 86_400)
    if seconds < 0:
        return "in the future"
    if days == 0:
        return "today"
    return "1 day ago" if days == 1 else f"{days} days ago"


def _activity_lines(stream: _core.Stream) -> list[str]:
    """Which source tells how busy the GPU's parts are, and what would mend the lack of a better."""
    notes = (c.note[c.note.find("activity: ") :] for c in stream.channels if "activity: " in c.note)
    return list(dict.fromkeys(notes))


def _channel_table(device: Device, stream: _core.Stream, recording: _core.Recording) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("channel", "last reading", "update period", "expected", "scope", "read as"):
        table.add_column(name)
    for index, channel in enumerate(stream.channels):
        runs = Runs.of(recording.runs(index))
        table.add_row(
            channel.name,
            _last(runs, channel),
            _period(runs) if channel.group == "fast" else "[dim]read at 10 Hz[/]",
            _expected(device, channel),
            channel.scope,
            channel.source,
        )
    return table


def _last(runs: Runs, channel: _core.Channel) -> str:
    usable, unit = runs.usable, channel.unit
    if not usable.any():
        status = int(runs.flags[-1]) >> 16 if len(runs) else None
        why = "none read" if status is None else _core.status_text(channel.source, status)
        return f"[red]missing ({escape(why)})[/]"
    value = float(runs.value[usable][-1])
    return f"{value:g}" if unit in ("1", "bits") else engineering(value, unit, 4)


def _period(runs: Runs) -> str:
    measured = fit_clock(runs)
    if measured is not None:
        text = f"{measured.period_s * 1e3:.2f} ± {measured.u_s * 1e3:.2g} ms"
        return text + f" ({measured.changes} changes, {measured.violations} off the clock)"
    changes = max(len(runs) - 1, 0)
    return f"[dim]not measurable ({changes} changes)[/]"


def _expected(device: Device, channel: Any) -> str:
    if channel.unit != "W":
        return ""
    prior = prior_for(
        device.meta.architecture, channel.source, channel.update_ns, channel.window_ns,
        channel.delay_ns,
    )  # fmt: skip
    if not prior.known:
        return "unknown sensor"
    if prior.update_ns == 0:
        return "continuous"
    window = engineering(prior.window_ns / NS_PER_S, "s")
    return f"{engineering(prior.update_ns / NS_PER_S, 's')}, sees {window}"


def _print_calls(stats: dict[str, Any], console: Console) -> None:
    console.print(
        f"  {stats['polls']} polls, {stats['missed_deadlines']} deadlines missed, "
        f"{stats['dropped']} samples dropped, {stats['failed_reads']} reads failed"
    )
    for label, key in (
        ("fast call", "fast_latency"),
        ("slow call", "slow_latency"),
        ("lateness", "lateness"),
    ):
        if stats[key]["count"]:
            figures = ", ".join(_quantiles(stats[key]))
            console.print(f"  {label}: {figures}")


def _quantiles(histogram: dict[str, int]) -> Iterable[str]:
    for name in ("p50", "p99", "max"):
        yield f"{name} {engineering(histogram[f'{name}_ns'] / NS_PER_S, 's')}"
