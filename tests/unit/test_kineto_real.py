# SPDX-License-Identifier: Apache-2.0
"""Traces of real GPUs, of every era, against the standard library and decimal numbers."""

from __future__ import annotations

import gzip
import json
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from pyenergy.attribution.kineto_json import read_kineto
from pyenergy.attribution.profiler_events import Category, ProfilerEvents

NAMED = os.environ.get("PYENERGY_KINETO_DATA")
KINETO = Path(NAMED) if NAMED else Path(__file__).resolve().parents[3] / "shared/data/kineto"
TRACES = sorted(KINETO.glob("*.json.gz"))
pytestmark = pytest.mark.skipif(
    not TRACES, reason=f"no traces in {KINETO} (PYENERGY_KINETO_DATA names the folder)"
)


def same(one: ProfilerEvents, other: ProfilerEvents) -> None:
    for name, column in vars(one).items():
        np.testing.assert_array_equal(column, getattr(other, name), name)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name.partition(".")[0])
def test_real_traces_to_the_nanosecond(path: Path) -> None:
    events = read_kineto(path, shapes=True)
    text = gzip.decompress(path.read_bytes())
    trace = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    base = int(trace.get("baseTimeNanoseconds", 0))
    spans = [entry for entry in trace["traceEvents"] if entry["ph"] == "X"]
    start = np.array([base + round(entry["ts"] * 1000) for entry in spans])
    order = np.argsort(start, kind="stable")
    spans = [spans[row] for row in order]
    length = [round(entry["dur"] * 1000) for entry in spans]
    np.testing.assert_array_equal(events.start_ns, start[order])
    np.testing.assert_array_equal(events.end_ns - events.start_ns, length)
    assert [events.name_of(row) for row in range(len(events))] == [e["name"] for e in spans]
    args = [entry.get("args", {}) for entry in spans]
    for column, key in (("correlation", "correlation"), ("external_id", "External id")):
        assert getattr(events, column).tolist() == [int(each.get(key, -1)) or -1 for each in args]
    gpu = events.on_gpu()
    for column in ("device", "stream"):
        assert getattr(events, column)[gpu].tolist() == [args[row][column] for row in gpu]
    assert events.grid is not None
    kernels = events.rows(Category.KERNEL)
    assert events.grid[kernels].tolist() == [
        args[row].get("grid", [-1] * 3)
        for row in kernels  # part of a CUDA graph has none
    ]
    assert len(kernels) == sum(entry["cat"] == "kernel" for entry in spans)
    assert events.is_unix_time
    assert events.dropped == {}
    assert len(events) + sum(events.skipped.values()) == len(trace["traceEvents"])


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name.partition(".")[0])
def test_real_traces_in_other_chunks(path: Path) -> None:
    same(read_kineto(path, chunk_bytes=50_021), read_kineto(path))


def test_real_traces_say_what_is_odd_in_them() -> None:
    graph = read_kineto(KINETO / "vllm_cuda_graph_decode.json.gz")
    assert graph.counts["GPU events sharing a correlation id"] > 400
    host = read_kineto(KINETO / "cpu_only.json.gz")
    assert host.notes == ("no GPU event is in it: the host's time only",)
