# SPDX-License-Identifier: Apache-2.0
"""The size of the attribution bench: a small one runs, and has no goals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `bench` is not installed
from bench import attribution
from bench.harness import ROOT


def test_a_small_one_has_no_goal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(attribution, "DATA", tmp_path)  # no trace to load
    (found,) = attribution.run(20_000)
    assert found.name.startswith("2e+04 operations, 2e+03 samples:")
    assert found.goal == "none"
    assert found.ratio > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["attribution", "--attribution-events", "999"], "at least 1000, got 999"),
        (["attribution", "--attribution-events", "many"], "a number is needed, got 'many'"),
        (["ring", "--attribution-events", "1000"], "does nothing here: attribution is not run"),
    ],
)
def test_sizes_that_cannot_be(arguments: list[str], says: str) -> None:
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert says in done.stderr
