# SPDX-License-Identifier: Apache-2.0
"""Traces with a path: what is left of them, whatever ends their process."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from recorders import assert_true, killed, recorder

import pyenergy
from pyenergy.errors import RecordingError, RecordingWarning
from pyenergy.recording.live_read import LiveReader
from pyenergy.recording.recover import recover
from pyenergy.testing import SimulatedWorld


def test_a_killed_recording_is_recovered_up_to_its_last_milliseconds(
    card: SimulatedWorld, tmp_path: Path
) -> None:
    """Without the tail, half of these kills would lose more than 25 ms. The first comes at once."""
    lost = []
    for attempt in range(5):
        path = tmp_path / f"run{attempt}.pyenergy"
        reads = card[0].calls("fields")
        killed(path, 0.1 * attempt * random.Random(attempt).random())
        folder = path.with_name(path.name + ".live")
        with pytest.raises(RecordingError, match=r"was not finished.*pyenergy recover"):
            pyenergy.load(path)
        as_it_is = pyenergy.load(folder)
        (tail,) = LiveReader(folder).tails()
        assert tail.exists()
        target, _ = recover(path)
        assert target == path
        assert not folder.exists()
        assert not tail.exists()  # no memory stays behind
        trace = pyenergy.load(path)
        assert trace.energy == as_it_is.energy
        assert_true(trace, card)
        kept = int(trace.recorded.devices["gpu:0"].runs["power"].count.sum())
        lost.append(card[0].calls("fields") - reads - kept)
        marks = [mark.name for mark in trace.marks]
        assert marks[0] == "first"
        assert set(marks[1:]) <= {"step"}
        assert trace.recorded.extra == {"run": 7}
        assert any("ended without finishing" in note for note in trace.notes)
        assert len(trace.recorded.anchors) >= 1
        assert trace.spans()["energy_j"].min() > 0
    assert max(lost) <= 1, lost  # the read that the kill interrupted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGABRT])
def test_a_signal_that_python_does_not_handle_loses_nothing(
    card: SimulatedWorld, tmp_path: Path, number: int
) -> None:
    killed(tmp_path / "run", 0.1, number)
    trace = pyenergy.load(recover(tmp_path / "run")[0])
    assert_true(trace, card)


def test_an_interrupt_writes_the_file(card: SimulatedWorld, tmp_path: Path) -> None:
    path = tmp_path / "run"
    killed(path, 0.1, signal.SIGINT)
    assert os.listdir(tmp_path) == ["run"]
    trace = pyenergy.load(path)
    assert_true(trace, card)
    assert "ended by KeyboardInterrupt" in trace.notes
    assert {"first", "step"} <= {mark.name for mark in trace.marks}


def test_an_exception_writes_the_file_and_goes_on(card: SimulatedWorld, tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        pyenergy.trace(devices="sim", path=tmp_path / "run") as t,
    ):
        1 / 0  # noqa: B018
    assert t.path == tmp_path / "run"
    assert "ended by ZeroDivisionError" in pyenergy.load(tmp_path / "run").notes


@pytest.mark.parametrize("how", ["sys.exit(3)", "raise ValueError", "pass"])
def test_a_monitor_that_nobody_stops_is_written_at_exit(
    card: SimulatedWorld, tmp_path: Path, how: str
) -> None:
    code = (
        "import sys, time, pyenergy\n"
        "m = pyenergy.Monitor(devices='sim', path=sys.argv[1]).start()\n"
        f"time.sleep(0.1)\n{how}"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False,
                   capture_output=True, timeout=30)  # fmt: skip
    assert os.listdir(tmp_path) == ["run"]
    assert_true(pyenergy.load(tmp_path / "run"), card)


def test_the_file_is_there_when_the_trace_is_over(card: SimulatedWorld, tmp_path: Path) -> None:
    path = tmp_path / "run.pyenergy"
    with pyenergy.trace(devices="sim", path=path) as t:
        assert t.path is None
        assert [p.name for p in tmp_path.iterdir()] == ["run.pyenergy.live"]
        (tail,) = LiveReader(tmp_path / "run.pyenergy.live").tails()
        assert tail.exists()
        t.annotate(tokens=5)
        time.sleep(0.05)
    assert t.path == path
    assert [p.name for p in tmp_path.iterdir()] == ["run.pyenergy"]
    assert not tail.exists()
    again = pyenergy.load(path)
    assert again.energy == t.energy
    assert again.recorded.extra == {"tokens": 5}
    assert again.recorded.anchors == t.recorded.anchors


def test_numpy_alone_reads_a_recording_that_still_grows(
    card: SimulatedWorld, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    with pyenergy.trace(devices="sim", path=path):
        time.sleep(0.2)
        folder = tmp_path / "run.live"
        rows = np.load(folder / "gpu:0" / "energy.npy", mmap_mode="r", allow_pickle=False)
        assert rows.dtype.names[:5] == (
            "t_first_ns", "read_first_ns", "t_last_ns", "read_last_ns", "value",
        )  # fmt: skip
        assert len(rows) > 10
        assert (np.diff(rows["t_first_ns"]) > 0).all()
        assert json.loads((folder / "meta.json").read_text())["pid"] == os.getpid()
        loaded = pyenergy.load(folder)
        assert any(f"still being recorded by process {os.getpid()}" in n for n in loaded.notes)
        time.sleep(0.12)
        longer = pyenergy.load(folder)
        assert longer.bounds_ns[1] > loaded.bounds_ns[1]
        assert_true(longer, card)
        with pytest.raises(RecordingError, match="is not finished: process"):
            pyenergy.load(path)


def test_where_the_folder_is_in_memory_the_tail_is_in_it(card: SimulatedWorld) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        path = Path(memory) / "run"
        killed(path, 0.1)
        folder = path.with_name("run.live")
        assert LiveReader(folder).tails() == [folder / "gpu:0" / "tail.npy"]
        assert_true(pyenergy.load(folder.rename(path.with_name("moved"))), card)


def test_several_recordings_follow_one_sampler(card: SimulatedWorld, tmp_path: Path) -> None:
    pyenergy.start("sim")
    time.sleep(0.1)
    with pyenergy.trace(devices="sim", path=tmp_path / "outer") as outer:
        time.sleep(0.06)
        with pyenergy.trace(devices="sim", path=tmp_path / "inner") as inner:
            time.sleep(0.06)
            begun = pyenergy.load(tmp_path / "inner.live")
        time.sleep(0.06)
    pyenergy.stop()
    for trace, name in ((outer, "outer"), (inner, "inner")):
        assert pyenergy.load(tmp_path / name).energy == trace.energy
        assert_true(pyenergy.load(tmp_path / name), card)
    # The sampler ran before: the edges have readings on both sides.
    early = begun.recorded.devices["gpu:0"].runs["power"].t_first_ns[0]
    assert early < outer.bounds_ns[0] < inner.bounds_ns[0]


def test_two_writers_of_one_path(card: SimulatedWorld, tmp_path: Path) -> None:
    path = tmp_path / "run"
    with (
        pyenergy.trace(devices="sim", path=path),
        pytest.raises(RecordingError, match=rf"being recorded by process {os.getpid()}: give"),
        pyenergy.trace(devices="sim", path=path),
    ):
        raise AssertionError
    assert os.listdir(tmp_path) == ["run"]
    with (
        recorder(path) as other,
        pytest.raises(RecordingError, match=f"being recorded by process {other.pid}: give"),
        pyenergy.trace(devices="sim", path=path),
    ):
        raise AssertionError
    other.wait(10)


def test_what_a_dead_process_left_is_kept(card: SimulatedWorld, tmp_path: Path) -> None:
    path = tmp_path / "run.pyenergy"
    killed(path, 0.1)
    with (
        pytest.warns(RecordingWarning, match=r"died while it recorded.*live-1"),
        pyenergy.trace(devices="sim", path=path) as t,
    ):
        time.sleep(0.02)
    assert sorted(os.listdir(tmp_path)) == ["run.pyenergy", "run.pyenergy.live-1"]
    assert any("died while it recorded" in note for note in t.notes)
    assert recover(tmp_path / "run.pyenergy.live-1")[0] == tmp_path / "run-1.pyenergy"
    assert_true(pyenergy.load(tmp_path / "run-1.pyenergy"), card)


def test_an_older_file_does_not_hide_a_recording_that_died(
    card: SimulatedWorld, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    with pyenergy.trace(devices="sim", path=path):
        pass
    killed(path, 0.1)
    with pytest.warns(RecordingWarning, match="has died"):
        pyenergy.load(path)
    with pytest.raises(RecordingError, match="exists: give another file"):
        recover(path)
    recover(path, tmp_path / "other")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pyenergy.load(path)


def test_a_program_that_goes_elsewhere_finds_its_file_where_it_asked(
    card: SimulatedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pyenergy.trace(devices="sim", path="run") as t:
        os.chdir("there")
    assert t.path == tmp_path / "run"
    assert (tmp_path / "run").is_file()


def test_two_devices_and_a_later_calibrated_load(tmp_path: Path) -> None:
    from pyenergy.testing import simulated

    with simulated("a100", "h100"):
        with recorder(tmp_path / "run") as process:
            time.sleep(0.5)
            process.kill()
            process.wait(10)
        recorded = pyenergy.load(tmp_path / "run.live").recorded
    assert list(recorded.devices) == ["gpu:0", "gpu:1"]
    for device in recorded.devices.values():
        assert device.meta.architecture in ("ga100", "hopper")
        assert device.channels["power"].update_ns > 0
        assert all(len(runs) for runs in device.runs.values())
