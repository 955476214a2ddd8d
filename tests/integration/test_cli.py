# SPDX-License-Identifier: Apache-2.0
"""The ``pyenergy`` command, run as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pyenergy

SIM = ["--devices", "sim:a100"]


def pyenergy_command(
    *arguments: str, cwd: Path, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyenergy", *arguments]
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.parametrize("code", [0, 3])
def test_run_passes_the_exit_code_and_output_through(tmp_path: Path, code: int) -> None:
    script = f"import sys, time; print('hello'); time.sleep(0.1); sys.exit({code})"
    done = pyenergy_command(
        "run", *SIM, "--out", "r.pyenergy", "--", sys.executable, "-c", script, cwd=tmp_path
    )
    assert done.returncode == code
    assert done.stdout == "hello\n"
    assert "Simulated A100" in done.stderr
    assert "±" in done.stderr
    trace = pyenergy.load(tmp_path / "r.pyenergy")
    assert trace.duration_s >= 0.1
    assert trace.energy.u > 0


def test_run_without_dashes_takes_the_programs_own_options(tmp_path: Path) -> None:
    done = pyenergy_command("run", *SIM, "ls", "-a", "--almost-all", cwd=tmp_path)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("program", "code", "message"),
    [("no-such-program-here", 127, "no such program"), ("/", 126, "cannot run")],
)
def test_run_reports_a_program_that_cannot_run(
    tmp_path: Path, program: str, code: int, message: str
) -> None:
    done = pyenergy_command("run", *SIM, "--", program, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr


def test_run_reports_death_by_signal_as_a_shell_does(tmp_path: Path) -> None:
    done = pyenergy_command("run", *SIM, "--", "sh", "-c", "kill -9 $$", cwd=tmp_path)
    assert done.returncode == 128 + signal.SIGKILL


def test_run_without_a_program_says_how(tmp_path: Path) -> None:
    done = pyenergy_command("run", *SIM, cwd=tmp_path)
    assert done.returncode == 2
    assert "pyenergy run -- CMD" in done.stderr


def test_ctrl_c_ends_the_program_and_still_writes_the_summary(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pyenergy", "run", *SIM, "--out", "r.pyenergy", "--"]
    process = subprocess.Popen(
        [*command, "sh", "-c", "echo started; sleep 60"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT
    assert "Simulated A100" in errors
    assert pyenergy.load(tmp_path / "r.pyenergy").duration_s > 0.05


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_other_signals_are_passed_on_and_the_recording_is_written(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "pyenergy", "run", *SIM, "--out", "r.pyenergy", "--"]
    process = subprocess.Popen(
        [*command, "sh", "-c", "echo started; exec sleep 60"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    for _ in range(3):  # impatient: more than once
        os.kill(process.pid, number)
        time.sleep(0.02)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert pyenergy.load(tmp_path / "r.pyenergy").duration_s > 0


@pytest.mark.parametrize("name", ["[/foo].pyenergy", "[bold]"])
def test_brackets_in_names_are_not_markup(tmp_path: Path, name: str) -> None:
    done = pyenergy_command("show", name, cwd=tmp_path)
    assert done.returncode == 1
    assert name in done.stderr
    written = pyenergy_command("run", *SIM, "--out", "[x].pyenergy", "--", "true", cwd=tmp_path)
    assert written.returncode == 0
    assert "wrote [x].pyenergy" in written.stderr


def test_show_prints_and_plots_a_recording(tmp_path: Path) -> None:
    with pyenergy.trace(devices="sim:a100") as trace, pyenergy.mark("work"):
        time.sleep(0.05)
    trace.save(tmp_path / "r.pyenergy")
    done = pyenergy_command("show", "r.pyenergy", "--plot", "p.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "work" in done.stdout
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and then nothing"])
def test_show_refuses_what_is_no_recording(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    done = pyenergy_command("show", "x", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error:")
    assert "Traceback" not in done.stderr


def test_devices_and_doctor_say_what_there_is(tmp_path: Path) -> None:
    listed = pyenergy_command("devices", cwd=tmp_path)
    assert listed.returncode == 0
    assert "cpu:0" in listed.stdout
    examined = pyenergy_command("doctor", *SIM, "--seconds", "1.5", cwd=tmp_path)
    assert examined.returncode == 0
    # The simulated A100's update period is 101.2 ms; how near depends on the machine's load.
    assert re.search(r"101\.[0-4]\d* ± ", examined.stdout), examined.stdout
    assert "fast call: p50" in examined.stdout


def test_unknown_device_is_an_error_that_lists_what_exists(tmp_path: Path) -> None:
    done = pyenergy_command("run", "--devices", "gpu:99", "--", "true", cwd=tmp_path)
    assert done.returncode == 1
    assert "no device 'gpu:99'" in done.stderr
    assert "cpu:0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.models
def test_demo_generates_and_writes_recording_and_picture(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    done = pyenergy_command("demo", *SIM, "--tokens", "20", "--out", "o", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "J/output token" in done.stdout
    trace = pyenergy.load(tmp_path / "o" / "demo.pyenergy")
    assert trace.recorded.extra["generation"]["requests"] == "1"
    assert [m.name for m in trace.marks] == ["prefill", "decode"]
    assert (tmp_path / "o" / "power.png").stat().st_size > 1000
