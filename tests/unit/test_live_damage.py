# SPDX-License-Identifier: Apache-2.0
"""Live recordings that were damaged: refused, or read without a wrong number; never a crash."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyenergy
from pyenergy import _core
from pyenergy.errors import RecordingError
from pyenergy.recording.live_layout import ROW, SLOT, VERSION, sealed, unsealed
from pyenergy.recording.live_read import LiveReader, load_live
from pyenergy.recording.recorded import Recorded
from pyenergy.recording.series import Runs
from pyenergy.testing import simulated

RECORDER = """
import os, signal, sys, time
import pyenergy
with pyenergy.trace(devices="sim", path=sys.argv[1]) as t:
    for _ in range(40):
        with pyenergy.mark("step"):
            time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Left:
    """What a killed process left: a folder and its tail, which can be restored."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self.folder, self._kept = folder, kept
        (tail,) = LiveReader(folder).tails()
        self.tail = tail
        shutil.copytree(folder, kept / "folder")
        shutil.copy(tail, kept / "tail")
        self.whole = load_live(folder)

    def restore(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self._kept / "folder", self.folder)
        shutil.copy(self._kept / "tail", self.tail)

    def files(self) -> list[Path]:
        inside = (p for p in self.folder.rglob("*") if p.is_file() and p.name != "lock")
        return [*sorted(inside), self.tail]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("left")
    with simulated("ideal") as world:
        world[0].script([(0, 100.0), (pyenergy.now_ns() + 10**9, 200.0)])
        done = subprocess.run([sys.executable, "-c", RECORDER, str(folder / "run")], check=False)
        assert done.returncode == -9
    found = Left(folder / "run.live", tmp_path_factory.mktemp("kept"))
    yield found
    found.tail.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def _restored(left: Left) -> Iterator[None]:
    left.restore()
    yield
    left.restore()


def assert_part_of(found: Recorded, whole: Recorded) -> None:
    """Nothing that was not measured: rows and marks are the first of what there was."""
    assert found.bounds_ns[0] == whole.bounds_ns[0]
    assert found.marks == whole.marks[: len(found.marks)]
    assert list(found.devices) == list(whole.devices)
    for device_id, device in found.devices.items():
        for name, runs in device.runs.items():
            mine, there = stood(runs), stood(whole.devices[device_id].runs[name])
            assert len(mine) <= len(there)
            assert mine[:-1] == there[: len(mine)][:-1]
            for (*began, last_ns, count), (*first, latest_ns, most) in zip(
                mine[-1:], there[len(mine) - 1 :], strict=False
            ):  # the last may have gone on
                assert began == first
                assert (last_ns, count) <= (latest_ns, most)


def stood(runs: Runs) -> list[tuple[Any, ...]]:
    """What stood from when to when, however it was cut into runs."""
    found: list[tuple[Any, ...]] = []
    for row in zip(*(getattr(runs, name).tolist() for name in Runs.names()), strict=True):
        t_first, read_first, _, read_last, value, count, flags = row
        if flags & _core.FLAG_CONTINUES and found:
            *began, _, before = found.pop()
            found.append((*began, read_last, before + count))
        else:
            found.append((t_first, read_first, repr(value), flags, read_last, count))
    return found


def read_or_refuse(left: Left) -> bool:
    """True: it was read, and is part of the whole."""
    try:
        found = load_live(left.folder)
    except RecordingError as error:
        named = [name for name in (left.folder, left.tail) if str(name) in str(error)]
        if not named:
            raise AssertionError("the error names no file") from error
        return False
    assert_part_of(found, left.whole)
    return True


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_byte_that_was_changed_makes_no_wrong_number(left: Left, data: st.DataObject) -> None:
    left.restore()
    path = data.draw(st.sampled_from(left.files()))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    read_or_refuse(left)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_file_that_was_cut_short_makes_no_wrong_number(left: Left, data: st.DataObject) -> None:
    left.restore()
    path = data.draw(st.sampled_from(left.files()))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    read_or_refuse(left)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_blocks_that_were_overwritten_make_no_wrong_number(left: Left, data: st.DataObject) -> None:
    left.restore()
    path = data.draw(st.sampled_from(left.files()))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    block = data.draw(st.binary(min_size=1, max_size=200))
    content[at : at + len(block)] = block
    path.write_bytes(content)
    read_or_refuse(left)


def test_a_file_that_is_gone_is_named(left: Left) -> None:
    for path in left.files():
        left.restore()
        path.unlink()
        if path == left.tail:
            assert any("up to 50 ms at the end are lost" in n for n in load_live(left.folder).notes)
            assert read_or_refuse(left)
            continue
        with pytest.raises(RecordingError, match=str(left.folder)):
            load_live(left.folder)


def _rows(path: Path, change: Callable[[Any], Any]) -> None:
    content = path.read_bytes()
    header, rows = content[:512], np.frombuffer(content[512:], ROW).copy()
    path.write_bytes(header + change(rows).tobytes())


def _swapped(rows: Any) -> Any:
    rows[[3, 4]] = rows[[4, 3]]
    return rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_swapped, "damaged: row 3"),
        (lambda rows: np.delete(rows, 2), "cut short: it holds"),
        (lambda rows: rows[: len(rows) // 2], "cut short: it holds"),
        (lambda rows: np.concatenate([rows[:5], rows]), "damaged: row 5"),
        (np.zeros_like, "damaged: row 0"),
    ],
    ids=["swapped", "deleted", "half", "repeated", "zeros"],
)
def test_rows_that_were_moved_or_lost_are_told(
    left: Left, change: Callable[[Any], Any], said: str
) -> None:
    _rows(left.folder / "gpu:0" / "energy.npy", change)
    with pytest.raises(RecordingError, match=said):
        load_live(left.folder)


def test_a_file_in_the_place_of_another_is_told(left: Left) -> None:
    device = left.folder / "gpu:0"
    shutil.copy(device / "sm_clock.npy", device / "temperature.npy")
    with pytest.raises(RecordingError, match=r"temperature\.npy is damaged"):
        load_live(left.folder)


def test_a_last_row_that_was_not_finished_costs_only_itself(left: Left) -> None:
    """A process that is killed finishes it; a machine that stops need not."""
    path = left.folder / "gpu:0" / "energy.npy"
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(content)
    found = load_live(left.folder)
    assert_part_of(found, left.whole)
    energy, whole = (r.devices["gpu:0"].runs["energy"] for r in (found, left.whole))
    assert energy.t_last_ns[-1] == whole.t_last_ns[-1]  # the tail has what it had


@pytest.mark.parametrize("torn", [0, 1])
def test_only_the_slot_that_comes_next_may_be_torn(left: Left, torn: int) -> None:
    content = left.tail.read_bytes()
    slots = np.frombuffer(content[512:], SLOT).copy()
    last = int(slots["seq"].max())
    slots["value"][(last + torn) % len(slots)] += 1.0
    left.tail.write_bytes(content[:512] + slots.tobytes())
    if torn:
        with pytest.raises(RecordingError, match=r"samples are not what was written; remove that"):
            load_live(left.folder)
    else:
        assert read_or_refuse(left)


def _edit(path: Path, change: Callable[[dict[str, Any]], Any], line: int | None = None) -> None:
    lines = path.read_bytes().split(b"\n") if line is not None else [path.read_bytes()]
    values = unsealed(lines[line or 0])
    assert values is not None
    change(values)
    lines[line or 0] = sealed(values)
    path.write_bytes(b"\n".join(lines))


def test_a_newer_layout_says_upgrade(left: Left) -> None:
    _edit(left.folder / "meta.json", lambda meta: meta.update(version=VERSION + 1))
    with pytest.raises(RecordingError, match=f"layout version {VERSION + 1}.*upgrade pyenergy"):
        load_live(left.folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(version="new"),
        lambda m: m.update(format="other"),
        lambda m: m.update(devices={}),
        lambda m: m.pop("devices"),
        lambda m: m["devices"]["gpu:0"].pop("channels"),
        lambda m: m["devices"]["gpu:0"]["channels"]["power"].update(file="../../etc/passwd"),
        lambda m: m["devices"]["gpu:0"]["channels"]["power"].update(file="/etc/passwd"),
        lambda m: m["devices"]["gpu:0"]["channels"]["power"].update(seed="x"),
        lambda m: m["devices"]["gpu:0"]["channels"]["power"].update(unit="mW"),
        lambda m: m["devices"]["gpu:0"]["tail"].update(file="/etc/passwd"),
        lambda m: m["devices"]["gpu:0"].update(gap_ns="x"),
        lambda m: m["devices"]["gpu:0"]["meta"].update(surprise=1),
    ],
)
def test_a_description_that_was_made_up_is_refused(
    left: Left, change: Callable[[dict[str, Any]], Any]
) -> None:
    _edit(left.folder / "meta.json", change)
    with pytest.raises(RecordingError):
        load_live(left.folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(start_ns="soon"),
        lambda e: e.update(mark={"name": "x"}),
        lambda e: e.update(mark={"name": "x", "start_ns": 5, "end_ns": 1}),
        lambda e: e.update(anchor=[1, 2]),
        lambda e: e.update(n=7),
        lambda e: e.update(extra=[1]),
    ],
)
def test_a_log_that_was_made_up_is_refused(
    left: Left, change: Callable[[dict[str, Any]], Any]
) -> None:
    path = left.folder / "log.jsonl"
    at = next(i for i, x in enumerate(path.read_bytes().split(b"\n")) if b"start_ns" in x)
    _edit(path, change, at)
    with pytest.raises(RecordingError):
        load_live(left.folder)


def test_pickles_are_never_loaded(left: Left, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    path = left.folder / "gpu:0" / "power.npy"
    np.save(path, np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(RecordingError, match="damaged or not a file of a live recording"):
        load_live(left.folder)
    assert not (tmp_path / "ran").exists()


def test_a_trace_that_never_began_says_so(left: Left) -> None:
    path = left.folder / "log.jsonl"
    path.write_bytes(b"")
    with pytest.raises(RecordingError, match="before the trace began: nothing was recorded"):
        load_live(left.folder)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="not one of a live recording"):
        LiveReader(tmp_path)


def test_a_live_folder_that_is_cut_short_under_its_reader_is_no_signal(tmp_path: Path) -> None:
    """Files are read, never mapped: what is gone is an error."""
    with simulated("ideal"), pyenergy.trace(devices="sim", path=tmp_path / "run"):
        time.sleep(0.12)
        folder = tmp_path / "run.live"
        reader = LiveReader(folder)
        reader.read()
        with (folder / "gpu:0" / "energy.npy").open("r+b") as file:
            file.truncate(600)
        with pytest.raises(RecordingError, match="cut short"):
            reader.read()


def test_the_log_is_plain_json_lines(left: Left) -> None:
    lines = (left.folder / "log.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["n"] for entry in entries] == list(range(len(entries)))
    assert sum("mark" in entry for entry in entries) == 40


def test_a_recording_of_layout_1_stays_readable() -> None:
    """Written by the first version; 250 W, read 27 times, the last 6 in the tail only."""
    golden = Path(__file__).resolve().parent.parent / "golden" / "live-1.live"
    recorded = load_live(golden)
    assert recorded.bounds_ns == (62897664475763, 62897915791624)
    assert [mark.name for mark in recorded.marks] == ["work"]
    assert recorded.extra == {"tokens": 3}
    assert len(recorded.anchors) == 2
    runs = recorded.devices["gpu:0"].runs
    assert runs["power"].value.tolist() == [249.935, 249.935, 249.941, 249.97, 250.012]
    assert runs["power"].count.tolist() == [1, 6, 9, 10, 1]
    assert runs["energy"].value.tolist() == [0.0, 0.0, 25.0, 50.0]
    assert runs["energy"].read_last_ns[-1] == 62897915758455
    rows = np.load(golden / "gpu:0" / "power.npy", allow_pickle=False)
    assert int(rows["count"].sum()) == 21
