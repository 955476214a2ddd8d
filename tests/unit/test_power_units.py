# SPDX-License-Identifier: Apache-2.0
"""Power and energy in another unit than W and J: refused or said, and never converted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyenergy._trace import Trace
from pyenergy.errors import OptionError
from pyenergy.recording.readings import recorded_from_readings
from pyenergy.recording.recorded import Recorded
from pyenergy.units import NS_PER_MS, NS_PER_S

T = 10 * NS_PER_S + 100 * NS_PER_MS * np.arange(300, dtype=np.int64)
WATTS = 250.0 + 100.0 * np.sin(np.arange(300) / 20)
JOULES = 5e6 + np.concatenate([[0.0], np.cumsum((WATTS[1:] + WATTS[:-1]) / 2) * 0.1])


def taken(watts: Any = None, joules: Any = None, device: str = "gpu:0", **facts: Any) -> Recorded:
    given = {"power": watts, "energy": joules}
    columns = {f"{device}/{name}": (T, v) for name, v in given.items() if v is not None}
    return recorded_from_readings(columns, devices={device: facts})


@pytest.mark.parametrize(
    ("watts", "unit"),
    [
        (WATTS * 1e3, r"milliwatts \(values / 1000\)"),
        (WATTS * 1e6, r"microwatts \(values / 1_000_000\)"),  # all beyond 1 MW: not a number of use
        (np.where(np.arange(300) % 3, WATTS * 1e3, np.nan), "milliwatts"),
        (np.where(np.arange(300) % 3, WATTS * 1e3, 0.0), "milliwatts"),
    ],
)
def test_watts_that_no_device_draws_are_refused(watts: Any, unit: str) -> None:
    with pytest.raises(OptionError, match=f"gpu:0/power: the median reading is .*{unit}"):
        taken(watts)
    with pytest.raises(OptionError, match=unit):
        taken(watts, device="cpu:3")


def test_a_name_that_says_more_than_a_board_may_have_more() -> None:
    rack = np.full(300, 132e3)
    with pytest.raises(OptionError, match="what is more than a board has a name of its own"):
        taken(rack)
    assert taken(rack, device="rack:0").notes == ()
    with pytest.raises(OptionError, match="milliwatts"):
        taken(np.full(300, 3e6), device="rack:0")


@pytest.mark.parametrize(("idle", "high"), [(0.05, 30.0), (1.0, 400.0)])
def test_a_limit_tells_milliwatts_also_at_idle(idle: float, high: float) -> None:
    watts = high * idle * np.full(300, 1e3)
    with pytest.raises(OptionError, match=r"times the device's power_max_w .*milliwatts"):
        taken(watts, power_max_w=high)
    with pytest.raises(OptionError, match="power_max_w is not watts"):  # the limit is in kW
        taken(WATTS, power_max_w=0.4)
    assert taken(WATTS * 1.3, power_max_w=300.0).notes == ()  # transients


def test_a_limit_in_milliwatts_is_refused() -> None:
    with pytest.raises(OptionError, match=r"gpu:0: power_max_w is 350 kW: it looks like milliw"):
        taken(WATTS, power_max_w=350_000.0)
    with pytest.raises(OptionError, match="power_min_w is 100 kW"):
        taken(WATTS, power_min_w=100_001.0)
    (note,) = taken(WATTS, power_max_w=75_000.0).notes
    assert "power_max_w is 75 kW, much for one board: is it in milliwatts" in note


@pytest.mark.parametrize(
    ("watts", "said"),
    [
        (np.full(300, 15e3), "15 kW, much for one board: is it in milliwatts (values / 1000)?"),
        (WATTS / 1e3, "no reading is above 350 mW: they look like kilowatts (values * 1000)"),
        (WATTS * 0, "300 of 300 readings are exactly 0 W"),
        (np.where(np.arange(300) % 10, WATTS, 0.0), "30 of 300 readings are exactly 0 W"),
    ],
)
def test_what_is_only_strange_is_said_with_every_energy(watts: Any, said: str) -> None:
    trace = Trace(taken(watts))
    (note,) = trace.notes
    assert said in note
    assert note in trace.energy.notes
    assert trace.series("gpu:0/power").values.max() == watts.max()  # and nothing is converted


def test_notes_are_kept_in_the_file(tmp_path: Any) -> None:
    from pyenergy.recording.store import load, save

    again = Trace(load(save(taken(WATTS / 1e3), tmp_path / "r.pyenergy")))
    assert any("look like kilowatts" in note for note in again.energy.notes)


@pytest.mark.parametrize(
    ("watts", "device"),
    [
        (np.full(300, 2.7e3), "gpu:0"),  # a superchip's module
        (np.full(300, 14e3), "node:0"),
        (np.full(300, 4e3), "cpu:0"),
        (WATTS / 1e3, "usb:0"),
        (WATTS * 0, "port:0"),
        (np.full(300, 2.0), "gpu:0"),  # asleep
        ([250.0, 0.2], "gpu:0"),
    ],
)
def test_what_a_device_may_draw_passes_without_a_word(watts: Any, device: str) -> None:
    t = T[: len(watts)]
    assert recorded_from_readings({f"{device}/power": (t, watts)}).notes == ()


def test_few_large_readings_are_no_unit() -> None:
    watts = WATTS.copy()
    watts[::10] = 9e5
    assert taken(watts).notes == ()


# The energy counter ---------------------------------------------------------------------------


@pytest.mark.parametrize("with_power", [False, True])
@pytest.mark.parametrize(
    ("factor", "unit"),
    [(1e3, r"millijoules \(values / 1000\)"), (1e6, r"microjoules \(values / 1_000_000\)")],
)
def test_a_counter_of_another_unit_is_refused(factor: float, unit: str, with_power: bool) -> None:
    with pytest.raises(OptionError, match=f"gpu:0/energy: its rise is .*{unit}"):
        taken(WATTS if with_power else None, JOULES * factor)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1e3, "the counter is in millijoules"),
        (1 / 3600, r"the counter is in watt-hours \(values \* 3600\)"),
        (1 / 3.6e6, "the counter is in kilowatt-hours"),
    ],
)
def test_a_counter_is_told_by_the_power_beside_it(factor: float, words: str) -> None:
    """At 20 W also millijoules rise by no more than a rack draws."""
    small = 0.08
    with pytest.raises(OptionError, match=rf"gpu:0: the energy counter rises .*{words}"):
        taken(WATTS * small, JOULES * small * factor)
    assert taken(WATTS * small, JOULES * small).notes == ()


@pytest.mark.parametrize(
    ("factor", "words"), [(1e3, "the power is in milliwatts"), (1e6, "power is in microwatts")]
)
def test_power_is_told_by_the_counter_beside_it(factor: float, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        taken(WATTS * 1e-4 * factor, JOULES * 1e-4)


def test_a_counter_of_another_device_is_said() -> None:
    trace = Trace(taken(WATTS, JOULES * 30))
    assert any("another device's" in note for note in trace.notes)
    assert any("another device's" in note for note in trace.energy.notes)


def test_a_counter_s_first_rise_and_its_resets_are_no_rate() -> None:
    coarse = np.where(np.arange(300) < 150, 0.0, 40.0)  # one update of an idle device
    assert taken(None, coarse).notes == ()
    fallen = np.where(np.arange(300) < 150, JOULES, JOULES - JOULES[150])
    (note,) = taken(WATTS, fallen).notes
    assert note == "gpu:0/energy: the counter fell 1 times: what was used meanwhile is not known"
    start = JOULES.copy()
    start[0] = 0.0  # a first reading of 0 before the counter was there
    assert taken(WATTS, start).notes == ()


@pytest.mark.parametrize("joules", [WATTS * 0.1, JOULES[::-1]])
def test_joules_per_interval_are_no_counter(joules: np.ndarray) -> None:
    trace = Trace(taken(WATTS, joules))
    assert any("joules per interval are added up first (np.cumsum)" in n for n in trace.notes)
    assert any("a counter only grows" in note for note in trace.energy.notes)


def test_gaps_and_missing_readings_are_no_unit() -> None:
    holes = np.where((np.arange(300) > 100) & (np.arange(300) < 200), np.nan, WATTS)
    assert not any("counter rises" in note for note in taken(holes, JOULES).notes)
    assert not any("counter rises" in note for note in taken(WATTS * np.nan, JOULES).notes)
    assert not any("counter rises" in note for note in taken(WATTS, JOULES * np.nan).notes)
