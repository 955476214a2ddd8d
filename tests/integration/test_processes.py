# SPDX-License-Identifier: Apache-2.0
"""Forks inside a trace, and interpreters that end while samplers run."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

SHORT_S = 0.02
MOST_S = 30.0  # a deadlock takes for ever, a busy machine its time

FORK = """
import os, signal, sys, time
import pyenergy
from pyenergy.errors import StateError
from pyenergy.testing import SimulatedWorld

signal.alarm(60)  # a deadlock ends by a signal

def in_child(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(30)
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0

def right(t):
    assert abs(t.energy.joules - 50 * t.duration_s) < 1e-6 * t.energy.joules, str(t)
"""

FORKED_IN_TRACE = """
def child(outer):
    for ask in (lambda: outer.energy, lambda: outer.series("gpu:0/power"), lambda: str(outer),
                lambda: outer.wait(), lambda: outer.save("/nowhere")):
        try:
            ask()
        except StateError as error:
            assert "parent process" in str(error)
        else:
            raise AssertionError("the child answered for its parent")
    with pyenergy.trace(devices="sim:ideal") as own, pyenergy.mark("own"):
        time.sleep(0.02)
    right(own)
    assert [m.name for m in own.marks] == ["own"]

with pyenergy.trace(devices="sim:ideal") as t:
    time.sleep(0.02)
    in_child(lambda: child(t))
    time.sleep(0.02)
right(t)
assert t.marks == ()
"""

CHILD_LEAVES_THE_TRACE = """
def leave(context):
    context.__exit__(None, None, None)

context = pyenergy.trace(devices="sim:ideal")
t = context.__enter__()
monitor = pyenergy.Monitor(devices="sim:ideal").start()
time.sleep(0.02)
in_child(lambda: leave(context))
in_child(lambda: right(monitor.start().stop()))
time.sleep(0.02)
context.__exit__(None, None, None)
right(t)
right(monitor.stop())
"""

MANY_FORKS = """
import threading
over = False
def busy():
    while not over:  # keeps the collector and every lock of the recordings busy
        m.energy()

def busier():
    while not over:  # and the locks of opening, marking and closing
        with pyenergy.trace(devices="sim:ideal"), pyenergy.mark("x"):
            pass

m = pyenergy.Monitor(devices="sim:ideal", rate_hz=20000).start()
m.energy()  # imports are done: a fork inside another thread's import is lost, whoever does it
threads = [threading.Thread(target=work) for work in (busy, busier, busier)]
for thread in threads:
    thread.start()

def child():
    with pyenergy.trace(devices="sim:ideal") as t, pyenergy.mark("own"):
        time.sleep(0.005)
    right(t)
    assert [m.name for m in t.marks] == ["own"]

for _ in range(20):
    in_child(child)
over = True
for thread in threads:
    thread.join()
right(m.stop())
"""

FORKED_AFTER_TRACE = """
with pyenergy.trace(devices="sim:ideal") as t:
    time.sleep(0.02)
before = t.energy
def child():
    assert t.energy == before  # what is known stays known
    del globals()["t"]
in_child(child)
right(t)
"""


def run(code: str, timeout_s: float = 30.0) -> tuple[subprocess.CompletedProcess[str], float]:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return done, time.monotonic() - started


@pytest.mark.parametrize(
    "code",
    [FORKED_IN_TRACE, CHILD_LEAVES_THE_TRACE, MANY_FORKS, FORKED_AFTER_TRACE],
    ids=["inside a trace", "child leaves it", "twenty times under load", "after a trace"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_leaves_the_parent_alone_and_the_child_with_samplers_of_its_own(code: str) -> None:
    done, _ = run("import warnings; warnings.simplefilter('ignore')\n" + FORK + code)
    assert done.stderr == ""
    assert done.returncode == 0


def test_forked_workers_of_a_pool_may_trace() -> None:
    code = """
import multiprocessing, time
import pyenergy

def work(i):
    with pyenergy.trace(devices="sim:ideal") as t:
        time.sleep(0.01)
    return t.energy.joules / t.duration_s

with pyenergy.trace(devices="sim:ideal") as t:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        watts = pool.map(work, range(4))
assert all(abs(w - 50) < 1e-3 for w in watts), watts
"""
    done, _ = run(code)
    assert (done.returncode, done.stderr) == (0, "")


EXITS = {
    "a monitor runs": "m = pyenergy.Monitor(devices='sim:a100').start()",
    "a monitor runs and is referenced by a cycle": (
        "m = pyenergy.Monitor(devices='sim:a100').start(); m.me = m"
    ),
    "inside a trace": "t = pyenergy.trace(devices='sim:a100'); t.__enter__(); raise SystemExit(0)",
    "a daemon thread asks a monitor": """
import threading
m = pyenergy.Monitor(devices='sim:a100').start()
def ask():
    while True:
        m.energy()
for _ in range(4):
    threading.Thread(target=ask, daemon=True).start()
time.sleep(0.1)
""",
    "a daemon thread opens traces": """
import threading
def trace():
    while True:
        with pyenergy.trace(devices='sim:ideal') as t:
            pass
        t.series('gpu:0/power')
threading.Thread(target=trace, daemon=True).start()
time.sleep(0.1)
""",
    "a trace waits in atexit": """
import atexit
m = pyenergy.Monitor(devices='sim:ideal').start()
atexit.register(lambda: print(m.stop().energy.joules > 0))
""",
    "views outlive all": """
with pyenergy.trace(devices='sim:ideal') as t:
    pass
import sys
sys.kept = t.series('gpu:0/power').values
""",
}


@pytest.mark.parametrize("code", EXITS.values(), ids=list(EXITS))
def test_the_interpreter_ends_quietly_and_soon(code: str) -> None:
    done, took_s = run("import time, pyenergy\n" + code)
    assert done.stderr == ""
    assert done.returncode == 0
    assert took_s < MOST_S


def test_an_unhandled_exception_inside_a_trace_ends_as_it_would_without() -> None:
    done, took_s = run("import pyenergy\nwith pyenergy.trace(devices='sim:ideal'):\n    1 / 0\n")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert took_s < MOST_S
