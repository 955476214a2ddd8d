# SPDX-License-Identifier: Apache-2.0
"""Range exports of Prometheus: the JSON of ``/api/v1/query_range``.

::

    {"status": "success", "data": {"resultType": "matrix", "result": [
      {"metric": {"__name__": "DCGM_FI_DEV_POWER_USAGE", "gpu": "0", "UUID": "GPU-5b3b...",
                  "modelName": "NVIDIA A100-SXM4-40GB", "Hostname": "node1"},
       "values": [[1795183402.123, "61.272"], ...]}, ...]}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import OptionError, RecordingError
from ...units import NS_PER_S
from .log import FACTORS, Log, as_numbers, words_note

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_prometheus", "read_prometheus"]

_KNOWN = {
    "DCGM_FI_DEV_POWER_USAGE": "W",
    "DCGM_FI_DEV_POWER_USAGE_INSTANT": "W",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "mJ",
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": "W",
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": "W",
}
# What the driver is asked for; other exporters' metrics do not tell.
_FIELDS = {
    "DCGM_FI_DEV_POWER_USAGE": "default",
    "DCGM_FI_DEV_POWER_USAGE_INSTANT": "instant",
}
_SUFFIXES = {
    "_milliwatts": "mW", "_microwatts": "uW", "_watts": "W",
    "_millijoules_total": "mJ", "_microjoules_total": "uJ", "_joules_total": "J",
}  # fmt: skip
_LABELS = {
    "host": ("Hostname", "hostname", "host", "node", "instance"),
    "index": ("gpu", "index", "minor_number", "gpu_id"),
    "uuid": ("UUID", "uuid", "gpu_uuid"),
    "name": ("modelName", "name", "model"),
}


@dataclass
class _Series:
    """One series, its readings in W or J."""

    metric: str
    channel: str
    unit: str
    who: dict[str, str]
    t_ns: NDArray[np.int64]
    values: NDArray[np.float64]


def is_prometheus(head: str) -> bool:
    """Whether a file that begins so is JSON of Prometheus."""
    return head.lstrip()[:1] in ("{", "[")


def read_prometheus(text: str, metrics: Mapping[str, str] | None = None) -> Log:
    """Readings of a range export.

    Parameters
    ----------
    metrics : mapping of str to str, optional
        Units of metrics whose names do not tell: ``{"board_power": "W"}``.

    Raises
    ------
    OptionError
        When the unit of a metric is not known, with the metrics that the export has.
    RecordingError
        When it is no range export, or two series of one device disagree.
    """
    stated = dict(metrics or {})
    for name, unit in stated.items():
        if unit not in FACTORS:
            raise OptionError(f"metric {name!r}: no unit {unit!r}; there are {', '.join(FACTORS)}")
    result = _result(text)
    units = _units([_labels(entry).get("__name__", "") for entry in result], stated)
    notes: list[str] = []
    found = [
        _series(entry, units[_labels(entry).get("__name__", "")], notes)
        for entry in result
        if entry.get("values")
    ]
    if not any(series.channel != "limit" for series in found):
        raise RecordingError("the export holds no readings of power or energy")
    ids = _device_ids(found, notes)
    found = _preferred(found, ids, notes)
    readings, columns = _merged(found, ids, notes)
    notes.append(
        "times are the steps of the query: a reading is the last one scraped before its step"
    )
    return Log(
        kind="prometheus",
        readings=readings,
        devices=_facts(found, ids, {name.partition("/")[0] for name in readings}),
        notes=tuple(dict.fromkeys(notes)),
        resolution_ns=1_000_000,
        clock="Unix",
        columns=columns,
        fields={
            ids[_key(s.who)]: _FIELDS[s.metric]
            for s in found
            if s.channel == "power" and s.metric in _FIELDS
        },
    )


def _result(text: str) -> list[dict[str, Any]]:
    """The series; numbers that are no integers stay text, so that times keep their digits."""
    try:
        parsed = json.loads(text, parse_float=str)
    except ValueError as error:
        raise RecordingError(f"it is truncated or no JSON: {error}") from None
    if isinstance(parsed, dict) and parsed.get("status") == "error":
        raise RecordingError(f"the query had failed: {parsed.get('error', 'no reason given')}")
    data = parsed.get("data", parsed) if isinstance(parsed, dict) else parsed
    if isinstance(data, dict):
        if data.get("resultType", "matrix") != "matrix":
            raise RecordingError(f"its result is a {data['resultType']}: export /query_range")
        data = data.get("result")
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise RecordingError("it is no range export of Prometheus")
    if not data:
        raise RecordingError("the query found nothing")
    return data


def _labels(entry: dict[str, Any]) -> dict[str, str]:
    labels = entry.get("metric")
    if not isinstance(labels, dict):
        raise RecordingError("a series has no labels: it is no range export of Prometheus")
    return {str(key): str(value) for key, value in labels.items()}


def _units(names: list[str], stated: dict[str, str]) -> dict[str, str]:
    """{metric: unit}, stated ones first."""
    units, unknown = {}, []
    for name in dict.fromkeys(names):
        by_suffix = (unit for suffix, unit in _SUFFIXES.items() if name.endswith(suffix))
        unit = stated.get(name) or _KNOWN.get(name) or next(by_suffix, None)
        if unit is None:
            unknown.append(name or "(no name)")
        else:
            units[name] = unit
    if unknown:
        raise OptionError(
            f"unit not known of {', '.join(unknown)}: state it with metrics (--metric NAME=UNIT, "
            f"UNIT one of {', '.join(FACTORS)}), or leave it out of the export"
        )
    if absent := sorted(set(stated) - set(names)):
        raise OptionError(f"no metric {absent[0]!r} in the export; it has {', '.join(units)}")
    return units


def _series(entry: dict[str, Any], unit: str, notes: list[str]) -> _Series:
    labels = _labels(entry)
    name = labels.get("__name__", "")
    try:
        times, texts = zip(*entry["values"], strict=True)
        stamps = [int((Decimal(time) * NS_PER_S).to_integral_value()) for time in times]
        t = np.array(stamps, np.int64)
    except (TypeError, ValueError, InvalidOperation, OverflowError) as error:
        raise RecordingError(f"{name}: its values are no pairs of time and text: {error}") from None
    values, words = as_numbers(name, [str(text) for text in texts], unit)
    notes += words_note(name, words)
    channel = "energy" if unit.endswith(("J", "h")) else "power"
    if "limit" in name.lower():
        channel = "limit"
    elif channel == "power" and "average" in name.lower():
        channel = "power_average"
    who = {key: _first(labels, choice) for key, choice in _LABELS.items()}
    device = re.fullmatch(r"nvidia(\d+)", labels.get("device", ""))
    who["index"] = who["index"] or (device[1] if device else "")
    who["kind"] = "cpu" if re.search("rapl|cpu", name.lower()) else "gpu"
    return _Series(name, channel, unit, who, t, values)


def _first(labels: dict[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _key(who: dict[str, str]) -> tuple[str, str, str]:
    """What tells devices apart: kind, host, and the UUID or else the index."""
    return who["kind"], who["host"], who["uuid"] or who["index"]


def _device_ids(found: list[_Series], notes: list[str]) -> dict[tuple[str, str, str], str]:
    """Of each device: its own index where that is unique, else its place in the list."""
    whos = {_key(series.who): series.who for series in found}
    ids: dict[tuple[str, str, str], str] = {}
    for kind in ("gpu", "cpu"):
        mine = sorted(
            (key for key in whos if key[0] == kind),
            key=lambda key: (key[1], whos[key]["index"].zfill(6), key[2]),
        )
        indices = [whos[key]["index"] for key in mine]
        own = len(set(indices)) == len(mine) and all(i.isdecimal() for i in indices)
        for place, key in enumerate(mine):
            ids[key] = f"{kind}:{int(whos[key]['index']) if own else place}"
            if not own and len(mine) > 1:
                notes.append(f"{ids[key]} is {' '.join(filter(None, key[1:])) or 'unlabelled'}")
    return ids


def _preferred(
    found: list[_Series], ids: dict[tuple[str, str, str], str], notes: list[str]
) -> list[_Series]:
    """Of a device's metrics for power only the instant one, where there is one; an average
    serves where nothing else does."""
    kept = []
    for series in found:
        device = ids[_key(series.who)]
        peers = [s for s in found if ids[_key(s.who)] == device and s.channel == "power"]
        instant = {s.metric for s in peers if "instant" in s.metric.lower()}
        if series.channel == "power" and instant and series.metric not in instant:
            notes.append(f"{min(instant)} serves as power; {series.metric} was left out")
            continue
        if series.channel == "power_average" and not peers:
            notes.append(f"{device}: only {series.metric} was exported: an average serves as power")
            series.channel = "power"
        kept.append(series)
    return kept


def _merged(
    found: list[_Series], ids: dict[tuple[str, str, str], str], notes: list[str]
) -> tuple[dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]], dict[str, str]]:
    """One column a channel. A device has several series where a label, such as the pod's,
    changed: they follow each other, or say the same."""
    parts: dict[str, list[_Series]] = {}
    for series in found:
        if series.channel != "limit":
            parts.setdefault(f"{ids[_key(series.who)]}/{series.channel}", []).append(series)
    readings, columns = {}, {}
    for name in sorted(parts, key=lambda n: (n[:3], int(n[4:].partition("/")[0]), n)):
        mine = parts[name]
        t = np.concatenate([series.t_ns for series in mine])
        values = np.concatenate([series.values for series in mine])
        order = np.lexsort((np.isnan(values), t))  # of one moment, a reading before a missing one
        t, values = t[order], values[order]
        again = np.append(False, np.diff(t) == 0)
        differs = again & ~np.isnan(values) & (values != np.append(np.nan, values[:-1]))
        if bool(differs.any()):
            metrics = ", ".join(sorted({series.metric for series in mine}))
            raise RecordingError(f"{name}: series disagree ({metrics}): export one of them")
        if len(mine) > 1:
            notes.append(f"{name}: {len(mine)} series with different labels were joined")
        readings[name] = t[~again], values[~again]
        columns[name] = ", ".join(sorted({f"{s.metric or '(no name)'} [{s.unit}]" for s in mine}))
    return readings, columns


def _facts(
    found: list[_Series], ids: dict[tuple[str, str, str], str], present: set[str]
) -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = {device: {} for device in sorted(present)}
    for series in found:
        mine = facts.get(ids[_key(series.who)])
        if mine is None:
            continue
        mine.update({key: series.who[key] for key in ("name", "uuid") if series.who[key]})
        if series.channel == "limit" and bool((series.values > 0).any()):
            highest = float(np.nanmax(series.values))
            mine["power_max_w"] = max(mine.get("power_max_w", highest), highest)
    return facts
