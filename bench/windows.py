# SPDX-License-Identifier: Apache-2.0
"""Ten million windows on a million samples against two calls of numpy.interp."""

import numpy as np

from pyenergy import _core
from pyenergy._trace import Trace
from pyenergy.recording.recorded import Recorded
from pyenergy.recording.series import ChannelMeta, DeviceData, DeviceMeta, Runs

from .harness import Result, interleaved

SAMPLES = 1_000_000
WINDOWS = 10_000_000
UNSORTED = 1_000_000  # numpy.interp takes half a microsecond each: fewer do


def run() -> list[Result]:
    """Energies agree and are computed at least five times faster, sorted and unsorted."""
    rng = np.random.default_rng(1)
    t = np.cumsum(rng.integers(900_000, 1_100_000, SAMPLES)).astype(np.int64)
    curve = _core.EnergyCurve(t, rng.uniform(50, 400, SAMPLES))
    knot_t, knot_y = curve.knots()
    total = np.concatenate(
        [[0.0], np.cumsum(np.diff(knot_t) / 1e9 * (knot_y[1:] + knot_y[:-1]) / 2)]
    )
    return [
        _compare("sorted", curve, t, total, _windows(rng, t, WINDOWS, True)),
        _compare("unsorted", curve, t, total, _windows(rng, t, UNSORTED, False)),
        _with_uncertainties(rng, t, total),
    ]


def _with_uncertainties(rng, t, total) -> Result:
    """The public call, which gives uncertainties as well: what those cost, without a goal."""
    y = rng.uniform(50, 400, SAMPLES)
    poll = np.int64(1_000)
    runs = Runs(
        t, t + poll, t, t + poll, y, np.ones(SAMPLES, np.uint32), np.zeros(SAMPLES, np.uint32)
    )
    meta = DeviceMeta("gpu:0", "sim", "gpu", "bench", power_min_w=0.0, power_max_w=400.0)
    power = ChannelMeta("power", "W", "gauge", "sim.power.instant", "gpu", "", 0, 0, 0)
    device = DeviceData(meta, {"power": power}, {"power": runs}, {}, 10_000_000)
    trace = Trace(Recorded((int(t[0]), int(t[-1])), {"gpu:0": device}))
    starts, ends = _windows(rng, t, UNSORTED, True)
    trace.windows(starts[:1], ends[:1])  # builds the model
    x = t.astype(float)
    a, b = interleaved(
        lambda: trace.windows(starts, ends),
        lambda: np.interp(ends, x, total) - np.interp(starts, x, total),
        5,
    )
    n = len(starts)
    return Result(
        f"{n:.0e} sorted windows with their uncertainties, numpy.interp over ours",
        f"{a / n * 1e9:.1f} ns a window", f"{b / n * 1e9:.1f} ns a window",
        b / a, "none", True,
    )  # fmt: skip


def _windows(rng, t, count, in_order):
    starts = rng.integers(t[0], t[-1] - 200_000_000, count)
    if in_order:
        starts.sort()
    return starts, starts + rng.integers(1_000, 200_000_000, count)


def _compare(order, curve, t, total, windows) -> Result:
    starts, ends = windows
    x = t.astype(float)

    def theirs() -> np.ndarray:
        return np.interp(ends, x, total) - np.interp(starts, x, total)

    joules = curve.windows(starts, ends)
    # interp is linear in energy inside a sample, ours quadratic: they differ by at most that.
    assert np.allclose(joules, theirs(), rtol=0, atol=0.1), "energies disagree"
    a, b = interleaved(lambda: curve.windows(starts, ends), theirs, 5)
    n = len(starts)
    return Result(
        f"energies of {n:.0e} {order} windows on 1e6 samples, numpy.interp over ours",
        f"{a / n * 1e9:.1f} ns a window", f"{b / n * 1e9:.1f} ns a window",
        b / a, ">= 5", b / a >= 5,
    )  # fmt: skip
