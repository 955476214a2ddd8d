# SPDX-License-Identifier: Apache-2.0
"""What goes wrong at a GPU ends in a clear error or a stated gap, never in a wrong number.

In simulated time: the same load is measured with and without the fault.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from simulate import START_NS, sampled

from pyenergy._energy import Energy
from pyenergy._trace import Trace
from pyenergy.errors import NoReadingsError
from pyenergy.testing import SimulatedCard, simulated
from pyenergy.units import NS_PER_S

Inject = Callable[[SimulatedCard], None]
LOAD = [(0, 100.0), (START_NS + 3 * NS_PER_S, 250.0), (START_NS + 6_300_000_000, 150.0)]
LOST = 15
NO_READINGS = "nothing was read for"
IMPOSSIBLE = "readings were impossible and not used"


def measured(inject: Inject, preset: str = "h100") -> tuple[Trace, float]:
    """A trace of 10 s of `LOAD` under a fault, and the energy that was really used."""
    with simulated(preset) as world:
        world[0].script(LOAD)
        inject(world[0])
        trace = sampled(seconds=10)
        return trace, world[0].true_energy_j(*trace.bounds_ns)


def without_power(card: SimulatedCard) -> None:
    card.configure("instant", present=False)
    card.configure("average", present=False)


def covers(energy: Energy, truth: float) -> bool:
    low, high = energy.interval(0.95)
    return low <= truth <= high


@pytest.fixture(scope="module")
def undisturbed() -> Energy:
    trace, truth = measured(lambda card: None)
    assert covers(trace.energy, truth)
    assert trace.energy.notes == ()
    return trace.energy


AT_5_S = START_NS + 5 * NS_PER_S


@pytest.mark.parametrize(
    ("inject", "said"),
    [
        (lambda c: c.inject("fails", "fields", once=True, from_ns=AT_5_S), ["1 reads failed"]),
        (lambda c: c.inject("fails", "fields", every=7), ["1429 reads failed"]),
        (lambda c: c.inject("gpu_lost", from_ns=AT_5_S), ["reads failed", f"{NO_READINGS} 5 s"]),
        (lambda c: c.inject("negative", 186, every=10, value=5.0), [IMPOSSIBLE]),
        (lambda c: c.inject("absurd", 186, every=10), [IMPOSSIBLE]),
        (lambda c: c.inject("absurd", 186, every=10, value=1e4), [IMPOSSIBLE]),
        (lambda c: c.inject("nan", 186, every=10), ["reads failed"]),
        (
            lambda c: c.inject("slow_call", "fields", value=2.0, once=True, from_ns=AT_5_S),
            [f"{NO_READINGS} 2 s"],
        ),
    ],
    ids=[
        "one call fails",
        "every seventh call fails",
        "GPU lost after 5 s",
        "negative readings",
        "absurd readings",
        "readings above any board",
        "NaN readings",
        "a call of 2 s",
    ],
)
def test_lost_readings_widen_the_uncertainty_and_are_stated(
    inject: Inject, said: list[str], undisturbed: Energy
) -> None:
    trace, truth = measured(inject)
    energy = trace.energy
    assert covers(energy, truth)
    assert energy.u > undisturbed.u
    for words in said:
        assert any(words in note for note in energy.notes), energy.notes
    values = trace.series("gpu:0/power").values
    assert np.nanmin(values) >= 99.0  # nothing missing became a zero
    assert np.nanmax(values) <= 251.0


def test_single_failures_cost_little_and_long_ones_much(undisturbed: Energy) -> None:
    """Between two good polls 2 ms apart little can happen; in the 5 s after a loss, anything."""
    seventh, _ = measured(lambda card: card.inject("fails", "fields", every=7))
    lost, _ = measured(lambda card: card.inject("gpu_lost", from_ns=AT_5_S))
    assert seventh.energy.u < 1.1 * undisturbed.u
    assert lost.energy.u > 5 * undisturbed.u


def test_a_window_clear_of_the_fault_keeps_its_uncertainty() -> None:
    sound, _ = measured(lambda card: None)
    lost, _ = measured(lambda card: card.inject("gpu_lost", from_ns=AT_5_S))
    early = (START_NS, START_NS + 2 * NS_PER_S)
    # The counter's scale is of the whole recording: nothing else reaches across.
    assert lost.window(*early).u == pytest.approx(sound.window(*early).u, rel=1e-2)
    assert not any(NO_READINGS in note for note in lost.window(*early).notes)


def test_a_window_inside_the_loss_knows_only_the_bounds_of_the_device() -> None:
    trace, _ = measured(lambda card: card.inject("gpu_lost", from_ns=AT_5_S))
    start = START_NS + 7 * NS_PER_S
    inside = trace.window(start, start + NS_PER_S)
    assert covers(inside, 150.0)
    assert inside.u > 700.0 / 3**0.5  # an H100 draws up to 700 W: rectangular over 0 to 700 J
    assert any("100% of the window" in note for note in inside.notes)


@pytest.mark.parametrize("preset", ["ideal", "a100", "h100", "v100"])
def test_power_moving_behind_a_gap_is_covered(preset: str) -> None:
    """The load triples unseen: what is stated must still hold the truth."""
    with simulated(preset) as world:
        world[0].script([(0, 80.0), (AT_5_S + 10_000_000, 290.0)])
        world[0].inject("gpu_lost", from_ns=AT_5_S)
        trace = sampled(seconds=10)
        assert covers(trace.energy, world[0].true_energy_j(*trace.bounds_ns))


def test_a_call_that_hangs_hides_what_happens_meanwhile() -> None:
    """A burst that lives and dies inside one hung call is inside the interval."""
    with simulated("ideal") as world:
        world[0].script([(0, 100.0), (AT_5_S + 10_000_000, 600.0), (AT_5_S + 1_990_000_000, 100.0)])
        world[0].inject("slow_call", "fields", value=2.0, once=True, from_ns=AT_5_S)
        trace = sampled(seconds=10)
        truth = world[0].true_energy_j(*trace.bounds_ns)
    assert truth == pytest.approx(1000 + 1.98 * 500)
    assert covers(trace.energy, truth)
    (row,) = np.flatnonzero(trace.series("gpu:0/power").flags & 4)
    assert row > 0


# No power: the counter serves, or nothing does.


@pytest.mark.parametrize(
    ("inject", "why"),
    [
        (lambda c: c.configure("instant", present=False), None),
        (lambda c: c.inject("not_supported", 186), "failed (status 3)"),
        (lambda c: c.inject("fails", 186, value=10), "failed (status 10)"),
        (lambda c: c.inject("nan", 186), "failed"),
        (lambda c: c.inject("negative", 186), "was impossible"),
    ],
    ids=["no such channel", "not supported", "field fails", "NaN", "negative"],
)
def test_another_channel_serves_when_the_power_cannot_be_read(
    inject: Inject, why: str | None
) -> None:
    trace, truth = measured(inject)
    assert covers(trace.energy, truth)
    assert trace.energy.u < 0.1 * truth
    assert "sim.power.instant" not in trace.energy.method
    if why is not None:
        (note,) = (n for n in trace.energy.notes if "serves instead" in n)
        assert f"every power reading {why}" in note


def test_one_field_that_fails_leaves_the_other_channel_s_energy(undisturbed: Energy) -> None:
    trace, truth = measured(lambda card: card.inject("fails", 83, value=10))
    assert covers(trace.energy, truth)
    assert trace.energy.joules == pytest.approx(undisturbed.joules, rel=1e-12)
    assert np.isnan(trace.series("gpu:0/energy").values).all()


@pytest.mark.parametrize(("fault", "value"), [("counter_reset", None), ("counter_backwards", 500)])
def test_a_counter_that_falls_back_costs_one_increment(fault: str, value: float | None) -> None:
    def counter_only(card: SimulatedCard) -> None:
        without_power(card)

    def falling(card: SimulatedCard) -> None:
        without_power(card)
        card.inject(fault, from_ns=START_NS + 4 * NS_PER_S, value=value)

    sound, truth = measured(counter_only)
    fallen, _ = measured(falling)
    assert "counter" in fallen.energy.method
    assert covers(fallen.energy, truth)
    assert fallen.energy.u > sound.energy.u
    assert any("reset or ran backwards" in note for note in fallen.energy.notes)
    # 250 W for the counter's 100 ms are lost, never the 500 J that it fell.
    assert fallen.energy.joules == pytest.approx(sound.energy.joules, abs=2 * 0.1 * 250)
    totals = fallen.series("gpu:0/energy").values
    assert np.all(np.diff(totals) >= 0)


def test_a_counter_that_stops_leaves_a_gap() -> None:
    def stopping(card: SimulatedCard) -> None:
        without_power(card)
        card.inject("fails", 83, from_ns=AT_5_S, value=10)

    trace, truth = measured(stopping)
    assert covers(trace.energy, truth)
    assert any(NO_READINGS in note for note in trace.energy.notes)
    assert trace.energy.u > 0.5 * truth


@pytest.mark.parametrize(
    ("inject", "why"),
    [
        (lambda c: c.inject("fails", "fields"), r"every power reading failed \(status 999\)"),
        (lambda c: c.inject("gpu_lost"), rf"every power reading failed \(status {LOST}\)"),
    ],
    ids=["every call fails", "GPU lost from the start"],
)
def test_nothing_read_is_an_error_and_no_zero(inject: Inject, why: str) -> None:
    trace, _ = measured(inject)
    with pytest.raises(NoReadingsError, match=why):
        _ = trace.energy
    with pytest.raises(NoReadingsError, match=why):
        trace.windows(*(np.array([edge]) for edge in trace.bounds_ns))
    assert trace.energies == {}
    assert list(trace.unreadable) == ["gpu:0"]
    assert "not readable" in str(trace)


def test_neither_power_nor_counter_is_an_error() -> None:
    def bare(card: SimulatedCard) -> None:
        without_power(card)
        card.configure_counter(present=False)

    trace, _ = measured(bare)
    with pytest.raises(NoReadingsError, match="no power sensor that can be read"):
        _ = trace.energy


def test_a_ring_that_overflows_is_counted_and_stated() -> None:
    """The GPU gives its readings only when polled: a burst of polls between two drains is lost."""
    from simulate import recorded

    from pyenergy import _core

    with simulated("ideal") as world:
        world[0].script(LOAD)
        clock = _core.ManualClock(START_NS - NS_PER_S)
        info = _core.enumerate("sim", "").devices[0]
        stream = _core.Stream(info, period_ns=1_000_000, ring_capacity=64, clock=clock)
        stream.acquire()  # its thread races through simulated time, far ahead of any drain
        while clock.now_ns() < START_NS + 12 * NS_PER_S:
            pass
        stream.stop()
        trace = Trace(recorded(stream, (START_NS, START_NS + 10 * NS_PER_S)))
        truth = world[0].true_energy_j(*trace.bounds_ns)
    assert trace.recorded.devices["gpu:0"].stats["dropped"] > 0
    assert covers(trace.energy, truth)
    assert any("samples were dropped" in note for note in trace.energy.notes)
    assert any(NO_READINGS in note for note in trace.energy.notes)
    assert trace.energy.u > 0.1 * truth
