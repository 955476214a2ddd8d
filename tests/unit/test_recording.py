# SPDX-License-Identifier: Apache-2.0
"""Recording files: what was saved comes back in every number, what is damaged or foreign never."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulate import START_NS, sampled

import pyenergy
from pyenergy._trace import Trace
from pyenergy.errors import RecordingError
from pyenergy.recording.clock_anchor import ClockAnchor
from pyenergy.recording.marks import Mark
from pyenergy.recording.series import Runs
from pyenergy.recording.store import FORMAT, VERSION
from pyenergy.testing import simulated
from pyenergy.units import NS_PER_S


@pytest.fixture
def trace() -> Trace:
    """5 s with every kind of entry, failed reads among them."""
    with simulated("h100") as world:
        world[0].script([(0, 100.0), (START_NS + NS_PER_S, 333.3)])
        world[0].inject("fails", "fields", every=17)
        recorded = sampled(seconds=5).recorded
    marks = (
        Mark("öuter", START_NS + 5, START_NS + NS_PER_S),
        Mark("in", START_NS + 7, START_NS + 9, 1),
        Mark("later", START_NS + 50, START_NS + 80, 1, 3, START_NS + 10, START_NS + 20, 6),
    )
    anchors = (ClockAnchor(START_NS, 1_700_000_000_000_000_001, 37),)
    recorded = replace(recorded, marks=marks, anchors=anchors, notes=("a note",))
    return Trace(replace(recorded, provenance={"host": "here"}, extra={"tokens": 17}))


@pytest.fixture
def saved(trace: Trace, tmp_path: Path) -> Path:
    return trace.save(tmp_path / "run.pyenergy")


def rewritten(path: Path, target: Path, change: Any) -> Path:
    """The recording at ``path`` with its description changed by hand."""
    with np.load(path) as archive:
        members = dict(archive)
    meta = json.loads(bytes(members["meta"]))
    change(meta)
    members["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with target.open("wb") as handle:
        np.savez(handle, **members)
    return target


def test_every_number_comes_back(trace: Trace, saved: Path) -> None:
    before, after = trace.recorded, pyenergy.load(saved).recorded
    for name in ("bounds_ns", "marks", "anchors", "notes", "provenance", "extra"):
        assert getattr(after, name) == getattr(before, name), name
    old, new = before.devices["gpu:0"], after.devices["gpu:0"]
    assert asdict(new.meta) == asdict(old.meta)
    assert (new.channels, new.stats, new.gap_ns) == (old.channels, old.stats, old.gap_ns)
    for channel, runs in old.runs.items():
        for column in Runs.names():
            again, first = getattr(new.runs[channel], column), getattr(runs, column)
            assert again.dtype == first.dtype
            assert again.tobytes() == first.tobytes(), f"{channel}/{column}"


def test_every_energy_comes_back(trace: Trace, saved: Path) -> None:
    again = pyenergy.load(saved)
    assert again.energy == trace.energy
    assert again.energies == trace.energies
    assert again.spans().equals(trace.spans())
    assert str(again) == str(trace)
    second = pyenergy.load(again.save(saved.with_name("second")))
    assert second.energy == trace.energy


def test_an_unknown_power_bound_comes_back_unknown(trace: Trace, tmp_path: Path) -> None:
    device = trace.recorded.devices["gpu:0"]
    bare = replace(device, meta=replace(device.meta, power_max_w=math.nan))
    path = Trace(replace(trace.recorded, devices={"gpu:0": bare})).save(tmp_path / "bare")
    assert math.isnan(pyenergy.load(path).recorded.devices["gpu:0"].meta.power_max_w)


def test_a_replay_can_be_recorded_again(saved: Path, tmp_path: Path) -> None:
    with pyenergy.trace(devices=f"replay:{saved}") as t:
        pass
    again = pyenergy.load(t.save(tmp_path / "again.pyenergy"))
    assert again.energy.joules == t.energy.joules


def test_loaded_arrays_are_read_only(saved: Path) -> None:
    series = pyenergy.load(saved).series("gpu:0/power")
    for array in (series.t_ns, series.last_ns, series.values, series.count, series.flags):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_numpy_alone_reads_a_recording(saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as archive:
        assert archive["gpu:0/power/value"].dtype == np.float64
        assert archive["gpu:0/power/t_first_ns"].dtype == np.int64
        assert json.loads(bytes(archive["meta"]))["format"] == FORMAT


@pytest.mark.parametrize("percent", [*range(0, 100, 7), 99, 99.99])
def test_a_truncated_recording_is_refused(saved: Path, percent: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * percent / 100)])
    with pytest.raises(RecordingError) as caught:
        pyenergy.load(saved)
    assert str(saved) in str(caught.value)


def test_a_damaged_recording_gives_no_wrong_number(trace: Trace, saved: Path) -> None:
    """A flipped byte is either found or outside everything that an energy comes from."""
    data = saved.read_bytes()
    refused = 0
    for position in range(0, len(data), max(1, len(data) // 150)):
        saved.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            again = pyenergy.load(saved)
        except RecordingError:
            refused += 1
        else:
            assert again.energy == trace.energy
    assert refused > 75


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("t,power\n0,300\n"),
        lambda path: path.write_bytes(os.urandom(4096)),
        lambda path: path.mkdir(),
        lambda path: np.save(path.open("wb"), np.arange(9)),
        lambda path: np.savez(path.open("wb"), power=np.arange(9)),
        lambda path: np.savez(path.open("wb"), meta=np.arange(9)),
        lambda path: np.savez(path.open("wb"), meta=np.frombuffer(b"{}", np.uint8)),
        lambda path: np.savez(path.open("wb"), meta=np.frombuffer(b"[1]", np.uint8)),
        lambda path: np.savez(path.open("wb"), meta=np.array([{"format": FORMAT}], object)),
    ],
    ids=[
        *("empty", "text", "noise", "directory", "npy", "other npz", "meta of numbers"),
        *("meta of nothing", "meta of a list", "pickle"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_foreign_file_is_refused(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    write(path)
    with pytest.raises(RecordingError, match=str(path)) as caught:
        pyenergy.load(path)
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize(
    "head",
    [gzip.compress(b"{}"), b'{"traceEvents": []}', b"[]", b"SQLite format 3\0" + b"x" * 90],
    ids=["gzip", "trace events", "list", "SQLite"],
)
def test_a_profile_in_the_place_of_a_recording_is_said_to_be_one(
    head: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "trace.json.gz"
    path.write_bytes(head)
    with pytest.raises(RecordingError, match="not a pyenergy recording; is it a profiler's trace"):
        pyenergy.load(path)


def test_an_absent_file_is_said_to_be_absent(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no such recording"):
        pyenergy.load(tmp_path / "absent")


def test_a_newer_layout_says_upgrade(saved: Path, tmp_path: Path) -> None:
    newer = rewritten(saved, tmp_path / "newer", lambda meta: meta.update(version=VERSION + 1))
    with pytest.raises(RecordingError, match=f"layout version {VERSION + 1}.*upgrade pyenergy"):
        pyenergy.load(newer)


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta.update(version="new"),
        lambda meta: meta.update(version=None),
        lambda meta: meta.update(bounds_ns=[1]),
        lambda meta: meta.update(bounds_ns="ab"),
        lambda meta: meta.update(devices=[]),
        lambda meta: meta.update(marks=[{"nome": "x"}]),
        lambda meta: meta["marks"][0].update(end_ns=meta["marks"][0]["start_ns"] - 1),
        lambda meta: meta["marks"][0].update(start_ns=0.5),
        lambda meta: meta["marks"][0].update(host_start_ns="early"),
        lambda meta: meta["marks"][0].update(name=None),
        lambda meta: meta.pop("notes"),
        lambda meta: meta["devices"]["gpu:0"].pop("channels"),
        lambda meta: meta["devices"]["gpu:0"]["meta"].update(surprise=1),
        lambda meta: meta["devices"].update(gpu=meta["devices"].pop("gpu:0")),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    saved: Path, tmp_path: Path, change: Any
) -> None:
    with pytest.raises(RecordingError):
        pyenergy.load(rewritten(saved, tmp_path / "odd", change))


@pytest.mark.parametrize("column", ["t_first_ns", "value", "flags"])
@pytest.mark.parametrize("spoil", [lambda a: a[:-1], lambda a: a.astype(np.float32), np.atleast_2d])
def test_columns_that_do_not_fit_are_refused(
    saved: Path, tmp_path: Path, column: str, spoil: Any
) -> None:
    with np.load(saved) as archive:
        members = dict(archive)
    members[f"gpu:0/power/{column}"] = spoil(members[f"gpu:0/power/{column}"])
    with (tmp_path / "odd").open("wb") as handle:
        np.savez(handle, **members)
    with pytest.raises(RecordingError, match="gpu:0/power"):
        pyenergy.load(tmp_path / "odd")


def test_a_file_that_cannot_be_written_says_why(trace: Trace, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file or directory"):
        trace.save(tmp_path / "absent" / "run")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecordingError, match="Is a directory"):
        trace.save(tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]  # nothing half-written stays


def test_the_command_line_names_a_damaged_recording(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:1000])
    command = [sys.executable, "-m", "pyenergy", "show", str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "truncated" in done.stderr
    assert "Traceback" not in done.stderr


def _altered(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Rewrite a recording's members and description by hand."""
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    meta = json.loads(bytes(members["meta"]))
    change(members, meta)
    members["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with path.open("wb") as handle:
        np.savez(handle, **members)


POWER = "gpu:0/power"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a, m: m.update(devices={}), "no device"),
        (lambda a, m: m.update(version=-3), "layout version"),
        (lambda a, m: m.update(bounds_ns=m["bounds_ns"][::-1]), "ends before"),
        (lambda a, m: m["devices"]["gpu:0"].update(stats=None), "statistics"),
        (lambda a, m: m["devices"]["gpu:0"].update(gap_ns="x"), "statistics"),
        (lambda a, m: m["devices"]["gpu:0"]["meta"].update(power_max_w="x"), "bounds"),
        (lambda a, m: m["devices"]["gpu:0"]["channels"]["power"].update(unit="mW"), "in mW"),
        (lambda a, m: m.update(extra=None), "description"),
        (lambda a, m: a.update({f"{POWER}/value": -a[f"{POWER}/value"]}), "impossible"),
        (lambda a, m: a.update({f"{POWER}/value": a[f"{POWER}/value"] * 1e300}), "impossible"),
        (lambda a, m: a.update({f"{POWER}/value": a[f"{POWER}/value"] * np.nan}), "not finite"),
        (lambda a, m: a.update({f"{POWER}/t_last_ns": a[f"{POWER}/t_last_ns"][::-1]}), "decrease"),
    ],
)
def test_a_recording_altered_by_hand_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object], said: str
) -> None:
    with simulated("a100") as world:
        world[0].script([(0, 100.0), (START_NS + NS_PER_S, 200.0)])
        path = sampled(seconds=2).save(tmp_path / "r")
    _altered(path, lambda a, m: None)
    assert pyenergy.load(path).energy.joules > 0
    _altered(path, change)
    with pytest.raises(RecordingError, match=said):
        pyenergy.load(path)


@pytest.mark.parametrize("name", ["", ".", "/", "a\0b", "/dev/null"])
def test_only_files_are_written(name: str) -> None:
    with simulated("ideal"):
        trace = sampled(seconds=0.1)
    with pytest.raises(RecordingError, match="cannot write"):
        trace.save(name)


def test_only_json_is_kept_with_a_trace() -> None:
    with simulated("ideal"):
        trace = sampled(seconds=0.1)
    with pytest.raises(TypeError):
        trace.annotate(x=object())
