# SPDX-License-Identifier: Apache-2.0
"""Few spans, few readings: labels over several powers, and explanations that the readings allow."""

from __future__ import annotations

import numpy as np
from drawn import MS, Drawn, measured
from simulate import START_NS


def two_powers(drawn: Drawn) -> list[tuple[str, int, int]]:
    """``b`` is as busy as ``a`` the first time, and idle the second."""
    t = START_NS + 700 * MS
    middle, end = t + 100 * MS, t + 250 * MS
    drawn.power(350.0, t)
    drawn.power(drawn.idle_w, end)
    drawn.until_ns = end + 1500 * MS
    return [("a", t, middle), ("b", middle, end), ("b", end, drawn.until_ns)]


def side_by_side(drawn: Drawn) -> list[tuple[str, int, int]]:
    """Two spans of one power, one right after the other, once."""
    first, second, _ = two_powers(drawn)
    return [first, ("c", *second[1:])]


def now_and_then(drawn: Drawn) -> list[tuple[str, int, int]]:
    """Four short spans of two powers, of which a part-time sensor may see one power alone."""
    t, spans = START_NS + 700 * MS, []
    for i in range(4):
        spans.append(("k", *drawn.pulse(t, 0.05, (250.0, 400.0)[i % 2])))
        t = drawn.until_ns + round(drawn.rng.uniform(150, 250)) * MS
    return spans


def errors(load: object, seeds: range) -> tuple[np.ndarray, list[str]]:
    """Errors over same-card uncertainties, one row a seed and one column a span; and all notes."""
    rows, notes = [], []
    for seed in seeds:
        trace, truth, spans = measured("a100", seed, load)  # type: ignore[arg-type]
        starts, ends = (np.array([s[i] for s in spans]) for i in (1, 2))
        table = trace.spans()
        error = table["energy_j"].to_numpy() - truth(starts, ends)
        rows.append(error / table["u_same_card_j"].to_numpy())
        notes += trace.energy.notes
    return np.array(rows), notes


def test_spans_that_a_label_calls_alike_are_told_apart() -> None:
    off, notes = errors(two_powers, range(4))
    assert (np.abs(off) < 2.5).mean() > 0.8  # 0.4 where the label is believed
    assert any("'b' draw different powers" in note for note in notes)
    assert not any("'a' draw different powers" in note for note in notes)


def test_a_narrow_explanation_counts_beside_a_broad_one() -> None:
    off, _ = errors(side_by_side, range(6))
    assert (np.abs(off) < 2).mean() > 0.7
    assert np.abs(off).max() < 4


def test_what_rests_on_a_label_alone_is_said() -> None:
    trace, _, spans = measured("a100", 4, now_and_then)
    seen = [note for note in trace.energy.notes if "spans labelled 'k'" in note]
    assert len(seen) == 1
    assert f"of {len(spans)} spans" in seen[0] or "draw different powers" in seen[0]


def test_no_uncertainty_is_larger_than_what_the_board_can_draw() -> None:
    for seed in range(2):
        trace, _, _ = measured("a100", seed, now_and_then)
        high_w = trace.recorded.devices["gpu:0"].meta.power_max_w
        budget = trace.energy.budget()
        for term in ("fit", "misfit"):
            assert budget[term] <= high_w * trace.duration_s / 3**0.5
