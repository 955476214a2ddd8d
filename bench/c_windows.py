# SPDX-License-Identifier: Apache-2.0
"""A million windows by the C interface against Python's Trace.windows on the same readings."""

import ctypes
import tempfile
import time
from ctypes import byref, c_char_p, c_int64, c_void_p
from pathlib import Path

import numpy as np

import pyenergy

from .harness import Result, interleaved

WINDOWS = 1_000_000
TRAPEZOID = 1


def run() -> list[Result]:
    """Both give the same bits; C is not slower."""
    c = ctypes.CDLL(pyenergy.get_library())
    session = c_void_p()
    assert c.pyenergy_open(b"sim:v100", None, byref(session)) == 0
    assert c.pyenergy_start(session) == 0
    time.sleep(5.0)
    assert c.pyenergy_stop(session) == 0
    start, end = c_int64(), c_int64()
    assert c.pyenergy_bounds(session, byref(start), byref(end)) == 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.pyenergy"
        assert c.pyenergy_save(session, c_char_p(str(file).encode())) == 0
        trace = pyenergy.load(file)
    return [_compare(c, session, trace, (start.value, end.value), order) for order in (True, False)]


def _compare(c, session, trace, bounds_ns, in_order) -> Result:
    rng = np.random.default_rng(1)
    starts = rng.integers(bounds_ns[0], bounds_ns[1] - 200_000_000, WINDOWS)
    if in_order:
        starts.sort()
    ends = starts + rng.integers(1_000, 200_000_000, WINDOWS)
    joules, u = np.empty(WINDOWS), np.empty(WINDOWS)
    columns = [c_void_p(array.ctypes.data) for array in (starts, ends, joules, u)]

    def by_c() -> None:
        count = ctypes.c_size_t(WINDOWS)
        assert c.pyenergy_windows(session, None, TRAPEZOID, count, *columns) == 0

    def by_python() -> None:
        nonlocal theirs
        theirs = trace.windows(starts, ends, method="trapezoid")

    theirs = (joules, u)
    a, b = interleaved(by_c, by_python, 5)
    assert np.array_equal(joules, theirs[0]), "energies differ"
    assert np.array_equal(u, theirs[1]), "uncertainties differ"
    order = "sorted" if in_order else "unsorted"
    return Result(
        f"{WINDOWS:.0e} {order} windows with their uncertainties, Trace.windows over C",
        f"{a * 1e3:.0f} ms", f"{b * 1e3:.0f} ms", b / a, ">= 1", b / a >= 1,
    )  # fmt: skip
