# SPDX-License-Identifier: Apache-2.0
"""Ratios of energies: what cancels must be known to be shared, and what is not is said."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pyenergy
from pyenergy import Trace, compare
from pyenergy.errors import NoReadingsError, OptionError
from pyenergy.sensor import Profile
from pyenergy.units import NS_PER_MS, NS_PER_S

T = 10 * NS_PER_S + 10 * NS_PER_MS * np.arange(6000, dtype=np.int64)
HELD = np.repeat(np.random.default_rng(5).normal(0, 0.5, 600), 10)
BOUNDS = int(T[500]), int(T[5500])  # readings from before and after make the edges certain
CARD = {"uuid": "GPU-1", "architecture": "ampere", "field": "instant", "power_max_w": 400.0}


def taken(watts: float = 200.0, device: str = "gpu:0", **facts: Any) -> Trace:
    """Fifty seconds of a steady power, on a card that is known where facts say so."""
    readings = {f"{device}/power": (T, watts + HELD)}
    return Trace.from_readings(readings, bounds_ns=BOUNDS, devices={device: {**CARD, **facts}})


def relative(trace: Trace, *terms: str) -> float:
    energy = trace.energy
    return math.hypot(*(dict(energy.terms)[term] for term in terms)) / energy.joules


def changed(trace: Trace, host: str = "here", **meta: Any) -> Trace:
    """The same as a trace of this machine would be."""
    (device,) = trace.recorded.devices.values()
    device = replace(device, meta=replace(device.meta, **meta))
    return Trace(
        replace(
            trace.recorded,
            devices={device.meta.id: device},
            provenance={"host": host} if host else {},
        )
    )


def test_the_gain_of_one_card_cancels() -> None:
    a, b = taken(200.0), taken(100.0)
    found = compare(a, b)
    assert found.ratio == pytest.approx(2.0, rel=1e-3)
    assert found.shared == ("GPU-1",)
    assert found.notes == ()
    # The offset moves the smaller energy twice as much; the gain moves both alike.
    offset = abs(relative(a, "offset") - relative(b, "offset"))
    own = math.hypot(*(t.energy.u_same_card / t.energy.joules for t in (a, b)))
    assert found.u / found.ratio == pytest.approx(math.hypot(offset, own), rel=1e-3)
    assert found.u / found.ratio < 0.8 * math.sqrt(2) * 0.035


def test_different_cards_share_nothing() -> None:
    a, b = taken(200.0), taken(200.0, uuid="GPU-2")
    found = compare(a, b)
    assert found.shared == found.notes == ()
    assert found.u == pytest.approx(math.hypot(a.energy.u, b.energy.u) / a.energy.joules, rel=1e-3)


def test_a_card_is_found_under_another_number() -> None:
    found = compare(taken(), taken(device="gpu:3"))
    assert found.shared == ("GPU-1",)
    assert found.u < 0.035


@pytest.mark.parametrize(("first", "second"), [("", ""), ("GPU-1", ""), ("", "GPU-1")])
def test_a_card_that_is_not_known_to_be_one_counts_as_two(first: str, second: str) -> None:
    found = compare(taken(uuid=first), taken(uuid=second))
    assert found.shared == ()
    assert found.u > 0.035 * math.sqrt(2)
    (note,) = found.notes
    assert "gpu:0 counts as two devices, whose gains do not cancel: without a UUID" in note
    assert 'devices={"gpu:0": {"uuid": ...}} tells' in note


def test_names_that_differ_are_two_cards() -> None:
    found = compare(taken(uuid="", name="A100"), taken(uuid="", name="H100"))
    assert found.shared == ()
    assert "it is A100 in one trace and H100 in the other" in found.notes[0]


def test_a_device_of_this_machine_needs_no_uuid_but_is_said() -> None:
    a, b = (changed(taken(watts, uuid=""), source="nvml", name="A100") for watts in (200.0, 100.0))
    found = compare(a, b)
    assert found.shared == ("gpu:0",)
    assert found.u / found.ratio < 0.8 * math.sqrt(2) * 0.035
    (note,) = found.notes
    assert "gpu:0 has no UUID: it is taken as the same device, A100 on here in both" in note


@pytest.mark.parametrize(
    ("host", "meta"), [("there", {}), ("", {}), ("here", {"source": "replay"})], ids=str
)
def test_another_machine_s_device_is_another(host: str, meta: dict[str, str]) -> None:
    a = changed(taken(uuid=""), source="nvml", name="A100")
    b = changed(taken(uuid=""), **{"host": host, "source": "nvml", "name": "A100", **meta})
    found = compare(a, b)
    assert found.shared == ()
    assert "nothing tells that it is the same" in found.notes[0]


def test_a_trace_is_the_same_as_itself() -> None:
    a = taken(uuid="")
    found = compare(a, a)
    assert found.ratio == 1.0
    assert found.shared == ("gpu:0",)
    assert found.notes == ()
    assert found.u == pytest.approx(math.sqrt(2) * a.energy.u_same_card / a.energy.joules)


def test_different_calibrations_share_no_gain() -> None:
    a = taken().calibrated(Profile(gain=0.97, gain_u=0.005, offset_u_w=0.5, uuid="GPU-1"))
    found = compare(a, taken())
    assert found.shared == ()
    assert found.u > 0.035
    assert "evaluated with different calibrations (Trace.calibrated" in found.notes[0]
    again = compare(a, taken().calibrated(a._profile))
    assert again.shared == ("GPU-1",)
    assert again.u < 0.005


def test_counter_and_readings_share_no_gain() -> None:
    joules = 200.0 * (T - T[0]) / NS_PER_S
    by_counter = Trace.from_readings({"gpu:0/energy": (T, joules)}, devices={"gpu:0": CARD})
    found = compare(taken(), by_counter)
    assert found.shared == ()
    assert found.u > 0.035
    assert "one energy is its counter's, the other its power readings'" in found.notes[0]
    assert compare(by_counter, by_counter).notes == ()


def test_no_energy_over_some_is_not_certain() -> None:
    nothing = Trace.from_readings({"gpu:0/power": (T, np.zeros(6000))}, devices={"gpu:0": CARD})
    found = compare(nothing, taken())
    assert found.ratio == 0.0
    assert found.u > 0.02  # 5 W of offset against 200 W
    with pytest.raises(NoReadingsError, match="no energy to compare with"):
        compare(taken(), nothing)


def test_two_entries_of_one_card_are_both_counted() -> None:
    two = Trace.from_readings(
        {"gpu:0/power": (T, 200.0 + HELD), "gpu:1/power": (T, 200.0 + HELD)},
        bounds_ns=BOUNDS,
        devices={"gpu:0": CARD, "gpu:1": CARD},
    )
    found = compare(two, taken())
    assert found.ratio == pytest.approx(2.0, rel=1e-3)
    assert found.shared == ("GPU-1",)
    assert compare(two, two).ratio == 1.0


@pytest.mark.parametrize("given", [1, None, "run.pyenergy", 3.5])
def test_what_is_no_trace(given: Any) -> None:
    for pair in ((given, taken()), (taken(), given)):
        with pytest.raises(TypeError, match="compare takes two traces, got"):
            compare(*pair)


@functools.cache
def two_of_one_card() -> pyenergy.Comparison:
    return compare(taken(), taken())


@pytest.mark.parametrize("level", [0.0, 1.0, 2.0, -1.0, math.nan])
def test_levels_that_cannot_be(level: float) -> None:
    found = two_of_one_card()
    with pytest.raises(OptionError, match="level must lie inside"):
        found.interval(level)
    low, high = found.interval()
    assert low < 1.0 < high


def test_a_device_that_was_not_read_is_named() -> None:
    missing = pyenergy.Trace.from_readings({"gpu:0/power": (T, np.full(6000, np.nan))})
    with pytest.raises(NoReadingsError, match="gpu:0"):
        compare(missing, taken())
