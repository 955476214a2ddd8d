# SPDX-License-Identifier: Apache-2.0
"""What every bench shares: interleaved timing, one line a result, the machine's description."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Result:
    """One comparison. ``ratio`` is ours over theirs unless ``name`` says otherwise."""

    name: str
    ours: str
    theirs: str
    ratio: float
    goal: str
    met: bool


def interleaved(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> tuple[float, float]:
    """Median seconds of each, measured in turn: drift of the machine meets both."""
    a, b = [], []
    for _ in range(rounds):
        for function, times in ((ours, a), (theirs, b)):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return statistics.median(a), statistics.median(b)


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def built(program: str) -> Path:
    """A C++ bench, configured and built when it is not there."""
    path = ROOT / "build" / "bench" / "bench" / "cpp" / program
    if not path.exists():
        python = f"-DPython_EXECUTABLE={os.sys.executable}"  # type: ignore[attr-defined]
        subprocess.run(["cmake", "--preset", "bench", python], cwd=ROOT, check=True)
        subprocess.run(["cmake", "--build", "--preset", "bench"], cwd=ROOT, check=True)
    return path


def run_json(program: str, *arguments: object) -> dict[str, Any]:
    """Output of a C++ bench that prints one JSON object."""
    command = [str(built(program)), *map(str, arguments)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def save(results: list[Result], path: Path) -> None:
    """Results with the machine, as JSON."""
    payload = {"machine": machine(), "results": [asdict(r) for r in results]}
    path.write_text(json.dumps(payload, indent=1) + "\n")
