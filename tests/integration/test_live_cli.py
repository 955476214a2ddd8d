# SPDX-License-Identifier: Apache-2.0
"""``pyenergy attach``, ``recover``, ``export``, and ``run`` that is killed: as a user runs them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import pyenergy
from pyenergy.testing import SimulatedWorld

RECORDER = """
import sys, time
import pyenergy
with pyenergy.trace(devices="sim", path=sys.argv[1]) as t:
    with pyenergy.mark("warm"):
        pass
    print("open", flush=True)
    sys.stdin.read()
"""


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyenergy", *map(str, arguments)],
        cwd=cwd, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.fixture
def recorder(world: SimulatedWorld, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that records run.pyenergy until its input ends."""
    world[0].set_power(250.0, at_ns=0)
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, "run.pyenergy"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    time.sleep(0.3)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("by", ["pid", "file", "folder"])
def test_attach_shows_power_and_energy_so_far(
    recorder: subprocess.Popen[str], tmp_path: Path, by: str
) -> None:
    what = {"pid": recorder.pid, "file": "run.pyenergy", "folder": "run.pyenergy.live"}[by]
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("meta.json")}
    done = command("attach", what, "--looks", 2, "--every", 0.1, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Simulated" in done.stdout
    assert "250 W" in done.stdout
    assert re.search(r"\d+ ± [\d.]+ J", done.stdout), done.stdout
    assert f"process {recorder.pid}" in done.stdout
    assert "'warm'" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("meta.json")} == before
    assert recorder.poll() is None


def test_attach_ends_with_the_recording(recorder: subprocess.Popen[str], tmp_path: Path) -> None:
    watcher = subprocess.Popen(
        [sys.executable, "-m", "pyenergy", "attach", "run.pyenergy", "--every", "0.1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert watcher.stdout is not None
    while "Simulated" not in watcher.stdout.readline():
        assert watcher.poll() is None
    recorder.communicate("")
    said, _ = watcher.communicate(timeout=30)
    assert watcher.returncode == 0, said
    assert "the recording has ended: 'pyenergy show run.pyenergy'" in said
    assert pyenergy.load(tmp_path / "run.pyenergy").energy.joules > 0


def test_a_killed_recording_is_recovered_shown_and_exported(
    recorder: subprocess.Popen[str], tmp_path: Path
) -> None:
    refused = command("recover", "run.pyenergy", cwd=tmp_path)
    assert refused.returncode == 1
    assert f"still being recorded by process {recorder.pid}" in refused.stderr
    recorder.kill()
    recorder.wait(10)
    for verb in ("show", "report"):
        done = command(verb, "run.pyenergy", cwd=tmp_path)
        assert done.returncode == 1
        assert "'pyenergy recover run.pyenergy'" in done.stderr.replace("\n", " ")
    done = command("attach", "run.pyenergy", cwd=tmp_path)
    assert done.returncode == 1
    assert "not being recorded any more" in done.stderr
    done = command("recover", "run.pyenergy", "--keep", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote run.pyenergy" in done.stdout
    assert "recovered: process" in done.stdout
    assert (tmp_path / "run.pyenergy.live").is_dir()
    done = command("recover", "run.pyenergy.live", cwd=tmp_path)
    assert done.returncode == 1
    assert "exists" in done.stderr
    done = command("recover", "run.pyenergy.live", "--replace", cwd=tmp_path)
    assert done.returncode == 0
    assert os.listdir(tmp_path) == ["run.pyenergy"]
    done = command("recover", "run.pyenergy", cwd=tmp_path)
    assert done.returncode == 1
    assert "complete recording" in done.stderr
    done = command(
        "export", "run.pyenergy", "--parquet", "r.parquet", "--csv", "r.csv", cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, "wrote r.parquet\nwrote r.csv\n")
    table = pl.read_parquet(tmp_path / "r.parquet")
    assert set(table.filter(pl.col("channel") == "power")["value"]) == {250.0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attach", "absent"], "no unfinished recording"),
        (["attach", "999999999"], "no process 999999999 runs"),
        (["attach", "PID"], "process PID records to no file"),  # this one
        (["attach", "x", "--every", "0"], "--every must be"),
        (["attach", "x", "--looks", "0"], "--looks must be"),
        (["recover", "absent"], "no unfinished recording"),
        (["export", "absent"], "say what to write"),
        (["export", "absent", "--csv", "absent"], "different files"),
        (["export", "absent", "--csv", "x"], "no such recording"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    nobody = str(os.getppid())  # of tests before, a sampler may linger in this process
    arguments = [argument.replace("PID", nobody) for argument in arguments]
    said = said.replace("PID", nobody)
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_run_that_is_killed_leaves_a_recording(world: SimulatedWorld, tmp_path: Path) -> None:
    world[0].set_power(250.0, at_ns=0)
    process = subprocess.Popen(
        [sys.executable, "-m", "pyenergy", "run", "--devices", "sim", "-o", "r", "--",
         sys.executable, "-c", "print('on', flush=True); import time; time.sleep(2)"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    done = command("recover", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert pyenergy.load(tmp_path / "r").duration_s >= 0.15
    process.communicate()


def test_a_recording_that_died_at_once_is_recovered_all_the_same(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    code = (
        "import os, pyenergy\n"
        "trace = pyenergy.trace(devices='sim', path='r', rate_hz=1)\n"
        "trace.__enter__()\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    done = command("recover", "r", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no energy: the trace has no duration" in done.stdout
    assert len(pyenergy.load(tmp_path / "r").recorded.devices["gpu:0"].runs["power"]) == 1


def test_run_to_a_file_that_cannot_be_runs_nothing(tmp_path: Path) -> None:
    done = command("run", "--devices", "sim:ideal", "-o", "absent/r", "--", "touch", "ran",
                   cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    assert "cannot record to" in done.stderr
    assert not (tmp_path / "ran").exists()
