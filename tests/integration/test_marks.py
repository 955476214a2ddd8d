# SPDX-License-Identifier: Apache-2.0
"""Marks: nested, in threads and tasks, outside a trace; and the spans that come of them."""

from __future__ import annotations

import asyncio
import threading
import time

import polars as pl
import pytest
from simulate import START_NS, sampled

import pyenergy
from pyenergy.recording.marks import Mark
from pyenergy.testing import SimulatedWorld
from pyenergy.units import NS_PER_S

SIM = "sim:ideal"
SHORT_S = 0.01


@pytest.fixture(autouse=True)
def steady(world: SimulatedWorld) -> SimulatedWorld:
    world[0].set_power(300.0, at_ns=0)
    return world


def test_spans_have_their_columns_in_order_and_type() -> None:
    with pyenergy.trace(devices=SIM) as t, pyenergy.mark("work"):
        time.sleep(SHORT_S)
    spans = t.spans()
    assert spans.schema == {
        "name": pl.String,
        "depth": pl.Int64,
        "start_ns": pl.Int64,
        "end_ns": pl.Int64,
        "duration_s": pl.Float64,
        "energy_j": pl.Float64,
        "u_j": pl.Float64,
        "u_same_card_j": pl.Float64,
        "mean_power_w": pl.Float64,
    }
    (row,) = spans.iter_rows(named=True)
    same = t.window(row["start_ns"], row["end_ns"])
    assert row["energy_j"] == pytest.approx(same.joules, rel=1e-12)
    assert row["u_j"] == pytest.approx(same.u, rel=1e-12)
    assert row["mean_power_w"] == pytest.approx(300.0, rel=1e-6)
    assert row["duration_s"] == (row["end_ns"] - row["start_ns"]) / NS_PER_S >= SHORT_S


def test_no_marks_make_an_empty_table_of_the_same_columns() -> None:
    with pyenergy.trace(devices=SIM) as t:
        pass
    with pyenergy.trace(devices=SIM) as marked, pyenergy.mark("x"):
        pass
    assert len(t.spans()) == 0
    assert t.spans().schema == marked.spans().schema


def test_nested_marks_know_their_depth_and_come_by_start() -> None:
    with pyenergy.trace(devices=SIM) as t:
        for _ in range(2):
            with pyenergy.mark("layer"), pyenergy.mark("attention"):
                pass
    assert [(m.name, m.depth) for m in t.marks] == [("layer", 0), ("attention", 1)] * 2
    starts = [m.start_ns for m in t.marks]
    assert starts == sorted(starts)


def test_a_mark_outside_a_trace_does_nothing() -> None:
    with pyenergy.mark("before"):
        pass
    with pyenergy.mark("around"), pyenergy.trace(devices=SIM) as t, pyenergy.mark("inside"):
        pass
    assert [m.name for m in t.marks] == ["inside"]


def test_a_mark_that_outlives_its_trace_is_not_half_a_span() -> None:
    mark = pyenergy.mark("late")
    with pyenergy.trace(devices=SIM) as t:
        mark.__enter__()
    mark.__exit__(None, None, None)
    assert t.marks == ()


def test_every_open_trace_gets_the_mark() -> None:
    with pyenergy.trace(devices=SIM) as outer:
        with pyenergy.mark("one"):
            pass
        with pyenergy.trace(devices=SIM) as inner, pyenergy.mark("two"):
            pass
    assert [m.name for m in outer.marks] == ["one", "two"]
    assert [m.name for m in inner.marks] == ["two"]


def test_a_mark_survives_an_exception() -> None:
    with pyenergy.trace(devices=SIM) as t:
        with pytest.raises(ZeroDivisionError), pyenergy.mark("fails"):
            _ = 1 / 0
        with pyenergy.mark("next"):
            pass
    assert [(m.name, m.depth) for m in t.marks] == [("fails", 0), ("next", 0)]


def test_a_mark_decorates_also_recursion() -> None:
    @pyenergy.mark("call")
    def call(depth: int) -> None:
        if depth:
            call(depth - 1)

    with pyenergy.trace(devices=SIM) as t:
        call(2)
    assert [m.depth for m in t.marks] == [0, 1, 2]


def test_threads_count_their_own_depth() -> None:
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(50):
            with pyenergy.mark("outer"), pyenergy.mark("inner"):
                pass

    with pyenergy.trace(devices=SIM) as t:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(t.marks) == 400
    assert {(m.name, m.depth) for m in t.marks} == {("outer", 0), ("inner", 1)}
    assert len({m.thread for m in t.marks}) == 4


async def test_tasks_count_their_own_depth() -> None:
    async def work() -> None:
        with pyenergy.mark("outer"):
            await asyncio.sleep(SHORT_S)
            with pyenergy.mark("inner"):
                await asyncio.sleep(SHORT_S)

    async with pyenergy.trace(devices=SIM) as t:
        await asyncio.gather(*(work() for _ in range(5)))
    assert sorted((m.name, m.depth) for m in t.marks) == [("inner", 1)] * 5 + [("outer", 0)] * 5
    assert_overlapping([m for m in t.marks if m.name == "outer"])


def assert_overlapping(marks: list[Mark]) -> None:
    assert max(m.start_ns for m in marks) < min(m.end_ns for m in marks)


def test_spans_may_be_added_after_the_fact() -> None:
    trace = sampled(seconds=2)
    before = trace.energy
    trace.add_span(Mark("second half", START_NS + NS_PER_S, START_NS + 2 * NS_PER_S))
    trace.add_span(Mark("outside", START_NS - 5, START_NS + 5))
    (row,) = trace.spans().iter_rows(named=True)
    assert row["name"] == "second half"
    assert row["energy_j"] == pytest.approx(300.0, rel=1e-9)
    assert trace.energy == before


def test_a_mark_that_outlives_the_trace_is_said() -> None:
    late = pyenergy.mark("late")
    with pyenergy.trace(devices="sim:ideal") as t:
        with pyenergy.mark("inside"):
            pass
        late.__enter__()
    late.__exit__(None, None, None)
    assert [m.name for m in t.marks] == ["inside"]
    assert "the mark 'late' had not ended when the trace did: it is no span of it" in t.notes
    with pyenergy.mark("around"), pyenergy.trace(devices="sim:ideal") as later:
        pass
    assert later.notes == ()
