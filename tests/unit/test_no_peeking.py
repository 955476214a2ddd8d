# SPDX-License-Identifier: Apache-2.0
"""The estimator knows readings, spans and the catalogue; it cannot look into the simulator."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pyenergy.sensor

PACKAGE = Path(pyenergy.sensor.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN = {"testing", "_simulated", "SimCard", "SimWorld", "sim_presets"}


def names(source: str) -> set[str]:
    """Every name that a module imports or touches, dotted ones in parts."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            found |= set((node.module or "").split("."))
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)  # getattr and import_module take strings
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_names_the_simulator(module: Path) -> None:
    found = names(module.read_text())
    assert not found & FORBIDDEN
    assert not {n for n in found if n.startswith(("pyenergy.testing", "pyenergy._simulated"))}


def test_the_walk_finds_what_it_looks_for() -> None:
    assert len(MODULES) > 10
    for source in (
        "from pyenergy.testing import simulated",
        "from ..testing import simulated",
        "from .. import testing",
        "import pyenergy._simulated",
        "from .. import _core\n_core.SimWorld.current()",
        "getattr(_core, 'SimCard')",
    ):
        assert names(source) & FORBIDDEN


BLIND = """
import sys
from importlib.abc import MetaPathFinder

class Blind(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("pyenergy.testing", "pyenergy._simulated"):
            raise ImportError(f"{name} is out of reach")
        return None

sys.meta_path.insert(0, Blind())
from pyenergy import _core
for name in ("SimCard", "SimWorld", "sim_presets"):
    delattr(_core, name)

import numpy as np
import pyenergy

# An A100: 25 ms of every 101.2 ms, 10 ms late, read every millisecond.
rng = np.random.default_rng(0)
ms = 1_000_000
starts = 1_000 * ms + np.cumsum(rng.integers(150, 250, 80)) * ms
ends = starts + 50 * ms
published = np.arange(0, int(ends[-1]) + 1_000 * ms, 101_200_000)
seen = np.clip(np.minimum.outer(published - 10 * ms, ends)
               - np.maximum.outer(published - 35 * ms, starts), 0, None).sum(axis=1) / (25 * ms)
watts = 55 + 345 * seen + rng.normal(0, 0.5, len(published))
polls = np.arange(0, published[-1], ms)
held = watts[np.searchsorted(published, polls, side="right") - 1]
trace = pyenergy.Trace.from_readings(
    {"gpu:0/power": (polls, held)},
    [("work", int(a), int(b)) for a, b in zip(starts, ends)],
    devices={"gpu:0": {"architecture": "ga100"}},
)
energy = trace.window(int(starts[40]), int(ends[40]))
assert "activity" in energy.method, energy.method
assert not {"pyenergy.testing", "pyenergy._simulated"} & set(sys.modules)
print(energy.joules)
"""


def test_an_estimate_runs_where_the_simulator_cannot_be_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLIND], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(20.0, rel=0.02)
