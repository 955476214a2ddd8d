# SPDX-License-Identifier: Apache-2.0
"""Simulated cards as configurations: which sensor, how wrong, and what the counter integrates."""

from __future__ import annotations

import inspect
import random
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pyenergy.testing import SimulatedCard, SimulatedWorld

from .scenarios import Scenario

SENSORS = ("a100", "a100-rc", "v100", "h100")
GAINS = ("right", "wrong")
COUNTERS = ("truth", "sensor")

WRONG_GAIN, WRONG_OFFSET_W = 1.04, 4.0
RC_WINDOW_S = 0.012
UPDATE_S = {"a100": 0.1012, "v100": 0.02, "h100": 0.1}  # of reading and counter, about
CALLS = (
    "init", "handle", "identity", "fields", "power", "energy", "samples", "clock", "temperature",
    "utilisation", "state", "limit", "memory", "mig", "processes",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """One kind of card. A wrong gain is that of the readings, not of a counter of the truth."""

    sensor: str
    gain: str = "right"
    counter: str = "truth"

    @property
    def name(self) -> str:
        return f"{self.sensor}, gain {self.gain}, counter of {self.counter}"

    @property
    def preset(self) -> str:
        return self.sensor.partition("-")[0]


def configs(sensors: list[str], quick: bool) -> list[Config]:
    """All combinations; quick: each gain and counter once, the sensors taking turns."""
    if not quick:
        return [Config(*parts) for parts in product(sensors, GAINS, COUNTERS)]
    some = [("right", "truth"), ("wrong", "sensor"), ("wrong", "truth")]
    return [Config(sensors[i % len(sensors)], *rest) for i, rest in enumerate(some)]


def can_integrate_sensor() -> bool:
    """Whether the simulated counter can integrate the readings instead of the truth."""
    return "integrates" in inspect.signature(SimulatedCard.configure_counter).parameters


def make(path: Path, config: Config, seed: str) -> SimulatedWorld:
    """A world of one such card, at rest; the same for the same seed."""
    rng = random.Random(f"{seed}/{config.name}")
    world = SimulatedWorld.create(path, [config.preset])
    card = world[0]
    card.set_power(card.info.idle_w, at_ns=0)
    error = {"gain": WRONG_GAIN, "offset_w": WRONG_OFFSET_W} if config.gain == "wrong" else {}
    update_s = UPDATE_S[config.preset]
    fields = ["instant", "average"] if config.preset == "h100" else ["instant"]
    for name in fields:
        card.configure(
            name, noise_w=rng.uniform(0.5, 1.0), phase_s=rng.uniform(0.0, update_s), **error
        )
    if config.sensor == "a100-rc":
        card.configure(response="rc", window_s=RC_WINDOW_S)
    card.configure_counter(phase_s=rng.uniform(0.0, update_s))
    if config.counter == "sensor":
        card.configure_counter(integrates="sensor")
    return world


def play(card: SimulatedCard, scenario: Scenario, t0_ns: int) -> None:
    """Let the card do what the scenario says, from that time on."""
    for step in scenario.steps:
        at_ns = t0_ns + round(step.at_s * 1e9)
        if step.kind == "power":
            card.set_power(*step.arguments, at_ns=at_ns)
        elif step.kind == "ramp":
            card.ramp(*step.arguments, at_ns=at_ns)
        else:
            card.square_wave(*step.arguments, at_ns=at_ns)


def calls(card: SimulatedCard) -> int:
    """Driver calls of every kind that the card has seen."""
    return sum(card.calls(name) for name in CALLS)
