# SPDX-License-Identifier: Apache-2.0
"""What a reader of logs returns, and the small things that all readers need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ...errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["FACTORS", "Log", "as_numbers", "decoded", "junk_note", "whole_lines", "words_note"]

# To W or J from what tools print.
FACTORS = {
    "uW": 1e-6, "mW": 1e-3, "W": 1.0, "kW": 1e3,
    "uJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3.6e3, "kWh": 3.6e6,
}  # fmt: skip

_NOT_A_READING = ("", "-", "N/A", "n/a", "ERR!", "ERR", "nan", "NaN")


@dataclass(frozen=True)
class Log:
    """Readings of a log.

    Attributes
    ----------
    kind : str
        The format: ``"nvidia-smi"``, ``"nvidia-smi-dmon"``, ``"dcgmi"`` or ``"prometheus"``.
    readings : dict of str to (t_ns, values)
        By ``"gpu:0/power"``: int64 Unix ns and float64 W or J, shape (n,), NaN where the log says
        that there is none; as `pyenergy.recording.readings.recorded_from_readings` takes them.
    devices : dict
        What the log says of each device, in the same function's terms.
    notes : tuple of str
        What was used, left out, or not a reading.
    resolution_ns : int
        Step of the log's time stamps, ns.
    clock : str
        How its times became Unix time.
    columns : dict
        What each of ``readings`` was called in the log, with its unit.
    fields : dict
        Of each device with power, what the driver was asked for (one of `sensors.FIELDS`), where
        the log says so.
    """

    kind: str
    readings: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    devices: dict[str, dict[str, Any]]
    notes: tuple[str, ...]
    resolution_ns: int
    clock: str
    columns: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


def decoded(data: bytes) -> str:
    """Text of a log: UTF-8, or the UTF-16 that a redirect in PowerShell writes."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="replace")


def whole_lines(text: str) -> tuple[list[str], list[str]]:
    """Lines, and a note where the last one has no end: whoever ended the logger may have cut its
    last number short."""
    lines = text.split("\n")
    cut = lines.pop().strip()
    return lines, ["the last line has no end and was left out"] if cut else []


def as_numbers(
    name: str, texts: Sequence[str] | pl.Series, unit: str
) -> tuple[NDArray[np.float64], dict[str, int]]:
    """Printed readings in ``unit`` as W or J, and how often each word stood for a missing one.

    Raises
    ------
    RecordingError
        When a text is neither a number, with or without its unit, nor a known word for none.
    """
    text = pl.Series(texts, dtype=pl.String).str.strip_chars()
    number = text.str.strip_suffix(unit).str.strip_chars().cast(pl.Float64, strict=False)
    number = number.set(text.str.contains(r"(?i)^[+-]?(nan|inf)"), None)
    none = text.str.starts_with("[") | text.is_in(_NOT_A_READING)
    strange = text.filter(number.is_null() & ~none)
    if len(strange):
        raise RecordingError(f"{name}: {strange[0]!r} is no reading in {unit}")
    words = text.filter(number.is_null()).value_counts().sort("count", descending=True)
    values = number.fill_null(float("nan")).to_numpy() * FACTORS[unit]
    return np.asarray(values, np.float64), dict(words.iter_rows())


def words_note(name: str, words: dict[str, int]) -> list[str]:
    """Which words stood for missing readings."""
    if not words:
        return []
    said = ", ".join(f"{word or 'empty'} ({count} times)" for word, count in words.items())
    return [f"{name}: the log has no reading but {said}"]


def junk_note(lines: Sequence[str], total: int) -> list[str]:
    """What lines held no readings.

    Raises
    ------
    RecordingError
        When it is most of them.
    """
    if not lines:
        return []
    if 2 * len(lines) > total:
        raise RecordingError(
            f"{len(lines)} of {total} lines are no readings, the first: {lines[0][:80]!r}"
        )
    return [f"{len(lines)} lines are no readings and were left out, the first: {lines[0][:80]!r}"]
