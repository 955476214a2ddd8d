# SPDX-License-Identifier: Apache-2.0
"""A real RTX 3090 beside a power meter: windows the estimator never saw, scored by the meter.

Gain and offset come from the plateaus of another recording of the same card, the response from
the kernels' times; the meter trace of the scored recording is only compared with.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pyenergy import Trace
from pyenergy.sensor import Profile
from pyenergy.sensor.catalog import GAIN_U

NAMED = os.environ.get("PYENERGY_METER_DATA")
METER = Path(NAMED) if NAMED else Path(__file__).resolve().parents[2] / "shared" / "data" / "meter"
MODEL_U, OFFSET_U_W = 0.004, 0.5  # scatter of such a calibration
EPOCH_S = 1.6888e9  # the recordings' Unix times lose digits as they are


def ns(seconds: np.ndarray) -> np.ndarray:
    return np.round((np.asarray(seconds, float) - EPOCH_S) * 1e9).astype(np.int64)


def calibration(field: str) -> Profile:
    """From the settled ends of the three plateaus of the step recording."""
    data = np.load(METER / "3090_step.npz")
    on, off = data["load_edges"][0], data["load_edges"][1]
    points = []
    for low, high in ((on - 1.0, on - 0.05), (on + 1.0, off - 0.1), (off + 1.0, off + 5.9)):
        meter = (data["pmd_t"] > low) & (data["pmd_t"] < high)
        read = (data["smi_t"] > low + 0.2) & (data["smi_t"] < high)
        points.append((float(data["pmd_w"][meter].mean()), float(data[field][read].mean())))
    gain, offset_w = np.polyfit(*np.array(points).T, 1)
    assert abs(gain - 1) < 2 * GAIN_U  # inside what an uncalibrated card is given
    return Profile(float(gain), MODEL_U, float(offset_w), OFFSET_U_W)


class Scored:
    """The square wave through the model, and the meter's integral."""

    def __init__(self, field: str, kind: str) -> None:
        data = np.load(METER / "rtx3090_square_wave.npz")
        edges = ns(data["load_edges"][:-1])
        self.spans = [
            ("kernel", int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]
        readings = {"gpu:0/power": (ns(data["smi_t"]), data[field])}
        card = {"gpu:0": {"architecture": "ampere", "power_max_w": 450.0, "field": kind}}
        self.trace = Trace.from_readings(
            readings, self.spans, profile=calibration(field), devices=card
        )
        t, watts = ns(data["pmd_t"]), data["pmd_w"].astype(float)
        steps = (watts[1:] + watts[:-1]) / 2 * np.diff(t) * 1e-9
        self._t, self._sum = t, np.concatenate([[0.0], np.cumsum(steps)])
        low, high = self.trace.bounds_ns
        self.bounds = (
            max(low, int(t[0])),
            min(high, int(t[-1]), int(ns(data["load_edges"][-1:])[0])),
        )

    def truth(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return np.interp(ends, self._t, self._sum) - np.interp(starts, self._t, self._sum)

    def errors(self, length_s: float | None) -> tuple[np.ndarray, float, float]:
        """(relative errors, coverage of the 95 % interval, median relative half-width)."""
        rng = np.random.default_rng(1)
        if length_s is None:
            starts = np.array([a for _, a, _ in self.spans])
            ends = np.array([b for _, _, b in self.spans])
        else:
            low, high = self.bounds
            length = round(length_s * 1e9)
            starts = low + (rng.random(400) * (high - low - length)).astype(np.int64)
            ends = starts + length
        joules, u = self.trace.windows(starts, ends)
        true = self.truth(starts, ends)
        inside = np.abs(joules - true) <= 1.96 * u
        return joules / true - 1, float(inside.mean()), float(np.median(1.96 * u / true))
