# SPDX-License-Identifier: Apache-2.0
"""Kernels of known power behind a sensor that is far slower: the truth is drawn, not estimated.

Nothing here is shared with the estimator: power is piecewise constant and its averages are sums.
`time_weighted` is what an estimate has to beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from simulate import START_NS

from pyenergy._trace import Trace
from pyenergy.recording.series import Runs
from pyenergy.units import NS_PER_S

# sensor: (architecture, source, update s, window or tau s, family)
SENSORS = {
    "v100": ("volta", "nvml.field.186", 0.020, 0.010, "boxcar"),
    "a100": ("ga100", "nvml.field.186", 0.1012, 0.025, "boxcar"),
    "a100 rc": ("ga100", "nvml.field.186", 0.1012, 0.012, "rc"),
    "h100": ("hopper", "nvml.field.186", 0.100, 0.025, "boxcar"),
    "1-s average": ("ga100", "nvml.field.185", 0.100, 1.0, "boxcar"),
}
LIMITS_W = (0.0, 400.0)


@dataclass(frozen=True)
class Drawing:
    """What to draw.

    Attributes
    ----------
    sensor : str
        One of `SENSORS`; period, window, delay and phase are drawn around it.
    kinds : int
        Classes of kernels, 20 us to 2 ms, 100 to 390 W.
    step_s : float
        Length of the sequence that repeats; 0: random order.
    window_steps : bool
        The sensor's window is a multiple of the step.
    strict : bool
        The sequence repeats without any jitter or gap.
    seconds : float
    noise_w : float
        Of a reading.
    drift : bool
        The level warms by 8 W and wanders.
    scatter : float
        Relative standard deviation of the calls' powers inside a class.
    """

    sensor: str = "v100"
    kinds: int = 20
    step_s: float = 0.0
    window_steps: bool = False
    strict: bool = False
    seconds: float = 60.0
    noise_w: float = 1.0
    drift: bool = False
    scatter: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """A recording of kernels, and the truth.

    Attributes
    ----------
    runs : Runs
        What polls of the reading saw.
    starts_ns, ends_ns, classes : ndarray, shape (s,)
        The kernels; every class of ``beta_w`` ran.
    beta_w, class_s : ndarray, shape (p,)
        Mean power of each class above the level, W, and its seconds.
    idle_w : float
    family, window_s, delay_s : the sensor
    tick_ns, tick_w : ndarray, shape (n,)
        When the sensor published what.
    bounds_ns : (int, int)
    """

    runs: Runs
    starts_ns: np.ndarray
    ends_ns: np.ndarray
    classes: np.ndarray
    beta_w: np.ndarray
    class_s: np.ndarray
    idle_w: float
    family: str
    window_s: float
    delay_s: float
    tick_ns: np.ndarray
    tick_w: np.ndarray
    bounds_ns: tuple[int, int]


def draw(what: Drawing, seed: int) -> Drawn:
    """Draw one."""
    rng = np.random.default_rng(seed)
    _, _, update_s, window_s, family = SENSORS[what.sensor]
    starts, ends, order, step_s = _timeline(what, rng)
    used, classes = np.unique(order, return_inverse=True)
    power = rng.uniform(100, 390, what.kinds)[used]
    idle = float(rng.uniform(50, 70))
    calls = (power - idle)[classes] * (1 + what.scatter * rng.standard_normal(len(classes)))
    period_s = update_s * (1 + 0.02 * rng.uniform(-1, 1))
    # A second is a second: its window is known to 3 %.
    spread = 0.2 if window_s < update_s else 0.03
    window_s *= 1 + spread * rng.uniform(-1, 1)
    if what.window_steps:
        window_s = max(1, round(window_s / step_s)) * step_s
    delay_s = float(rng.uniform(0, 0.02))
    first_ns = START_NS - 2 * NS_PER_S
    count = int((what.seconds + 5) / period_s)
    ticks = first_ns + np.round((rng.uniform(0, period_s) + period_s * np.arange(count)) * 1e9)
    ticks = ticks.astype(np.int64)
    seen = ticks - round(delay_s * NS_PER_S)
    active = _Steps(starts, ends, calls)
    value = idle + (
        active.boxcar(seen, window_s) if family == "boxcar" else active.lowpass(seen, window_s)
    )
    if what.drift:
        value = value + _warming(seen, window_s, family, rng)
    value = np.round(value + what.noise_w * rng.standard_normal(count), 3)
    until_ns = START_NS + round((what.seconds + 2.4) * NS_PER_S)
    polls = np.arange(START_NS - NS_PER_S, until_ns, 1_000_000)
    bounds = (START_NS, START_NS + round((what.seconds + 1.4) * NS_PER_S))
    trace = Trace.from_readings(
        {"gpu:0/power": (polls, value[np.searchsorted(ticks, polls, side="right") - 1])},
        bounds_ns=bounds,
    )
    shown = (ticks > polls[0]) & (ticks < polls[-1])
    length = (ends - starts) / NS_PER_S
    class_s = np.bincount(classes, length)
    return Drawn(
        runs=trace.recorded.devices["gpu:0"].runs["power"],
        starts_ns=starts,
        ends_ns=ends,
        classes=classes.astype(np.int32),
        beta_w=np.bincount(classes, length * calls) / class_s,
        class_s=class_s,
        idle_w=idle,
        family=family,
        window_s=float(window_s),
        delay_s=delay_s,
        tick_ns=ticks[shown],
        tick_w=value[shown],
        bounds_ns=bounds,
    )


def time_weighted(
    class_s: np.ndarray, total_j: float, total_u_j: float, spread_w: float, seconds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Energies of groups, were all classes of one power; with what that may be off by.

    Parameters
    ----------
    class_s : ndarray, shape (p,)
        Seconds that each class ran in all.
    total_j, total_u_j : float
        Energy of all classes together, J, and its standard uncertainty.
    spread_w : float
        Standard deviation of the classes' powers about their mean, W: nothing is known of them but
        the board's limits (`class_powers.spreads`).
    seconds : ndarray, shape (g, p)
        Seconds of each class in each group.

    Returns
    -------
    joules, cov : ndarray, shapes (g,) and (g, g)
        Energies, J, and covariance: powers of that spread, given their sum.

    Raises
    ------
    ValueError
        Where no class ran at all, or a figure is not finite.
    """
    class_s, seconds = np.asarray(class_s, float), np.asarray(seconds, float)
    figures = np.array([total_j, total_u_j, spread_w])
    if not (np.isfinite(class_s).all() and np.isfinite(seconds).all()):
        raise ValueError("seconds of classes and groups must be finite numbers")
    if not np.isfinite(figures).all() or total_u_j < 0 or spread_w < 0:
        raise ValueError(
            "total_j, total_u_j and spread_w must be finite, the last two not negative; got "
            f"{total_j!r}, {total_u_j!r}, {spread_w!r}"
        )
    if seconds.ndim != 2 or seconds.shape[1] != len(class_s):
        raise ValueError(f"seconds must have shape (groups, {len(class_s)}), got {seconds.shape}")
    whole = float(class_s.sum())
    if not whole > 0:
        raise ValueError("no class ran: there is no time to share energy by")
    p = len(class_s)
    # beta = mean + deviations; the sum fixes the mean but for the deviations' own sum.
    lever = np.eye(p) - np.outer(np.ones(p), class_s) / whole
    cov = spread_w**2 * lever @ lever.T + (total_u_j / whole) ** 2
    return seconds.sum(axis=1) * (total_j / whole), seconds @ cov @ seconds.T


def _timeline(
    what: Drawing, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(starts, ends, kinds, mean length of a step)."""
    length = np.exp(rng.uniform(np.log(20e-6), np.log(2e-3), what.kinds))
    if what.step_s == 0:
        count = int(what.seconds / length.mean() * 1.3) + 10
        order = rng.integers(0, what.kinds, count)
        gap = np.where(rng.random(count) < 0.3, rng.uniform(0, 200e-6, count), 0.0)
    else:
        sequence: list[int] = []
        while length[sequence].sum() < what.step_s:
            sequence.append(int(rng.integers(0, what.kinds)))
        repeats = int(what.seconds / length[sequence].sum() * 1.1) + 2
        order = np.tile(sequence, repeats)
        gap = np.zeros(len(order))
        gap[len(sequence) - 1 :: len(sequence)] = rng.uniform(0, 200e-6, repeats)
    jitter = 1 + 0.005 * rng.standard_normal(len(order))
    if what.strict:
        gap, jitter = np.where(gap > 0, 100e-6, 0.0), np.ones(len(order))
    each = length[order] * jitter
    ends = np.cumsum(each + gap)
    inside = ends < what.seconds
    step_s = float(ends[len(sequence) * repeats - 1]) / repeats if what.step_s else 0.0
    begin = START_NS + 700_000_000
    starts_ns = begin + np.round((ends - each)[inside] * 1e9).astype(np.int64)
    ends_ns = begin + np.round(ends[inside] * 1e9).astype(np.int64)
    ends_ns[:-1] = np.minimum(ends_ns[:-1], starts_ns[1:])  # not the rounding's overlap
    return starts_ns, ends_ns, order[inside], step_s


class _Steps:
    """Power of kernels that do not overlap, and what sensors make of it."""

    def __init__(self, starts: np.ndarray, ends: np.ndarray, watts: np.ndarray) -> None:
        self.origin = int(starts[0]) - 100 * NS_PER_S
        t = np.stack([starts, ends], axis=1).ravel() - self.origin
        w = np.stack([watts, np.zeros(len(watts))], axis=1).ravel()
        self.t_s = np.concatenate([[0.0], t / NS_PER_S, [t[-1] / NS_PER_S + 100.0]])
        self.w = np.concatenate([[0.0], w])
        self.energy = np.concatenate([[0.0], np.cumsum(self.w * np.diff(self.t_s))])

    def boxcar(self, seen: np.ndarray, window_s: float) -> np.ndarray:
        t = (seen - self.origin) / NS_PER_S
        joules = np.interp(t, self.t_s, self.energy)
        return np.asarray((joules - np.interp(t - window_s, self.t_s, self.energy)) / window_s)

    def lowpass(self, seen: np.ndarray, tau_s: float) -> np.ndarray:
        kept = np.exp(-np.diff(self.t_s) / tau_s).tolist()
        state, states = 0.0, [0.0]
        for keep, watts in zip(kept, self.w.tolist(), strict=True):
            state = keep * state + (1 - keep) * watts
            states.append(state)
        t = (seen - self.origin) / NS_PER_S
        i = np.searchsorted(self.t_s, t, side="right") - 1
        keep_s = np.exp(-(t - self.t_s[i]) / tau_s)
        return np.asarray(keep_s * np.array(states)[i] + (1 - keep_s) * self.w[i])


def _warming(
    seen: np.ndarray, window_s: float, family: str, rng: np.random.Generator
) -> np.ndarray:
    """Heat: 8 W with 20 s, and a wandering of 0.3 W in a second; where the window's middle is."""
    t = (seen - START_NS) / NS_PER_S - window_s * (0.5 if family == "boxcar" else 1.0)
    grid = np.arange(t[0] - 1, t[-1] + 1, 0.05)
    walk = np.cumsum(rng.normal(0, 0.3 * np.sqrt(0.05), len(grid)))
    return np.asarray(8 * (1 - np.exp(-np.maximum(t - 0.7, 0) / 20)) + np.interp(t, grid, walk))
