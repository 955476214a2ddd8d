# SPDX-License-Identifier: Apache-2.0
"""The table of `Trace.processes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._real import real
from ..errors import NoReadingsError, OptionError, RecordingError, StateError
from ..units import NS_PER_S
from .apportion import Idle, Intervals, apportion, idle_power
from .usage import Usage
from .watch import CPU, KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from .._evaluation import Evaluation
    from ..attribution.sweep import StaticPolicy
    from ..recording.recorded import Recorded

    Floats = NDArray[np.float64]

__all__ = ["process_notes", "process_table"]

_STATIC = ("separate", "busy", "all")
# One standard deviation of the power of a busy second of one process against another's on the same
# device. Two threads on one core take some 15 % more than one alone (METRION, arXiv 2512.06806, who
# come to 4 % of a CPU's energy with hardware counters, which nobody reads here): a second of CPU
# time is worth 0.57 of another then; frequency and instructions per cycle come on top. A GPU that
# always has a kernel may draw anything from little above idle to its limit.
_INTENSITY_U = {CPU: 0.3}
_INTENSITY_U_GPU = 0.4

_SCHEMA = ("device", "pid", "name", "kind", "busy_s", "energy_j", "u_j", "share", "apportionment")
_FLOATS = ("busy_s", "energy_j", "u_j", "share")


@dataclass(frozen=True)
class _Device:
    """One device, or all CPU packages together, for which there is one share."""

    name: str
    members: tuple[str, ...]
    joules: float
    u_j: float


def process_table(
    evaluated: Evaluation, static: StaticPolicy, idle_w: float | None
) -> pl.DataFrame:
    """The rows that `Trace.processes` describes."""
    import polars as pl

    if static not in _STATIC:
        raise OptionError(f"static must be one of {', '.join(_STATIC)}, got {static!r}")
    if idle_w is not None and (idle_w := real("idle_w", idle_w)) < 0:
        raise OptionError(f"idle_w must not be negative, got {idle_w:g}")
    uses, _ = _watched(evaluated.recorded)
    rows: list[dict[str, Any]] = []
    for device in _devices(evaluated):
        if device.name in uses:
            rows += _shared(evaluated, device, uses[device.name], static, idle_w)
        else:
            rows.append(_whole(device.members, device.joules, device.u_j))
    # What gave no energy has none to share, and is not nothing.
    rows += [_whole((name,), None, None) for name in evaluated.unreadable]
    types = {n: pl.Float64 if n in _FLOATS else pl.String for n in _SCHEMA} | {"pid": pl.Int64}
    return pl.DataFrame(rows, schema=types)


def process_notes(recorded: Recorded) -> tuple[str, ...]:
    """What `Trace.process_notes` says."""
    uses, whole = _watched(recorded)
    notes = [
        f"{name}: shared by {usage.by}: an apportionment, not a measurement"
        for name, usage in uses.items()
    ]
    notes += [f"{name}: {note}" for name, usage in uses.items() for note in usage.notes]
    return (*notes, *(f"{name}: not shared: {why}" for name, why in whole.items()))


def _watched(recorded: Recorded) -> tuple[dict[str, Usage], dict[str, str]]:
    found = recorded.extra.get(KEY)
    if found is None:
        raise StateError(
            "nobody watched processes: open the trace with processes=True, and ask when it has "
            "ended"
        )
    try:
        uses: Mapping[str, Any] = found["use"]
        whole = {str(k): str(v) for k, v in found["whole"].items()}
        return {str(k): Usage.of(v) for k, v in uses.items()}, whole
    except (AttributeError, KeyError, TypeError) as error:
        raise RecordingError(f"the processes of this recording are damaged: {error!r}") from None


def _devices(evaluated: Evaluation) -> list[_Device]:
    energies = evaluated.energies()
    if not energies:
        raise NoReadingsError("no energy to share: " + "; ".join(evaluated.unreadable.values()))
    meta = {name: evaluated.recorded.devices[name].meta for name in energies}
    packages = [n for n in energies if meta[n].kind == CPU]
    found = []
    for name in energies:
        if name in packages:
            if name == packages[0]:
                joules = sum(energies[n].joules for n in packages)
                u_j = float(np.sqrt(sum(energies[n].u ** 2 for n in packages)))
                found.append(_Device(CPU, tuple(packages), joules, u_j))
        else:
            found.append(_Device(name, (name,), energies[name].joules, energies[name].u))
    return found


def _whole(members: tuple[str, ...], joules: float | None, u_j: float | None) -> dict[str, Any]:
    return {
        "device": "+".join(members),
        "pid": None,
        "name": "(device)",
        "kind": "unread" if joules is None else "device",
        "busy_s": None,
        "energy_j": joules,
        "u_j": u_j,
        "share": 1.0 if joules else None,
        "apportionment": "none: the whole device",
    }


def _shared(
    evaluated: Evaluation,
    device: _Device,
    usage: Usage,
    static: StaticPolicy,
    idle_w: float | None,
) -> list[dict[str, Any]]:
    edges, usage = _within(usage, evaluated.recorded.bounds_ns)
    joules = np.zeros(len(edges) - 1)
    for name in device.members:
        joules += evaluated.windows(edges[:-1], edges[1:], name)[0]
    intervals = Intervals.of(usage, edges, joules)
    known = idle_w is not None and device.name == CPU
    if known:
        _check_idle(float(idle_w or 0.0), device, (int(edges[-1]) - int(edges[0])) / NS_PER_S)
    idle = Idle(float(idle_w or 0.0), 0.0) if known else idle_power(intervals)
    found = apportion(intervals, idle, static, _INTENSITY_U.get(device.name, _INTENSITY_U_GPU))
    relative = device.u_j / abs(device.joules) if device.joules else 0.0
    u_j = np.hypot(found.u_j, np.abs(found.joules) * relative)
    busy = np.append(
        intervals.busy_s.sum(axis=1), (intervals.total_s - intervals.busy_s.sum(axis=0)).sum()
    )
    who = [(w.pid, w.name, "process") for w in usage.who]
    who += [(None, "(other)", "other"), (None, "(static)", "static")]
    rows = [
        {
            "device": "+".join(device.members),
            "pid": pid,
            "name": name,
            "kind": kind,
            "busy_s": float(busy[i]) if i < len(busy) else None,
            "energy_j": float(found.joules[i]),
            "u_j": float(u_j[i]),
            "share": float(found.joules[i] / device.joules) if device.joules else None,
            "apportionment": f"by {usage.by}" if kind != "static" else "idle power",
        }
        for i, (pid, name, kind) in enumerate(who)
    ]
    if static == "all":
        rows.pop()  # nothing is left for it
    by_energy = np.argsort(-found.joules[: len(usage.who)], kind="stable")
    return [*(rows[i] for i in by_energy), *rows[len(usage.who) :]]


def _check_idle(idle_w: float, device: _Device, seconds: float) -> None:
    """It is part of all that was drawn, busy or not."""
    most_w = (device.joules + 3 * device.u_j) / max(seconds, 1e-9)
    if idle_w > most_w:
        raise OptionError(
            f"idle_w={idle_w:g} is more than the {most_w:.3g} W that "
            f"{'+'.join(device.members)} can have drawn on average, busy or not"
        )


def _within(usage: Usage, bounds_ns: tuple[int, int]) -> tuple[NDArray[np.int64], Usage]:
    """Edges that are the trace's, and the moments between them: the first and last looks were at
    its start and end, give or take the time that they took."""
    inner = np.flatnonzero((usage.t_ns > bounds_ns[0]) & (usage.t_ns < bounds_ns[1]))
    inner = inner[(inner > 0) & (inner < len(usage.t_ns) - 1)]
    kept = np.concatenate([[0], inner, [len(usage.t_ns) - 1]])
    edges = np.concatenate([[bounds_ns[0]], usage.t_ns[inner], [bounds_ns[1]]]).astype(np.int64)
    part = Usage(
        usage.t_ns[kept],
        usage.who,
        usage.busy_s[:, kept],
        usage.total_s[kept],
        usage.units,
        usage.resolution_s,
        usage.by,
        usage.notes,
    )
    return edges, part
