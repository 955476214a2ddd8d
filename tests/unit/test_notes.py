# SPDX-License-Identifier: Apache-2.0
"""What an energy says of its readings: nothing that is missing goes without a word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyenergy import Trace
from pyenergy.errors import NoReadingsError
from pyenergy.units import NS_PER_MS, NS_PER_S

T = 10 * NS_PER_S + 20 * NS_PER_MS * np.arange(500, dtype=np.int64)
WATTS = 200.0 + np.repeat(np.random.default_rng(6).normal(0, 5, 100), 5)
JOULES = 1e5 + np.concatenate([[0.0], np.cumsum(WATTS[1:] * 0.02)])
MISSING = np.full(500, np.nan)


def taken(watts: Any = None, joules: Any = None, **facts: Any) -> Trace:
    given = {"power": watts, "energy": joules}
    columns = {f"gpu:0/{name}": (T, values) for name, values in given.items() if values is not None}
    return Trace.from_readings(columns, devices={"gpu:0": facts})


def about_counter(trace: Trace, **options: Any) -> list[str]:
    notes = trace.total(**options).notes
    return [note for note in notes if "counter" in note and "watches" not in note]


@pytest.mark.parametrize(
    ("joules", "said"),
    [
        (MISSING, "every reading of the energy counter failed (no number came)"),
        (-JOULES, "every reading of the energy counter was impossible"),
        (np.where(np.arange(500) % 2, -1.0, np.nan), "failed (no number came) or was impossible"),
        (np.full(500, 7.0), "the energy counter stood still for 9.98 s (500 of 500 readings)"),
        (JOULES[::-1], "the energy counter never rose, and fell 499 times"),
    ],
    ids=["missing", "negative", "both", "still", "falling"],
)
def test_a_counter_that_tells_nothing_is_said_to(joules: np.ndarray, said: str) -> None:
    trace = taken(WATTS, joules)
    alone = taken(WATTS).energy
    assert trace.energy.joules == alone.joules  # nothing is made of it
    notes = [n for n in about_counter(trace) if "nothing checks the power readings" in n]
    assert len(notes) == 1
    assert notes[0].startswith("gpu:0: ")
    assert said in notes[0]
    if "fell" not in said:  # across a fall any energy may have been used: that is a wide answer
        with pytest.raises(NoReadingsError) as caught:
            trace.total(method="counter")
        assert said in str(caught.value)
        assert "power" not in str(caught.value)


def test_a_counter_that_stands_still_between_failed_reads_is_said_to() -> None:
    holes = np.where(np.arange(500) % 2, 7.0, np.nan)
    notes = taken(WATTS, holes).energy.notes
    assert any("stood still for 9.96 s (250 of 500 readings)" in note for note in notes)


def test_a_counter_that_works_needs_no_word() -> None:
    trace = taken(WATTS, JOULES)
    assert not any("not used" in note for note in about_counter(trace))
    assert about_counter(trace, method="counter") == []


def test_a_counter_that_falls_once_is_said_to_and_used() -> None:
    fallen = np.where(np.arange(500) < 250, JOULES, JOULES - JOULES[250])
    notes = about_counter(taken(WATTS, fallen))
    assert "gpu:0: the energy counter was reset or ran backwards" in notes
    assert not any("nothing checks" in note for note in notes)


def test_a_counter_may_stand_still_for_its_update() -> None:
    short = {"gpu:0/power": (T[:20], WATTS[:20]), "gpu:0/energy": (T[:20], np.full(20, 7.0))}
    assert not any("stood still" in note for note in Trace.from_readings(short).energy.notes)


def test_the_counter_asked_for_says_nothing_false_of_the_power() -> None:
    energy = taken(WATTS, JOULES).total(method="counter")
    assert energy.joules == pytest.approx(JOULES[-1] - JOULES[0], rel=1e-3)
    assert not any("power" in note for note in energy.notes)
    for watts, why in ((MISSING, "failed (no number came)"), (-WATTS, "was impossible")):
        (note,) = (n for n in taken(watts, JOULES).energy.notes if "serves instead" in n)
        assert note == f"gpu:0: every power reading {why}; 'energy' serves instead"


@pytest.mark.parametrize(
    ("watts", "joules", "method", "why"),
    [
        (WATTS, None, "counter", r"\): it has no energy counter$"),
        (WATTS, MISSING, "counter", r"\): every reading of the energy counter failed \(no numb"),
        (None, JOULES, "trapezoid", r"\): it has no power sensor that can be read$"),
        (MISSING, JOULES, "trapezoid", r"\): every power reading failed \(no number came\)$"),
        (
            MISSING,
            None,
            "model",
            r"every power reading failed \(no number came\); it has no energy",
        ),
        (-WATTS, None, "model", "every power reading was impossible; it has no energy counter"),
        (-WATTS, MISSING, "model", "was impossible; every reading of the energy counter failed"),
        (None, np.full(500, 7.0), "model", "no power sensor that can be read; .* stood still"),
    ],
)
def test_no_energy_says_what_is_wrong_and_no_more(
    watts: Any, joules: Any, method: str, why: str
) -> None:
    with pytest.raises(NoReadingsError, match=why) as caught:
        taken(watts, joules).total(method=method)
    assert "status 0" not in str(caught.value)


def test_an_average_alone_is_said_how_to_give() -> None:
    trace = Trace.from_readings({"gpu:0/power_average": (T, WATTS)})
    with pytest.raises(NoReadingsError, match="give it as 'power', with the device's field 'ave"):
        _ = trace.energy
    assert taken(WATTS, field="average").energy.joules > 0


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"architecture": "ampere", "field": "instant"}, None),
        ({"architecture": "ga100", "field": "default"}, None),
        ({"field": "instant"}, None),
        ({"architecture": "blackwell", "field": "instant"}, "no sensor is known of the archit"),
        ({"architecture": "ampere"}, "which sensor was read is not known without 'field'"),
    ],
    ids=str,
)
def test_an_architecture_that_does_not_help_is_said(
    facts: dict[str, str], said: str | None
) -> None:
    notes = [note for note in taken(WATTS, **facts).energy.notes if "architecture" in note]
    if said is None:
        assert notes == []
    else:
        assert len(notes) == 1
        assert said in notes[0]


def test_spans_and_windows_carry_the_notes_too() -> None:
    trace = taken(WATTS, MISSING)
    window = trace.window(int(T[100]), int(T[300]))
    assert any("nothing checks the power readings" in note for note in window.notes)
    assert "nothing checks the power" in str(trace)


# Readings that the device cannot draw -------------------------------------------------------------


def spiked(watts: float, at: Any, **facts: Any) -> tuple[Trace, list[str]]:
    values = WATTS.copy()
    values[at] = watts
    trace = taken(values, **facts)
    return trace, [note for note in trace.energy.notes if "readings reach" in note]


@pytest.mark.parametrize("facts", [{}, {"power_max_w": 400.0}])
def test_one_reading_far_above_the_others_is_named_and_kept(facts: dict[str, Any]) -> None:
    trace, (note,) = spiked(100e3, 123, **facts)
    line = "440 W" if facts else "2.1 kW"
    assert note.startswith("gpu:0: readings reach 100 kW, ")
    assert f": 1 of 500 of 'power' are above {line}, the highest 2.46 s after the start" in note
    assert f"(at {T[123]} ns); nothing leaves them out (NaN in the place of one" in note
    assert "the device's limit is 400 W" in note or not facts
    assert trace.series("gpu:0/power").values.max() == 100e3
    assert note in str(trace).replace("\n", " ")
    assert note in trace.window(int(T[300]), int(T[400])).notes
    cured = WATTS.copy()
    cured[123] = np.nan  # what it says to do
    assert not any("readings reach" in text for text in taken(cured).energy.notes)


def test_every_outlier_is_counted_and_the_worst_is_placed() -> None:
    _, (note,) = spiked(9e5, slice(0, 500, 10))  # too many for a share of the readings to tell
    assert "readings reach 900 kW, half of them are at most 20" in note
    assert "50 of 500 of 'power' are above 5 kW, the highest 0 s after the start" in note
    values = np.where(np.arange(500) == 7, 3e3, np.where(np.arange(500) == 9, 4e3, WATTS))
    (note,) = (n for n in taken(values, power_max_w=400.0).energy.notes if "readings reach" in n)
    assert "2 of 500 of 'power' are above 440 W, the highest 180 ms after the start" in note


@pytest.mark.parametrize(
    ("watts", "facts"),
    [
        (430.0, {"power_max_w": 400.0}),  # a transient
        (1.9e3, {}),
        (WATTS[5], {}),
    ],
)
def test_what_a_board_may_draw_is_no_outlier(watts: float, facts: dict[str, Any]) -> None:
    assert spiked(watts, 5, **facts)[1] == []


@pytest.mark.parametrize(
    ("device", "idle_w", "busy_w"),
    [
        ("gpu:0", 200.0, 2.7e3),
        ("node:0", 400.0, 14e3),
        ("rack:0", 30e3, 132e3),
        ("gpu:0", 15e3, 16e3),
    ],
)
def test_bursts_of_what_draws_much_are_no_outliers(
    device: str, idle_w: float, busy_w: float
) -> None:
    watts = np.where(np.arange(500) % 50 < 5, busy_w, idle_w)
    notes = Trace.from_readings({f"{device}/power": (T, watts)}).energy.notes
    assert not any("readings reach" in note for note in notes)


def test_a_node_s_outlier_is_named_too() -> None:
    watts = np.where(np.arange(500) == 50, 5e5, 3e3)
    notes = Trace.from_readings({"node:0/power": (T, watts)}).energy.notes
    (note,) = (note for note in notes if "readings reach" in note)
    assert "readings reach 500 kW, half of them are at most 3 kW: 1 of 500" in note
    two = Trace.from_readings({"node:0/power": (T[:2], [300.0, 5e5])}).energy.notes
    assert any("1 of 2 of 'power' are above 3 kW" in note for note in two)
