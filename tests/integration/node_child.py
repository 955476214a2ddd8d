# SPDX-License-Identifier: Apache-2.0
"""Run by test_node.py in a process of its own, which loads NVML once: prints JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import pyenergy
from pyenergy import _core, _devices
from pyenergy.errors import DeviceError, OptionError
from pyenergy.testing import SimulatedWorld


def traced(seconds: float, path: str | None = None, ours: bool = True) -> dict[str, Any]:
    """A trace of the node, with this process on the first GPU beside pid 4000000, which /proc does
    not show."""
    card = SimulatedWorld.current()[0]
    if ours:
        card.set_processes([(os.getpid(), 0.6), (4_000_000, 0.2), (4_000_001, 0.0)])
    with pyenergy.trace(devices="node", processes=True, path=path) as t:
        time.sleep(seconds)
    found = told(t)
    if path is not None:
        assert told(pyenergy.load(path)) == found
    return {
        **found,
        "pid": os.getpid(),
        "duration_s": t.duration_s,
        "gpu_truth_j": card.true_energy_j(*t.bounds_ns),
    }


def told(t: pyenergy.Trace) -> dict[str, Any]:
    """What a trace says of its node and of processes."""
    try:
        t.processes(idle_w=1e6)
        refused = ""
    except OptionError as error:
        refused = str(error)
    return {
        "refused": refused,
        "node": t.node().to_dicts(),
        "processes": t.processes(idle_w=5.0).to_dicts(),
        "notes": t.process_notes(),
        "energies": {k: [e.joules, e.u] for k, e in t.energies.items()},
        "trace_notes": t.notes,
    }


def chosen(requests: list[str]) -> list[Any]:
    """The ids that each request means, or its error."""
    found: list[Any] = []
    for request in requests:
        try:
            found.append([device.id for device in _devices.resolve(request)])
        except DeviceError as error:
            found.append(str(error))
    return found


def left_out() -> list[str]:
    """What a request for the node leaves out."""
    return list(_devices.not_measured("node", _devices.resolve("node")))


def use() -> dict[str, Any]:
    """What NVML tells of the first GPU's processes, asked twice."""
    uuid = SimulatedWorld.current()[0].info.uuid
    first = _core.gpu_use(uuid, 0)
    again = _core.gpu_use(uuid, max([s[1] for s in first["samples"]], default=0) + 10**12)
    return {"first": first, "again": again}


if __name__ == "__main__":
    name, arguments = json.loads(sys.argv[1])
    print(json.dumps(globals()[name](**arguments)))
