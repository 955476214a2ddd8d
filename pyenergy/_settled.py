# SPDX-License-Identifier: Apache-2.0
"""Adds up what leaves a trace's memory, and joins it to what is still there."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ._energies import METHODS
from ._energy import Energy
from ._evaluation import Evaluation
from ._phases import UNMARKED
from .recording.settled import DeviceTally, PhaseTally, Settled, Tally
from .sensor.terms import CARD_TERMS, WindowTerms
from .units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._trace import Trace
    from .recording.recorded import Recorded

__all__ = ["added", "joined", "settle"]

# What every part of a trace has by itself: no two edges fall alike on the sensor's updates, and the
# level drifts on its own. All else has one cause in all of them, or may have.
_OWN_TERMS = frozenset({"edges", "inside", "clock", "drift"})
_MOST_NOTES = 16  # kinds of notes that are remembered of a device
_MOST_NAMES = 1000  # names of marks that are remembered apart
OTHERS = "(other marks)"


def settle(
    before: Settled, block: Recorded, periods: dict[str, dict[str, float]] | None = None
) -> Settled:
    """``before`` with one more block, whose bounds begin where it ended.

    Of a device that gave nothing usable by a method, nothing is settled by it: its next block is
    the longer. Marks of the block may reach outside it; they change no energy, and have theirs from
    the readings. ``periods``: see `Evaluation.of`.
    """
    from ._trace import Trace

    end_ns = block.bounds_ns[1]
    devices = dict(before.devices)
    whole = Trace(replace(block, settled=None))
    # Readings and counter alone: to solve for what ran takes seconds, and is for who asks.
    readings = replace(block, marks=(), settled=before)
    for method in METHODS:
        evaluated = Evaluation.of(readings, None, method, periods)
        for name, model in evaluated.models.items():
            energy = model.energy(before.until_ns(name, method), end_ns)
            entry = devices.get(name, DeviceTally())
            tally = _plus(before.tally(name, method), energy, end_ns)
            entry = replace(entry, tallies={**entry.tallies, method: tally})
            devices[name] = _told(entry, energy) if method == "model" else entry
        if method == "model":  # not evaluated twice
            whole._computed[method] = replace(evaluated, recorded=whole.recorded)
    ended = [m.name for m in block.marks if block.bounds_ns[0] < m.end_ns <= end_ns]
    after = replace(
        before,
        end_ns=end_ns,
        blocks=before.blocks + 1,
        marks=before.marks + len(ended),
        devices=devices,
    )
    if whole.unreadable:  # neither is known without one of them
        return replace(after, untold_s=before.untold_s + whole.duration_s)
    return replace(
        after,
        peak_w=float(np.fmax(whole.peak_power_w, before.peak_w)),
        phases=_phases(before, whole, ended),
    )


def joined(settled: Settled, device: str, method: str, later: Energy) -> Energy:
    """Energy of a device from the trace's start, ``later`` being that of what is kept."""
    tally = settled.tally(device, method)
    terms = WindowTerms(
        np.array([later.joules]), {name: np.array([value]) for name, value in later.terms}
    )
    both = added(tally, terms, np.array([True]))
    entry = settled.devices.get(device, DeviceTally())
    seconds = (settled.end_ns - settled.start_ns) / NS_PER_S
    earlier = [text for text in entry.methods if text != later.method and method == "model"]
    notes = [
        f"{text} (in {count} of {settled.blocks} settled parts)"
        for text, count in entry.notes.items()
    ]
    return replace(
        later,
        joules=float(both.joules[0]),
        u=float(both.u[0]),
        u_same_card=float(both.u_same_card[0]),
        method="; ".join([later.method, *earlier]),
        notes=(*later.notes, *(notes if method == "model" else ())),
        duration_s=later.duration_s + seconds,
        terms=tuple((name, float(value[0])) for name, value in both.terms.items()),
    )


def added(tally: Tally, terms: WindowTerms, to: NDArray[np.bool_]) -> WindowTerms:
    """``terms`` with what is settled added to the windows ``to``, which begin where that ends."""
    joules = np.where(to, tally.joules + (tally.rest + terms.joules), terms.joules)
    zero = np.zeros_like(terms.joules)
    both = {}
    for name in dict.fromkeys([*terms.terms, *tally.linear, *tally.square]):
        own = terms.terms.get(name, zero)
        u, linear = tally.u_of(name)
        both[name] = np.where(to, own + u if linear else np.hypot(own, u), own)
    return WindowTerms(joules, both)


def _plus(tally: Tally, energy: Energy, end_ns: int) -> Tally:
    total = tally.joules + energy.joules
    moved = total - tally.joules
    rounded = (tally.joules - (total - moved)) + (energy.joules - moved)
    linear, square = dict(tally.linear), dict(tally.square)
    for name, u in energy.terms:
        if name in _OWN_TERMS:
            square[name] = square.get(name, 0.0) + u**2
        else:
            linear[name] = linear.get(name, 0.0) + u
    return Tally(end_ns, total, tally.rest + rounded, linear, square)


def _told(entry: DeviceTally, energy: Energy) -> DeviceTally:
    """With how the energy was obtained; notes that differ in numbers only are one."""
    methods, notes = dict(entry.methods), dict(entry.notes)
    if energy.method in methods or len(methods) < _MOST_NOTES:
        methods[energy.method] = methods.get(energy.method, 0) + 1
    kinds = {_kind(text): text for text in notes}
    for text in energy.notes:
        first = kinds.setdefault(_kind(text), text)
        if first in notes or len(notes) < _MOST_NOTES:
            notes[first] = notes.get(first, 0) + 1
    return replace(entry, methods=methods, scope=energy.scope, notes=notes)


def _kind(note: str) -> str:
    return re.sub(r"\d[\d.,]*\s?[munkMG]?", "#", note)


def _phases(before: Settled, whole: Trace, ended: list[str]) -> dict[str, PhaseTally]:
    """Energies by name of the marks, and of the time without one."""
    phases = dict(before.phases)
    if not whole.recorded.marks:
        start, end = whole.bounds_ns
        found = whole._evaluated().windows([start], [end], None)
        joules, u, u_same_card = (float(x[0]) for x in found)
        rest = PhaseTally(1, whole.duration_s, joules, u, u_same_card)
        return {**phases, UNMARKED: phases.get(UNMARKED, PhaseTally()).plus(rest)}
    for row in whole.phases().iter_rows(named=True):
        name = row["name"]
        if name not in phases and len(phases) >= _MOST_NAMES:
            name = OTHERS
        tally = PhaseTally(
            ended.count(row["name"]),
            row["time_s"],
            row["energy_j"],
            row["u_j"],
            row["u_same_card_j"],
        )
        phases[name] = phases.get(name, PhaseTally()).plus(tally)
    return phases


assert set(CARD_TERMS).isdisjoint(_OWN_TERMS)
