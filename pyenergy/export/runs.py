# SPDX-License-Identifier: Apache-2.0
"""A recording's readings as one table, in Parquet or CSV: a row for each run of each channel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OptionError, PyEnergyError, RecordingError
from ..recording.store import described
from ..recording.whole_file import whole_file
from ..units import NS_PER_S

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import polars as pl

    from ..recording.recorded import Recorded
    from ..recording.series import ChannelMeta, Runs

__all__ = ["COLUMNS", "runs_table", "write_csv", "write_parquet"]

COLUMNS = {
    "device": "id of the device, as in gpu:0",
    "channel": "what was read, as in power",
    "unit": "SI unit of value",
    "time_utc": "Unix time of t_first_ns, by the recording's clock anchors; null without any",
    "t_first_ns": "ns of CLOCK_MONOTONIC: just before the first read that saw the value",
    "read_first_ns": "ns: just after it",
    "t_last_ns": "ns: just before the last read that saw it",
    "read_last_ns": "ns: just after it",
    "value": "the reading, in unit; null where it is missing or invalid",
    "count": "reads that saw it",
    "flags": "bits: 1 missing, 2 invalid, 4 gap before, 8 counter reset, 16 continues the run "
    "before, 32 estimate, 64 counter wrapped; the vendor's status in the upper 16",
}


def runs_table(recorded: Recorded) -> pl.DataFrame:
    """All readings, columns as in `COLUMNS`; devices and channels one after the other."""
    import polars as pl

    unix_ns = _unix_clock(recorded)
    parts = [
        _part(device_id, channel, device.runs[name], unix_ns)
        for device_id, device in recorded.devices.items()
        for name, channel in device.channels.items()
    ]
    return pl.concat(parts)


def write_parquet(recorded: Recorded, path: str | os.PathLike[str]) -> Path:
    """Write `runs_table`, with everything else of the recording in the file's metadata.

    Raises
    ------
    RecordingError
        When it cannot be written.
    """
    metadata = {"pyenergy": json.dumps(_facts(recorded))}
    table = runs_table(recorded)
    return _written(path, lambda part: table.write_parquet(part, metadata=metadata))


def write_csv(recorded: Recorded, path: str | os.PathLike[str]) -> Path:
    """Write `runs_table`, with the rest of the recording in a comment above.

    Raises
    ------
    RecordingError
        When it cannot be written.
    """
    table = runs_table(recorded)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            file.write(f"# pyenergy {json.dumps(_facts(recorded))}\n".encode())
            table.write_csv(file, datetime_format="%Y-%m-%dT%H:%M:%S%.9fZ")

    return _written(path, write)


def _facts(recorded: Recorded) -> dict[str, Any]:
    return {**described(recorded), "columns": COLUMNS}


def _written(path: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    target = Path(path)
    if not target.name or "\0" in str(target):
        raise OptionError(f"cannot write {str(target)!r}: it is not a file's name")
    if target.exists() and not target.is_file():
        raise RecordingError(f"cannot write {target}: it is not a file")
    with whole_file(target) as part:
        write(part)
    return target


def _unix_clock(recorded: Recorded) -> Callable[[np.ndarray[Any, Any]], Any]:
    """From the recording's times to Unix times, or to nothing where no anchor tells them."""
    from ..attribution.timeline import ClockMap

    firsts = [r.t_first_ns for d in recorded.devices.values() for r in d.runs.values() if len(r)]
    if not recorded.anchors or not firsts:
        return lambda t_ns: None
    low, high = min(int(t[0]) for t in firsts), max(int(t[-1]) for t in firsts)
    monos = [anchor.mono_ns for anchor in (recorded.anchors[0], recorded.anchors[-1])]
    # A reading that has stood for long began long before the trace.
    beyond = max(monos[0] - low, high - monos[1], 0) / NS_PER_S
    try:
        clocks = ClockMap.of(recorded, extrapolate_s=beyond + 10.0)
    except PyEnergyError:  # anchors that no clock can have shown tell nothing
        return lambda t_ns: None
    return lambda t_ns: clocks.to_unix(t_ns, on_step="mark").t_ns


def _part(
    device_id: str, channel: ChannelMeta, runs: Runs, unix_ns: Callable[[Any], Any]
) -> pl.DataFrame:
    import polars as pl

    times = unix_ns(runs.t_first_ns)
    count = len(runs)
    unix = pl.Series("time_utc", [None] * count if times is None else times, pl.Int64)
    value = pl.Series("value", runs.value, pl.Float64)
    usable = pl.Series(runs.usable, dtype=pl.Boolean)
    return pl.DataFrame(
        {
            "device": pl.repeat(device_id, count, dtype=pl.String, eager=True),
            "channel": pl.repeat(channel.name, count, dtype=pl.String, eager=True),
            "unit": pl.repeat(channel.unit, count, dtype=pl.String, eager=True),
            "time_utc": unix.cast(pl.Datetime("ns", "UTC")),
            "t_first_ns": runs.t_first_ns,
            "read_first_ns": runs.read_first_ns,
            "t_last_ns": runs.t_last_ns,
            "read_last_ns": runs.read_last_ns,
            "value": value.zip_with(usable, pl.Series([None], dtype=pl.Float64)),
            "count": runs.count,
            "flags": runs.flags,
        }
    )
