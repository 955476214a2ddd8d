# SPDX-License-Identifier: Apache-2.0
"""Traces with a path that cannot be written, from the start or after a while."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from recorders import assert_true, recorder

import pyenergy
from pyenergy.errors import OptionError, RecordingError, RecordingWarning
from pyenergy.recording.live_read import LiveReader
from pyenergy.recording.recover import recover
from pyenergy.testing import SimulatedWorld


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("absent/run", RecordingError, "No such file or directory"),
        ("folder", RecordingError, "not a file"),
        ("file/run", RecordingError, "Not a directory"),
        ("x" * 300, RecordingError, "(?i)name too long"),
        ("a\0b", RecordingError, "not a file's name"),
        (b"run", OptionError, "must be a file's name"),
        (7, OptionError, "must be a file's name"),
    ],
)
def test_a_path_that_cannot_be_is_an_error_before_anything_runs(
    card: SimulatedWorld, tmp_path: Path, name: object, error: type[Exception], said: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / name if isinstance(name, str) else name
    with (
        pytest.raises(error, match=said),
        pyenergy.trace(devices="sim", path=path),  # type: ignore[arg-type]
    ):
        raise AssertionError
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_folder_that_vanishes_is_told_and_costs_nothing(
    card: SimulatedWorld, tmp_path: Path
) -> None:
    import shutil

    (tmp_path / "in").mkdir()
    monitor = pyenergy.Monitor(devices="sim", path=tmp_path / "in" / "run").start()
    t = monitor.trace
    time.sleep(0.03)
    (tail,) = LiveReader(tmp_path / "in" / "run.live").tails()
    shutil.rmtree(tmp_path / "in")
    with pyenergy.mark("after"):
        time.sleep(0.12)
    assert any("it was removed" in note for note in t.notes)
    with pytest.warns(RecordingWarning, match=r"cannot write.*still in memory"):
        monitor.stop()
    assert not tail.exists()
    assert t.path is None
    assert any("still in memory" in note for note in t.notes)
    assert_true(t, card)
    assert [mark.name for mark in t.marks] == ["after"]
    assert_true(pyenergy.load(t.save(tmp_path / "elsewhere")), card)


FULL = """
import resource, signal, sys, time
import pyenergy
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with pyenergy.trace(devices="sim", path=sys.argv[1]) as t:
    print("open", flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    time.sleep(0.6)  # 64 bytes a read: full after 0.3 s
    said = [note for note in t.notes if "File too large" in note]
    assert said, t.notes
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    time.sleep(0.15)
    assert not [note for note in t.notes if "File too large" in note], t.notes
    print("again", flush=True)
    time.sleep(60)
"""


def test_a_full_disk_is_told_and_made_up_for(card: SimulatedWorld, tmp_path: Path) -> None:
    """The largest file that the process may write stands for the disk."""
    with recorder(tmp_path / "run", FULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "again\n", process.communicate()[1]
    trace = pyenergy.load(tmp_path / "run.live")
    assert_true(trace, card)
    assert trace.duration_s > 0.7
    times = trace.recorded.devices["gpu:0"].runs["energy"].t_first_ns
    assert np.diff(times).max() < 100e6  # no hole


FORKED = """
import os, sys, time
import pyenergy
with pyenergy.trace(devices="sim", path=sys.argv[1]) as t:
    child = os.fork()
    if child == 0:
        t.annotate(child=True)  # the parent's recording has nothing of it
        time.sleep(60)
    print("open", flush=True)
    time.sleep(60)
"""


def test_a_forked_child_does_not_keep_a_dead_recording_alive(
    card: SimulatedWorld, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    with recorder(path, FORKED) as process:
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        time.sleep(0.1)
        process.kill()
        process.wait(10)
        try:
            trace = pyenergy.load(recover(path)[0])
            assert_true(trace, card)
            assert trace.recorded.extra == {}
        finally:
            os.kill(child, signal.SIGKILL)


def test_without_a_file_system_in_memory_the_note_says_what_a_kill_costs(
    card: SimulatedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyenergy.recording.live as live

    monkeypatch.setattr(live, "SHARED_MEMORY", tmp_path)  # a disk
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pyenergy.trace(devices="sim", path=tmp_path / "run") as t:
        time.sleep(0.1)
        assert_true(pyenergy.load(tmp_path / "run.live"), card)
    assert any("the last 50 ms are lost" in note for note in t.notes)
