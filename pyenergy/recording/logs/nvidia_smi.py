# SPDX-License-Identifier: Apache-2.0
"""Logs of nvidia-smi: ``--query-gpu=... --format=csv`` and ``dmon -o DT``.

``nvidia-smi --query-gpu=timestamp,index,uuid,name,power.draw.instant --format=csv -lms 100`` prints
a header once, then a line for each GPU and moment::

    timestamp, index, uuid, name, power.draw.instant [W]
    2026/11/20 14:03:22.123, 0, GPU-5b3b..., NVIDIA A100-SXM4-40GB, 61.27 W

``nvidia-smi dmon -s p -o DT`` repeats its two header lines and prints whole watts::

    #Date       Time        gpu    pwr  gtemp  mtemp
    #YYYYMMDD   HH:MM:SS    Idx      W      C      C
     20261120   14:03:22      0     61     34      -

Both show local time and do not say which zone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ...errors import RecordingError
from .log import FACTORS, Log, as_numbers, junk_note, whole_lines, words_note
from .times import civil_to_unix_ns, required_zone

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_dmon", "is_query", "read_dmon", "read_query"]

_STAMP = re.compile(r"\s*\d{4}/\d\d/\d\d \d\d:\d\d:\d\d")
_COLUMN = re.compile(r"(?P<name>[\w.]+)(?: \[(?P<unit>[^\]]+)\])?")
# Of each channel, best first: what serves. The average serves as power where nothing else is.
_SERVES = {
    "power": ("power.draw.instant", "power.draw", "power.draw.average"),
    "power_average": ("power.draw.average",),
    "energy": ("total_energy_consumption",),  # no field of nvidia-smi: wrappers add it
}
# What the driver is asked for.
_FIELDS = {
    "power.draw.instant": "instant",
    "power.draw": "default",
    "power.draw.average": "average",
}
_LIMITS = ("enforced.power.limit", "power.limit")


def is_query(head: str) -> bool:
    """Whether a log that begins so is CSV of ``--query-gpu``."""
    return any(_header(line) is not None or _STAMP.match(line) for line in head.splitlines())


def is_dmon(head: str) -> bool:
    """Whether a log that begins so is of ``dmon``."""
    lines = [line.replace(",", " ").split() for line in head.splitlines()]
    names = (line[1:] if line[:1] == ["#"] else line for line in lines)
    return any(
        line[:1] in (["#Date"], ["#Time"], ["#gpu"], ["gpu"], ["Date"], ["Time"]) and "pwr" in line
        for line in names
    )


def read_query(text: str, timezone: str | None) -> Log:
    """Readings of ``--query-gpu=timestamp,... --format=csv``, with units or without.

    Raises
    ------
    OptionError
        When no time zone is given.
    RecordingError
        When there is no header, no time stamp, no power, or a line that cannot be.
    """
    columns, body = _split(text)
    clock = required_zone(timezone, "the timestamp of nvidia-smi")
    lines, notes = _lines(body, columns)
    # Line by line, not as CSV: what is no reading may stand anywhere and have any shape.
    cells = lines.str.split_exact(",", len(columns) - 1)
    frame = cells.struct.unnest().select(pl.all().str.strip_chars())
    frame.columns = list(columns)
    civil = frame["timestamp"].str.to_datetime("%Y/%m/%d %H:%M:%S%.f", time_unit="ns", strict=False)
    bad = civil.is_null() | frame[frame.columns[-1]].is_null()
    notes += junk_note(lines.filter(bad).to_list(), len(frame))
    frame = frame.filter(~bad)
    if not len(frame):
        raise RecordingError("it holds no readings")
    t, said = civil_to_unix_ns(civil.filter(~bad).to_physical().to_numpy(), clock)
    return _query_log(frame, columns, t, clock, [*notes, *said])


def _lines(body: str, columns: dict[str, str]) -> tuple[pl.Series, list[str]]:
    """What may be readings: without blank lines, headers and a last line that was cut short."""
    whole, notes = whole_lines(body)
    lines = pl.Series(whole, dtype=pl.String).str.strip_chars()
    headers = lines.filter(is_header := lines.str.contains("timestamp", literal=True))
    if any(_header(header) not in (None, columns) for header in headers.unique()):
        raise RecordingError("its columns change: two logs in one")
    if len(headers):
        notes.append(f"the header stands again {len(headers)} times: the logger was restarted")
    return lines.filter(~is_header & (lines != "")), notes


def _header(line: str) -> dict[str, str] | None:
    """{column: unit} of a header line, None of any other line."""
    matches = [_COLUMN.fullmatch(part.strip()) for part in line.split(",")]
    columns = {m["name"]: m["unit"] or "" for m in matches if m}
    known = [name for names in _SERVES.values() for name in names]
    if len(columns) != len(matches) or not any(name in columns for name in known):
        return None
    return columns


def _split(text: str) -> tuple[dict[str, str], str]:
    """The header's columns and what follows it."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end].strip()
        if _STAMP.match(line):
            raise RecordingError(
                "it has no header: log without 'noheader' in --format=csv, or put the line of "
                "column names that was left out first"
            )
        if line.lower().startswith("timestamp") and ";" in line and "," not in line:
            raise RecordingError(
                "its columns are separated by semicolons, as a spreadsheet saves them: nvidia-smi "
                "separates by commas and writes 70.5, not 70,5; import what nvidia-smi wrote"
            )
        if (columns := _header(line)) is not None:
            if "timestamp" not in columns:
                raise RecordingError("it has no times: add timestamp to --query-gpu")
            return columns, text[end + 1 :]
        start = end + 1
    raise RecordingError("no header of nvidia-smi with timestamp and power.draw")


def _query_log(
    frame: pl.DataFrame,
    columns: dict[str, str],
    t: NDArray[np.int64],
    clock: str,
    notes: list[str],
) -> Log:
    """Readings by device, of lines that all hold some."""
    used, said = _used(columns)
    notes += said
    keys, said = _device_ids(frame)
    notes += said
    readings, devices, names = {}, {}, {}
    numbers = {}
    for channel, column in used.items():
        unit = columns[column] or ("mJ" if channel == "energy" else "W")
        if unit not in FACTORS:
            raise RecordingError(f"{column} is in {unit!r}")
        numbers[channel], words = as_numbers(column, frame[column], unit)
        notes += words_note(column, words)
        names[channel] = f"{column} [{unit}]"
    for device_id in dict.fromkeys(sorted(keys.unique().to_list(), key=_number)):
        mine = (keys == device_id).to_numpy()
        times = _ordered(device_id, t[mine])
        for channel, values in numbers.items():
            readings[f"{device_id}/{channel}"] = times, values[mine]
        devices[device_id] = _facts(device_id, frame.filter(keys == device_id), columns)
    return Log(
        kind="nvidia-smi",
        readings=readings,
        devices=devices,
        notes=tuple(notes),
        resolution_ns=1_000_000,
        clock=clock,
        columns={name: names[name.partition("/")[2]] for name in readings},
        fields=dict.fromkeys(devices, _FIELDS[used["power"]]) if "power" in used else {},
    )


def _used(columns: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """{channel: column}, and what was chosen where more than one could serve."""
    used: dict[str, str] = {}
    for channel, choice in _SERVES.items():
        found = [name for name in choice if name in columns and name not in used.values()]
        if found:
            used[channel] = found[0]
    notes = []
    left = [c for c in _SERVES["power"] if c in columns and c not in used.values()]
    if left:
        notes.append(f"{used['power']} serves as power; {', '.join(left)} was left out")
    elif used.get("power") == "power.draw.average":
        notes.append("only power.draw.average was logged: an average over 1 s serves as power")
    return used, notes


def _number(device_id: str) -> int:
    return int(device_id.partition(":")[2])


def _device_ids(frame: pl.DataFrame) -> tuple[pl.Series, list[str]]:
    """Of each line."""
    if "index" in frame.columns:
        if not bool(frame["index"].str.contains(r"^[0-9]{1,9}$").all()):
            raise RecordingError("a GPU's index is no number")
        return "gpu:" + frame["index"].cast(pl.Int64).cast(pl.String), []
    for column in ("uuid", "gpu_uuid", "pci.bus_id", "gpu_bus_id", "serial"):
        if column in frame.columns:
            seen = frame[column].unique(maintain_order=True).to_list()
            ids = {name: f"gpu:{i}" for i, name in enumerate(seen)}
            note = f"no index was logged: GPUs are numbered as they come, by {column}"
            return frame[column].replace_strict(ids, return_dtype=pl.String), [note]
    if "name" in frame.columns and frame["name"].n_unique() > 1:
        raise RecordingError("it holds several GPUs but neither index nor uuid tells them apart")
    note = "neither index nor uuid was logged: all lines are taken as one GPU's"
    return pl.Series(["gpu:0"]).new_from_index(0, len(frame)), [note]


def _facts(device_id: str, frame: pl.DataFrame, columns: dict[str, str]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for fact, names in (("name", ("name", "gpu_name")), ("uuid", ("uuid", "gpu_uuid"))):
        for column in (c for c in names if c in columns):
            seen = [v for v in frame[column].unique(maintain_order=True) if not v.startswith("[")]
            if len(seen) > 1:
                raise RecordingError(f"{device_id} has two of {column}: {seen[0]}, {seen[1]}")
            if seen:
                facts[fact] = seen[0]
    for column in (c for c in _LIMITS if c in columns):
        limits, _ = as_numbers(column, frame[column], columns[column] or "W")
        if bool((limits > 0).any()):
            facts["power_max_w"] = float(np.nanmax(limits))
            break
    return facts


def _ordered(device_id: str, t: NDArray[np.int64]) -> NDArray[np.int64]:
    if bool((back := np.diff(t) < 0).any()):
        index = int(np.flatnonzero(back)[0])
        raise RecordingError(
            f"{device_id}: times go back by {(t[index] - t[index + 1]) / 1e9:.3f} s at reading "
            f"{index + 1}: two logs in one, or a clock that was set"
        )
    return t


def read_dmon(text: str, timezone: str | None) -> Log:
    """Readings of ``dmon -o DT``: whole watts, whole seconds.

    Raises
    ------
    OptionError
        When no time zone is given.
    RecordingError
        When the date, the time or the power was not logged.
    """
    rows, notes = _dmon_rows(text)
    clock = required_zone(timezone, "the time of nvidia-smi dmon")
    frame = pl.DataFrame(rows, schema=["Date", "Time", "index", "pwr"], orient="row")
    stamp = frame["Date"] + " " + frame["Time"]
    civil = stamp.str.to_datetime("%Y%m%d %H:%M:%S", time_unit="ns", strict=False)
    if civil.null_count():
        raise RecordingError(f"{stamp.filter(civil.is_null())[0]!r} is no date and time")
    t, said = civil_to_unix_ns(civil.to_physical().to_numpy(), clock)
    keys, _ = _device_ids(frame)
    values, words = as_numbers("pwr", frame["pwr"], "W")
    notes += [*said, *words_note("pwr", words)]
    readings = {}
    for device_id in sorted(keys.unique().to_list(), key=_number):
        mine = (keys == device_id).to_numpy()
        readings[f"{device_id}/power"] = _ordered(device_id, t[mine]), values[mine]
    return Log(
        kind="nvidia-smi-dmon",
        readings=readings,
        devices={},
        notes=tuple(notes),
        resolution_ns=1_000_000_000,
        clock=clock,
        columns=dict.fromkeys(readings, "pwr [W]"),
    )


def _dmon_rows(text: str) -> tuple[list[tuple[str, str, str, str]], list[str]]:
    """(date, time, GPU, watts) as printed, of each line."""
    names: list[str] = []
    rows: list[tuple[str, str, str, str]] = []
    junk: list[str] = []
    lines, notes = whole_lines(text)
    for line in lines:
        parts = line.replace(",", " ").split()
        if line.lstrip().startswith("#"):
            header = line.replace("#", " ").replace(",", " ").split()
            names = header if "gpu" in header else names
        elif len(parts) != len(names):
            junk += [line] if parts else []
        else:
            row = dict(zip(names, parts, strict=True))
            if not {"Date", "Time", "gpu", "pwr"} <= row.keys():
                raise RecordingError("log date, time and power: nvidia-smi dmon -s p -o DT")
            rows.append((row["Date"].replace("/", ""), row["Time"], row["gpu"], row["pwr"]))
    notes += junk_note(junk, len(rows) + len(junk))
    if not rows:
        raise RecordingError("it holds no readings")
    return rows, notes
