# SPDX-License-Identifier: Apache-2.0
"""The C interface through ctypes, and programs built on it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_double, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np

import pyenergy
from pyenergy import _core

CHECKOUT = Path(__file__).resolve().parent.parent
WARNINGS = ("-pedantic", "-Wall", "-Wextra", "-Werror", "-O1")
PLAIN, TRAPEZOID, COUNTER = 0, 1, 2


class Api(ctypes.Structure):
    """struct pyenergy_api."""

    _fields_ = (
        ("size", c_size_t),
        ("abi_version", ctypes.c_uint32),
        ("version", CFUNCTYPE(c_char_p)),
        ("last_error", CFUNCTYPE(c_char_p)),
        ("now", CFUNCTYPE(c_int64)),
        ("find", CFUNCTYPE(c_int, c_char_p, POINTER(c_void_p))),
        ("device_count", CFUNCTYPE(c_size_t, c_void_p)),
        ("device_get", CFUNCTYPE(c_int, c_void_p, c_size_t, c_void_p)),
        ("device_list_free", CFUNCTYPE(None, c_void_p)),
        ("open", CFUNCTYPE(c_int, c_char_p, c_void_p, POINTER(c_void_p))),
        ("session_devices", CFUNCTYPE(c_void_p, c_void_p)),
        ("start", CFUNCTYPE(c_int, c_void_p)),
        ("stop", CFUNCTYPE(c_int, c_void_p)),
        ("close", CFUNCTYPE(c_int, c_void_p)),
        ("bounds", CFUNCTYPE(c_int, c_void_p, POINTER(c_int64), POINTER(c_int64))),
        ("energy", CFUNCTYPE(c_int, c_void_p, c_char_p, c_int, c_int64, c_int64, c_void_p)),
        ("windows", CFUNCTYPE(c_int, c_void_p, c_char_p, c_int, c_size_t, *[c_void_p] * 4)),
        ("mark", CFUNCTYPE(c_int, c_void_p, c_char_p, c_int64, c_int64)),
        ("save", CFUNCTYPE(c_int, c_void_p, c_char_p)),
    )


class Device(ctypes.Structure):
    """struct pyenergy_device."""

    _fields_ = (
        ("size", c_size_t),
        *(
            (name, c_char_p)
            for name in ["id", "name", "uuid", "pci", "architecture", "source", "kind", "notes"]
        ),
        ("power_min_w", c_double),
        ("power_max_w", c_double),
        ("is_estimate", c_int),
    )


class CError(Exception):
    """(status, text) of a call that failed."""


class C:
    """The functions of the extension's capsule; a failure is a `CError`."""

    def __init__(self) -> None:
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = c_void_p, (ctypes.py_object, c_char_p)
        address = pointer(_core._C_API, b"pyenergy._core._C_API")
        self.api = Api.from_address(address)

    def check(self, status: int) -> None:
        if status:
            raise CError(status, self.api.last_error().decode())

    def open(self, devices: str) -> c_void_p:
        session = c_void_p()
        self.check(self.api.open(devices.encode(), None, ctypes.byref(session)))
        return session

    def bounds(self, session: c_void_p) -> tuple[int, int]:
        start, end = c_int64(), c_int64()
        self.check(self.api.bounds(session, ctypes.byref(start), ctypes.byref(end)))
        return start.value, end.value

    def windows(
        self, session: c_void_p, starts: np.ndarray, ends: np.ndarray, method: int = PLAIN
    ) -> tuple[np.ndarray, np.ndarray]:
        joules, u = np.empty(len(starts)), np.empty(len(starts))
        columns = [a.ctypes.data for a in (starts, ends, joules, u)]
        self.check(self.api.windows(session, None, method, len(starts), *columns))
        return joules, u

    def find(self, devices: str | None) -> list[Device]:
        found = c_void_p()
        request = None if devices is None else devices.encode()
        self.check(self.api.find(request, ctypes.byref(found)))
        out = []
        for index in range(self.api.device_count(found)):
            device = Device(ctypes.sizeof(Device))
            self.check(self.api.device_get(found, index, ctypes.addressof(device)))
            out.append(device)
        # Their texts live as long as the list: it is left to the process.
        return out


def compiled(source: Path, out: Path) -> Path:
    """A C99 program, built as its users build theirs."""
    library = pyenergy.get_library()
    command = ["cc", "-std=c99", *WARNINGS, f"-I{pyenergy.get_include()}", os.fspath(source)]
    link = ["-o", os.fspath(out), library, f"-Wl,-rpath,{Path(library).parent}", "-lm"]
    subprocess.run([*command, *link], check=True)
    return out
