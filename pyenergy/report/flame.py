# SPDX-License-Identifier: Apache-2.0
"""Joules as a flame graph: for speedscope (speedscope.app), and folded for flamegraph.pl.

Frames are the device, the modules of the layer, the kernel; what nobody can attribute and the time
in which nothing ran are frames of their own. Weights are whole microjoules that add up to the
whole, rounded: no format for flame graphs knows joules.
"""

from __future__ import annotations

import json
import math
import os
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _core
from ..attribution.tables import UNATTRIBUTED
from ..errors import NoReadingsError, OptionError, StateError
from ..recording.whole_file import whole_file
from .attributed import at_rest, attributed_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._trace import Trace

__all__ = ["Stack", "stacks", "write_folded", "write_speedscope"]

NO_OPERATIONS = "(no operations attached)"
_UJ = 1e6


class Stack(NamedTuple):
    """Frames from the outermost, and what the innermost took by itself."""

    frames: tuple[str, ...]
    joules: float


def stacks(trace: Trace) -> list[Stack]:
    """Where the energy of every device that was read went; the static part is in each frame.

    Frames of modules have their whole path. Energies of layers or kernels below zero (readings can
    tell them apart no better than that) have no place in a flame graph: they are one frame with
    what took most beside them, which says so, and the sum stays what it was.

    Raises
    ------
    StateError
        When no operations are attached.
    NoReadingsError
        When no device was read.
    OptionError
        When the whole is not above zero.
    """
    operations = trace.operations
    if operations is None:
        raise StateError(
            "no operations are attached, so that there are no frames: trace.attach(a torch "
            "profiler, a Kineto trace or any table of name, start_ns, end_ns)"
        )
    energies = trace.energies
    if not energies:
        raise NoReadingsError("no energy for " + "; ".join(trace.unreadable.values()))
    found: list[Stack] = []
    table = attributed_table(trace, ("device", "layer", "name"))
    has_layers = bool((operations.layer >= 0).any())
    separator = "/" if any("/" in name for name in operations.layers) else "."
    rows = () if table is None else table.filter(table["energy_j"].is_not_null()).to_dicts()
    for row in rows:
        frames = [row["device"]]
        if row["kind"] == "operation" and has_layers:
            frames += _modules(row["layer"], separator)
        frames.append(row["name"])
        found.append(Stack(tuple(frames), row["energy_j"] + row["static_j"]))
    ran = {stack.frames[0] for stack in found}
    found += [
        Stack((name, NO_OPERATIONS), energy.joules)
        for name, energy in energies.items()
        if name not in ran
    ]
    return _settled(found)


def _modules(layer: str, separator: str) -> list[str]:
    if layer == UNATTRIBUTED:
        return [layer]
    parts = layer.split(separator) if layer else []
    return ["(model)", *(separator.join(parts[: n + 1]) for n in range(len(parts)))]


def _settled(found: list[Stack]) -> list[Stack]:
    """The same whole without a frame below zero."""
    if not fsum(stack.joules for stack in found) > 0:
        raise OptionError("the energy is not above zero: a flame graph has no place for it")
    negative = sorted((s for s in found if s.joules < 0), key=lambda s: s.joules)
    rest = [s for s in found if s.joules >= 0]
    together: dict[tuple[str, ...], int] = {}
    while negative:
        below = negative.pop()
        near = max(rest, key=lambda s: (_common(s.frames, below.frames), s.joules))
        rest.remove(near)
        shared = _common(near.frames, below.frames)
        count = together.pop(near.frames, 1) + together.pop(below.frames, 1)
        name = f"({count} together, some below zero: {_first(near)}, {_first(below)})"
        both = Stack((*near.frames[:shared], name), near.joules + below.joules)
        together[both.frames] = count
        (negative if both.joules < 0 else rest).append(both)
    return rest


def _first(stack: Stack) -> str:
    """What a frame is called in the name of several."""
    name = stack.frames[-1]
    return name.rpartition(": ")[2].partition(", ")[0] if " together, some " in name else name


def _common(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    same = 0
    for x, y in zip(a[:-1], b[:-1], strict=False):
        if x != y:
            break
        same += 1
    return same


def _microjoules(found: Sequence[Stack]) -> list[int]:
    """Whole numbers that add up to the rounded whole: what is left goes to the largest rests."""
    exact = [stack.joules * _UJ for stack in found]
    whole = round(fsum(exact))
    weights = [math.floor(value) for value in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: weights[i] - exact[i])
    for i in by_rest[: whole - sum(weights)]:
        weights[i] += 1
    return weights


# Files --------------------------------------------------------------------------------------


def write_speedscope(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write `stacks` as a speedscope file (``.speedscope.json`` by custom).

    Raises
    ------
    StateError, NoReadingsError, OptionError
        As `stacks` does.
    RecordingError
        When the file cannot be written.
    """
    trace = at_rest(trace)
    found = stacks(trace)
    weights = _microjoules(found)
    frames: dict[str, int] = {}
    samples = [[frames.setdefault(name, len(frames)) for name in stack.frames] for stack in found]
    missing = "".join(f"; {device} not readable" for device in trace.unreadable)
    whole = " + ".join(str(energy) for energy in trace.energies.values())
    document: dict[str, Any] = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": f"pyenergy {_core.__version__}",
        "name": f"{_estimate(trace)}{whole}{missing}",
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": name} for name in frames]},
        "profiles": [
            {
                "type": "sampled",
                "name": "energy (uJ)",
                "unit": "none",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }
    return _written(path, json.dumps(document))


def write_folded(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write `stacks` as lines ``frame;frame;frame microjoules``, for flamegraph.pl and its like.

    A ``;`` or a line break in a name is a blank there. Takes and raises what `write_speedscope`
    does.
    """
    found = stacks(at_rest(trace))
    lines = [
        f"{';'.join(_plain(name) for name in stack.frames)} {weight}"
        for stack, weight in zip(found, _microjoules(found), strict=True)
    ]
    return _written(path, "\n".join(lines) + "\n")


def _estimate(trace: Trace) -> str:
    estimated = any(d.meta.source == "estimate" for d in trace.recorded.devices.values())
    return "ESTIMATE, not a measurement: " if estimated else ""


def _plain(name: str) -> str:
    return " ".join(name.replace(";", " ").split())


def _written(path: str | os.PathLike[str], text: str) -> Path:
    target = Path(path)
    with whole_file(target) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
    return target
