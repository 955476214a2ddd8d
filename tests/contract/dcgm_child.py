# SPDX-License-Identifier: Apache-2.0
"""Run by test_dcgm.py in a process of its own: asks the DCGM source and prints JSON."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from typing import Any

from pyenergy import _core, trace
from pyenergy.errors import NoReadingsError, OptionError
from pyenergy.testing import SimulatedCard, SimulatedWorld


def report(argument: str = "") -> dict[str, Any]:
    """What looking for DCGM's devices finds."""
    found = _core.enumerate("dcgm", argument)
    names = ("index", "uuid", "name", "pci_bus_id", "architecture", "driver", "power_max_w")
    return {
        "available": found.available,
        "reason": found.reason,
        "fix": found.fix,
        "devices": [{n: getattr(d, n) for n in names} for d in found.devices],
        "facts": [d.facts for d in found.devices],
    }


def channels(source: str = "dcgm", argument: str = "") -> dict[str, Any]:
    """What the first device can read."""
    opened = _core.open_channels(_core.enumerate(source, argument).devices[0])
    names = ("source", "note", "group", "unit", "kind")
    return {c.name: {n: str(getattr(c, n)) for n in names} for c in opened}


def sample(
    seconds: float, faults: list[dict[str, Any]], source: str = "dcgm", argument: str = ""
) -> dict[str, Any]:
    """Opens the first device, injects the faults, and samples it in real time.

    Gives (value or None, flags, status, count, t_first_ns, read_last_ns) of each channel's runs.
    """
    stream = _core.Stream(_core.enumerate(source, argument).devices[0], period_ns=1_000_000)
    card = SimulatedWorld.current()[0]
    for fault in faults:
        inject(card, **fault)
    stream.acquire()
    time.sleep(seconds)
    stream.release(0)
    stream.stop(5.0)
    stream.drain()
    recording = stream.recording
    recording.seal()
    return {c.name: written_out(recording.runs(i)) for i, c in enumerate(stream.channels)}


def inject(card: SimulatedCard, after_s: float = 0.0, **fault: Any) -> None:
    if after_s > 0:
        fault["from_ns"] = time.monotonic_ns() + round(after_s * 1e9)
    card.inject(**fault)


def written_out(runs: Any) -> list[Any]:
    columns = ("value", "flags", "count", "t_first_ns", "read_last_ns")
    out = []
    for value, flags, count, first, last in zip(*(runs[c] for c in columns), strict=True):
        number = None if value != value else float(value)
        out.append(
            (number, int(flags) & 0xFFFF, int(flags) >> 16, int(count), int(first), int(last))
        )
    return out


def traced(
    devices: str, seconds: float, faults: list[dict[str, Any]], pacing: str = "auto"
) -> dict[str, Any]:
    """The energy of a trace, beside the truth."""
    card = SimulatedWorld.current()[0]
    for fault in faults:
        card.inject(**fault)
    try:
        with trace(devices=devices, pacing=pacing) as t:
            time.sleep(seconds)
        energy = t.energy
    except (NoReadingsError, OptionError) as error:
        return {"error": str(error)}
    return {
        "joules": energy.joules,
        "u": energy.u,
        "true_j": card.true_energy_j(*t.bounds_ns),
        "notes": list(t.notes),
    }


def after_fork() -> dict[str, Any]:
    """What a child of a process that has used DCGM is told."""
    assert _core.enumerate("dcgm").available
    read, write = os.pipe()
    if os.fork() == 0:
        found = _core.enumerate("dcgm")
        text = {"available": found.available, "reason": found.reason, "fix": found.fix}
        os.write(write, json.dumps(text).encode())
        os._exit(0)
    os.wait()
    return dict(json.loads(os.read(read, 65536)))


class _Value(ctypes.Union):
    _fields_ = (
        ("i64", ctypes.c_int64),
        ("dbl", ctypes.c_double),
        ("str", ctypes.c_char * 256),
        ("blob", ctypes.c_byte * 4096),
    )


class _FieldValue2(ctypes.Structure):
    """The members of c_dcgmFieldValue_v2, NVIDIA/DCGM testing/python3/dcgm_structs.py (4ff1bc2)."""

    _fields_ = (
        ("version", ctypes.c_uint),
        ("entityGroupId", ctypes.c_uint),
        ("entityId", ctypes.c_uint),
        ("fieldId", ctypes.c_ushort),
        ("fieldType", ctypes.c_short),
        ("status", ctypes.c_int),
        ("unused", ctypes.c_uint),
        ("ts", ctypes.c_int64),
        ("value", _Value),
    )


class _FieldValue1(ctypes.Structure):
    """The members of c_dcgmFieldValue_v1, same file."""

    _fields_ = (
        ("version", ctypes.c_uint),
        ("fieldId", ctypes.c_ushort),
        ("fieldType", ctypes.c_short),
        ("status", ctypes.c_int),
        ("ts", ctypes.c_int64),
        ("value", _Value),
    )


class _Pair(ctypes.Structure):
    _fields_ = (("entityGroupId", ctypes.c_uint32), ("entityId", ctypes.c_uint32))


def as_nvidias_bindings() -> dict[str, Any]:
    """Asks the simulated library through the structures of NVIDIA's own Python bindings."""
    library = ctypes.CDLL(os.environ["PYENERGY_DCGM_LIBRARY"])
    handle = ctypes.c_void_p()
    codes = [library.dcgmInit(), library.dcgmStartEmbedded(1, ctypes.byref(handle))]
    ids = (ctypes.c_uint * 32)()
    count = ctypes.c_uint()
    codes.append(library.dcgmGetAllSupportedDevices(handle, ids, ctypes.byref(count)))
    fields = (ctypes.c_uint16 * 3)(54, 155, 156)
    values = (_FieldValue2 * 3)()
    pairs = (_Pair * 1)(_Pair(1, 0))
    codes.append(
        library.dcgmEntitiesGetLatestValues(
            handle, pairs, ctypes.c_uint(1), fields, ctypes.c_uint(3), 1, values
        )
    )
    group, field_group = ctypes.c_void_p(), ctypes.c_void_p()
    codes += [
        library.dcgmGroupCreate(handle, 1, b"g", ctypes.byref(group)),
        library.dcgmGroupAddDevice(handle, group, 0),
        library.dcgmFieldGroupCreate(
            handle, ctypes.c_int32(1), fields_of(155), b"f", ctypes.byref(field_group)
        ),
        library.dcgmWatchFields(
            handle,
            group,
            field_group,
            ctypes.c_int64(10_000),
            ctypes.c_double(10.0),
            ctypes.c_int32(0),
        ),
    ]
    seen = []
    callback = ctypes.CFUNCTYPE(
        ctypes.c_int32,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.POINTER(_FieldValue1),
        ctypes.c_int32,
        ctypes.c_void_p,
    )

    @callback
    def take(group_id: int, entity: int, found: Any, n: int, _user: Any) -> int:
        seen.extend(
            (group_id, entity, found[i].fieldId, found[i].version, found[i].value.dbl)
            for i in range(n)
        )
        return 0

    time.sleep(0.05)
    following = ctypes.c_int64()
    codes.append(
        library.dcgmGetValuesSince_v2(
            handle, group, field_group, ctypes.c_int64(0), ctypes.byref(following), take, None
        )
    )
    return {
        "codes": codes,
        "count": count.value,
        "sizes": [ctypes.sizeof(_FieldValue1), ctypes.sizeof(_FieldValue2)],
        "versions": [v.version for v in values],
        "types": [chr(v.fieldType) for v in values],
        "uuid": values[0].value.str.decode(),
        "power_w": values[1].value.dbl,
        "energy_mj": values[2].value.i64,
        "age_s": [time.time() - v.ts / 1e6 for v in values],
        "seen": seen,
    }


def fields_of(*ids: int) -> Any:
    return (ctypes.c_uint16 * len(ids))(*ids)


if __name__ == "__main__":
    name, arguments = json.loads(sys.argv[1])
    print(json.dumps(globals()[name](**arguments)))
