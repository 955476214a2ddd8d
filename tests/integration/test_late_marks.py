# SPDX-License-Identifier: Apache-2.0
"""Marks that ended after their work, because the host had something else to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn import KNOWN, MS, Drawn, measured
from simulate import START_NS

from pyenergy import Trace

LATE_NS = (8 * MS, 0, 12 * MS, 0)  # how long the thread waited before it ended each mark


def bursts(drawn: Drawn) -> list[tuple[str, int, int]]:
    """Of half a second, with a second of idle between."""
    t, spans = START_NS + 700 * MS, []
    for late in LATE_NS:
        start, end = drawn.pulse(t, 0.5)
        spans.append(("burst", start, end + late))
        t = end + 1000 * MS
    return spans


def told(trace: Trace, bounds: tuple[int, ...]) -> Trace:
    """The same readings with marks that say how late they may be."""
    marks = [replace(m, bound_ns=b) for m, b in zip(trace.marks, bounds, strict=True)]
    again = Trace(replace(trace._recorded(), marks=tuple(marks)))
    again._profile = KNOWN
    return again


@pytest.mark.parametrize(("kind", "seed"), [("v100", 1), ("a100", 0), ("h100", 1)])
def test_a_mark_that_may_be_late_is_no_surer_than_that(kind: str, seed: int) -> None:
    trace, truth, spans = measured(kind, seed, bursts)
    starts, ends = (np.array([s[i] for s in spans]) for i in (1, 2))

    def off(bounds: tuple[int, ...]) -> np.ndarray:
        table = told(trace, bounds).spans()
        error = np.abs(table["energy_j"].to_numpy() - truth(starts, ends))
        return np.asarray(error / table["u_same_card_j"].to_numpy())

    assert off((0,) * 4).max() > 20  # nothing else could know
    assert off(LATE_NS).max() < 3
