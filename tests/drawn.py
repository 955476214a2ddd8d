# SPDX-License-Identifier: Apache-2.0
"""Sensors drawn at random: the estimator is never shown the catalogue's nominal card, nor told
anything but readings, spans and the architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from simulate import START_NS, sampled

from pyenergy._trace import Trace
from pyenergy.recording.marks import Mark
from pyenergy.recording.recorded import Recorded
from pyenergy.sensor.profile import Profile
from pyenergy.testing import SimulatedCard, simulated
from pyenergy.units import NS_PER_S

MS = 1_000_000
HOST_NS = 15_000  # mean time from a stamp to the work, and from its end to the next stamp
# kind: (preset, update s, window or tau s, family)
KINDS = {
    "v100": ("v100", 0.020, 0.010, "boxcar"),
    "a100": ("a100", 0.1012, 0.025, "boxcar"),
    "a100 rc": ("a100", 0.1012, 0.012, "rc"),
    "h100": ("h100", 0.100, 0.025, "boxcar"),
}
KNOWN = Profile(gain=1.0, gain_u=0.0, offset_w=0.0, offset_u_w=0.0)

Load = Callable[["Drawn"], list[tuple[str, int, int]]]


@dataclass
class Drawn:
    """A card whose sensor nobody knows."""

    card: SimulatedCard
    rng: np.random.Generator
    idle_w: float
    until_ns: int = START_NS

    def __post_init__(self) -> None:
        # Of its own: how late a host is has no part in which load is drawn.
        self._host = np.random.default_rng(self.rng.bit_generator.seed_seq.spawn(1)[0])  # type: ignore[attr-defined]

    def power(self, watts: float, at_ns: int) -> None:
        """From then on."""
        self.card.set_power(watts, at_ns=at_ns)

    def pulse(self, at_ns: int, length_s: float, watts: float = 400.0) -> tuple[int, int]:
        """Busy from ``at_ns`` for ``length_s``, then idle; a host stamps a little around it."""
        end_ns = at_ns + round(length_s * NS_PER_S)
        launch_ns, return_ns = np.round(self._host.exponential(HOST_NS, 2)).astype(int)
        self.power(watts, at_ns + int(launch_ns))
        self.power(self.idle_w, end_ns - int(return_ns))
        self.until_ns = end_ns
        return at_ns, end_ns


def measured(
    kind: str,
    seed: int,
    load: Load,
    *,
    gain: float = 1.0,
    offset_w: float = 0.0,
    integrates: str | None = None,
    tail_s: float = 0.7,
    profile: Profile | None = KNOWN,
) -> tuple[Trace, Callable[[object, object], np.ndarray], list[tuple[str, int, int]]]:
    """(trace, truth of windows, spans) of a load on a card drawn by ``seed``.

    T +-2 %, W or tau +-20 %, delay 0-20 ms, idle, phase and noise are drawn, and how late the host
    is; ``integrates``: what the energy counter adds up, None for no counter.
    """
    preset, update_s, window_s, family = KINDS[kind]
    rng = np.random.default_rng(seed)
    with simulated(preset) as world:
        card = world[0]
        period_s = update_s * (1 + 0.02 * rng.uniform(-1, 1))
        card.configure(
            update_s=period_s,
            phase_s=rng.uniform(0, period_s),
            window_s=window_s * (1 + 0.2 * rng.uniform(-1, 1)),
            delay_s=rng.uniform(0, 0.02),
            noise_w=rng.uniform(0.5, 1.0),
            response=family,  # type: ignore[arg-type]
            gain=gain,
            offset_w=offset_w,
        )
        counter = {} if integrates is None else {"integrates": integrates}
        card.configure_counter(
            present=integrates is not None,
            phase_s=rng.uniform(0, 0.1),
            epoch_ns=START_NS - 10 * NS_PER_S,
            **counter,  # type: ignore[arg-type]
        )
        drawn = Drawn(card, rng, rng.uniform(40, 70))
        drawn.power(drawn.idle_w, 0)
        spans = load(drawn)
        seconds = (drawn.until_ns - START_NS) / NS_PER_S + tail_s
        recorded = sampled(seconds=seconds, lead_s=1.0).recorded
        trace = Trace(blind(recorded, spans))
        trace._profile = profile
        # The world ends with this function: the truth is what it says of a fixed grid and edges.
        edges = np.array([t for _, a, b in spans for t in (a, b)], dtype=np.int64)
        grid = np.arange(START_NS - NS_PER_S, drawn.until_ns + 3 * NS_PER_S, MS // 4)
        times = np.unique(np.concatenate([grid, edges]))
        energy = card.true_energies_j(np.full(len(times), times[0]), times)

    def truth(starts: object, ends: object) -> np.ndarray:
        t = (times - times[0]).astype(float)
        return np.asarray(
            np.interp(np.asarray(ends) - times[0], t, energy)
            - np.interp(np.asarray(starts) - times[0], t, energy)
        )

    return trace, truth, spans


def blind(recorded: Recorded, spans: list[tuple[str, int, int]]) -> Recorded:
    """The recording as a real card's: the catalogue is all that is known of the sensor."""
    device = recorded.devices["gpu:0"]
    channels = {
        name: replace(
            channel,
            source="nvml.field.186" if name == "power" else f"nvml.{name}",
            update_ns=-1,
            window_ns=-1,
            delay_ns=-1,
        )
        for name, channel in device.channels.items()
    }
    meta = replace(device.meta, source="nvml")
    marks = tuple(Mark(name, start, end) for name, start, end in spans)
    data = replace(device, meta=meta, channels=channels)
    return replace(recorded, devices={"gpu:0": data}, marks=marks)


def pulses(
    count: int = 100, length_s: float = 0.05, gap_s: tuple[float, float] = (0.15, 0.25)
) -> Load:
    """Equal labelled windows with idle gaps between."""

    def load(drawn: Drawn) -> list[tuple[str, int, int]]:
        t, spans = START_NS + 700 * MS, []
        for _ in range(count):
            spans.append(("work", *drawn.pulse(t, length_s)))
            t = drawn.until_ns + round(drawn.rng.uniform(*gap_s) * NS_PER_S)
        return spans

    return load


def steady(seconds: float = 10.0) -> Load:
    """One long labelled window of constant power."""

    def load(drawn: Drawn) -> list[tuple[str, int, int]]:
        watts = drawn.rng.uniform(150, 380)
        return [("work", *drawn.pulse(START_NS + 700 * MS, seconds, watts))]

    return load


def mix(seconds: float = 12.0) -> Load:
    """Labelled phases of several kinds and lengths, with and without pauses."""

    def load(drawn: Drawn) -> list[tuple[str, int, int]]:
        watts = {name: drawn.rng.uniform(120, 390) for name in ("prefill", "decode", "encode")}
        t, spans = START_NS + 700 * MS, []
        while t < START_NS + round(seconds * NS_PER_S):
            name = str(drawn.rng.choice(list(watts)))
            spans.append((name, *drawn.pulse(t, drawn.rng.uniform(0.02, 0.6), watts[name])))
            pause = drawn.rng.choice([0.0, drawn.rng.uniform(0.01, 0.3)])
            t = drawn.until_ns + round(pause * NS_PER_S)
        return spans

    return load
