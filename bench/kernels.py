# SPDX-License-Identifier: Apache-2.0
"""``python -m bench.kernels``: power per kernel class, solved from readings that are far slower.

Every run draws its own sensor, classes (20 us to 2 ms, 100 to 390 W) and order, in simulated time.
Scored: classes above 2 % of the energy, errors relative to a class's own energy. Beside it the
oracle, the same model told the sensor's true period, window and delay, whose uncertainty is the
bound; and time-weighted shares.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from .harness import ROOT, machine

sys.path.insert(0, str(ROOT / "tests"))  # kernels.py draws the loads

BIG = 0.02  # of the energy
GOAL_RATIO = 1.3
GOAL_COVERAGE = (0.90, 0.99)
WRONG_S = 0.005


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    options: dict[str, Any]
    wrong_delay_s: float = 0.0


def cases() -> list[Case]:
    """Every line."""
    made = []
    for sensor in ("v100", "a100"):
        for kinds in (20, 60, 100):
            made.append(Case(f"{sensor}, {kinds} random", {"sensor": sensor, "kinds": kinds}))
        for step in (0.005, 0.015, 0.050):
            options = {"sensor": sensor, "kinds": 60, "step_s": step}
            made.append(Case(f"{sensor}, loop {step * 1e3:g} ms", options))
        step = 0.010 if sensor == "v100" else 0.0125
        for name, kind in (("window = n steps", "window_steps"), ("strict loop", "strict")):
            options = {"sensor": sensor, "kinds": 60, "step_s": step, kind: True}
            made.append(Case(f"{sensor}, {name} ({step * 1e3:g} ms)", options))
        loop = {"sensor": sensor, "step_s": 0.015, "kinds": 60}
        made += [
            Case(f"{sensor}, 20 random, drift", {"sensor": sensor, "drift": True}),
            Case(f"{sensor}, loop 15 ms, drift", {**loop, "drift": True}),
            Case(f"{sensor}, 20 random, 10 s", {"sensor": sensor, "seconds": 10.0}),
            Case(f"{sensor}, loop 15 ms, 10 s", {**loop, "seconds": 10.0}),
            Case(f"{sensor}, 20 random, delay 5 ms wrong", {"sensor": sensor}, WRONG_S),
            Case(f"{sensor}, loop 15 ms, delay 5 ms wrong", loop, WRONG_S),
        ]
    for sensor in ("a100 rc", "1-s average"):
        loop = {"sensor": sensor, "step_s": 0.015, "kinds": 60}
        made += [
            Case(f"{sensor}, 20 random", {"sensor": sensor}),
            Case(f"{sensor}, loop 15 ms", loop),
        ]
    return made


def one_run(case: Case, seed: int) -> dict[str, Any]:
    """Errors, uncertainties and what they are compared with, of the classes that count."""
    import kernels

    from pyenergy.attribution.regression import regress
    from pyenergy.sensor.catalog import prior_for
    from pyenergy.sensor.class_powers import spreads
    from pyenergy.sensor.response import Response
    from pyenergy.sensor.spans import Spans

    drawn = kernels.draw(kernels.Drawing(**case.options), seed)
    names = tuple(f"k{j}" for j in range(len(drawn.beta_w)))
    spans = Spans(drawn.starts_ns, drawn.ends_ns, drawn.classes, names)
    architecture, source, *_ = kernels.SENSORS[case.options["sensor"]]
    given = None
    if case.wrong_delay_s:
        delay_s = drawn.delay_s + case.wrong_delay_s
        given = Response(drawn.family, drawn.window_s, delay_s, 1e-4, 1e-3)  # type: ignore[arg-type]
    start = time.process_time()
    found = regress(
        drawn.runs, spans, prior_for(architecture, source), kernels.LIMITS_W, drawn.bounds_ns, given
    )
    cpu_s = time.process_time() - start
    assert found is not None
    oracle_beta, oracle_cov = _oracle(drawn, spans, kernels.LIMITS_W)
    energy = (drawn.beta_w + drawn.idle_w) * drawn.class_s
    big = energy > BIG * energy.sum()
    to_share = (drawn.class_s / energy)[big]
    total = float(drawn.beta_w @ drawn.class_s)
    seconds = np.diag(drawn.class_s)
    spread = float(spreads(*kernels.LIMITS_W)[0])
    shared, shared_cov = kernels.time_weighted(drawn.class_s, total, 0.0, spread, seconds)
    z = (found.beta_w - drawn.beta_w) / np.sqrt(np.diag(found.cov_w2))
    joint = []
    for group in found.merged:
        seconds_of = np.zeros((1, len(names)))
        seconds_of[0, list(group)] = drawn.class_s[list(group)]
        joules, cov = found.groups(seconds_of)
        joint.append(float((joules[0] - (seconds_of @ drawn.beta_w)[0]) / np.sqrt(cov[0, 0])))
    merged = np.zeros(len(names), bool)
    merged[[j for group in found.merged for j in group]] = True
    return {
        "error": list(np.abs(found.beta_w - drawn.beta_w)[big] * to_share),
        "u": list(np.sqrt(np.diag(found.cov_w2))[big] * to_share),
        "z": list(z[big]),
        "ratio": list(np.sqrt(np.diag(found.cov_w2) / np.diag(oracle_cov))[big]),
        "oracle": list(np.abs(oracle_beta - drawn.beta_w)[big] * to_share),
        "oracle_u": list(np.sqrt(np.diag(oracle_cov))[big] * to_share),
        "oracle_z": list(((oracle_beta - drawn.beta_w) / np.sqrt(np.diag(oracle_cov)))[big]),
        "shares": list(np.abs(shared / drawn.class_s - drawn.beta_w)[big] * to_share),
        "shares_z": list(
            ((shared - drawn.beta_w * drawn.class_s) / np.sqrt(np.diag(shared_cov)))[big]
        ),
        "merged": float(merged[big].mean()),
        "joint": joint,
        "cpu_s": cpu_s,
        "lost": abs(found.response.delay_s - drawn.delay_s) > 5e-4 + 3 * found.response.delay_u_s,
    }


def _oracle(drawn: Any, spans: Any, limits_w: tuple[float, float]) -> tuple[Any, Any]:
    """(beta, covariance) of the same model, told when the sensor published and what it averaged."""
    from pyenergy.attribution.kernel_fit import fit_kernels, given_response
    from pyenergy.sensor.response import Response
    from pyenergy.sensor.update_clock import Updates

    n = len(drawn.tick_ns)
    updates = Updates(drawn.tick_ns, drawn.tick_w, np.ones(n), np.zeros(n))
    true = Response(drawn.family, drawn.window_s, drawn.delay_s)
    fit = fit_kernels(updates, spans.activity(), [given_response(true, 0.0)], limits_w)
    return fit.beta, fit.cov


def scored(case: Case, runs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a line."""
    runs = list(runs)

    def pooled(name: str) -> Any:
        return np.concatenate([r[name] for r in runs])

    ratio, joint = pooled("ratio"), pooled("joint")
    return {
        "case": case.name,
        "seeds": len(runs),
        "classes": len(ratio),
        "median_error": float(np.median(pooled("error"))),
        "worst_error": float(pooled("error").max()),
        "median_u": float(np.median(pooled("u"))),
        "oracle_median_error": float(np.median(pooled("oracle"))),
        "oracle_worst_error": float(pooled("oracle").max()),
        "oracle_median_u": float(np.median(pooled("oracle_u"))),
        "oracle_coverage": float(np.mean(np.abs(pooled("oracle_z")) <= 1.96)),
        "median_ratio": float(np.median(ratio)),
        "ratio_95": float(np.quantile(ratio, 0.95)),
        "within_goal_ratio": float(np.mean(ratio <= GOAL_RATIO)),
        "coverage": float(np.mean(np.abs(pooled("z")) <= 1.96)),
        "largest_z": float(np.abs(pooled("z")).max()),
        "merged": float(np.mean([r["merged"] for r in runs])),
        "joint_coverage": float(np.mean(np.abs(joint) <= 1.96)) if len(joint) else None,
        "shares_median_error": float(np.median(pooled("shares"))),
        "shares_coverage": float(np.mean(np.abs(pooled("shares_z")) <= 1.96)),
        "cpu_s": float(np.median([r["cpu_s"] for r in runs])),
        "worst_cpu_s": float(np.max([r["cpu_s"] for r in runs])),
        "responses_lost": int(sum(r["lost"] for r in runs)),
    }


def shown(line: dict[str, Any]) -> list[str]:
    """A line of the table."""
    low, high = GOAL_COVERAGE
    good = low <= line["coverage"] <= high
    joint = line["joint_coverage"]
    return [
        line["case"],
        f"{line['median_error']:.2%} / {line['worst_error']:.1%}",
        f"{line['oracle_median_error']:.2%} / {line['oracle_worst_error']:.1%}",
        f"{line['median_u']:.2%}",
        f"{line['median_ratio']:.2f} / {line['ratio_95']:.2f}",
        f"{line['coverage']:.1%}" + ("" if good else " !"),
        f"{line['oracle_coverage']:.1%}",
        f"{line['merged']:.0%}" + ("" if joint is None else f" ({joint:.0%})"),
        f"{line['shares_median_error']:.0%} ({line['shares_coverage']:.0%})",
        f"{line['cpu_s']:.1f} / {line['worst_cpu_s']:.1f}",
    ]


def main() -> None:
    """Run, print, perhaps save."""
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="runs of each line")
    parser.add_argument("--only", default="", help="lines whose name holds this text")
    parser.add_argument("--save", type=Path, help="write the figures as JSON")
    chosen = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    console = Console()
    table = Table(
        "case", "error: median / worst", "oracle's", "stated u", "u over oracle's: median / 95 %",
        "coverage", "oracle's", "merged (joint coverage)", "time-weighted (coverage)",
        "CPU s: median / worst",
    )  # fmt: skip
    lines = []
    with ProcessPoolExecutor() as pool:
        for case in cases():
            if chosen.only not in case.name:
                continue
            seeds = range(chosen.seeds)
            runs = pool.map(one_run, [case] * len(seeds), seeds)
            followed = track(runs, case.name, len(seeds), console=console, transient=True)
            lines.append(scored(case, followed))
            table.add_row(*shown(lines[-1]))
            if chosen.save:  # after every line: a long run may be cut short
                payload = {"machine": machine(), "results": lines}
                chosen.save.write_text(json.dumps(payload, indent=1) + "\n")
    console.print(table)


if __name__ == "__main__":
    main()
