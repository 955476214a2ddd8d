# SPDX-License-Identifier: Apache-2.0
"""``pyenergy report``, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyenergy
from pyenergy.attribution import read_kineto

S = 1_000_000_000


def pyenergy_command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyenergy", "report", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def bert(shared_data: Path) -> Path:
    return shared_data / "kineto" / "h100_bert_small.json.gz"


@pytest.fixture
def recorded(bert: Path, tmp_path: Path) -> pyenergy.Trace:
    """Steady power around a profile, in Unix time as profilers stamp."""
    events = read_kineto(bert)
    low, high = int(events.start_ns.min()), int(events.end_ns.max())
    t = np.arange(low - 2 * S, high + 2 * S, 20_000_000)
    readings = {"gpu:0/power": (t, np.full(len(t), 250.0))}
    trace = pyenergy.Trace.from_readings(readings, bounds_ns=(low - S, high + S))
    trace.save(tmp_path / "run.pyenergy")
    return trace


def test_every_file_at_once(bert: Path, recorded: pyenergy.Trace, tmp_path: Path) -> None:
    done = pyenergy_command(
        "run.pyenergy", "--attach", bert, "--perfetto", "p.json", "--merge", bert,
        "--speedscope", "s.json", "--folded", "f.txt", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"wrote {name}" for name in ("run.html", "p.json", "s.json", "f.txt")
    ]
    page = (tmp_path / "run.html").read_text()
    assert str(recorded.energy) in page
    assert "By layer" in page
    whole = round(recorded.energy.joules * 1e6)
    lines = (tmp_path / "f.txt").read_text().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == whole
    scope = json.loads((tmp_path / "s.json").read_text())
    assert sum(scope["profiles"][0]["weights"]) == whole
    events = json.loads((tmp_path / "p.json").read_text())["traceEvents"]
    joules = [
        event["args"]["energy_j"]
        for event in events
        if event.get("cat") == "energy" and "operations" not in event["args"]  # layers, again
    ]
    assert sum(joules) == pytest.approx(recorded.energy.joules)
    assert any(event.get("cat") == "kernel" for event in events)


def test_a_recording_by_itself(recorded: pyenergy.Trace, tmp_path: Path) -> None:
    done = pyenergy_command("run.pyenergy", "-o", "other.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "No operations are attached" in (tmp_path / "other.html").read_text()
    done = pyenergy_command("run.pyenergy", "--folded", "f.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert "no operations are attached" in done.stderr
    assert not (tmp_path / "f.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.pyenergy"], "no such recording"),
        (["run.pyenergy", "--merge", "k.json"], "give --perfetto"),
        (["run.pyenergy", "--perfetto", "p.pb"], "ends in .json"),
        (["run.pyenergy", "-o", "run.pyenergy"], "are the same file"),
        (["run.pyenergy", "--perfetto", "x.json", "--speedscope", "./x.json"], "are the same file"),
        (["run.pyenergy", "--perfetto", "p.json", "--merge", "absent.json"], "cannot read"),
    ],
)
def test_what_cannot_be(
    recorded: pyenergy.Trace, tmp_path: Path, arguments: list[str], said: str
) -> None:
    before = (tmp_path / "run.pyenergy").read_bytes()
    done = pyenergy_command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())
    assert (tmp_path / "run.pyenergy").read_bytes() == before
