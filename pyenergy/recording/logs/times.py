# SPDX-License-Identifier: Apache-2.0
"""Times as logs and people write them, to Unix time in int64 ns without losing a digit."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import numpy as np

from ...errors import OptionError, RecordingError
from ...units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["UNITS_NS", "civil_to_unix_ns", "instant_ns", "iso_utc", "required_zone", "zone"]

UNITS_NS = {"s": NS_PER_S, "ms": 1_000_000, "us": 1_000, "ns": 1}
_ZONES = "an IANA name such as Europe/Berlin, UTC, an offset such as +02:00, or local"
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|z|[+-]\d\d:?\d\d)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BLOCK_NS = 900 * NS_PER_S  # no zone changes its offset inside a quarter of an hour


def zone(name: str) -> tzinfo | None:
    """The zone of a name; None is the machine's own ("local").

    Raises
    ------
    OptionError
        When there is no such zone.
    """
    if name == "local":
        return None
    if name.upper() in ("UTC", "Z"):
        return timezone.utc
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset < timedelta(hours=24):
            return timezone(-offset if match[1] == "-" else offset)
    else:
        from zoneinfo import ZoneInfo

        try:
            return ZoneInfo(name)
        except Exception:  # ZoneInfoNotFoundError, ValueError, OSError: by what the name looks like
            pass
    raise OptionError(f"no time zone {name!r}: give {_ZONES}")


def required_zone(name: str | None, what: str) -> str:
    """``name``, or an error that says what to pass.

    Raises
    ------
    OptionError
        When None.
    """
    if name is None:
        raise OptionError(
            f"{what} is local time without a zone: say which with timezone (--timezone), {_ZONES}"
        )
    return name


def civil_to_unix_ns(civil_ns: NDArray[np.int64], name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Unix ns of clock times in a zone, and what must be said about them.

    Parameters
    ----------
    civil_ns : ndarray of int64, shape (n,)
        What the clock on the wall showed, as ns since 1970-01-01 00:00 on that wall, in the order
        in which it was logged.
    name : str
        See `zone`.

    Raises
    ------
    OptionError
        When the zone does not exist.
    RecordingError
        When a time does not exist in it (spring), or exists twice (autumn) and the order of the
        log does not tell which it is.
    """
    tz = zone(name)
    blocks, inverse = np.unique(civil_ns // _BLOCK_NS, return_inverse=True)
    offsets = np.array([_offsets_ns(int(block), tz) for block in blocks], np.int64).reshape(-1, 2)
    early, late = offsets[inverse, 0], offsets[inverse, 1]
    if bool((skipped := early < late).any()):
        when = _shown(int(civil_ns[np.flatnonzero(skipped)[0]]))
        raise RecordingError(f"{when} does not exist in the zone {name}: is it another?")
    twice = early > late
    if not bool(twice.any()):
        return civil_ns - early, []
    # A log is written in order: where the clock was set back, the second pass begins.
    back = np.diff(civil_ns, prepend=civil_ns[:1]) < -((early - late) // 2)
    second = np.cumsum(back & twice) > 0
    if not bool((back & twice).any()):
        when = _shown(int(civil_ns[np.flatnonzero(twice)[0]]))
        hours = [_offset_text(int(o[np.flatnonzero(twice)[0]])) for o in (early, late)]
        raise RecordingError(
            f"{when} exists twice in the zone {name} and the log does not tell which it is: "
            f"give the offset as its time zone, {hours[0]} or {hours[1]}"
        )
    note = "the clock was set back during the log: times that exist twice were told by their order"
    return civil_ns - np.where(second, late, early), [note]


def _offsets_ns(block: int, tz: tzinfo | None) -> tuple[int, int]:
    """Offsets from UTC of the first and the second occurrence of a quarter of an hour."""
    civil = datetime(1970, 1, 1) + timedelta(seconds=block * _BLOCK_NS // NS_PER_S)
    found = []
    for fold in (0, 1):
        then = civil.replace(fold=fold)
        aware = then.astimezone() if tz is None else then.replace(tzinfo=tz)
        if tz is None:  # astimezone() moves a time that does not exist: compare with Unix time
            offset = civil - datetime(1970, 1, 1) - timedelta(seconds=then.timestamp())
        else:
            offset = aware.utcoffset() or timedelta(0)
        found.append(round(offset.total_seconds()) * NS_PER_S)
    return found[0], found[1]


def instant_ns(text: str, unit: str | None = None) -> int:
    """Unix ns of one moment: ISO 8601 with a zone, or a number in ``unit`` (see `UNITS_NS`).

    Raises
    ------
    OptionError
        When it is neither, has no zone, or its unit is not stated.
    """
    text = text.strip()
    if match := _ISO.fullmatch(text):
        if match[5] is None:
            raise OptionError(f"{text} has no zone: append Z or an offset such as +02:00")
        offset = match[5].upper().replace("Z", "+00:00")
        offset = offset if ":" in offset else f"{offset[:3]}:{offset[3:]}"
        try:
            then = datetime.fromisoformat(f"{match[1]}T{match[2]}:{match[3] or '00'}{offset}")
        except ValueError as error:
            raise OptionError(f"{text} is no time: {error}") from None
        return (then - _EPOCH) // timedelta(seconds=1) * NS_PER_S + int(
            (match[4] or "").ljust(9, "0")
        )
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise OptionError(f"{text!r} is no time: write ISO 8601 with a zone, or a Unix time")
    if unit is None:
        raise OptionError(f"{text} is a number: say in which unit, {', '.join(UNITS_NS)}")
    if unit not in UNITS_NS:
        raise OptionError(f"no unit of time {unit!r}; there are {', '.join(UNITS_NS)}")
    return int((number * UNITS_NS[unit]).to_integral_value())


def iso_utc(unix_ns: int) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    seconds, rest = divmod(unix_ns, NS_PER_S)
    then = _EPOCH + timedelta(seconds=seconds)
    return f"{then:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def _shown(civil_ns: int) -> str:
    return iso_utc(civil_ns).replace("T", " ")[:-5]


def _offset_text(offset_ns: int) -> str:
    minutes = abs(offset_ns) // (60 * NS_PER_S)
    return f"{'-' if offset_ns < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
