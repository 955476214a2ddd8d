# SPDX-License-Identifier: Apache-2.0
"""``share="node"``: ranks of one machine that share a sampler, and what happens when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyenergy
from pyenergy import _core, testing
from pyenergy._share import _joined
from pyenergy._share_folder import ShareFolder, user_folder
from pyenergy.errors import OptionError, StateError
from pyenergy.recording.series import ChannelMeta, Runs

RANKS = 4
# Says that its trace runs and who reads, waits for a line, and tells what it measured.
RANK = """
import json, os, sys
import pyenergy
from pyenergy import _share
from pyenergy.testing import SimulatedWorld

with pyenergy.trace(devices="sim", share="node") as t:
    (shared,) = _share._all.values()
    print(json.dumps({"pid": os.getpid(), "reads": shared.tap is not None}), flush=True)
    sys.stdin.readline()
low, high = t.energy.interval(0.99)
print(json.dumps({
    "low": low, "high": high, "notes": t.notes + t.energy.notes,
    "truth": SimulatedWorld.current()[0].true_energy_j(*t.bounds_ns),
}))
"""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "pyenergy"


def told(rank: subprocess.Popen[str]) -> dict[str, Any]:
    assert rank.stdout is not None
    line = rank.stdout.readline()
    assert line, rank.communicate()
    return dict(json.loads(line))


def test_ranks_share_one_sampler_and_outlive_it(runtime: Path, tmp_path: Path) -> None:
    with testing.simulated("v100", path=tmp_path / "world") as world:
        world[0].set_power(200.0, at_ns=0)
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", RANK],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "LOCAL_RANK": str(i)},
            )
            for i in range(RANKS)
        ]
        try:
            begun = [told(rank) for rank in ranks]
            (leader,) = (i for i, b in enumerate(begun) if b["reads"])
            ranks[leader].send_signal(signal.SIGKILL)
            assert ranks[leader].wait(20) == -signal.SIGKILL
            left = [rank for i, rank in enumerate(ranks) if i != leader]
            for rank in left:  # all before any: each sees the next reader, too
                assert rank.stdin is not None
                rank.stdin.write("end\n")
                rank.stdin.flush()
            found = [told(rank) for rank in left]
            for rank in left:
                assert rank.communicate(timeout=20)[1] == ""
        finally:
            for rank in ranks:
                rank.kill()
                rank.communicate()
    said = [next(n for n in f["notes"] if "shared on this node" in n) for f in found]
    assert all(f"read by process {begun[leader]['pid']}" in s or
               f"read by processes {begun[leader]['pid']}, " in s for s in said)  # fmt: skip
    assert any("in turn; where one took over nothing was read" in s for s in said)
    for each in found:
        assert each["low"] <= each["truth"] <= each["high"]
    assert {path.suffix for path in runtime.iterdir()} == {".lock", ".use"}


def test_a_process_alone_reads_by_itself_and_leaves_nothing(runtime: Path) -> None:
    with testing.simulated("ideal") as world:
        world[0].set_power(100.0, at_ns=0)
        for _ in range(2):
            with pyenergy.trace(devices="sim", share="node") as t, pyenergy.mark("x"):
                pass
            assert t.energy.joules == pytest.approx(100 * t.duration_s, rel=1e-6)
        assert f"read by process {os.getpid()}" in " ".join(t.energy.notes)
        assert list(runtime.glob("*.live"))
        del t
        pyenergy._share._shutdown()
    assert {path.suffix for path in runtime.iterdir()} == {".lock", ".use"}


FORKED = """
import os, sys, time
import pyenergy

options = {"devices": "sim", "share": "node"}
with pyenergy.trace(**options) as t:
    pid = os.fork()
    if pid == 0:
        with pyenergy.trace(**options) as own:
            time.sleep(0.05)
        assert abs(own.energy.joules / own.duration_s - 100) < 1, str(own)
        assert f"read by process {os.getppid()}" in str(own), str(own)
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    time.sleep(0.1)  # were the lock free now, somebody would have taken it
    assert os.path.isdir(next(iter(pyenergy._share._all.values())).folder.recordings()[0])
assert abs(t.energy.joules / t.duration_s - 100) < 1, str(t)
assert f"read by process {os.getpid()}" in str(t)
"""


def test_a_fork_follows_its_parent(runtime: Path, tmp_path: Path) -> None:
    with testing.simulated("ideal", path=tmp_path / "world") as world:
        world[0].set_power(100.0, at_ns=0)
        done = subprocess.run(
            [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.suffix for path in runtime.iterdir()} == {".lock", ".use"}


def test_a_device_that_cannot_be_read_is_left_to_others(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = pyenergy.trace(devices="sim:ideal", share="node")
    runtime.mkdir(mode=0o700)
    runtime.chmod(0o500)  # root may write all the same: so the tap fails, too
    monkeypatch.setattr("pyenergy._share.Tap", lambda *_: 1 / 0)
    with pytest.raises((ZeroDivisionError, PermissionError)):
        request.__enter__()
    runtime.chmod(0o700)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime.parent))
    with request as t:
        pass
    assert "read by process" in str(t)


def test_requests_that_cannot_be_shared_are_named(tmp_path: Path) -> None:
    for options, said in (
        ({"share": "world"}, "'node' or None"),
        ({"share": "node", "path": tmp_path / "run"}, "do not go together"),
    ):
        with pytest.raises(OptionError, match=said):
            pyenergy.trace(devices="sim:ideal", **options)


@pytest.mark.parametrize("kind", ["open", "link", "file"])
def test_a_folder_that_others_could_write_to_is_not_trusted(kind: str, runtime: Path) -> None:
    if kind == "open":
        runtime.mkdir()
        runtime.chmod(0o777)
    elif kind == "link":
        runtime.symlink_to(runtime.parent)
    else:
        runtime.write_text("")
    with pytest.raises(StateError, match=r"cannot trust .* remove it or set XDG_RUNTIME_DIR"):
        user_folder()


def test_one_leads_and_the_next_when_that_one_is_gone(tmp_path: Path) -> None:
    first, second = ShareFolder(tmp_path, "key"), ShareFolder(tmp_path, "key")
    assert first.lead()
    assert first.lead()
    assert not second.lead()
    assert first.is_wanted()
    first.close()
    assert second.lead()
    assert not second.is_wanted()
    second.close()


def runs(t_ns: list[int], values: list[float]) -> Runs:
    columns = {
        "t_first_ns": t_ns, "read_first_ns": t_ns, "t_last_ns": t_ns, "read_last_ns": t_ns,
    }  # fmt: skip
    return Runs(
        **{name: np.array(c, np.int64) for name, c in columns.items()},
        value=np.array(values),
        count=np.ones(len(t_ns), np.uint32),
        flags=np.zeros(len(t_ns), np.uint32),
    )


def test_readers_in_turn_make_one_series_with_a_gap() -> None:
    parts = [
        runs([1, 2, 3], [0.0, 5.0, 9.0]),
        runs([2, 3, 8, 9], [1.0, 2.0, 4.0, 7.0]),
        runs([], []),
    ]
    gauge = ChannelMeta("power", "W", "gauge", "x", "gpu")
    joined = _joined(parts, gauge)
    assert joined.t_first_ns.tolist() == [1, 2, 3, 8, 9]
    assert joined.value.tolist() == [0.0, 5.0, 9.0, 4.0, 7.0]
    assert joined.flags.tolist() == [0, 0, 0, _core.FLAG_GAP_BEFORE, 0]
    counter = ChannelMeta("energy", "J", "counter", "x", "gpu")
    joined = _joined(parts, counter)  # what was counted in between is not known
    assert joined.value.tolist() == [0.0, 5.0, 9.0, 9.0, 12.0]
    assert joined.flags[3] == _core.FLAG_GAP_BEFORE | _core.FLAG_RESET
