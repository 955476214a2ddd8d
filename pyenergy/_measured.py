# SPDX-License-Identifier: Apache-2.0
"""What blocks of calls tell: energies per call with their covariance, and what holds them back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._blocks import columns
from ._combined import Sums, combined
from ._energy import Energy
from .errors import NoReadingsError
from .sensor.terms import CARD_TERMS
from .units import NS_PER_S, engineering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ._blocks import Block
    from ._energies import DeviceEnergies
    from ._measure_options import Options
    from ._trace import Trace

__all__ = ["K95", "Measured", "evaluated"]

K95 = 1.959963985  # of a normal distribution
_WAKE_S = 50e-6  # Linux lets a timer slip by as much (prctl(2), PR_SET_TIMERSLACK)
_PLATEAU_S = 0.02  # spans from here on show a sensor their full power
_MOSTLY = 0.8  # of a function's blocks, that must be left when others are left out
_ADVICE = {
    "fit": "the readings are too few to know its power better: give a longer budget_s",
    "drift": "the level under the work wanders (heat, clocks): warm up longer, or lock the clocks",
    "clock": "the work begins or ends off its block: let fn wait for its own work (sync=True)",
    "edges": "blocks are short for this sensor: let fn do more work in a call",
    "inside": "calls differ, and the sensor sees a part of them: give a longer budget_s",
    "gaps": "readings are missing: see 'pyenergy doctor'",
    "misfit": "readings do not fit the model: other work on the card, or a clock that changes",
    "counter": "the energy counter and the readings disagree",
    "block": "blocks hold time without work: let fn do more work in a call",
    "calls": "calls take different times: lock the clocks, quiet the machine, longer budget_s",
}


@dataclass(frozen=True)
class Measured:
    """Energies per call of the functions ``names``, from one measurement.

    Attributes
    ----------
    names : tuple of str
    sums : Sums
        Of the energies per call; its terms have ``calls`` (calls differ in time) and ``block``
        (time at the edges of blocks in which the device may idle) beside those of windows.
    times : list of (float, float, float)
        By function: mean time of a call, its standard uncertainty, standard deviation between
        blocks; s.
    method, scope : str
    notes : tuple of str
        Of the trace.
    blocks : list of Block
        What was counted.
    """

    names: tuple[str, ...]
    sums: Sums
    times: list[tuple[float, float, float]]
    method: str
    scope: str
    notes: tuple[str, ...]
    blocks: list[Block]

    def rel(self) -> NDArray[np.float64]:
        """Same-card 95 % half-widths over the energies per call."""
        half = K95 * np.sqrt(np.diag(self.sums.cov()).clip(0))
        joules = np.abs(self.sums.joules)
        return np.asarray(np.divide(half, joules, out=np.full_like(half, np.inf), where=joules > 0))

    def energy(self, calls: NDArray[np.float64], net: bool = False) -> Energy:
        """Energy of so many calls of each function."""
        sums = self.sums
        joules = float(calls @ (sums.net_joules if net else sums.joules))
        parts = sums.net_parts if net else sums.parts
        terms = {n: math.sqrt(max(float(calls @ p @ calls), 0.0)) for n, p in parts.items()}
        own = [u for n, u in terms.items() if n not in CARD_TERMS]
        return Energy(
            joules=joules,
            u=math.hypot(*terms.values()),
            method=f"repeated calls; {self.method}",
            scope=self.scope,
            notes=self.notes,
            u_same_card=math.hypot(*own),
            duration_s=float(calls @ np.array([t for t, _, _ in self.times])),
            terms=tuple(terms.items()),
        )

    def why(self, i: int, options: Options, elapsed_s: float) -> list[str]:
        """What was reached, and what stood in the way of more."""
        name, rel = self.names[i], float(self.rel()[i])
        if sum(block.name == name for block in self.blocks) < 2:
            return [f"{name}: one block fitted into the budget, the next may differ: give it more"]
        if not math.isfinite(rel):
            return [f"{name}: the energy per call could not be told from zero"]
        own = {n: float(p[i, i]) for n, p in self.sums.parts.items() if n not in CARD_TERMS}
        worst = max(own, key=lambda n: own[n])
        share = own[worst] / max(sum(own.values()), 1e-300)
        notes = [
            f"{name}: reached ± {rel:.2%} of the wanted ± {options.rel:.2%} (95 %, same card) in "
            f"{engineering(elapsed_s, 's')}; {share:.0%} of the variance is '{worst}': "
            f"{_ADVICE.get(worst, worst)}"
        ]
        if rel > options.rel:
            needed = elapsed_s * (rel / options.rel) ** 2
            notes.append(
                f"{name}: if it goes on as 1/sqrt(time), ± {options.rel:.2%} takes about "
                f"{engineering(needed, 's', 2)}"
            )
        return notes

    def drifted(self, i: int, blocks: Sequence[Block], rel: float) -> list[str]:
        """A note where calls grew slower or faster by more than chance and `rel`."""
        starts, ends, calls = columns(blocks)
        each = (ends - starts) / NS_PER_S / np.maximum(calls, 1)
        if len(each) < 10:
            return []
        early, late = np.array_split(each, 2)
        change = float(np.median(late) / np.median(early) - 1)
        scatter = 1.25 * math.hypot(*(_robust_sd(h) / math.sqrt(len(h)) for h in (early, late)))
        if abs(change) < rel or abs(change) * float(np.median(early)) < 3 * scatter:
            return []
        return [f"{self.names[i]}: calls of the second half took {change:+.1%} of the time"]


def evaluated(trace: Trace, blocks: Sequence[Block], names: tuple[str, ...]) -> Measured:
    """Energies per call from the blocks of a trace, open or closed.

    Raises
    ------
    NoReadingsError
        When a device in scope gave nothing: a sum without it would be wrong.
    """
    chosen = trace._evaluated().chosen(None)
    if not chosen:
        raise NoReadingsError("no device in scope gave a reading")
    blocks, left_out = _readable(chosen, blocks, names)
    starts, ends, calls = columns(blocks)
    number = {name: i for i, name in enumerate(names)}
    owner = np.array([number[b.name] for b in blocks])
    per_call = np.zeros((len(names), len(blocks)))
    counts = np.bincount(owner, weights=calls, minlength=len(names))
    per_call[owner, np.arange(len(blocks))] = 1 / np.maximum(counts[owner], 1)
    sums = combined(chosen, per_call, starts, ends)
    times = [_times(*(a[owner == i] for a in (starts, ends, calls))) for i in range(len(names))]
    power = sums.joules / np.maximum([t for t, _, _ in times], 1e-12)
    net_power = sums.net_joules / np.maximum([t for t, _, _ in times], 1e-12)
    u_s = np.array([u for _, u, _ in times])
    sums.parts["calls"] = np.diag((power * u_s) ** 2)
    sums.net_parts["calls"] = np.diag((net_power * u_s) ** 2)
    over = [_overhead_s(*(a[owner == i] for a in (starts, ends, calls))) for i in range(len(names))]
    # Without a pause between blocks nothing tells what it idles at: at most, nothing.
    idle_j = np.where(np.isfinite(net_power), net_power, power) * np.array(over)
    sums.parts["block"] = sums.net_parts["block"] = np.outer(idle_j, idle_j)
    bounds = int(starts[0]), int(ends.max())
    energies = [model.energy(*bounds) for model in chosen]
    return Measured(
        names,
        sums,
        times,
        "; ".join(dict.fromkeys(e.method for e in energies)),
        "+".join(dict.fromkeys(e.scope for e in energies)),
        (*left_out, *dict.fromkeys(n for e in energies for n in e.notes)),
        blocks,
    )


def _readable(
    models: Sequence[DeviceEnergies], blocks: Sequence[Block], names: tuple[str, ...]
) -> tuple[list[Block], list[str]]:
    """The blocks in which nothing is missing, where they are most; what to say of the others.

    Whether a reading fails has nothing to do with what a block draws: the rest is as good.
    """
    starts, ends, _ = columns(blocks)
    bad = np.zeros(len(starts), dtype=bool)
    for model in models:
        bad |= model.terms(starts, ends).terms.get("gaps", np.zeros(len(starts))) > 0
    good = [b for b, is_bad in zip(blocks, bad, strict=True) if not is_bad]
    for name in names:
        kept = sum(b.name == name for b in good)
        if kept < max(2, _MOSTLY * sum(b.name == name for b in blocks)):
            return list(blocks), []
    if not bad.any():
        return good, []
    return good, [f"{int(bad.sum())} of {len(bad)} blocks left out: readings are missing there"]


def _times(
    starts: NDArray[np.int64], ends: NDArray[np.int64], calls: NDArray[np.int64]
) -> tuple[float, float, float]:
    """(mean, u of the mean, standard deviation between blocks) of the time of a call, s.

    The mean is a ratio of sums; its uncertainty is that of blocks drawn at random, with the factor
    that Student's t has over a normal distribution.
    """
    seconds = (ends - starts) / NS_PER_S
    total = float(calls.sum())
    mean = float(seconds.sum()) / total
    n = len(seconds)
    if n < 2:
        return mean, mean, math.nan  # one block says nothing of how much the next differs
    apart = seconds - mean * calls
    variance = n / (n - 1) * float((apart**2).sum()) / total**2
    variance *= (n - 1) / max(n - 3, 0.5)
    sd = float(np.sqrt(np.average((seconds / calls - mean) ** 2, weights=calls) * n / (n - 1)))
    return mean, math.sqrt(variance), sd


def _overhead_s(
    starts: NDArray[np.int64], ends: NDArray[np.int64], calls: NDArray[np.int64]
) -> float:
    """Time of a block that is there however many calls it holds, for each call, s.

    The first call starts late and the wait for the last returns late: the block is labelled busy
    while the device may idle already. It is the intercept of time over calls. Blocks of one call
    cannot tell: a wake-up of the host is assumed, less where spans are so short that the fit sees
    only their mean and makes up for it.
    """
    seconds = (ends - starts) / NS_PER_S
    if len(calls) < 5 or calls.min() == calls.max():
        seen = min(1.0, float(seconds.mean()) / _PLATEAU_S)
        return _WAKE_S * seen * len(calls) / float(calls.sum())
    _, intercept = np.polyfit(calls, seconds, 1)
    return max(float(intercept), 0.0) * len(calls) / float(calls.sum())


def _robust_sd(values: NDArray[np.float64]) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
