# SPDX-License-Identifier: Apache-2.0
"""``python -m bench.coverage``: do 95 % intervals hold the truth 95 times in 100?

Every run draws its own sensor (T +-2 %, W or tau +-20 %, delay 0-20 ms, idle, phase, noise), load
and latencies between marks and work (15 us on average), in simulated time; the estimator sees
readings, spans and the architecture. One window of each length a run: windows of one run share
their errors, and would count as one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import binomtest

from .harness import ROOT, machine

sys.path.insert(0, str(ROOT / "tests"))  # drawn.py draws the sensors

LENGTHS_S = (0.005, 0.05, 0.5, 5.0)
KINDS = ("v100", "a100", "a100 rc", "h100")
LOADS = ("pulses", "steady", "mix")


def one_run(kind: str, load: str, seed: int, absolute: bool) -> tuple[list[float], list[float]]:
    """(errors over half-widths of the 95 % interval, relative half-widths), one a length."""
    import drawn

    from pyenergy.sensor.profile import Profile

    rng = np.random.default_rng(seed + 10**6)
    prior = Profile()
    gain = prior.gain + prior.gain_u * rng.standard_normal() if absolute else 1.0
    offset_w = prior.offset_w + prior.offset_u_w * rng.standard_normal() if absolute else 0.0
    make = {"pulses": drawn.pulses(60), "steady": drawn.steady(), "mix": drawn.mix()}[load]
    trace, truth, spans = drawn.measured(
        kind, seed, make, gain=gain, offset_w=offset_w,
        profile=None if absolute else drawn.KNOWN,
    )  # fmt: skip
    low, high = trace.bounds_ns
    length = np.array([round(s * 1e9) for s in LENGTHS_S])
    starts = low + (rng.random(len(length)) * (high - low - length)).astype(np.int64)
    ends = starts + length
    _, a, b = spans[int(rng.integers(len(spans)))]
    starts, ends = np.append(starts, a), np.append(ends, b)
    joules, u = trace.windows(starts, ends, same_card=not absolute)
    true = truth(starts, ends)
    return list((joules - true) / (1.96 * u)), list(1.96 * u / true)


def main() -> None:
    """Run, print, perhaps save."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="sensors drawn for each line")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--loads", nargs="*", default=LOADS, choices=LOADS)
    parser.add_argument("--absolute", action="store_true", help="gain and offset drawn too")
    parser.add_argument("--save", type=Path, help="write the figures as JSON")
    chosen = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    console = Console()
    names = [*(f"{s * 1e3:g} ms" for s in LENGTHS_S), "one span"]
    table = Table("sensor", "load", "window", "inside", "coverage", "95 % of it", "median ±")
    rows = []
    with ProcessPoolExecutor() as pool:
        for kind in chosen.kinds:
            for load in chosen.loads:
                seeds = range(chosen.runs)
                runs = pool.map(
                    one_run, [kind] * len(seeds), [load] * len(seeds), seeds,
                    [chosen.absolute] * len(seeds), chunksize=4,
                )  # fmt: skip
                label = f"{kind}, {load}"
                results = list(track(runs, label, len(seeds), console=console, transient=True))
                z = np.array([r[0] for r in results])
                width = np.median([r[1] for r in results], axis=0)
                for j, name in enumerate(names):
                    inside = int((np.abs(z[:, j]) <= 1).sum())
                    interval = binomtest(inside, len(z)).proportion_ci(0.95, "exact")
                    rows.append(
                        {
                            "sensor": kind, "load": load, "window": name, "runs": len(z),
                            "inside": inside, "low": interval.low, "high": interval.high,
                            "median_half_width": float(width[j]),
                        }
                    )  # fmt: skip
                    table.add_row(
                        kind, load, name, f"{inside}/{len(z)}", f"{inside / len(z):.1%}",
                        f"{interval.low:.1%} to {interval.high:.1%}", f"{width[j]:.2%}",
                    )  # fmt: skip
    console.print(table)
    if chosen.save:
        payload = {"machine": machine(), "absolute": chosen.absolute, "results": rows}
        chosen.save.write_text(json.dumps(payload, indent=1) + "\n")


if __name__ == "__main__":
    main()
