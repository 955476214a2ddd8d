# SPDX-License-Identifier: Apache-2.0
"""Readings, spans and facts as callers give them: checked for what they are, and made plain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._real import real
from ..errors import OptionError
from .given_times import array_of, instant, shape_of, times_of
from .marks import Mark
from .names import ARCHITECTURES, FIELDS, unknown_architecture, unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CHANNELS", "Facts", "bounds_of", "columns_of", "facts_of", "marks_of"]

CHANNELS = {"power": "W", "power_average": "W", "energy": "J"}

_NAME = re.compile(r"((?P<kind>[a-z][a-z0-9_-]*):(0|[1-9][0-9]*))/(?P<channel>.+)")
_TEXTS = ("name", "uuid", "architecture", "field")
_NUMBERS = ("power_min_w", "power_max_w")


@dataclass(frozen=True)
class Facts:
    """What is known of a device; see `recorded_from_readings`."""

    name: str = "unnamed"
    uuid: str = ""
    architecture: str = ""
    field: str = ""
    power_min_w: float = float("nan")
    power_max_w: float = float("nan")


def columns_of(readings: Any) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Times and values by channel.

    Raises
    ------
    TypeError, OptionError
        As `recorded_from_readings` does.
    """
    if not isinstance(readings, Mapping):
        raise OptionError(
            'readings are a mapping such as {"gpu:0/power": (t_ns, watts)}, '
            f"got {type(readings).__name__}"
        )
    if not readings:
        raise OptionError("no readings")
    return {name: _column(name, *_pair(name, pair)) for name, pair in readings.items()}


def marks_of(spans: Any) -> tuple[Mark, ...]:
    """Spans as marks, by start.

    Raises
    ------
    TypeError, OptionError
        As `recorded_from_readings` does.
    """
    form = "spans are a list of (name, start_ns, end_ns)"
    if hasattr(spans, "columns"):
        raise OptionError(
            f"{form}, got a {type(spans).__name__}: of polars, table.select('name', 'start_ns', "
            "'end_ns').rows(); of pandas, table[['name', 'start_ns', 'end_ns']].itertuples("
            "index=False, name=None)"
        )
    if isinstance(spans, (str, bytes, Mapping)) or not isinstance(spans, Iterable):
        raise OptionError(f"{form}, got {spans!r}")
    return tuple(sorted(map(_mark, spans), key=lambda m: (m.start_ns, -m.end_ns)))


def bounds_of(bounds_ns: Any) -> tuple[int, int] | None:
    """Start and end that were asked for.

    Raises
    ------
    TypeError, OptionError
        As `recorded_from_readings` does.
    """
    if bounds_ns is None:
        return None
    listed = isinstance(bounds_ns, (tuple, list)) or np.ndim(bounds_ns) == 1
    pair = tuple(bounds_ns) if listed and not isinstance(bounds_ns, (set, Mapping)) else ()
    if len(pair) != 2:
        raise OptionError(f"bounds_ns is a pair (start_ns, end_ns), got {bounds_ns!r}")
    return instant("bounds_ns", pair[0]), instant("bounds_ns", pair[1])


def facts_of(devices: Any) -> dict[str, Facts]:
    """What is known of each device.

    Raises
    ------
    OptionError
        As `recorded_from_readings` does.
    """
    if devices is None:
        return {}
    if not isinstance(devices, Mapping):
        raise OptionError(f'devices are a mapping such as {{"gpu:0": {{...}}}}, got {devices!r}')
    return {device_id: _facts(device_id, facts) for device_id, facts in devices.items()}


# Readings -----------------------------------------------------------------------------------


def _pair(name: Any, pair: Any) -> tuple[Any, Any]:
    if not isinstance(name, str) or not (match := _NAME.fullmatch(name)):
        raise OptionError(f"readings are named as 'gpu:0/power', got {name!r}")
    if match["channel"] not in CHANNELS:
        known = ", ".join(f"{channel} ({unit})" for channel, unit in CHANNELS.items())
        raise OptionError(f"{name}: no channel {match['channel']!r}; there are {known}")
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise OptionError(f"{name} must be a pair (t_ns, values)")
    return pair[0], pair[1]


def _column(name: str, t_ns: Any, values: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    t, v = times_of(name, t_ns), _values(name, values)
    if len(t) != len(v):
        raise OptionError(f"{name}: {len(t)} times but {len(v)} values")
    if len(t) == 0:
        raise OptionError(f"{name}: no readings")
    if bool((infinite := np.isinf(v)).any()):
        first = int(np.flatnonzero(infinite)[0])
        raise OptionError(f"{name}: reading {first} is infinite: NaN is what could not be read")
    return t, v


def _values(name: str, values: Any) -> NDArray[np.float64]:
    if isinstance(values, np.ma.MaskedArray):  # what is masked is missing, not what lies below
        values = np.where(np.ma.getmaskarray(values), np.nan, np.ma.getdata(values))
    array = array_of(name, values)
    if array.ndim != 1:
        raise OptionError(f"{name}: values must be one-dimensional, got {shape_of(values, array)}")
    if array.size and array.dtype.kind in "US":
        cure = "np.array(values, float) reads it, with 'nan' for what could not be read"
        raise TypeError(f"{name}: values must be numbers, got text ({str(array[0])!r}): {cure}")
    if array.size and array.dtype.kind not in "iufO":
        raise TypeError(f"{name}: values must be numbers, got dtype {array.dtype}")
    if array.dtype.kind == "O":  # NumPy would read "5" as 5 and True as 1
        strange = next((v for v in array if isinstance(v, (str, bytes, bool, np.bool_))), None)
        if strange is not None:
            raise TypeError(f"{name}: values must be numbers, got {strange!r}")
    try:
        return np.ascontiguousarray(array, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError, OverflowError) as error:
        what = "what could not be read is None or NaN"
        raise TypeError(f"{name}: values must be numbers ({what}): {error}") from None


# Spans and facts ----------------------------------------------------------------------------


def _mark(span: Any) -> Mark:
    if not isinstance(span, Mark):
        if not isinstance(span, (tuple, list)) or len(span) != 3:
            raise OptionError(f"a span is (name, start_ns, end_ns), got {span!r}")
        span = Mark(*span)
    if not isinstance(span.name, str) or not span.name or not span.name.isprintable():
        raise OptionError(f"a span needs a name of printable characters, got {span.name!r}")
    what = f"span {span.name!r}"
    start, end = instant(what, span.start_ns), instant(what, span.end_ns)
    if end < start:
        raise OptionError(f"{what} ends before it starts: {start}, {end}")
    mark: Mark = replace(span, start_ns=start, end_ns=end)
    if not mark.is_sound():
        raise OptionError(f"{what}: depth and thread are integers, as is what the host saw")
    return mark


def _facts(device_id: Any, facts: Any) -> Facts:
    if not isinstance(facts, Mapping):
        raise OptionError(
            f"what is known of {device_id!r} is a mapping such as "
            f'{{"name": "A100", "power_max_w": 400.0}}, got {facts!r}'
        )
    if unknown := [key for key in facts if key not in (*_TEXTS, *_NUMBERS)]:
        reason = unknown_name("fact", unknown[0], (*_TEXTS, *_NUMBERS))
        raise OptionError(f"{device_id}: {reason}")
    known_facts = {key: value for key, value in facts.items() if value is not None}
    for key in _TEXTS:
        if not isinstance(known_facts.get(key, ""), str):
            raise OptionError(f"{device_id}: {key} must be text, got {known_facts[key]!r}")
    if (field := known_facts.get("field", "")) not in ("", *FIELDS):
        raise OptionError(f"{device_id}: {unknown_name('field', field, FIELDS)}")
    architecture = known_facts.get("architecture", "")
    if str(device_id).startswith("gpu:") and architecture not in ("", *ARCHITECTURES):
        raise OptionError(f"{device_id}: {unknown_architecture(architecture)}")
    for key in _NUMBERS:
        known_facts[key] = _limit(f"{device_id}: {key}", known_facts.get(key))
    low, high = (known_facts[key] for key in _NUMBERS)
    if low < 0 or high <= 0 or low > high:
        raise OptionError(f"{device_id}: impossible power bounds {low} W, {high} W")
    return Facts(**known_facts)


def _limit(what: str, value: Any) -> float:
    """A bound in W; NaN or None: not known."""
    if value is None or (isinstance(value, (float, np.floating)) and np.isnan(value)):
        return float("nan")
    return real(what, value)
