# SPDX-License-Identifier: Apache-2.0
"""``python -m bench.week [--hours 168] [--processes 2] [--save F]``: eight GPUs polled at 1 kHz for
a week of simulated time, by traces with ``keep="10min"``.

Every poll goes through the sampler, ring, run stores and settling that a real week would: only the
clock is simulated (`ManualClock`), and each process has some of the cards in one trace. Energies
are compared with the cards' true ones, which are known in closed form; the cards' counters wrap
every few hours, some every half a minute, as RAPL's do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pyenergy import _core, _devices
from pyenergy._session import Session
from pyenergy._trace import Trace
from pyenergy.config import Sampling
from pyenergy.errors import WindowError
from pyenergy.testing import SimulatedWorld, simulated
from pyenergy.units import NS_PER_S

from .harness import machine

CARDS = ("a100", "h100", "v100", "rtx3090") * 2
RATE_HZ = 1000
KEEP_S = 600
START_NS = 1_000 * NS_PER_S
MODULI_J = (2**32 * 1e-3, 2**32 * 1e-6)  # of 32 bits of millijoules and of microjoules


@dataclass(frozen=True)
class Week:
    """What came of one trace.

    Attributes
    ----------
    hours : float
    polls : int
    off : dict of str to float
        Energy over the true one, less 1, by device; of the whole trace under ``all``.
    counter_off : dict of str to float
        The same of the plain difference of each energy counter, which wrapped so often:
    wraps : dict of str to int
    sigmas : float
        Error of the whole in its standard uncertainty without gain and offset.
    tail_off : float
        The worst of ten windows of a second in what is kept, over the uncertainty (same card).
    refused : bool
        Whether a window of what is not kept was refused.
    parts : int
        That were settled.
    rows : int
        Runs in memory at the end, all channels.
    peak_mb, early_mb : float
        Largest memory of the process: at the end, and after a tenth of the time.
    step_s, settle_s : float
        Wall time of polling and of settling.
    """

    hours: float
    polls: int
    off: dict[str, float]
    counter_off: dict[str, float]
    wraps: dict[str, int]
    sigmas: float
    tail_off: float
    refused: bool
    parts: int
    rows: int
    peak_mb: float
    early_mb: float
    step_s: float
    settle_s: float


def run(hours: float, cards: tuple[str, ...] = CARDS, threads: int = 1) -> Week:
    """So many hours of simulated time in one trace."""
    with simulated(*cards) as world:
        _script(world)
        clocks = [_core.ManualClock(START_NS - 3 * NS_PER_S) for _ in cards]
        session = Session(
            _devices.resolve("sim"),
            Sampling(RATE_HZ, "fixed"),
            False,
            keep_ns=KEEP_S * NS_PER_S,
            clocks=clocks,
        )
        session.open()
        early, step_s, settle_s = 0.0, 0.0, 0.0
        total, chunk = round(hours * 3600 * RATE_HZ), 300 * RATE_HZ
        with ThreadPoolExecutor(threads) as pool:

            def step(polls: int) -> None:
                list(pool.map(session.step, range(len(cards)), [polls] * len(cards)))

            for done in range(0, total, chunk):
                began = time.perf_counter()
                step(min(chunk, total - done))
                settling = time.perf_counter()
                session.settle()
                step_s += settling - began
                settle_s += time.perf_counter() - settling
                early = early if done > total / 10 else _peak_mb()
            session.close()
            step(3 * RATE_HZ)  # readings that cover the end
        return _told(session, world, early, step_s, settle_s)


def _script(world: SimulatedWorld) -> None:
    """Loads of different periods that never fall in step with a sensor, and counters that wrap."""
    for i, card in enumerate(world):
        limit_w = card.info.limit_w
        card.square_wave(0.2 * limit_w, (0.6 + 0.04 * i) * limit_w, 7.31 + 3.77 * i, 0.45, at_ns=0)
        card.thermal(0.05, 40.0)
        card.configure_counter(epoch_ns=0, modulus_j=MODULI_J[i % 3 == 2])


def _told(
    session: Session, world: SimulatedWorld, early_mb: float, step_s: float, settle_s: float
) -> Week:
    trace = Trace(session)
    recorded = session.recorded()
    start, end = trace.bounds_ns
    names = list(recorded.devices)
    true_j = {n: card.true_energy_j(start, end) for n, card in zip(names, world, strict=True)}
    energies, whole = trace.energies, trace.energy
    counted = trace._evaluated("counter").energies()
    settled = recorded.settled
    low, high = trace.kept_ns
    tail = []
    for a in np.linspace(low, high - 4 * NS_PER_S, 10).astype(np.int64).tolist():
        found = trace.window(a, a + NS_PER_S)
        truth = sum(card.true_energy_j(a, a + NS_PER_S) for card in world)
        tail.append((found.joules - truth) / found.u_same_card)
    off = {n: energies[n].joules / true_j[n] - 1 for n in names}
    return Week(
        hours=(end - start) / NS_PER_S / 3600,
        polls=sum(int(d.stats["polls"]) for d in recorded.devices.values()),
        off={**off, "all": whole.joules / sum(true_j.values()) - 1},
        counter_off={n: counted[n].joules / true_j[n] - 1 for n in names},
        wraps={n: int(true_j[n] / MODULI_J[i % 3 == 2]) for i, n in enumerate(names)},
        sigmas=(whole.joules - sum(true_j.values())) / whole.u_same_card,
        tail_off=float(np.abs(tail).max()),
        refused=settled is not None and _refuses(trace, start + NS_PER_S),
        parts=0 if settled is None else settled.blocks,
        rows=sum(len(r) for d in recorded.devices.values() for r in d.runs.values()),
        peak_mb=_peak_mb(),
        early_mb=early_mb,
        step_s=step_s,
        settle_s=settle_s,
    )


def _refuses(trace: Trace, at_ns: int) -> bool:
    try:
        trace.window(at_ns, at_ns + NS_PER_S)
    except WindowError:
        return True
    return False


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run, print, perhaps save."""
    parser = argparse.ArgumentParser(prog="python -m bench.week", description=__doc__)
    parser.add_argument("--hours", type=float, default=168.0)
    parser.add_argument("--processes", type=int, default=2, help="traces, each with some cards")
    parser.add_argument("--save", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    began, load = time.perf_counter(), os.getloadavg()[0]
    shares = [CARDS[i :: arguments.processes] for i in range(arguments.processes)]
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        weeks = list(pool.map(run, [arguments.hours] * len(shares), shares))
    result = {
        "machine": {**machine(), "load_before": load, "load_after": os.getloadavg()[0]},
        "wall_s": time.perf_counter() - began,
        "traces": [{"cards": list(c), **asdict(w)} for c, w in zip(shares, weeks, strict=True)],
    }
    print(json.dumps(result, indent=1))
    if arguments.save:
        arguments.save.write_text(json.dumps(result, indent=1) + "\n")
    fine = all(max(map(abs, w.off.values())) < 1e-3 and w.refused for w in weeks)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
