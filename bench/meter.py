# SPDX-License-Identifier: Apache-2.0
"""``python -m bench.meter``: a real RTX 3090 beside a power meter, windows of every length.

Gain and offset come from the plateaus of another recording of the card, the response from the
kernels' times; 400 random windows a length of a square wave are compared with the meter's integral.
``PYENERGY_METER_DATA`` names the folder of the recordings.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from .harness import ROOT, machine

sys.path.insert(0, str(ROOT / "tests"))  # metered.py reads the recordings

LENGTHS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, None)  # None: the kernels, 50 ms each
FIELDS = {"instant": "smi_power_draw_instant", "average": "smi_power_draw_average"}
GOAL, GOAL_KERNELS = (0.004, 0.012), (0.025, 0.035)  # |error|: median, 95 %


def scored(kind: str) -> list[dict[str, Any]]:
    """A line for each length of windows."""
    from metered import Scored

    each, lines = Scored(FIELDS[kind], kind), []
    for length_s in LENGTHS_S:
        errors, coverage, width = each.errors(length_s)
        size = np.abs(errors)
        lines.append(
            {
                "field": kind,
                "length_s": length_s,
                "p50": float(np.median(size)),
                "p95": float(np.quantile(size, 0.95)),
                "mean": float(errors.mean()),
                "coverage": coverage,
                "half_width_95": width,
            }
        )
    return lines


def shown(line: dict[str, Any]) -> list[str]:
    """A line of the table."""
    length_s, goal = line["length_s"], GOAL if line["length_s"] else GOAL_KERNELS
    low, high = goal
    met = line["p50"] <= low and line["p95"] <= high
    return [
        line["field"],
        "kernels, 50 ms" if length_s is None else f"{length_s:g} s",
        f"{line['p50']:.2%} / {line['p95']:.2%}",
        "-" if line["field"] != "instant" else f"{low:.1%} / {high:.1%}" + (" !" * (not met)),
        f"{line['mean']:+.2%}",
        f"{line['coverage']:.1%}",
        f"{line['half_width_95']:.2%}",
    ]


def main() -> None:
    """Run, print, perhaps save."""
    parser = argparse.ArgumentParser(prog="python -m bench.meter", description=__doc__)
    parser.add_argument("--save", type=Path, help="write the figures as JSON")
    chosen = parser.parse_args()
    from metered import METER

    console = Console()
    if not (METER / "rtx3090_square_wave.npz").exists():
        parser.error(f"no recordings in {METER}: PYENERGY_METER_DATA names the folder")
    table = Table(
        "reading", "windows", "|error|: median / 95 %", "goal", "mean error", "coverage of 95 %",
        "half-width of 95 %: median",
    )  # fmt: skip
    lines = [line for kind in FIELDS for line in scored(kind)]
    for line in lines:
        table.add_row(*shown(line))
    console.print(table)
    console.print("!: the goal is not met")
    if chosen.save:
        payload = {"machine": machine(), "results": lines}
        chosen.save.write_text(json.dumps(payload, indent=1) + "\n")


if __name__ == "__main__":
    main()
