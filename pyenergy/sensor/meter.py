# SPDX-License-Identifier: Apache-2.0
"""A power meter beside the card: its log, and the card's gain and offset against it."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OptionError
from ..units import NS_PER_S
from .catalog import GAIN_U, OFFSET_U_W

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .update_clock import Updates

__all__ = ["METER_U", "MeterFit", "MeterLog", "compare", "read_meter"]

METER_U = 0.005  # relative: what a good meter's data sheet says of its scale
_UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_TIME = re.compile(r"(?:time|timestamp|t)(?:[ _]*[(\[]?(s|ms|us|ns)[)\]]?)?")
_POWER = re.compile(r"(?:(?:power|watts|p)(?:[ _]*[(\[]?(?:w|watts)[)\]]?)?|w)")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST_NS = 2**62  # in the year 2116
_MOST_POINTS = 8  # that one plateau is cut into


@dataclass(frozen=True)
class MeterLog:
    """What a meter read.

    Attributes
    ----------
    t_ns : ndarray of int64, shape (n,)
        ns, increasing: of Unix time or of CLOCK_MONOTONIC, as its reader was told.
    watts : ndarray of float64, shape (n,)
        W.
    """

    t_ns: NDArray[np.int64]
    watts: NDArray[np.float64]

    def shifted(self, by_ns: int) -> MeterLog:
        """The same on a clock that is ahead by so much."""
        return MeterLog(self.t_ns + by_ns, self.watts)


@dataclass(frozen=True)
class MeterFit:
    """``reading = gain * power + offset_w``, from plateaus that card and meter saw.

    Attributes
    ----------
    gain, gain_u : float
        With standard uncertainty: scatter, and the meter's own scale.
    offset_w, offset_u_w : float
        W.
    meter_w, reading_w : ndarray of float64, shape (points,)
        What was compared, W.
    levels : int
        Plateaus of different power: with one the offset cannot be told from the gain.
    """

    gain: float
    gain_u: float
    offset_w: float
    offset_u_w: float
    meter_w: NDArray[np.float64]
    reading_w: NDArray[np.float64]
    levels: int


def read_meter(path: str | os.PathLike[str], clock: str = "unix") -> MeterLog:
    """Read a meter's log: CSV with a header that has a time and a power column.

    Parameters
    ----------
    path : path-like
        Columns ``time``, ``timestamp`` or ``t`` (numbers in s, or in the unit that the name says:
        ``time_ms``, ``t (ns)``; or ISO 8601 with a zone), and ``watts``, ``power`` or ``w``.
    clock : {"unix", "monotonic"}
        What the numbers count.

    Raises
    ------
    OptionError
        In one line: what is wrong, and in which line of the file.
    """
    if clock not in ("unix", "monotonic"):
        raise OptionError(f"the meter's clock is unix or monotonic, not {clock!r}")
    name = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(f"cannot read {name!r}: {error.strerror or error}") from None
    except ValueError:
        raise OptionError(f"{name!r} is not a text file") from None
    lines = text.splitlines()
    head = next((line for line in lines if line.strip()), "")
    delimiter = next((d for d in ",;\t" if d in head), ",")
    try:
        rows = [(n, row) for n, row in enumerate(csv.reader(lines, delimiter=delimiter), 1) if row]
    except csv.Error as error:
        raise OptionError(f"{name!r} is not CSV: {error}") from None
    if not rows:
        raise OptionError(f"{name!r} is empty")
    at_time, at_power, unit_ns = _columns(name, rows[0][1])
    t, watts = [], []
    for number, row in rows[1:]:
        where = f"{name!r}, line {number}"
        if len(row) <= max(at_time, at_power):
            raise OptionError(f"{where}: columns are missing")
        t.append(_time(where, row[at_time].strip(), unit_ns, clock))
        watts.append(_watts(where, row[at_power].strip()))
        if len(t) > 1 and t[-1] <= t[-2]:
            raise OptionError(f"{where}: times must increase")
    if len(t) < 3:
        raise OptionError(f"{name!r} has {len(t)} readings: that is no log")
    return MeterLog(np.array(t, np.int64), np.array(watts))


def _columns(name: str, header: list[str]) -> tuple[int, int, int | None]:
    names = [cell.strip().lower() for cell in header]
    times = [(i, m) for i, n in enumerate(names) if (m := _TIME.fullmatch(n))]
    powers = [i for i, n in enumerate(names) if _POWER.fullmatch(n)]
    if len(times) != 1 or len(powers) != 1:
        raise OptionError(
            f"{name!r} needs a header with one time column (time, timestamp, t; _ms, _us or _ns) "
            f"and one power column (watts, power, w); it has: {', '.join(header)[:80]}"
        )
    unit = times[0][1].group(1)
    return times[0][0], powers[0], _UNITS_NS[unit] if unit else None


def _time(where: str, text: str, unit_ns: int | None, clock: str) -> int:
    try:
        # Integers keep their digits: nanoseconds of Unix time do not fit a float.
        value: float | int = int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    except ValueError:
        return _iso(where, text, unit_ns, clock)
    # An integer may be too long for a float.
    finite = isinstance(value, int) or math.isfinite(value)
    if not finite or abs(value) * (unit_ns or NS_PER_S) > _LATEST_NS:
        raise OptionError(f"{where}: no time is {text[:80]!r}")
    return round(value * (unit_ns or NS_PER_S))


def _iso(where: str, text: str, unit_ns: int | None, clock: str) -> int:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise OptionError(f"{where}: no time is {text!r}") from None
    if unit_ns is not None or clock != "unix":
        raise OptionError(f"{where}: {text!r} is a date, not a number")
    if moment.tzinfo is None:
        raise OptionError(f"{where}: {text!r} has no zone (write ...Z or ...+02:00)")
    since = moment - _EPOCH
    t = (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1_000
    if abs(t) > _LATEST_NS:
        raise OptionError(f"{where}: no time is {text[:80]!r}")
    return t


def _watts(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise OptionError(f"{where}: no power is {text!r}") from None
    if not math.isfinite(value) or not 0 <= value <= 1e6:
        raise OptionError(f"{where}: a power cannot be {text}")
    return value


def compare(
    updates: Updates,
    steady: Sequence[tuple[int, int]],
    meter: MeterLog,
    meter_u: float = METER_U,
) -> MeterFit:
    """Gain and offset of the readings against a meter.

    Weighted straight line through the means over the steady stretches (each cut into up to eight
    points, whose scatter counts), with what is known of cards as prior (gain 1 +- 3.5 %, offset
    0 +- 5 W): where both plateaus were seen it has no weight.

    Parameters
    ----------
    updates : Updates
        Readings, W.
    steady : sequence of (start_ns, end_ns)
        Times in which readings and power had settled.
    meter : MeterLog
        On the clock of the readings.
    meter_u : float
        Relative standard uncertainty of the meter's scale.

    Raises
    ------
    OptionError
        When the meter saw no such stretch, or ``meter_u`` cannot be.
    """
    if not 0 <= meter_u <= 0.2:
        raise OptionError(f"the meter's uncertainty must lie from 0 to 0.2, got {meter_u:g}")
    points = [p for start, end in steady for p in _points(updates, start, end, meter)]
    if not points:
        raise OptionError(
            "the meter's log covers no plateau of the load: it spans "
            f"{_span_s(meter.t_ns, steady)}; is it on the clock that --meter-clock says?"
        )
    x, y, variance = (np.array(column) for column in zip(*points, strict=True))
    far = float(np.ptp(x)) > max(0.1 * float(x.max()), 5.0)
    gain, offset, cov = _line(x, y, variance)
    if len(x) > 3:  # scatter between the points beyond that within them
        chi2 = float((((y - gain * x - offset) ** 2) / variance).sum()) / (len(x) - 2)
        gain, offset, cov = _line(x, y, variance * max(chi2, 1.0))
    return MeterFit(
        gain=gain,
        gain_u=float(np.hypot(np.sqrt(cov[0, 0]), gain * meter_u)),
        offset_w=offset,
        offset_u_w=float(np.sqrt(cov[1, 1])),
        meter_w=x,
        reading_w=y,
        levels=2 if far else 1,
    )


def _points(
    updates: Updates, start_ns: int, end_ns: int, meter: MeterLog
) -> list[tuple[float, float, float]]:
    """(meter, reading, variance of their difference) of the parts of a stretch, W and W^2."""
    seen = slice(*np.searchsorted(updates.t_ns, (start_ns, end_ns)))
    read = slice(*np.searchsorted(meter.t_ns, (start_ns, end_ns)))
    parts = min((seen.stop - seen.start) // 5, (read.stop - read.start) // 3, _MOST_POINTS)
    if parts < 1:
        return []
    edges = np.linspace(start_ns, end_ns, parts + 1).astype(np.int64)
    found = []
    for a, b in pairwise(edges):
        y = updates.value[slice(*np.searchsorted(updates.t_ns, (a, b)))]
        x = meter.watts[slice(*np.searchsorted(meter.t_ns, (a, b)))]
        if len(x) < 2 or len(y) < 2:
            continue
        variance = float(y.var(ddof=1)) / len(y) + float(x.var(ddof=1)) / len(x)
        found.append((float(x.mean()), float(y.mean()), variance + 1e-6))
    return found


def _line(
    x: NDArray[np.float64], y: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.float64]]:
    design = np.column_stack([x, np.ones_like(x)])
    precision = design.T @ (design / variance[:, None])
    precision += np.diag([GAIN_U**-2, OFFSET_U_W**-2])
    score = design.T @ (y / variance) + np.array([GAIN_U**-2, 0.0])
    cov = np.linalg.inv(precision)
    gain, offset = cov @ score
    return float(gain), float(offset), cov


def _span_s(t_ns: NDArray[np.int64], steady: Sequence[tuple[int, int]]) -> str:
    if not steady:
        return f"{(t_ns[-1] - t_ns[0]) / NS_PER_S:.1f} s, and no plateau is long enough"
    first = steady[0][0]
    a, b = (t_ns[0] - first) / NS_PER_S, (t_ns[-1] - first) / NS_PER_S
    return f"{a:.1f} to {b:.1f} s after the first plateau began"
