# SPDX-License-Identifier: Apache-2.0
"""``pyenergy import LOG``: a log of another tool, as a recording."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from ..errors import OptionError, PyEnergyError
from ..units import NS_PER_S, engineering

if TYPE_CHECKING:
    from ..recording.logs import Log
    from ..recording.recorded import Recorded

__all__ = ["command"]

# A log's interval over its sensor's period: beyond it the log does not follow the sensor.
_SLOWEST = 1.15


def command(
    log: Annotated[Path, typer.Argument(help="A log of nvidia-smi, dcgmi dmon or Prometheus.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Recording to write; LOG.pyenergy if not given."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="nvidia-smi, nvidia-smi-dmon, dcgmi or prometheus; else told from LOG."),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(help="Of nvidia-smi's times: Europe/Berlin, UTC, +02:00 or local."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="When dcgmi's first line was printed: ISO 8601 with a zone.")
    ] = None,
    interval: Annotated[
        float | None, typer.Option(help="Seconds from line to line of dcgmi.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=UNIT", help="Unit of a Prometheus metric: W, mW, J, mJ, ..."),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Of the GPUs, where their name does not tell: volta, turing, ga100 (A100, A30), "
            "ampere, ada, hopper, ..."
        ),
    ] = None,
    field: Annotated[
        str | None,
        typer.Option(
            help="What was read, where LOG does not tell: instant (power.draw.instant, DCGM 157), "
            "average, or default (power.draw, DCGM 155)."
        ),
    ] = None,
    span: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=START,END", help="What ran when; ISO 8601 or --spans-unit."),
    ] = None,
    spans: Annotated[
        Path | None, typer.Option(help="CSV with the columns name, start, end.")
    ] = None,
    spans_unit: Annotated[
        str | None, typer.Option(help="Unit of spans that are Unix times: s, ms, us or ns.")
    ] = None,
) -> None:
    """Make a recording of power or energy that another tool logged.

    `pyenergy show` prints its energies; spans say what ran when.
    """
    from ..recording.logs import read_log, with_sensors

    console = Console(highlight=False)
    try:
        found = read_log(
            log,
            kind=kind,
            timezone=timezone,
            start=start,
            interval_s=interval,
            metrics=dict(_pair(text, "--metric NAME=UNIT") for text in metric or ()),
        )
        found = replace(found, devices=with_sensors(found, architecture, field))
        labelled = [*map(_span, span or ()), *(_rows(spans) if spans else ())]
        if spans_unit is not None and not (span or spans):
            raise OptionError("--spans-unit is of spans: give them, --span or --spans FILE")
        recorded = _recorded(found, log, _resolved(labelled, spans_unit, found))
        target = _saved(recorded, out or log.with_name(f"{log.name}.pyenergy"))
    except PyEnergyError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]error:[/] {escape(str(error))}", highlight=False
        )
        raise typer.Exit(2) from None
    _print_summary(found, recorded, console)
    console.print(f"wrote {target} ('pyenergy show {target}')", markup=False, soft_wrap=True)


def _pair(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals or not value:
        raise OptionError(f"{text!r} is not of the form {form}")
    return name, value


def _span(text: str) -> tuple[str, str, str]:
    name, times = _pair(text, "--span NAME=START,END")
    start, comma, end = times.partition(",")
    if not comma:
        raise OptionError(f"{text!r} is not of the form --span NAME=START,END")
    return name, start, end


def _rows(path: Path) -> list[tuple[str, str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle, skipinitialspace=True, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise OptionError(f"cannot read spans of {path}: {error}") from None
    if rows and not {"name", "start", "end"} <= rows[0].keys():
        raise OptionError(f"{path} must have the columns name, start, end")
    if any(row[key] is None for row in rows for key in ("name", "start", "end")):
        raise OptionError(f"{path}: a line has fewer than three columns")
    return [(row["name"], row["start"], row["end"]) for row in rows]


def _resolved(
    labelled: list[tuple[str, str, str]], unit: str | None, log: Log
) -> list[tuple[str, int, int]]:
    from ..recording.logs.times import instant_ns, iso_utc

    first = min(int(t[0]) for t, _ in log.readings.values())
    last = max(int(t[-1]) for t, _ in log.readings.values())
    spans = []
    for name, *edges in labelled:
        start, end = (instant_ns(text, unit) for text in edges)
        if end < first or start > last:
            raise OptionError(
                f"span {name!r} is outside the log, which goes from {iso_utc(first)} to "
                f"{iso_utc(last)}: is the time zone right?"
            )
        spans.append((name, start, end))
    return spans


def _recorded(log: Log, path: Path, spans: list[tuple[str, int, int]]) -> Recorded:
    from ..recording.clock_anchor import ClockAnchor
    from ..recording.provenance import collect
    from ..recording.readings import recorded_from_readings

    devices, slow = _sensors(log)
    recorded = recorded_from_readings(
        log.readings,
        spans,
        devices=devices,
        notes=(f"imported from {path.name} ({log.kind}), times {log.clock}", *log.notes, *slow),
    )
    at_ns = recorded.bounds_ns[0]
    return replace(
        recorded,
        # The log's own times are Unix times: both clocks of the recording are one.
        anchors=(ClockAnchor(mono_ns=at_ns, real_ns=at_ns, width_ns=log.resolution_ns),),
        provenance={**collect(), "imported_from": path.name, "imported_kind": log.kind},
    )


def _sensors(log: Log) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """(facts of devices, with the field of those whose sensor the log follows; notes).

    A log that is much rarer than the sensor's updates holds few of them: what lies between its
    readings no sensor has smoothed, and what the catalogue says of one would be too sure.
    """
    from ..recording.logs import SOURCES
    from ..sensor.catalog import prior_for

    devices, notes = {}, []
    for device_id, facts in log.devices.items():
        devices[device_id] = facts
        if "field" not in facts or f"{device_id}/power" not in log.readings:
            continue
        source = SOURCES[facts["field"]]
        update_ns = prior_for(facts.get("architecture", ""), source).update_ns
        t, _ = log.readings[f"{device_id}/power"]
        every_ns = float(np.median(np.diff(t)) if len(t) > 1 else np.nan)
        if 0 < _SLOWEST * update_ns < every_ns:
            devices[device_id] = {k: v for k, v in facts.items() if k != "field"}
            notes.append(
                f"{device_id}: read every {engineering(every_ns / NS_PER_S, 's')}, but its sensor "
                f"updates every {engineering(update_ns / NS_PER_S, 's')}: what ran when tells "
                "little of such a log; log at least as often"
            )
    return devices, notes


def _saved(recorded: Recorded, target: Path) -> Path:
    from ..recording.store import save

    return save(recorded, target)


def _print_summary(log: Log, recorded: Recorded, console: Console) -> None:
    from ..recording.logs.times import iso_utc

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    say(f"{log.kind}, times: {log.clock} to within {engineering(log.resolution_ns / 1e9, 's')}")
    for name, (t, values) in log.readings.items():
        device_id, _, _ = name.partition("/")
        label = log.devices.get(device_id, {}).get("name", "")
        missing = int(np.isnan(values).sum())
        interval = engineering(float(np.median(np.diff(t))) / NS_PER_S, "s") if len(t) > 1 else "?"
        say(
            f"{name}  {label + ': ' if label else ''}{log.columns[name]}, {len(t)} readings "
            f"every {interval}, {missing} missing, {_gaps(recorded, name)} gaps"
        )
        say(f"  {iso_utc(int(t[0]))} to {iso_utc(int(t[-1]))}")
    for note in recorded.notes[1:]:
        say(f"· {note}")


def _gaps(recorded: Recorded, name: str) -> int:
    from .. import _core

    device_id, _, channel = name.partition("/")
    flags = recorded.devices[device_id].runs[channel].flags
    return int(((flags & np.uint32(_core.FLAG_GAP_BEFORE)) != 0).sum())
