# SPDX-License-Identifier: Apache-2.0
"""Logs of ``dcgmi dmon``, such as ``dcgmi dmon -e 155,156 -d 100``::

    #Entity   POWER             TOTEC
    ID        W                 mJ
    GPU 0     87.123            123456789

The header comes again every few lines. There are no times in it: whoever logged must say when it
began and how far apart its lines are.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ...errors import OptionError, RecordingError
from ...units import NS_PER_S
from .log import FACTORS, Log, as_numbers, junk_note, whole_lines, words_note
from .times import instant_ns

__all__ = ["is_dcgmi", "read_dcgmi"]

# Short names of the fields 157, 155 and 156; of those that serve one channel the first is used.
_FIELDS = {"POWINST": ("power", "W"), "POWER": ("power", "W"), "TOTEC": ("energy", "mJ")}
# What the driver is asked for (DCGM: 157 is NVML's field 186, 155 is GetPowerUsage).
_ASKED = {"POWINST": "instant", "POWER": "default"}
_HEADER = re.compile(r"#\s?Entity\b")
_UNITS = re.compile(r"\s*I[Dd]\b")
_ROW = re.compile(r"\s*([A-Za-z]+(?:-[A-Za-z]+)?) +(\d+) ")


def is_dcgmi(head: str) -> bool:
    """Whether a log that begins so is of ``dcgmi dmon``."""
    return any(_HEADER.match(line) for line in head.splitlines())


def read_dcgmi(text: str, start: str | None, interval_s: float | None) -> Log:
    """Readings of ``dcgmi dmon``.

    Parameters
    ----------
    start : str
        When the first line was printed: ISO 8601 with a zone.
    interval_s : float
        What was given as ``-d``, in seconds (dcgmi takes ms).

    Raises
    ------
    OptionError
        When either is not given, or cannot be.
    RecordingError
        When no line holds power or energy.
    """
    if start is None or interval_s is None:
        raise OptionError(
            "a log of dcgmi dmon has no times: say when it began with start (--start, ISO 8601 "
            "with a zone) and how far apart its lines are with interval_s (--interval, seconds)"
        )
    if not (math.isfinite(interval_s) and 1e-9 <= interval_s <= 86_400):
        raise OptionError(f"the interval must be more than 0 s and at most a day, got {interval_s}")
    start_ns, interval_ns = instant_ns(start), round(interval_s * NS_PER_S)
    table = _Table()
    lines, notes = whole_lines(text)
    for line in lines:
        table.add(line.rstrip())
    notes += junk_note(table.junk, table.total)
    readings, columns, asked = {}, {}, {}
    for (gpu, field), cells in sorted(table.cells.items()):
        channel, name = _FIELDS[field][0], f"gpu:{gpu}/{_FIELDS[field][0]}"
        if field == "POWER" and (gpu, "POWINST") in table.cells:
            notes.append(f"gpu:{gpu}: POWINST serves as power; POWER was left out")
            continue
        unit = table.units.get(field) or _FIELDS[field][1]
        if unit not in FACTORS:
            raise RecordingError(f"{field} is in {unit!r}")
        values, words = as_numbers(field, [text for _, text in cells], unit)
        notes += words_note(f"gpu:{gpu}/{channel} ({field})", words)
        rounds = np.array([index for index, _ in cells], np.int64)
        readings[name] = start_ns + rounds * interval_ns, values
        columns[name] = f"{field} [{unit}]"
        if field in _ASKED:
            asked[f"gpu:{gpu}"] = _ASKED[field]
    if not readings:
        raise RecordingError("no line of a GPU has POWER, POWINST or TOTEC: dcgmi dmon -e 155,156")
    if table.others:
        notes.append(
            f"lines of {', '.join(sorted(table.others))} were left out: power is the GPU's"
        )
    notes.append(
        "times are reckoned from the start and the interval given: dcgmi prints a little later "
        "with every line"
    )
    return Log(
        kind="dcgmi",
        readings=readings,
        devices={},
        notes=tuple(notes),
        resolution_ns=interval_ns,
        clock=f"from {start} every {interval_s:g} s",
        columns=columns,
        fields=asked,
    )


class _Table:
    """Cells by (GPU, field), each with the round of printing it belongs to."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, str], list[tuple[int, str]]] = {}
        self.units: dict[str, str] = {}
        self.others: set[str] = set()
        self.junk: list[str] = []
        self.total = 0
        self._names: list[str] = []
        self._edges: list[int] = []
        self._round = 0
        self._seen: set[tuple[str, str]] = set()

    def add(self, line: str) -> None:
        """One line of the log."""
        if not line.strip():
            return
        if _HEADER.match(line):
            found = [(m.group(), m.start()) for m in re.finditer(r"\S+", line)]
            found = found[2:] if found[0][0] == "#" else found[1:]
            self._names, self._edges = [n for n, _ in found], [start for _, start in found]
        elif _UNITS.match(line):
            self.units.update(zip(self._names, self._sliced(line), strict=True))
        else:
            self._add_row(line)

    def _add_row(self, line: str) -> None:
        self.total += 1
        match = _ROW.match(line)
        parts = line[match.end() :].split() if match else []
        if match and len(parts) != len(self._names):  # a text with blanks: by position
            parts = self._sliced(line)
        if not match or not self._names or not all(parts):
            self.junk.append(line)
            return
        entity = match[1], match[2]
        if entity in self._seen:  # every entity once: then the next round begins
            self._round += 1
            self._seen.clear()
        self._seen.add(entity)
        if match[1] != "GPU":
            self.others.add(match[1])
            return
        for name, text in zip(self._names, parts, strict=True):
            if name in _FIELDS:
                self.cells.setdefault((int(match[2]), name), []).append((self._round, text))

    def _sliced(self, line: str) -> list[str]:
        ends = [*self._edges, len(line)][1:]
        return [line[a:b].strip() for a, b in zip(self._edges, ends, strict=True)]
