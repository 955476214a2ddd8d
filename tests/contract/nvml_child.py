# SPDX-License-Identifier: Apache-2.0
"""Run by test_nvml.py in a process of its own: asks the NVML source and prints JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from pyenergy import _core
from pyenergy.testing import SimulatedWorld


def reports(times: int) -> list[Any]:
    """What looking for devices finds, so many times in one process."""
    found = [_core.enumerate("nvml") for _ in range(times)]
    return [{"available": r.available, "reason": r.reason, "fix": r.fix} for r in found]


def devices() -> list[Any]:
    """Every GPU's identity."""
    names = ("uuid", "pci_bus_id", "architecture", "power_max_w", "mig_uuids", "notes")
    return [{n: getattr(d, n) for n in names} for d in _core.enumerate("nvml").devices]


def channels() -> dict[str, Any]:
    """What the first GPU can read."""
    opened = _core.open_channels(_core.enumerate("nvml").devices[0])
    names = ("source", "scope", "note", "group")
    return {c.name: {n: getattr(c, n) for n in names} for c in opened}


def sample(steps: int, faults: list[dict[str, Any]]) -> dict[str, Any]:
    """Opens the first GPU, injects the faults, then polls so often on a manual clock.

    Gives (value or None, flags, status) of every read of each channel, and the calls it took.
    """
    stream = _core.Stream(_core.enumerate("nvml").devices[0], clock=_core.ManualClock())
    card = SimulatedWorld.current()[0]
    for fault in faults:
        card.inject(**fault)
    groups = ("fields", "power", "energy")
    before = {group: card.calls(group) for group in groups}
    stream.run_inline(steps)
    calls = {group: card.calls(group) - before[group] for group in groups}
    recording = stream.recording
    recording.seal()
    reads = {c.name: written_out(recording.runs(i)) for i, c in enumerate(stream.channels)}
    return {"calls": calls, "reads": reads}


def written_out(runs: Any) -> list[Any]:
    """Every single read of the runs."""
    out = []
    for value, count, flags in zip(runs["value"], runs["count"], runs["flags"], strict=True):
        number = None if value != value else float(value)
        out += [(number, int(flags) & 0xFFFF, int(flags) >> 16)] * int(count)
    return out


if __name__ == "__main__":
    name, arguments = json.loads(sys.argv[1])
    print(json.dumps(globals()[name](**arguments)))
