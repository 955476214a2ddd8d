# SPDX-License-Identifier: Apache-2.0
"""Traces of every era read to the nanosecond; what is bad in them is counted or named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyenergy.attribution.kineto_json import read_kineto
from pyenergy.attribution.profiler_events import Category, ProfilerEvents
from pyenergy.errors import OptionError, RecordingError

COLUMNS = (
    "start_ns", "end_ns", "name", "category", "device", "stream", "thread", "correlation",
    "external_id",
)  # fmt: skip
BASE = 1_751_410_836_000_000_000

MODERN = """{"schemaVersion": 1, "trace_id": "AB", "displayTimeUnit": "ms",
"deviceProperties": [{"id": 0, "name": "NVIDIA H100"}], "distributedInfo": {"rank": 3},
"traceEvents": [
 {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 9, "tid": 12,
  "ts": 6520618872325.063, "dur": 4.001, "args": {"External id": 5, "Ev Idx": 0}},
 {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 12,
  "ts": 6520618872326.063, "dur": 2.001, "args": {"External id": 5, "correlation": 77}},
 {"ph": "s", "id": 77, "pid": 9, "tid": 12, "ts": 6520618872326.063, "cat": "ac2g", "name": "ac2g"},
 {"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7,
  "ts": 6520618872330, "dur": 1.5, "args": {"External id": 5, "device": 0, "stream": 7,
  "correlation": 77, "grid": [4, 2, 1], "block": [128, 1, 1], "est. achieved occupancy %": 4}},
 {"ph": "X", "cat": "gpu_user_annotation", "name": "step", "pid": 0, "tid": 7,
  "ts": 6520618872330, "dur": 1.5, "args": {"External id": 1}},
 {"name": "process_name", "ph": "M", "ts": 6520618872325.063, "pid": 9, "tid": 0,
  "args": {"name": "python"}},
 {"name": "Record Window End", "ph": "i", "s": "g", "pid": "", "tid": "", "ts": 1}
], "traceName": "x.json", "baseTimeNanoseconds": 1751410836000000000}"""


def kernel(ts: Any, dur: Any = 1, **more: Any) -> dict[str, Any]:
    args = {"device": 0, "stream": 7, "correlation": more.pop("correlation", 1)}
    entry = {"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": ts, "dur": dur}
    return {**entry, "args": args, **more}


def written(folder: Path, text: str | bytes | list[Any] | dict[str, Any]) -> Path:
    if isinstance(text, (list, dict)):
        text = json.dumps(text)
    path = folder / "trace.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def same(one: ProfilerEvents, other: ProfilerEvents) -> None:
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), column)
    assert one.names == other.names
    assert (one.dropped, one.skipped, one.counts) == (other.dropped, other.skipped, other.counts)
    assert (one.notes, one.is_unix_time) == (other.notes, other.is_unix_time)


def test_a_trace_of_today(tmp_path: Path) -> None:
    events = read_kineto(written(tmp_path, MODERN), shapes=True)
    assert [Category(each).name for each in events.category] == [
        "CPU_OP", "RUNTIME", "KERNEL", "GPU_ANNOTATION",
    ]  # fmt: skip
    assert events.start_ns[0] == BASE + 6520618872325063  # a float would be off by 1 ns
    assert events.start_ns[2] == BASE + 6520618872330000
    assert (events.end_ns - events.start_ns).tolist() == [4001, 2001, 1500, 1500]
    assert events.device.tolist() == [-1, -1, 0, 0]
    assert events.stream.tolist() == [-1, -1, 7, 7]
    assert events.thread.tolist() == [12, 12, -1, -1]
    assert events.correlation.tolist() == [-1, 77, 77, -1]
    assert events.external_id.tolist() == [5, 5, 5, 1]
    assert events.name_of(2) == "gemm"
    assert events.grid is not None
    assert events.block is not None
    assert events.grid.tolist() == [[-1] * 3, [-1] * 3, [4, 2, 1], [-1] * 3]
    assert events.block[2].tolist() == [128, 1, 1]
    assert events.skipped == {"flow": 1, "metadata": 1, "instant": 1}
    assert events.is_unix_time
    assert events.notes == ()
    origin = events.provenance
    assert (origin.schema, origin.base_time_ns, origin.trace_id) == (1, BASE, "AB")
    assert (origin.rank, origin.devices, origin.torch_version) == (3, ("NVIDIA H100",), None)


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_what_a_viewer_displays_scales_nothing(tmp_path: Path, unit: str) -> None:
    text = MODERN.replace('"displayTimeUnit": "ms"', f'"displayTimeUnit": "{unit}"')
    same(read_kineto(written(tmp_path, text)), read_kineto(written(tmp_path, MODERN)))


def test_absolute_microseconds_of_old_torch_keep_their_digits(tmp_path: Path) -> None:
    text = '{"traceEvents": [{"ph": "X", "cat": "Kernel", "name": "k", "pid": 0, "tid": 7, '
    text += '"ts": 1712195495519689.123, "dur": 0.127, "args": {"external id": 4}}]}'
    events = read_kineto(written(tmp_path, text))
    assert events.start_ns.tolist() == [1712195495519689123]
    assert events.end_ns.tolist() == [1712195495519689250]
    assert events.external_id.tolist() == [4]
    assert events.is_unix_time
    assert events.provenance.base_time_ns is None


@pytest.mark.parametrize(
    ("said", "category"),
    [
        ("Kernel", Category.KERNEL), ("Memcpy", Category.MEMCPY), ("Memset", Category.MEMSET),
        ("Runtime", Category.RUNTIME), ("Operator", Category.CPU_OP),
        ("gpu_memcpy", Category.MEMCPY), ("gpu_memset", Category.MEMSET),
        ("cuda_driver", Category.DRIVER), ("user_annotation", Category.ANNOTATION),
        ("python_function", Category.PYTHON), ("cuda_sync", Category.SYNC),
        ("xpu_runtime", Category.RUNTIME), ("Trace", Category.OTHER), (None, Category.OTHER),
    ],
)  # fmt: skip
def test_categories_of_all_eras(tmp_path: Path, said: str | None, category: Category) -> None:
    events = read_kineto(written(tmp_path, [kernel(1.7e15, cat=said)]))
    assert events.category.tolist() == [category]
    assert events.rows(category).tolist() == [0]


def test_bad_spans_are_left_out_by_reason(tmp_path: Path) -> None:
    entries: list[Any] = [
        kernel(5, 2), kernel(0, 0), kernel(6, -1), kernel(-6, 1), kernel("7", 1), kernel(8, [1]),
        kernel(None), kernel(9, None), kernel(1e40), kernel(10, 0), kernel(0, 3),
        {"ph": "X", "cat": "kernel"}, {}, {"ph": "B", "ts": 1}, {"ph": 3},
    ]  # fmt: skip
    path = written(tmp_path, {"baseTimeNanoseconds": BASE, "traceEvents": entries})
    events = read_kineto(path)
    assert ((events.start_ns - BASE) // 1000).tolist() == [0, 5, 10]
    assert events.dropped == {
        "a start and a duration of zero": 1,
        "a negative duration": 1,
        "a negative start": 1,
        "a start that is no number": 1,
        "a duration that is no number": 1,
        "no start in it": 2,
        "no duration in it": 1,
        "a start out of range": 1,
    }
    assert events.counts["zero length"] == 1
    assert events.counts["zero start"] == 1
    assert events.skipped == {"begin without a length": 1, "phase None": 2}
    assert any("left out: " in note for note in events.notes)


def test_a_start_far_from_all_others_is_left_out(tmp_path: Path) -> None:
    events = read_kineto(written(tmp_path, [kernel(0, 2), kernel(1.7e15), kernel(1.7e15 + 9)]))
    assert len(events) == 2
    assert events.is_unix_time
    assert events.dropped == {"a start out of range": 1}


@pytest.mark.parametrize(
    ("trace", "why"),
    [
        ([kernel(5), kernel(6)], "no baseTimeNanoseconds is in it"),
        ({"baseTimeNanoseconds": 5, "traceEvents": [kernel(5)]}, "not between 2001 and 2065"),
        (
            {"baseTimeNanoseconds": BASE, "traceEvents": [kernel(1.7e15)]},
            "not between 2001 and 2065",
        ),
    ],
)
def test_an_origin_that_is_not_known_is_said(tmp_path: Path, trace: Any, why: str) -> None:
    events = read_kineto(written(tmp_path, trace))
    assert not events.is_unix_time
    assert any(why in note for note in events.notes)
    assert events.start_ns[0] in (5000, 1_700_000_000_000_000_000)  # as they stand


@pytest.mark.parametrize("base", ["1.5", '"12"', "null", "-3", "nan", "9" * 25])
def test_a_base_that_is_no_time_is_refused(tmp_path: Path, base: str) -> None:
    text = f'{{"traceEvents": [], "baseTimeNanoseconds": {base}}}'
    with pytest.raises(RecordingError, match=r"baseTimeNanoseconds is .* no time in ns"):
        read_kineto(written(tmp_path, text))


def test_shared_ids_are_counted(tmp_path: Path) -> None:
    call = {"cat": "cuda_runtime", "name": "cudaGraphLaunch"}
    entries = [kernel(1.7e15 + n, correlation=c) for n, c in enumerate([4, 4, 4, 5, 0, 0])]
    entries += [kernel(1.7e15, correlation=c, **call) for c in (4, 6, 6)]
    events = read_kineto(written(tmp_path, entries))
    assert events.counts["GPU events sharing a correlation id"] == 3
    assert events.counts["launches sharing a correlation id"] == 2
    assert np.count_nonzero(events.correlation == -1) == 2  # ids count from 1


def test_names_that_are_not_utf8_are_replaced_and_counted(tmp_path: Path) -> None:
    text = json.dumps([kernel(1.7e15, name="ok"), kernel(1.7e15 + 1, name="b@d")]).encode()
    events = read_kineto(written(tmp_path, text.replace(b"@", b"\xff")))
    assert events.names == ("ok", "b\ufffdd")
    assert events.counts["name with replaced characters"] == 1


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (r"C:\Users\x\dir", "C:\\Users\\x\\dir"),
        ("a\tb", "a\tb"),
        (r"\ud83d\ude00 \ud83d", "😀 �"),
        (r"half \ude00", "half �"),
        (r"a \"nan\" b", 'a "nan" b'),
    ],
)
def test_text_that_is_not_strict_json_is_read_as_meant(
    tmp_path: Path, name: str, read: str
) -> None:
    text = json.dumps([kernel(1.7e15, name="NAME", odd=1)]).replace("NAME", name)
    text = text.replace('"odd": 1', '"memory bandwidth (GB/s)": inf, "x": [NaN, -nan, -Infinity]')
    events = read_kineto(written(tmp_path, text))
    assert events.names == (read,)
    assert events.counts["text that is not strict JSON"] == 1


def test_fields_of_unknown_types_are_missing(tmp_path: Path) -> None:
    odd = kernel(1.7e15, name=None, pid=1.5, tid={"a": 1}, cat=4)
    odd["args"] = {"stream": "7", "device": 2**40, "correlation": 2**70, "External id": True}
    events = read_kineto(written(tmp_path, [odd, kernel(1.7e15 + 1, args=[3])]))
    assert events.names == ("", "k")
    assert events.category.tolist() == [Category.OTHER, Category.KERNEL]
    for column in ("correlation", "external_id"):
        assert getattr(events, column).tolist() == [-1, -1]
    assert events.device.tolist() == [-1, 0]
    assert events.counts["field of an unknown type"] == 2


@pytest.mark.parametrize("text", ["[]", '{"traceEvents": []}', '\ufeff{"traceEvents" : [ ] } \n'])
def test_an_empty_trace_says_so(tmp_path: Path, text: str) -> None:
    events = read_kineto(written(tmp_path, text), shapes=True)
    assert len(events) == 0
    assert events.start_ns.dtype == np.int64
    assert events.grid is not None
    assert events.grid.shape == (0, 3)
    assert events.notes == ("no event with a start and a duration is in it",)


def test_a_trace_without_a_gpu_says_so(tmp_path: Path) -> None:
    events = read_kineto(written(tmp_path, [kernel(1.7e15, cat="cpu_op")]))
    assert events.notes == ("no GPU event is in it: the host's time only",)
    assert len(events.on_gpu()) == 0


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "the text ends inside the file, at byte 0"),
        ("  ", "the text ends inside the file, at byte 2"),
        ("hello", "b'h' where '{' or '\\[' must stand"),
        ("{}", "no traceEvents in it"),
        ('{"a": 1}', "no traceEvents in it"),
        ('{"traceEvents": {}}', "traceEvents at byte 16 is no list"),
        ('{"traceEvents": null}', "is no list"),
        ("{3: 4}", "no name of a field at byte 1"),
        ('{"a" 4}', "':' must stand in the trace, at byte 5"),
        ("[] x", "more text follows the end of the trace, at byte 3"),
        ("[x]", "b'x' where an event must stand at byte 1"),
        ("[{},,{}]", "b',' where an event must stand at byte 4"),
        ("[{}, 12", "the text ends inside an entry, at byte 7 after 1 entries"),
        ("[5 {}]", "where a comma or the list's end must stand at byte 3"),
        ("[{} {}]", "where a comma or the list's end must stand at byte 4"),
        ('[{}, {"ph": }]', "in the event at byte 5"),
        ('[{}, {"ph": "X"', "the text ends inside an event, at byte 15 after 1 entries"),
        ("[{},", "the text ends inside the list of events, at byte 4"),
        ('{"traceEvents": [{}], "b": {"c"', "the text ends inside the value of b, at byte 31"),
        ("[" + '{"a":' * 3000 + "1" + "}" * 3000 + "]", "in the event at byte 1"),
    ],
)
def test_damage_is_named_with_its_byte(tmp_path: Path, text: str, error: str) -> None:
    for chunk in (1, 1 << 20):
        with pytest.raises(RecordingError, match=error):
            read_kineto(written(tmp_path, text), chunk_bytes=chunk)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"cannot read .*nothing\.json: No such file"):
        read_kineto(tmp_path / "nothing.json")
    with pytest.raises(OptionError, match="chunk_bytes must be at least 1"):
        read_kineto(tmp_path / "nothing.json", chunk_bytes=0)


def test_what_stands_before_the_damage_can_be_salvaged(tmp_path: Path) -> None:
    text = json.dumps([kernel(1.7e15 + n, correlation=n + 1) for n in range(9)])
    cut = text[: text.rindex("{") - 40]
    events = read_kineto(written(tmp_path, cut), salvage=True)
    assert events.correlation.tolist() == list(range(1, 9))
    assert f"the text ends inside an event, at byte {len(cut)} after 8 entries" in events.notes[0]
    whole = text[:-1]  # after the last event, before the end of the list
    assert len(read_kineto(written(tmp_path, whole), salvage=True)) == 9
    damaged = text.replace('"correlation": 5', '"correlation": ')
    assert len(read_kineto(written(tmp_path, damaged), salvage=True)) == 4


def test_stamps_without_the_base_behind_them_are_no_unix_time(tmp_path: Path) -> None:
    cut = MODERN[: MODERN.index("baseTime") - 3]
    events = read_kineto(written(tmp_path, cut), salvage=True)
    assert len(events) == 4
    assert not events.is_unix_time
    assert any("was reached before it broke off" in note for note in events.notes)


def test_gzip_is_told_by_its_bytes(tmp_path: Path) -> None:
    plain = read_kineto(written(tmp_path, MODERN))
    packed = gzip.compress(MODERN.encode())
    same(read_kineto(written(tmp_path, packed)), plain)
    half = len(MODERN) // 2  # members one after another are one file
    parts = gzip.compress(MODERN[:half].encode()) + gzip.compress(MODERN[half:].encode())
    same(read_kineto(written(tmp_path, parts + b"\0" * 9), chunk_bytes=17), plain)


def test_gzip_that_breaks_off_or_is_damaged(tmp_path: Path) -> None:
    entries = [kernel(1.7e15 + n, correlation=n * n * 7919 % 65521 + 1) for n in range(2000)]
    packed = gzip.compress(json.dumps(entries).encode())
    cut = written(tmp_path, packed[: len(packed) // 2])
    with pytest.raises(RecordingError, match=r"gzip stream breaks off at byte \d+ after \d+ entr"):
        read_kineto(cut)
    events = read_kineto(cut, salvage=True, chunk_bytes=4096)
    assert 0 < len(events) < 2000
    assert events.correlation.tolist() == [e["args"]["correlation"] for e in entries][: len(events)]
    wrong = bytearray(packed)
    wrong[-6] ^= 1  # the checksum
    with pytest.raises(RecordingError, match="gzip stream is damaged"):
        read_kineto(written(tmp_path, bytes(wrong)))


def test_only_some_categories(tmp_path: Path) -> None:
    events = read_kineto(written(tmp_path, MODERN), categories=[Category.KERNEL])
    assert events.names == ("gemm",)
    assert events.skipped["category not asked for"] == 3


json_text = st.text(max_size=6) | st.sampled_from(["},{", '"', "\\", "},\n{", "]"])
leaves = json_text | st.integers(-5, 5) | st.none() | st.booleans()
extra = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_text, inner),
    max_leaves=6,
)


@st.composite
def traces(draw: st.DrawFn) -> bytes:
    entries = []
    for n in range(draw(st.integers(0, 8))):
        name = draw(json_text)
        entry = kernel(n, n + 1, name=name, correlation=n, odd=draw(extra))
        entry["ph"] = draw(st.sampled_from("XXXsM"))
        entries.append(entry)
    beside = {f"b{n}": draw(extra) for n in range(draw(st.integers(0, 2)))}
    indent = draw(st.sampled_from([None, 1]))
    trace = {**beside, "traceEvents": entries, "after": draw(extra)}
    text = json.dumps(trace, indent=indent, ensure_ascii=draw(st.booleans()))
    return text.encode(errors="surrogatepass")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=traces(), chunk=st.integers(1, 90), packed=st.booleans())
def test_any_chunk_size_gives_the_same(
    tmp_path: Path, text: bytes, chunk: int, packed: bool
) -> None:
    whole = read_kineto(written(tmp_path, text))
    path = written(tmp_path, gzip.compress(text) if packed else text)
    same(read_kineto(path, chunk_bytes=chunk), whole)
    spans = [e for e in json.loads(text.decode(errors="replace"))["traceEvents"] if e["ph"] == "X"]
    assert whole.start_ns.tolist() == [1000 * e["ts"] for e in spans]
    assert [whole.name_of(row) for row in range(len(whole))] == [e["name"] for e in spans]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, len(MODERN) - 1), chunk=st.sampled_from([1, 7, 1 << 20]))
def test_any_cut_is_named_and_nothing_is_invented(tmp_path: Path, cut: int, chunk: int) -> None:
    path = written(tmp_path, MODERN[:cut])
    with pytest.raises(RecordingError, match=f"at byte {cut}"):
        read_kineto(path, chunk_bytes=chunk)
    if '"traceEvents": [' in MODERN[:cut]:
        events = read_kineto(path, chunk_bytes=chunk, salvage=True)
        whole = read_kineto(written(tmp_path, MODERN))
        assert events.correlation.tolist() == whole.correlation[: len(events)].tolist()
