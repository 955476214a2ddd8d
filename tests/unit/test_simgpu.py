# SPDX-License-Identifier: Apache-2.0
"""The simulated GPU from Python: one card for every process, its script, its truth, its errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyenergy.testing import SimulatedWorld, nvml_library, presets, simulated

S = 1_000_000_000


def run_python(code: str, world: SimulatedWorld) -> str:
    """Runs code in another process that sees ``world`` in its environment."""
    environment = {**os.environ, "PYENERGY_SIMGPU": world.path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_two_processes_see_one_card_and_its_state_outlives_the_writer(tmp_path: Path) -> None:
    with simulated("h100", path=tmp_path / "world") as world:
        run_python(
            "from pyenergy.testing import SimulatedWorld\n"
            "card = SimulatedWorld.current()[0]\n"
            "card.set_power(470.0, at_ns=0)\n"
            "card.thermal(0.1, 5.0)\n",
            world,
        )
        told = run_python(
            "from pyenergy.testing import SimulatedWorld\n"
            "print(SimulatedWorld.current()[0].true_energy_j(0, 7_000_000_000).hex())\n",
            world,
        )
        energy = world[0].true_energy_j(0, 7 * S)
        assert energy == float.fromhex(told)
        leaked = 40.0 * (7.0 - 5.0 * (1.0 - np.exp(-7.0 / 5.0)))
        assert energy == pytest.approx(470.0 * 7.0 + leaked, rel=1e-12)
    # Beyond the block and its mapping: the file was asked to stay.
    assert SimulatedWorld.open(tmp_path / "world")[0].true_energy_j(0, 7 * S) == energy


def test_environment_is_restored_and_temporary_world_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYENERGY_SIMGPU", "/outer/world")

    def fail_inside() -> None:
        with simulated() as world:
            seen.append(world.path)
            assert os.environ["PYENERGY_SIMGPU"] == world.path
            raise KeyError

    seen: list[str] = []
    with pytest.raises(KeyError):
        fail_inside()
    assert os.environ["PYENERGY_SIMGPU"] == "/outer/world"
    assert not Path(seen[0]).exists()


def test_current_is_the_world_of_the_environment() -> None:
    with simulated("a100", "v100") as world:
        assert [card.info.preset for card in SimulatedWorld.current()] == ["a100", "v100"]
        assert world.card(1).info.limit_w == 300.0
    with pytest.raises(IndexError):
        world.card(2)


@given(
    watts=st.lists(st.floats(0.0, 800.0), min_size=1, max_size=20),
    edges=st.lists(st.integers(0, 60 * S), min_size=2, max_size=6),
)
def test_energy_of_a_staircase_is_its_area(watts: list[float], edges: list[int]) -> None:
    with simulated("ideal") as world:
        card = world[0]
        card.script((i * S, w) for i, w in enumerate(watts))
        held = np.array([*watts, *[watts[-1]] * 80])

        def area(t: int) -> float:
            whole, rest = divmod(t, S)
            return float(held[:whole].sum() + held[whole] * (rest / S))

        t0, t1 = min(edges), max(edges)
        assert card.true_energy_j(t0, t1) == pytest.approx(area(t1) - area(t0), abs=1e-7)
        starts = np.sort(np.array(edges))
        parts = card.true_energies_j(starts[:-1], starts[1:])
        assert parts.sum() == pytest.approx(card.true_energy_j(t0, t1), abs=1e-7)


def test_clock_scales_the_power_above_idle() -> None:
    with simulated("ideal") as world:
        card = world[0]
        card.set_power(450.0, at_ns=0)
        card.power_law(2.5)
        card.set_clock(card.info.max_clock_hz / 2, at_ns=S)
        assert card.true_power_w(S - 1) == 450.0
        assert card.true_power_w(S) == pytest.approx(50.0 + 400.0 * 0.5**2.5)
        np.testing.assert_array_equal(
            card.true_powers_w([0, S]), [card.true_power_w(0), card.true_power_w(S)]
        )


def test_reading_follows_the_configured_sensor() -> None:
    with simulated("a100") as world:
        card = world[0]
        card.square_wave(100.0, 300.0, 0.2, at_ns=0)
        card.configure(
            update_s=0.1,
            phase_s=0.0,
            window_s=0.04,
            delay_s=0.01,
            gain=1.05,
            offset_w=2.0,
            noise_w=0.0,
            quantum_w=0.0,
        )
        # Update at 1.0 s covers [0.95, 0.99]: the low half of [0.8, 1.0].
        assert card.reading_w(S) == (pytest.approx(1.05 * 100.0 + 2.0), S)
        # Update at 1.1 s covers [1.05, 1.09]: high; it stands until 1.2 s.
        assert card.reading_w(S + S // 5 - 1) == (pytest.approx(1.05 * 300.0 + 2.0), S + S // 10)


def test_counter_counts_from_its_epoch_with_its_gain() -> None:
    with simulated("ideal") as world:
        card = world[0]
        card.set_power(200.0, at_ns=0)
        card.configure_counter(period_s=0.1, phase_s=0.0, epoch_ns=S, gain=1.1, start_j=7.0)
        # Floored to its millijoule.
        assert card.counter_j(3 * S + 50_000_000) == pytest.approx(7.0 + 1.1 * 400.0, abs=1.001e-3)
        card.inject("counter_reset", from_ns=4 * S)
        assert card.counter_j(4 * S) == 0.0


def test_counter_of_readings_errs_as_a_sensor_that_sees_a_quarter_of_the_time() -> None:
    # Pulses of 50 ms every 200 ms, seen through 25 ms of every 101.2 ms: two updates take 202.4 ms,
    # so that what is seen of the pulses drifts for 17 s until it repeats.
    with simulated("a100") as world:
        card = world[0]
        card.square_wave(60.0, 380.0, 0.2, duty=0.25, at_ns=0)
        card.configure_counter(integrates="sensor", epoch_ns=S, period_s=0.0)
        updates = {t: watts for watts, t in map(card.reading_w, range(S // 2, 12 * S, S // 20))}
        times = np.array(list(updates))
        joules = np.diff(times) * 1e-9 * np.array(list(updates.values()))[1:]
        errors = []
        for t in range(2 * S, 12 * S, S // 10):
            seen = (times[1:] > S) & (times[1:] <= t)
            # Floored to its millijoule.
            assert card.counter_j(t) == pytest.approx(joules[seen].sum() - 5e-4, abs=5.1e-4)
            errors.append(card.counter_j(t) / card.true_energy_j(S, t) - 1.0)
        assert max(map(abs, errors[20:])) > 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda card: card.set_power(-1.0), "not negative"),
        (lambda card: card.set_clock(0.0), "positive"),
        (lambda card: card.square_wave(1.0, 2.0, 0.1, duty=1.5), "duty"),
        (lambda card: card.script([(5, 100.0), (5, 200.0)]), "increase"),
        (lambda card: card.configure("total"), "instant, average"),
        (lambda card: card.configure(update_s=0.1, jitter_s=0.1), "jitter"),
        (lambda card: card.configure_counter(integrates="power"), "truth, sensor"),
        (lambda card: card.configure_counter(integrates="sensor"), "update period"),
        (lambda card: card.inject("on_fire"), "gpu_lost"),
        (lambda card: card.inject("fails", "coffee"), "fields"),
        (lambda card: card.inject("fails", every=2, once=True), "once or every"),
        (lambda card: card.true_energy_j(2, 1), "ends before"),
    ],
)
def test_what_cannot_be_is_refused(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with simulated("ideal") as world, pytest.raises(ValueError, match=message):
        call(world[0])


def test_every_preset_is_complete() -> None:
    names = presets()
    with simulated(*names) as world:
        for card, name in zip(world, names, strict=True):
            assert card.info.preset == name
            assert card.reading_w(S)[0] == pytest.approx(card.info.idle_w, abs=1.0)
        assert len({card.info.uuid for card in world}) == len(names)


def test_library_that_is_not_built_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="cmake --build"):
        nvml_library(tmp_path)
