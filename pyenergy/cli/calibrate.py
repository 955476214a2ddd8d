# SPDX-License-Identifier: Apache-2.0
"""``pyenergy calibrate``: what this card's power sensor shows of the power, found by a load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .. import _load
from .._devices import Device, channels_of, resolve
from .._session import Session
from ..config import Sampling
from ..errors import DeviceError, OptionError, PyEnergyError, RecordingError
from ..recording.marks import Mark
from ..sensor.calibrate import Calibration, calibrate
from ..sensor.catalog import POWER_CHANNELS
from ..sensor.channel_fit import ChannelFit, sensor_prior
from ..sensor.meter import METER_U, MeterLog, read_meter
from ..sensor.profile import Profile, find_profile, profile_path
from ..sensor.spans import Spans
from ..units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..recording.recorded import Recorded

__all__ = ["command"]

_RATE_HZ = 1_000.0
_SECONDS = 40.0
_LABEL = "load"


def command(
    device: Annotated[
        str, typer.Option("--device", "--devices", help="Which GPU: gpu:0, a UUID, sim:a100.")
    ] = "gpu:0",
    seconds: Annotated[
        float | None,
        typer.Option(help=f"How long to run the load in all; {_SECONDS:g} if not given."),
    ] = None,
    load: Annotated[
        str | None,
        typer.Option("--command", metavar="CMD", help="Load to run in each busy phase."),
    ] = None,
    meter: Annotated[
        Path | None, typer.Option(help="CSV of a power meter over the same time: time, watts.")
    ] = None,
    meter_clock: Annotated[
        str | None,
        typer.Option(help="What the meter's times count: unix (if not given) or monotonic."),
    ] = None,
    meter_u: Annotated[
        float | None,
        typer.Option(help=f"Relative standard uncertainty of the meter; {METER_U:g} if not given."),
    ] = None,
    recording: Annotated[
        Path | None, typer.Option(help="Use this recording (its marks) instead of a load.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Also write the recording of the load to FILE.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw reading, model and residual to this PNG, SVG or PDF.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Store the profile here instead.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Store nothing.")] = False,
) -> None:
    """Find the update period, response, delay and idle of a GPU's power sensor, by a load.

    Runs a load that comes and goes on the GPU; with a meter's log also finds gain and offset.
    Changes no clock, limit or mode. What is found is kept per card, and later traces use it.
    """
    console = Console(highlight=False)
    clock = "unix" if meter_clock is None else meter_clock
    relative_u = METER_U if meter_u is None else meter_u
    length_s = _SECONDS if seconds is None else seconds
    try:
        if meter is None:
            by_meter = {"--meter-clock": meter_clock, "--meter-u": meter_u}
            _refuse(by_meter, "says how a meter's log is read: give the log, --meter FILE")
        if recording is not None:
            of_load = {"--seconds": seconds, "--command": load, "--keep": keep}
            _refuse(of_load, "is of a load, which --recording takes the place of: leave one out")
        log = read_meter(meter, clock) if meter is not None else None
        result, where = _calibrated(
            console, device, length_s, load, log, meter, clock, relative_u, recording, keep
        )
    except (OptionError, DeviceError) as error:
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted: nothing is stored")
        raise typer.Exit(130) from None
    _print(result, where, console)
    _store(result.profile, out, dry_run, console)  # first: a picture that fails loses no profile
    if plot is not None:
        from ..report.plots import calibration_plot

        console.print(f"wrote {calibration_plot(result, plot)}", markup=False)


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Options that would be taken and do nothing."""
    for name, value in options.items():
        if value is not None:
            raise OptionError(f"{name} {why}")


def _calibrated(
    console: Console,
    request: str,
    seconds: float,
    load: str | None,
    log: MeterLog | None,
    meter: Path | None,
    meter_clock: str,
    meter_u: float,
    recording: Path | None,
    keep: Path | None,
) -> tuple[Calibration, str]:
    edge_u_s = 0.0
    notes: tuple[str, ...] = ()
    if recording is not None:
        recorded = _opened(recording)
        where = _device_of(recorded, request)
    else:
        device = _one(request)
        where = device.id
        source = _source(device, load)
        edge_u_s, notes = source.edge_u_s, source.notes
        recorded = _run(device, source, seconds, console)
        if keep is not None:
            from ..recording.store import save

            console.print(f"wrote {save(recorded, keep)}", markup=False)
        if meter is not None:
            log = read_meter(meter, meter_clock)  # again: it was being written meanwhile
    for note in notes:
        console.print(f"· {note}", markup=False)
    data = recorded.devices[where]
    with console.status("identifying the sensor"):
        result = calibrate(
            data,
            _spans(recorded),
            meter=None if log is None else _on_monotonic(log, meter_clock, recorded),
            meter_u=meter_u,
            previous=_previous(data.meta.uuid, console),
            edge_u_s=edge_u_s,
        )
    return result, f"{where}  {data.meta.name}  {data.meta.uuid}"


def _one(request: str) -> Device:
    found = resolve(request)
    if len(found) != 1:
        names = ", ".join(d.id for d in found)
        raise DeviceError(f"calibrate one device at a time: {request!r} means {names}")
    if found[0].is_estimate or found[0].info.kind != "gpu":
        raise DeviceError(f"{found[0]} has no power sensor to calibrate")
    if found[0].info.source == "replay":
        raise DeviceError("a replay cannot be loaded: give --recording FILE")
    return found[0]


def _source(device: Device, load: str | None) -> _load.Load:
    if load is not None:
        return _load.CommandLoad(load)
    if device.info.source == "sim":
        from ..testing import SimulatedWorld

        return _load.SimulatedLoad(SimulatedWorld.current()[device.info.index])
    return _load.TorchLoad(device)


def _run(device: Device, load: _load.Load, seconds: float, console: Console) -> Recorded:
    """Sample the device while the load comes and goes."""
    phases = _plan(device, seconds)
    total = sum(p.seconds for p in phases)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    session = Session((device,), Sampling(_RATE_HZ, "fixed"), sync=False)
    session.open()
    try:
        with bar:
            task = bar.add_task("idle", total=total)
            spans = _load.drive(
                phases, load, lambda at, stage: bar.update(task, completed=at, description=stage)
            )
    finally:
        load.close()
        session.close()
    for start, end in spans:
        session.add_mark(Mark(_LABEL, start, end))
    return session.recorded()


def _plan(device: Device, seconds: float) -> list[_load.Phase]:
    channels = {c.name: c for c in channels_of(device)}
    name = next((n for n in POWER_CHANNELS if n in channels), None)
    if name is None:
        raise DeviceError(f"{device} has no power reading")
    prior = sensor_prior(device.meta.architecture, channels[name].source)
    return _load.plan(seconds, prior.update_ns / NS_PER_S, prior.window_ns / NS_PER_S)


def _opened(path: Path) -> Recorded:
    from ..recording.store import load

    try:
        return load(path)
    except RecordingError as error:
        raise OptionError(str(error)) from None


def _device_of(recorded: Recorded, request: str) -> str:
    """The recording's device that is meant; the only one where there is no choice."""
    devices = recorded.devices
    if request in devices:
        return request
    matches = [i for i, d in devices.items() if d.meta.uuid and d.meta.uuid.startswith(request)]
    if len(matches) == 1:
        return matches[0]
    if len(devices) == 1:
        return next(iter(devices))
    raise DeviceError(f"no device {request!r} in the recording, which has: {', '.join(devices)}")


def _spans(recorded: Recorded) -> Spans:
    """The load's marks; of another recording, its outermost ones."""
    marks = [m for m in recorded.marks if m.name == _LABEL]
    marks = marks or [m for m in recorded.marks if m.depth == 0]
    if not marks:
        raise OptionError(
            "the recording has no marks that say when a load ran; make one with "
            "'pyenergy calibrate --keep FILE'"
        )
    return Spans.of([(m.name, m.start_ns, m.end_ns) for m in marks])


def _on_monotonic(log: MeterLog, clock: str, recorded: Recorded) -> MeterLog:
    if clock == "monotonic":
        return log
    if not recorded.anchors:
        raise OptionError("the recording does not say how its clock relates to Unix time")
    best = min(recorded.anchors, key=lambda a: a.width_ns)
    return log.shifted(best.mono_ns - best.real_ns)


def _previous(uuid: str, console: Console) -> Profile | None:
    try:
        return find_profile(uuid)
    except RecordingError as error:
        console.print(f"[yellow]· the profile so far is not used:[/] {escape(str(error))}")
        return None


def _print(result: Calibration, where: str, console: Console) -> None:
    console.print(f"[bold]{escape(where)}[/]")
    for fit in result.fits.values():
        console.print(_table(fit, fit.channel == result.channel))
        families = ", ".join(f"{f.response.family} {f.held_out_w:.3g} W" for f in fit.families)
        console.print(f"  readings left out of the fit miss it by: {families}", markup=False)
    profile = result.profile
    if profile.by_meter:
        gain = f"{profile.gain:.4f} ± {profile.gain_u:.4f}"
        offset = f"{profile.offset_w:.2f} ± {profile.offset_u_w:.2f} W"
        console.print(f"  by meter: gain {gain}, offset {offset}", markup=False)
    else:
        console.print("  gain and offset: not compared with a meter (1 ± 3.5 %, 0 ± 5 W)")
    for note in result.notes:
        console.print(f"· {note}", markup=False)


def _table(fit: ChannelFit, used: bool) -> Table:
    title = f"{fit.channel} ({fit.source})" + (", which traces use" if used else "")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("what")
    table.add_column("found")
    clock, response = fit.clock, fit.response
    off = f"{clock.changes} changes, {clock.violations} off the clock"
    table.add_row("update period", f"{clock.period_s * 1e3:.4f} ± {clock.u_s * 1e3:.2g} ms ({off})")
    if response is None:
        table.add_row("response", "not told by the readings")
    else:
        what = {"boxcar": "window", "rc": "time constant"}.get(response.family, response.family)
        window = f"{response.window_s * 1e3:.2f} ± {response.window_u_s * 1e3:.2g} ms"
        table.add_row(f"{response.family} {what}", window)
        delay = f"{response.delay_s * 1e3:.2f} ± {response.delay_u_s * 1e3:.2g} ms"
        table.add_row("delay", delay)
    table.add_row("idle reads", f"{fit.idle_w:.2f} ± {fit.idle_u_w:.2g} W")
    table.add_row("load reads", f"{fit.load_w:.2f} ± {fit.load_u_w:.2g} W")
    table.add_row("noise, residual", f"{fit.noise_w:.2g} W, {fit.residual_w:.2g} W")
    return table


def _store(profile: Profile, out: Path | None, dry_run: bool, console: Console) -> None:
    if dry_run:
        console.print("dry run: nothing is stored")
        return
    if out is None:
        try:
            profile_path(profile.uuid)
        except OptionError as error:
            raise PyEnergyError(f"{error}; store it elsewhere with -o FILE") from None
    target = profile.save(out)
    console.print(f"stored {target}", markup=False, soft_wrap=True)
    if profile.channel.startswith("sim."):
        console.print("'pyenergy doctor' shows its age; traces of simulated cards do not use it")
    elif out is None:
        console.print("later traces of this card use it; 'pyenergy doctor' shows its age")
