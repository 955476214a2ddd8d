# SPDX-License-Identifier: Apache-2.0
"""Ways in which processes begin and end around a trace: start methods, signals, `os._exit`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pyenergy


def run(
    code: str, *arguments: object, script: Path | None = None
) -> subprocess.CompletedProcess[str]:
    if script is not None:  # what is spawned imports it again
        script.write_text(code)
    program = ["-c", code] if script is None else [str(script)]
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


START_METHODS = """
import multiprocessing, sys, time
import pyenergy

def work(_):
    with pyenergy.trace(devices="sim:ideal") as t, pyenergy.mark("own"):
        time.sleep(0.01)
    assert [m.name for m in t.marks] == ["own"]
    return t.energy.joules / t.duration_s

if __name__ == "__main__":
    found = []
    with pyenergy.trace(devices="sim:ideal") as t, pyenergy.mark("outer"):
        for method in ("spawn", "forkserver"):
            with multiprocessing.get_context(method).Pool(1) as pool:
                found += pool.map(work, range(2))
    assert len(found) == 4 and all(abs(w - 50) < 1e-3 for w in found), found
    assert abs(t.energy.joules / t.duration_s - 50) < 1e-3
    assert [m.name for m in t.marks] == ["outer"]
"""


def test_workers_of_every_kind_trace_on_their_own(tmp_path: Path) -> None:
    done = run(START_METHODS, script=tmp_path / "workers.py")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.models
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pytest's own threads
def test_workers_of_a_data_loader_trace_on_their_own() -> None:
    data = pytest.importorskip("torch.utils.data")

    class Items(data.Dataset):  # type: ignore[misc, name-defined]
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> float:
            with pyenergy.trace(devices="sim:ideal") as own:
                time.sleep(0.01)
            return own.energy.joules / own.duration_s

    with pyenergy.trace(devices="sim:ideal") as t:
        loader = data.DataLoader(Items(), num_workers=2, multiprocessing_context="fork")
        watts = [float(each) for each in loader]
    assert [*watts, t.energy.joules / t.duration_s] == pytest.approx([50.0] * 3, rel=1e-5)


# The trace that records to argv[1]; `end` is how its process ends.
RECORDED = """
import os, signal, sys, threading, time
import pyenergy

def end():
    {end}

with pyenergy.trace(devices="sim:ideal", path=sys.argv[1]) as t:
    with pyenergy.mark("before"):
        time.sleep(0.03)
    end()
    time.sleep(10)
"""
KILL = "os.kill(os.getpid(), signal.{})"
HANDLED = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); " + KILL.format("SIGTERM")
# How it ends: exit code, and whether its file is written (else it is recovered).
ENDS = {
    "os._exit": ("os._exit(3)", 3, False),
    "SIGTERM": (KILL.format("SIGTERM"), -signal.SIGTERM, False),
    "SIGTERM that is handled": (HANDLED, 7, True),
    "Ctrl-C": (KILL.format("SIGINT"), -signal.SIGINT, True),
    "an exception": ("1 / 0", 1, True),
}


@pytest.mark.parametrize(("end", "code", "finished"), ENDS.values(), ids=list(ENDS))
def test_what_was_recorded_is_there_however_it_ends(
    end: str, code: int, finished: bool, tmp_path: Path
) -> None:
    target = tmp_path / "run.pyenergy"
    done = run(RECORDED.format(end=end), target)
    assert done.returncode == code, done.stderr
    assert target.is_file() == finished
    folder = tmp_path / "run.pyenergy.live"
    assert folder.is_dir() != finished
    t = pyenergy.load(target if finished else folder)
    assert [m.name for m in t.marks] == ["before"]
    assert t.energy.joules == pytest.approx(50 * t.duration_s, rel=1e-3)
    said = "ended by" if finished else "recovered: process"
    assert any(note.startswith(said) for note in t.notes)


CHILDREN_THAT_EXIT = """
import os, sys, time
import pyenergy

with pyenergy.trace(devices="sim:ideal", path=sys.argv[1], processes=True) as t:
    for leave in (lambda: os._exit(0), lambda: sys.exit(0)):
        pid = os.fork()
        if pid == 0:
            leave()
        assert os.waitpid(pid, 0)[1] == 0
        assert os.path.isdir(sys.argv[1] + ".live")
    time.sleep(0.02)
assert t.processes()["kind"].to_list() == ["device"]
"""


def test_a_child_that_exits_leaves_its_parents_recording_alone(tmp_path: Path) -> None:
    target = tmp_path / "run.pyenergy"
    done = run(CHILDREN_THAT_EXIT, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["run.pyenergy"]
    assert not any("recovered" in note for note in pyenergy.load(target).notes)


DAEMON = """
import sys, threading, time
import pyenergy

inside = threading.Event()
def hold():
    with pyenergy.trace(devices="sim:ideal", path=sys.argv[1], processes=True):
        inside.set()
        time.sleep(100)

threading.Thread(target=hold, daemon=True).start()
inside.wait()
"""


def test_what_a_daemon_thread_records_is_written_at_exit(tmp_path: Path) -> None:
    target = tmp_path / "run.pyenergy"
    done = run(DAEMON, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert pyenergy.load(target).energy.joules > 0


# Handlers that trace, and interrupt traces wherever these are: two deep.
HANDLERS = """
import faulthandler, signal, sys, time
import pyenergy

faulthandler.dump_traceback_later(30, exit=True)
options = {"devices": "sim:ideal"}
with pyenergy.trace(**options) as warm, pyenergy.mark("imports"):
    pass
warm.energy
depth = handled = 0

def handler(*_):
    global depth, handled
    if depth == 2:
        return
    depth += 1
    with pyenergy.trace(**options) as t, pyenergy.mark("inner"):
        pass
    t.series("gpu:0/power")
    depth -= 1
    handled += 1

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.002)
with pyenergy.trace(**options, path=sys.argv[1]):
    while handled < 150:
        with pyenergy.trace(**options) as t, pyenergy.mark("outer"):
            pass
        t.series("gpu:0/power")
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(0.01)
    pyenergy.load(sys.argv[1] + ".live")  # its log is whole
"""


def test_signal_handlers_may_trace(tmp_path: Path) -> None:
    done = run(HANDLERS, tmp_path / "run.pyenergy")
    assert done.returncode == 0, done.stderr
    names = {mark.name for mark in pyenergy.load(tmp_path / "run.pyenergy").marks}
    assert names == {"inner", "outer"}


SUBINTERPRETER = """
try:
    import _interpreters as interpreters  # Python 3.13 and newer
    made = interpreters.create("legacy")
    print(interpreters.exec(made, "import pyenergy").formatted)
except ImportError:
    import _xxsubinterpreters as interpreters
    made = interpreters.create()
    try:
        interpreters.run_string(made, "import pyenergy")
    except interpreters.RunFailedError as error:
        print(error)
interpreters.destroy(made)
import pyenergy
with pyenergy.trace(devices="sim:ideal") as t:
    pass
"""


def test_a_subinterpreter_is_refused_by_name_and_the_main_one_is_not() -> None:
    done = run(SUBINTERPRETER)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pyenergy cannot be imported in a subinterpreter" in done.stdout
