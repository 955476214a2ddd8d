# SPDX-License-Identifier: Apache-2.0
"""Traces and monitors in use: entered, nested, shared, decorated, left by exceptions."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from threads import samplers

import pyenergy
from pyenergy.errors import OptionError, StateError, WindowError
from pyenergy.testing import SimulatedWorld, simulated
from pyenergy.units import NS_PER_S

SIM = "sim:ideal"
SHORT_S = 0.02


@pytest.fixture(autouse=True)
def steady(world: SimulatedWorld) -> SimulatedWorld:
    """One card at 300 W, seen by every test here."""
    world[0].set_power(300.0, at_ns=0)
    return world


def assert_right(trace: pyenergy.Trace) -> None:
    assert trace.energy.joules == pytest.approx(300.0 * trace.duration_s, rel=1e-6)


def test_a_trace_measures_what_runs_inside() -> None:
    before = pyenergy.now_ns()
    with pyenergy.trace(devices=SIM) as t:
        inside = pyenergy.now_ns()
        time.sleep(SHORT_S)
    start, end = t.bounds_ns
    assert before <= start <= inside <= end <= pyenergy.now_ns()
    assert t.duration_s == (end - start) / NS_PER_S >= SHORT_S
    assert_right(t)
    assert repr(t) == f"<pyenergy.Trace {t.duration_s:.3f} s>"


def test_an_open_trace_speaks_of_the_time_up_to_now() -> None:
    with pyenergy.trace(devices=SIM) as t:
        assert "open" in repr(t)
        time.sleep(SHORT_S)
        first = t.energy
        time.sleep(SHORT_S)
        second = t.energy
        assert second.joules > first.joules + 300.0 * SHORT_S * 0.99
        window = t.window(t.bounds_ns[0], t.bounds_ns[0] + NS_PER_S // 100)
        assert window.joules == pytest.approx(3.0, rel=1e-6)
    assert t.energy.joules > second.joules
    assert_right(t)


def test_an_exception_passes_and_leaves_a_closed_trace() -> None:
    with pytest.raises(ZeroDivisionError), pyenergy.trace(devices=SIM) as t:
        _ = 1 / (time.sleep(SHORT_S) or 0)
    assert t.notes == ("ended by ZeroDivisionError",)
    assert_right(t)
    with pyenergy.mark("after"):  # the trace takes no more marks
        pass
    assert t.marks == ()


def test_keyboard_interrupt_is_no_other() -> None:
    with pytest.raises(KeyboardInterrupt), pyenergy.trace(devices=SIM) as t:
        raise KeyboardInterrupt
    assert "ended by KeyboardInterrupt" in t.notes


def test_traces_nest_and_share_one_sampler() -> None:
    with pyenergy.trace(devices=SIM) as outer:
        running = samplers()
        with pyenergy.trace(devices=SIM) as inner:
            assert samplers() == running
            time.sleep(SHORT_S)
    assert outer.bounds_ns[0] <= inner.bounds_ns[0] <= inner.bounds_ns[1] <= outer.bounds_ns[1]
    assert_right(outer)
    assert_right(inner)
    assert outer.window(*inner.bounds_ns).joules == pytest.approx(inner.energy.joules, rel=1e-9)


def test_one_trace_object_may_be_entered_again_and_inside_itself() -> None:
    measure = pyenergy.trace(devices=SIM)
    with measure as first:
        time.sleep(SHORT_S)
        with measure as second:
            time.sleep(SHORT_S)
    with measure as third:
        time.sleep(SHORT_S)
    assert first.bounds_ns[1] > second.bounds_ns[1]
    assert third.bounds_ns[0] > first.bounds_ns[1]
    for t in (first, second, third):
        assert_right(t)


def test_a_finer_rate_gets_a_sampler_of_its_own_and_others_keep_theirs() -> None:
    with pyenergy.trace(devices=SIM, rate_hz=100) as coarse:
        time.sleep(SHORT_S)
        with pyenergy.trace(devices=SIM, rate_hz=5000) as fine:
            time.sleep(5 * SHORT_S)
        with pyenergy.trace(devices=SIM, rate_hz=100) as again:
            time.sleep(SHORT_S)
    reads = {
        name: t.series("gpu:0/power").count.sum() / t.duration_s
        for name, t in (("coarse", coarse), ("fine", fine))
    }
    # A busy machine may miss deadlines, never add polls.
    assert reads["coarse"] <= 150
    assert reads["fine"] >= 1000
    for t in (coarse, fine, again):
        assert_right(t)


def test_a_monitor_answers_while_it_runs() -> None:
    monitor = pyenergy.Monitor(devices=SIM)
    assert monitor.devices == SIM
    monitor.start()
    time.sleep(SHORT_S)
    middle = pyenergy.now_ns()
    time.sleep(SHORT_S)
    start = monitor.trace.bounds_ns[0]
    early = monitor.energy(start, middle)
    assert early.joules == pytest.approx(300.0 * (middle - start) / NS_PER_S, rel=1e-6)
    joules, u = monitor.windows([start, middle - 1000], [middle, middle])
    assert joules[0] == pytest.approx(early.joules, rel=1e-9)
    assert u[0] == pytest.approx(early.u, rel=1e-6)
    later = monitor.energy(middle)
    assert later.joules > 300.0 * SHORT_S * 0.99
    trace = monitor.stop()
    assert monitor.energy().joules == trace.energy.joules
    assert_right(trace)


def test_a_monitor_out_of_turn_is_a_state_error() -> None:
    monitor = pyenergy.Monitor(devices=SIM)
    for use in (
        monitor.stop,
        monitor.energy,
        lambda: monitor.windows([], []),
        lambda: monitor.trace,
    ):
        with pytest.raises(StateError, match="start"):
            use()
    with monitor:
        with pytest.raises(StateError, match="runs already"):
            monitor.start()
        with pytest.raises(WindowError, match="outside the recording"):
            monitor.energy(0, 1)
    with pytest.raises(StateError, match="does not run"):
        monitor.stop()
    first = monitor.trace
    with monitor:  # and once more
        time.sleep(SHORT_S)
    assert monitor.trace is not first
    assert_right(monitor.trace)


def test_two_monitors_on_one_device_share_its_sampler() -> None:
    one, two = pyenergy.Monitor(devices=SIM).start(), pyenergy.Monitor(devices=SIM).start()
    time.sleep(SHORT_S)
    first = one.stop()
    time.sleep(SHORT_S)
    second = two.stop()
    overlap = (second.bounds_ns[0], first.bounds_ns[1])
    a, b = first.window(*overlap), second.window(*overlap)
    assert a.joules == pytest.approx(b.joules, rel=1e-9)
    # The very same memory: nothing was sampled twice.
    assert same_store(first, second)
    assert_right(first)
    assert_right(second)


def same_store(a: pyenergy.Trace, b: pyenergy.Trace) -> bool:
    """Whether two traces' readings lie in the same columns."""
    one, other = a.series("gpu:0/power").values, b.series("gpu:0/power").values
    distance = abs(one.__array_interface__["data"][0] - other.__array_interface__["data"][0])
    return bool(distance < 8 * (len(one) + len(other)))


def test_many_threads_trace_at_once() -> None:
    traces: list[pyenergy.Trace] = []

    def work() -> None:
        for _ in range(3):
            with pyenergy.trace(devices=SIM) as t:
                time.sleep(SHORT_S / 4)
            traces.append(t)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(traces) == 24
    for t in traces:
        assert_right(t)


def test_many_threads_ask_one_trace_at_once() -> None:
    """The first answer of a closed trace is taken from the samplers, the others from it."""
    with simulated("h100", "h100") as world:
        for card in world:
            card.set_power(300.0, at_ns=0)
        with pyenergy.trace(devices="sim") as t:
            time.sleep(SHORT_S)
        answers: list[pyenergy.Energy] = []
        threads = [threading.Thread(target=lambda: answers.append(t.energy)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 16
    assert len(set(answers)) == 1
    assert answers[0].joules == pytest.approx(600.0 * t.duration_s, rel=1e-2)


# Functions and coroutines.


def test_a_decorated_function_keeps_its_traces() -> None:
    @pyenergy.trace(devices=SIM)
    def work(depth: int) -> int:
        """Sleeps."""
        time.sleep(SHORT_S)
        return depth if depth == 0 else 1 + work(depth - 1)

    assert work(2) == 2
    assert work.__name__ == "work"
    assert work.__doc__ == "Sleeps."
    outer, _, inner = work.traces
    assert outer.duration_s > inner.duration_s
    for t in work.traces:
        assert_right(t)


async def test_a_decorated_coroutine_keeps_its_traces() -> None:
    @pyenergy.trace(devices=SIM)
    async def work() -> str:
        await asyncio.sleep(SHORT_S)
        return "done"

    assert await asyncio.gather(work(), work(), work()) == ["done"] * 3
    assert len(work.traces) == 3
    for t in work.traces:
        assert_right(t)


async def test_async_with_does_not_block_the_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    async with pyenergy.trace(devices=SIM) as t:
        await asyncio.sleep(SHORT_S)
    ticking.cancel()
    assert ticks > 5
    assert_right(t)


async def test_async_with_passes_exceptions_and_cancellation() -> None:
    with pytest.raises(ZeroDivisionError):
        async with pyenergy.trace(devices=SIM) as t:
            raise ZeroDivisionError
    assert t.notes == ("ended by ZeroDivisionError",)

    opened: list[pyenergy.Trace] = []

    async def forever() -> None:
        async with pyenergy.trace(devices=SIM) as inner:
            opened.append(inner)
            await asyncio.sleep(60)

    task = asyncio.create_task(forever())
    while not opened:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert opened[0].notes == ("ended by CancelledError",)
    assert_right(opened[0])


async def test_tasks_that_share_one_trace_object_each_leave_their_own() -> None:
    shared = pyenergy.trace(devices="sim:ideal")
    order: list[str] = []

    async def work(name: str, before_s: float, inside_s: float) -> pyenergy.Trace:
        await asyncio.sleep(before_s)
        async with shared as t:
            await asyncio.sleep(inside_s)
        order.append(name)
        return t

    long, short = await asyncio.gather(work("long", 0, 0.12), work("short", 0.03, 0.02))
    assert order == ["short", "long"]
    assert short.duration_s < 0.1 < long.duration_s


def test_a_generator_is_refused_instead_of_measured_while_it_is_made() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(OptionError, match="generator"):
            pyenergy.trace(devices="sim:ideal")(function)
        with pytest.raises(OptionError, match="generator"):
            pyenergy.mark("x")(function)


async def test_a_marked_coroutine_is_marked_for_as_long_as_it_runs() -> None:
    @pyenergy.mark("slow")
    async def slow() -> None:
        await asyncio.sleep(0.05)

    async with pyenergy.trace(devices="sim:ideal") as t:
        await asyncio.gather(slow(), slow())
    assert t.spans()["name"].to_list() == ["slow", "slow"]
    assert t.spans()["duration_s"].min() >= 0.05


def test_a_trace_may_be_left_by_another_thread() -> None:
    scope = pyenergy.trace(devices="sim:ideal")
    t = scope.__enter__()
    thread = threading.Thread(target=scope.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert t.energy.joules > 0
    with pytest.raises(StateError, match="not entered"):
        scope.__exit__(None, None, None)


def test_one_mark_in_many_threads_keeps_every_span() -> None:
    label = pyenergy.mark("shared")

    def work() -> None:
        for _ in range(100):
            with label:
                pass

    with pyenergy.trace(devices="sim:ideal") as t:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(t.spans()) == 400


async def test_cancelling_while_a_trace_opens_leaves_nothing_running() -> None:
    from pyenergy import _marks

    async def measured() -> None:
        async with pyenergy.trace(devices="sim:ideal"):
            await asyncio.sleep(10)

    for delay_s in (0.0, 0.0002, 0.001, 0.01):
        task = asyncio.create_task(measured())
        await asyncio.sleep(delay_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.7)  # a cold open may take half a second
    assert _marks._open == ()


def test_a_monitor_that_is_dropped_stops() -> None:
    import gc

    from pyenergy import _marks

    pyenergy.Monitor(devices="sim:ideal").start()
    gc.collect()
    assert _marks._open == ()
