# SPDX-License-Identifier: Apache-2.0
"""What the simulated GPU does, and the windows in which it is measured: numbers only.

Times are in s from the scenario's start, which stands nowhere on the sensor's clock: a random lead
sees to that.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

Window = tuple[str, float, float]  # label, start, end

LEAD_S = 0.4  # at rest, before the first window and after the last
WORK_W = 400.0


@dataclass(frozen=True)
class Step:
    """From ``at_s`` on: ``power``, ``ramp`` or ``square`` with the card's arguments."""

    at_s: float
    kind: str
    arguments: tuple[float, ...]


@dataclass
class Scenario:
    """A script of power with its windows, in order and apart."""

    name: str
    idle_w: float
    steps: list[Step] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    end_s: float = 0.0

    def rest(self, duration_s: float) -> None:
        """Idle for a while, outside every window."""
        self.steps.append(Step(self.end_s, "power", (self.idle_w,)))
        self.end_s += duration_s

    def work(self, label: str, duration_s: float, kind: str, *arguments: float) -> None:
        """A window of one kind of load."""
        self.steps.append(Step(self.end_s, kind, arguments))
        self.windows.append((label, self.end_s, self.end_s + duration_s))
        self.end_s += duration_s


@dataclass(frozen=True)
class Size:
    """How much of everything: the full table, or one that takes a few minutes."""

    long_s: float
    windows: int
    mix_s: float


FULL, QUICK = Size(10.0, 100, 30.0), Size(3.0, 24, 8.0)


def steady(s: Scenario, size: Size, high_w: float, rng: random.Random) -> None:
    """One long window of constant power."""
    s.work("steady", size.long_s, "power", 0.75 * high_w)


def square(s: Scenario, size: Size, high_w: float, rng: random.Random) -> None:
    """One long window of a square wave that is faster than a 10 Hz sensor."""
    s.work("square 70 ms", size.long_s, "square", s.idle_w, high_w, 0.07, 0.5, rng.random())


def burst(s: Scenario, size: Size, high_w: float, rng: random.Random) -> None:
    """One second of work."""
    s.work("burst", 1.0, "power", high_w)


def windows_50ms(s: Scenario, size: Size, high_w: float, rng: random.Random) -> None:
    """Short pieces of the same work with pauses of random length."""
    for _ in range(size.windows):
        s.work("50 ms", 0.05, "power", high_w)
        s.rest(rng.uniform(0.15, 0.25))


def windows_5ms(s: Scenario, size: Size, high_w: float, rng: random.Random) -> None:
    """Very short pieces of the same work."""
    for _ in range(size.windows):
        s.work("5 ms", 0.005, "power", high_w)
        s.rest(rng.uniform(0.06, 0.14))


def mix(s: Scenario, size: Size, high_w: float, rng: random.Random) -> None:
    """Requests to a model: loading, prefill, decoding, winding down, each a window, and waits."""
    until = s.end_s + size.mix_s
    while s.end_s < until:
        low_w = rng.uniform(0.4, 0.6) * high_w
        rise_s, prefill_s = rng.uniform(0.3, 1.0), rng.uniform(0.1, 0.6)
        decode_s, fall_s = 10 ** rng.uniform(-0.3, 0.5), rng.uniform(0.2, 0.8)
        s.work("load", rise_s, "ramp", s.idle_w, low_w, rise_s)
        s.work("prefill", prefill_s, "power", high_w)
        period_s = rng.uniform(0.02, 0.04)  # a token
        s.work("decode", decode_s, "square", low_w, 0.8 * high_w, period_s, 0.7, rng.random())
        s.work("wind down", fall_s, "ramp", low_w, s.idle_w, fall_s)
        s.rest(rng.uniform(0.1, 0.5))


Builder = Callable[[Scenario, Size, float, random.Random], None]
BUILDERS: dict[str, Builder] = {
    "steady": steady,
    "square wave of 70 ms": square,
    "burst of 1 s": burst,
    "windows of 50 ms": windows_50ms,
    "mix with ramps": mix,
    "windows of 5 ms": windows_5ms,
}


def build(name: str, size: Size, idle_w: float, limit_w: float, seed: str) -> Scenario:
    """The scenario of that name; the same for the same seed."""
    rng = random.Random(f"{seed}/{name}")
    scenario = Scenario(name, idle_w)
    scenario.rest(LEAD_S + rng.uniform(0.0, 0.1))
    BUILDERS[name](scenario, size, min(WORK_W, limit_w), rng)
    scenario.rest(LEAD_S)
    return scenario
