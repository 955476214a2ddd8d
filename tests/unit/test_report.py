# SPDX-License-Identifier: Apache-2.0
"""What `print(trace)` shows, to the letter; ``pytest --update-golden`` writes it anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from simulate import START_NS, sampled

from pyenergy._trace import Trace
from pyenergy.recording.marks import Mark
from pyenergy.recording.series import Runs
from pyenergy.testing import simulated
from pyenergy.units import NS_PER_S

GOLDEN = Path(__file__).parents[1] / "golden"


def two_cards_with_spans() -> Trace:
    """A recording in simulated time: every digit is the same everywhere."""
    with simulated("h100", "a100") as world:
        world[0].script(
            [(0, 120.0), (START_NS + NS_PER_S, 520.0), (START_NS + 3 * NS_PER_S, 150.0)]
        )
        world[1].set_power(90.0, at_ns=0)
        world[1].inject("gpu_lost", from_ns=START_NS + 4 * NS_PER_S)
        one, two = sampled(0, seconds=5).recorded, sampled(1, seconds=5).recorded
    other = two.devices["gpu:0"]
    devices = {**one.devices, "gpu:1": replace(other, meta=replace(other.meta, id="gpu:1"))}
    marks = (
        Mark("prefill", START_NS + NS_PER_S, START_NS + 2 * NS_PER_S),
        Mark("attention [0]", START_NS + NS_PER_S, START_NS + NS_PER_S + 60_000_000, 1),
        Mark("decode", START_NS + 2 * NS_PER_S, START_NS + 3 * NS_PER_S),
    )
    return Trace(replace(one, devices=devices, marks=marks, notes=("ended by KeyboardInterrupt",)))


def test_a_printed_trace_is_the_golden_text(request: pytest.FixtureRequest) -> None:
    text = str(two_cards_with_spans()) + "\n"
    golden = GOLDEN / "trace.txt"
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_an_unreadable_device_shows_as_such_and_spoils_no_other() -> None:
    trace = two_cards_with_spans()
    lost = trace.recorded.devices["gpu:1"]
    nothing = {
        name: Runs(**{column: getattr(runs, column)[:0] for column in Runs.names()})
        for name, runs in lost.runs.items()
    }
    devices = {**trace.recorded.devices, "gpu:1": replace(lost, runs=nothing)}
    text = str(Trace(replace(trace.recorded, devices=devices)))
    assert "not readable" in text
    assert "no power reading arrived" in text
    assert not any(line.split()[:1] == ["all"] for line in text.splitlines())  # no sum without it
    assert "prefill" not in text
