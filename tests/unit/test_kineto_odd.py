# SPDX-License-Identifier: Apache-2.0
"""Traces that are odd or broken and are read all the same: what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attached import S, taken

from pyenergy.attribution import read_kineto
from pyenergy.errors import OptionError, RecordingError

CALL = {"cat": "cuda_runtime", "pid": 9, "tid": 9}


def event(ts: float, name: str = "k", **fields: Any) -> dict[str, Any]:
    args = {"correlation": fields.pop("correlation", -1)}
    return {"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": 7, "ts": ts, "dur": 0.5,
            "args": args, **fields}  # fmt: skip


def written(path: Path, entries: Any) -> Path:
    trace = {"baseTimeNanoseconds": 1_790_000_000 * S, "traceEvents": entries}
    file = path / "trace.json"
    file.write_bytes(entries if isinstance(entries, bytes) else json.dumps(trace).encode())
    return file


# Entries that are no events ------------------------------------------------------------------


@pytest.mark.parametrize("odd", [5, None, "x", "}, {", True, -1.5e3, [], [{"ph": "X"}, [1]]])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_an_entry_that_is_no_object_is_left_out_and_counted(
    tmp_path: Path, odd: Any, place: int
) -> None:
    entries: list[Any] = [event(n, correlation=n + 1) for n in range(6)]
    whole = read_kineto(written(tmp_path, entries))
    entries[place:place] = [odd, odd]
    for chunk in (1, 64, 1 << 20):
        found = read_kineto(written(tmp_path, entries), chunk_bytes=chunk)
        assert found.start_ns.tolist() == whole.start_ns.tolist()
        assert found.correlation.tolist() == whole.correlation.tolist()
        assert found.dropped == {"a value that is no object": 2}
        assert "left out: 2 with a value that is no object" in found.notes


def test_many_of_them_between_events_are_read_in_one_go(tmp_path: Path) -> None:
    entries = [each for n in range(20_000) for each in (event(n, correlation=n + 1), n)]
    found = read_kineto(written(tmp_path, entries))
    assert len(found) == found.dropped["a value that is no object"] == 20_000


# Shared correlation ids ----------------------------------------------------------------------


def launched(*launches: tuple[str, int], kernels: tuple[int, ...]) -> list[dict[str, Any]]:
    return [
        *(event(n, name, correlation=c, **CALL) for n, (name, c) in enumerate(launches)),
        *(event(100 + n, correlation=c) for n, c in enumerate(kernels)),
    ]


def test_what_several_launches_and_operations_share_is_said(tmp_path: Path) -> None:
    launches = [("cudaLaunchKernel", 1 + n % 7) for n in range(70)]
    kernels = tuple(1 + n % 7 for n in range(700))
    notes = read_kineto(written(tmp_path, launched(*launches, kernels=kernels))).notes
    (note,) = [note for note in notes if "share" in note]
    assert note.startswith("700 GPU operations and 70 launches share 7 correlation ids: which ")


def test_operations_with_an_id_of_one_launch_are_taken_for_its(tmp_path: Path) -> None:
    entries = launched(("cudaLaunchKernel", 3), ("cudaLaunchKernel", 4), kernels=(3, 3, 3, 4))
    notes = read_kineto(written(tmp_path, entries)).notes
    (note,) = [note for note in notes if "share" in note]
    assert note.startswith("3 GPU operations share 1 correlation ids, of launches that are no CUDA")


@pytest.mark.parametrize(
    ("launches", "kernels"),
    [
        ([("cudaGraphLaunch", 3)], (3, 3, 3)),
        ([("cudaLaunchKernel", 3), ("cudaLaunchKernel", 4)], (3, 4)),
        ([("cudaMemGetInfo", 3), ("cudaMemGetInfo", 3), ("cudaLaunchKernel", 4)], (4,)),
        ([], (5, 5)),  # that no launch is known is said of its own
    ],
    ids=["graph", "each its own", "calls that launch nothing", "no launches"],
)
def test_where_ids_leave_nothing_open_nothing_is_said(
    tmp_path: Path, launches: list[tuple[str, int]], kernels: tuple[int, ...]
) -> None:
    notes = read_kineto(written(tmp_path, launched(*launches, kernels=kernels))).notes
    assert not [note for note in notes if "share" in note]


def test_a_call_of_the_driver_within_one_of_the_runtime_is_no_second_launch(
    tmp_path: Path,
) -> None:
    entries = launched(("cudaLaunchKernel", 3), ("cuLaunchKernel", 3), kernels=(3,))
    entries[1]["cat"] = "cuda_driver"
    events = read_kineto(written(tmp_path, entries))
    assert events.counts["launches sharing a correlation id"] == 2
    assert not [note for note in events.notes if "share" in note]


# Text ----------------------------------------------------------------------------------------


def test_names_that_are_not_utf8_are_said(tmp_path: Path) -> None:
    entries = [event(n, name) for n, name in enumerate(("fine", "b@d", "b@d"))]
    text = json.dumps({"baseTimeNanoseconds": 1_790_000_000 * S, "traceEvents": entries}).encode()
    events = read_kineto(written(tmp_path, text.replace(b"@", b"\xff")))
    assert "b\ufffdd" in events.names
    assert [note for note in events.notes if "not UTF-8" in note] == [
        "2 events have a name that is not UTF-8: its bad bytes are shown as \ufffd, and names that "
        "differ only in them are one"
    ]


def test_fields_of_types_that_they_never_have_are_said(tmp_path: Path) -> None:
    events = read_kineto(written(tmp_path, [event(0), event(1, args=[3])]))
    (note,) = [note for note in events.notes if "type" in note]
    assert note.startswith("1 event has a field of a type that it never has: taken as not given")


# Files that are not whole --------------------------------------------------------------------


def cut_short(path: Path) -> tuple[Path, int, int]:
    """(a file that ends within an event, where that begins, bytes of it)."""
    text = written(path, [event(n, correlation=n + 1) for n in range(9)]).read_bytes()
    begins = text.rindex(b'{"ph"')
    return written(path, text[: begins + 30]), begins, begins + 30


def test_the_error_says_what_can_be_done(tmp_path: Path) -> None:
    path, _, _ = cut_short(tmp_path)
    with pytest.raises(RecordingError) as error:
        taken().attach(path)
    assert "pyenergy.attribution.read_kineto(path, salvage=True)" in str(error.value)
    assert "pyenergy kernels does with --salvage" in str(error.value)
    assert len(read_kineto(path, salvage=True)) == 8


def test_where_nothing_can_be_had_nothing_is_promised(tmp_path: Path) -> None:
    for text in (b"", b"{", b'{"schemaVersion": 1, "traceEv', b'{"traceEvents": [{"ph"', b"hello"):
        with pytest.raises(RecordingError) as error:
            read_kineto(written(tmp_path, text))
        assert "salvage" not in str(error.value)


def test_how_much_is_lost_is_said(tmp_path: Path) -> None:
    path, begins, length = cut_short(tmp_path)
    for chunk in (1, 100, 1 << 20):
        events = read_kineto(path, salvage=True, chunk_bytes=chunk)
        assert f"the last {length - begins:,} of {length:,} bytes were not read" in events.notes[0]
        assert "counts as if nothing had run" in events.notes[0]


def test_how_much_follows_damage_is_said(tmp_path: Path) -> None:
    text = written(tmp_path, [event(n, correlation=n + 1) for n in range(9)]).read_bytes()
    damaged = text.replace(b'"correlation": 5', b'"correlation": ')
    begins = [at for at in range(len(damaged)) if damaged.startswith(b'{"ph"', at)][4]
    for chunk in (1, 100, 1 << 20):
        events = read_kineto(written(tmp_path, damaged), salvage=True, chunk_bytes=chunk)
        assert len(events) == 4
        said = f"the last {len(damaged) - begins:,} of {len(damaged):,} bytes were not read"
        assert said in events.notes[0]


def test_a_salvaged_trace_can_be_attached_and_says_so(tmp_path: Path) -> None:
    entries = [event(3e6 + 1000 * n, correlation=n + 1) for n in range(9)]
    text = json.dumps([{**each, "ts": each["ts"] + 1_790_000_000e6} for each in entries])
    path = written(tmp_path, text[:-40].encode())
    trace = shifted()
    with pytest.raises(RecordingError):
        trace.attach(path)
    trace.attach(read_kineto(path, salvage=True))
    assert trace.kernels().filter(kind="operation")["count"].to_list() == [8]
    assert any("the file is not whole" in note for note in trace.notes)


def shifted() -> Any:
    """Readings in Unix time."""
    import numpy as np

    from pyenergy import Trace

    t = 1_790_000_000 * S + np.arange(0, 10 * S, 20_000_000)
    return Trace.from_readings({"gpu:0/power": (t, np.full(len(t), 200.0))})


def test_what_is_not_a_list_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"trace\.json: traceEvents at byte 16 is no list"):
        read_kineto(written(tmp_path, b'{"traceEvents": null}'))
    with pytest.raises(OptionError, match="no operation"):
        taken().attach(written(tmp_path, [5, None]))
