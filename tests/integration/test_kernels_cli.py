# SPDX-License-Identifier: Apache-2.0
"""``pyenergy kernels``, run as a user runs it, on a real profiler's trace."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import pyenergy
from pyenergy.attribution import read_kineto

S = 1_000_000_000


def pyenergy_command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyenergy", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def recording(path: Path, low: int, high: int, device: str = "gpu:0") -> pyenergy.Trace:
    """Steady power around a profile, in Unix time as profilers stamp."""
    t = np.arange(low - 2 * S, high + 2 * S, 20_000_000)
    watts = np.full(len(t), 250.0)
    trace = pyenergy.Trace.from_readings(
        {f"{device}/power": (t, watts)}, bounds_ns=(low - S, high + S)
    )
    trace.save(path)
    return trace


@pytest.fixture(scope="module")
def bert(shared_data: Path) -> Path:
    return shared_data / "kineto" / "h100_bert_small.json.gz"


@pytest.fixture
def recorded(bert: Path, tmp_path: Path) -> pyenergy.Trace:
    events = read_kineto(bert)
    return recording(
        tmp_path / "run.pyenergy", int(events.start_ns.min()), int(events.end_ns.max())
    )


def test_kernels_of_a_profile_with_joules(
    bert: Path, recorded: pyenergy.Trace, tmp_path: Path
) -> None:
    done = pyenergy_command(
        "kernels", bert, "-r", "run.pyenergy", "--top", 3, "--csv", "k.csv", "-o", "with.pyenergy",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "more" in done.stdout
    assert "(nothing ran)" in done.stdout
    assert "shares by time: the powers of operations are not told apart" in done.stdout
    assert "wrote k.csv" in done.stdout
    table = pl.read_csv(tmp_path / "k.csv")
    whole = table["energy_j"].sum() + table["static_j"].sum()
    assert whole == pytest.approx(recorded.energy.joules, rel=1e-9)
    again = pyenergy.load(tmp_path / "with.pyenergy")
    assert again.kernels()["name"].to_list() == table["name"].to_list()


def cut(bert: Path, path: Path) -> None:
    text = gzip.decompress(bert.read_bytes())
    path.write_bytes(text[: len(text) // 2])


def shifted(bert: Path, path: Path) -> None:
    content: dict[str, Any] = json.loads(gzip.decompress(bert.read_bytes()))
    content["baseTimeNanoseconds"] = content.get("baseTimeNanoseconds", 0) + 10**15
    path.write_text(json.dumps(content))


def empty(bert: Path, path: Path) -> None:
    path.write_text('{"traceEvents": []}')


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (cut, "the text ends inside an event"),
        (shifted, "of another run"),
        (empty, "no operation"),
        (None, "no-such.json"),
    ],
    ids=["truncated", "another run", "empty", "absent"],
)
def test_what_cannot_be_joined_is_one_line(
    make: Any, says: str, bert: Path, recorded: pyenergy.Trace, tmp_path: Path
) -> None:
    path = tmp_path / "no-such.json"
    if make is not None:
        path = tmp_path / "bad.json"
        make(bert, path)
    done = pyenergy_command("kernels", path, "-r", "run.pyenergy", cwd=tmp_path)
    assert says in " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--by", "colour"], "by is one or more of"),
        (["--static", "half"], "static must be one of"),
        (["--device", "gpu:7"], "no operation ran on"),
        (["--top", "0"], "--top"),
    ],
)
def test_options_that_cannot_be(
    options: list[str], says: str, bert: Path, recorded: pyenergy.Trace, tmp_path: Path
) -> None:
    done = pyenergy_command("kernels", bert, "-r", "run.pyenergy", *options, cwd=tmp_path)
    assert done.returncode == (2 if says == "--top" else 1)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recording_without_power_is_one_line(bert: Path, tmp_path: Path) -> None:
    events = read_kineto(bert)
    recording(
        tmp_path / "cpu.pyenergy", int(events.start_ns.min()), int(events.end_ns.max()), "cpu:0"
    )
    done = pyenergy_command("kernels", bert, "-r", "cpu.pyenergy", cwd=tmp_path)
    assert done.returncode == 1
    assert "which this trace did not read" in done.stderr


def test_every_key_is_in_the_help_and_its_labels_are_shown(
    bert: Path, recorded: pyenergy.Trace, tmp_path: Path
) -> None:
    said = " ".join(pyenergy_command("kernels", "--help", cwd=tmp_path).stdout.split())
    for key in ("name", "layer", "layer_type", "operator", "stream", "device"):
        assert f"{key}," in said or f"{key};" in said
    done = pyenergy_command(
        "kernels", bert, "-r", "run.pyenergy", "--by", "operator, device", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    header = next(line.split() for line in done.stdout.splitlines() if "count" in line)
    assert header[:2] == ["operator", "device"]
    assert "aten::addmm" in done.stdout
    assert "gpu:0" in done.stdout


def test_what_stands_before_the_damage_can_be_had(
    bert: Path, recorded: pyenergy.Trace, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.json"
    entries = json.loads(gzip.decompress(bert.read_bytes()))
    base = entries.pop("baseTimeNanoseconds", 0)
    broken.write_text(json.dumps({"baseTimeNanoseconds": base, **entries})[:-2000])
    refused = pyenergy_command("kernels", broken, "-r", "run.pyenergy", cwd=tmp_path)
    assert refused.returncode == 1
    assert "--salvage" in refused.stderr
    done = pyenergy_command("kernels", broken, "-r", "run.pyenergy", "--salvage", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the file is not whole" in done.stdout
    assert "bytes were not read" in " ".join(done.stdout.split())
    database = tmp_path / "a.sqlite"
    database.write_bytes(b"SQLite format 3\0")
    other = pyenergy_command("kernels", database, "-r", "run.pyenergy", "--salvage", cwd=tmp_path)
    assert other.returncode == 1
    assert "--salvage is for Kineto traces" in other.stderr


def test_the_profile_in_the_place_of_the_recording_is_told(bert: Path, tmp_path: Path) -> None:
    done = pyenergy_command("kernels", bert, "-r", bert, cwd=tmp_path)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "is it a profiler's trace?" in said
    assert "pickle" not in said
