# SPDX-License-Identifier: Apache-2.0
"""The parts of `measure` in simulated time: design, warm-up, sums of windows, options."""

from __future__ import annotations

import asyncio
import doctest
import functools
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from drawn import MS, Drawn, measured
from simulate import START_NS

import pyenergy
from pyenergy import _core
from pyenergy._blocks import Block, calls_for, gap_s, next_round
from pyenergy._campaign import Campaign
from pyenergy._combined import combined
from pyenergy._measure_options import Options, name_of
from pyenergy._measured import Measured, evaluated
from pyenergy._trace import Trace
from pyenergy._warmup import settled_from
from pyenergy.errors import EstimateWarning, OptionError
from pyenergy.recording.marks import Mark
from pyenergy.sensor.response import Response, filtered
from pyenergy.units import NS_PER_S

A100 = Response("boxcar", 0.025, 0.0)
WATTS = {"a": 310.0, "b": 180.0, "c": 240.0}


# Design.


def test_blocks_last_half_to_three_update_periods() -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([calls_for(rng, 20e-6, 0.1) for _ in range(2000)]) * 20e-6
    assert lengths.min() >= 0.05 - 20e-6
    assert lengths.max() <= 0.3 + 20e-6
    assert lengths.min() < 0.06
    assert lengths.max() > 0.25
    assert calls_for(rng, 5.0, 0.1) == 1  # a long function is one call a block
    assert calls_for(rng, 0.0, 0.1) == 1  # nothing known yet
    assert calls_for(rng, 1e-9, 0.1, last_calls=1) == 32  # the first call may be timed wrongly


def test_pauses_vary_and_some_are_long() -> None:
    rng = np.random.default_rng(0)
    gaps = np.array([gap_s(rng, 0.1) for _ in range(3000)])
    assert gaps.min() >= 0.03
    assert gaps.max() <= 0.6
    assert 0.03 < np.mean(gaps > 0.15) < 0.15


def test_rounds_mix_order_proportion_and_pauses() -> None:
    rng = np.random.default_rng(0)
    call_s = {"a": 1e-3, "b": 2e-5, "c": 5e-3}
    rounds = [next_round(rng, call_s, 0.1, {}) for _ in range(200)]
    assert all(sorted(s.name for s in r) == ["a", "b", "c"] for r in rounds)
    assert len({tuple(s.name for s in r) for r in rounds}) == 6
    together = np.mean([s.gap_s == 0 for r in rounds for s in r[:-1]])
    assert 0.3 < together < 0.7
    assert all(r[-1].gap_s > 0 for r in rounds)
    share = [sum(s.calls * call_s[s.name] for s in r if s.name == "a") for r in rounds]
    assert np.std(share) > 0.3 * np.mean(share)
    fewer = [next_round(rng, call_s, 0.1, {}, frozenset("a")) for _ in range(200)]
    assert 40 < sum(any(s.name == "a" for s in r) for r in fewer) < 120
    assert next_round(rng, {"a": 1.0}, 0.1, {}, frozenset("a"))[0].name == "a"


def condition(spans: list[tuple[int, int, int]], end_ns: int) -> float:
    """Condition number of what an A100's sensor sees of three classes and a constant."""
    starts, ends, classes = (np.array(c, dtype=np.int64) for c in zip(*spans, strict=True))
    activity = _core.Activity(starts, ends, classes.astype(np.int32), 3)
    t = np.arange(START_NS + 200 * MS, end_ns, round(101.2 * MS))
    x = filtered(activity, t, A100).toarray()
    return float(np.linalg.cond(np.column_stack([x, np.ones(len(t))])))


def test_a_mixed_design_tells_functions_apart_and_whole_iterations_do_not() -> None:
    call_s = {"a": 1e-3, "b": 2e-3, "c": 0.5e-3}
    rng = np.random.default_rng(3)
    t, iterations = START_NS, []
    while t < START_NS + 20 * NS_PER_S:
        for i, seconds in enumerate(call_s.values()):
            iterations.append((t, t + round(seconds * NS_PER_S), i))
            t = iterations[-1][1]
    alike = condition(iterations, t)
    t, mixed = START_NS, []
    while t < START_NS + 20 * NS_PER_S:
        for step in next_round(rng, call_s, 0.1, {}):
            end = t + round(step.calls * call_s[step.name] * NS_PER_S)
            mixed.append((t, end, list(call_s).index(step.name)))
            t = end + round(step.gap_s * NS_PER_S)
    assert condition(mixed, t) < 10
    assert alike > 50  # as good as singular


# Warm-up.


def test_a_series_settles_where_it_stops_moving() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(1, 0.01, 60)
    assert settled_from(noise, 0.001) is not None
    assert settled_from(noise, 0.001) <= 30  # type: ignore[operator]
    start = np.concatenate([3 * noise[:10], noise[10:]])
    found = settled_from(start, 0.001)
    assert found is not None
    assert 10 <= found <= 30
    assert settled_from(np.linspace(2, 1, 60), 0.001) is None  # still moving
    assert settled_from(np.linspace(1.001, 1, 60), 0.01) is not None  # by less than matters
    assert settled_from([1, 1, 1], 0.01) is None  # too few to tell
    assert settled_from([np.nan] * 20, 0.01) is None
    assert settled_from(np.ones(20), 0.01) == 0


# The campaign.


def test_with_reset_blocks_are_counted_and_not_their_calls() -> None:
    """Every call is a span: five of them are one block, which a sensor may see once."""
    spans: list[Mark] = []
    trace = SimpleNamespace(add_span=spans.append)
    session = SimpleNamespace(sync=False, devices=())
    options = Options(rel=0.5, reset=lambda: None)
    functions = {"f": lambda: None}
    made = Campaign(functions, options, session, trace, 0.004)  # type: ignore[arg-type]

    def look() -> dict[str, float]:
        time.sleep(4 * 0.004)  # until readings cover the blocks
        return made._look(lambda _, blocks: {"f": float(len(blocks))})

    for _ in range(4):
        made._round(60.0, frozenset())
    assert len(made.blocks) > 5
    assert look() == {}
    while made._reset is not None and len(made._reset.ended_ns) < 5:
        made._round(60.0, frozenset())
    made._round(60.0, frozenset())
    assert look() == {"f": float(len(made.blocks))}
    assert sum(s.name == "f" for s in spans) == len(made.blocks)


# Sums of windows.


def campaign(seed: int, call_s: dict[str, float], seconds: float = 20.0) -> list[Block]:
    """What `measure_many` would have run, in simulated time."""
    rng = np.random.default_rng(seed)
    blocks, t = [], START_NS + 700 * MS
    while t < START_NS + round(seconds * NS_PER_S):
        for step in next_round(rng, call_s, 0.1, {}):
            end = t + round(step.calls * call_s[step.name] * NS_PER_S)
            blocks.append(Block(step.name, t, end, step.calls))
            t = end + round(step.gap_s * NS_PER_S)
    return blocks


def drawn_campaign(
    kind: str, seed: int, call_s: dict[str, float]
) -> tuple[Measured, np.ndarray, Trace]:
    """(result, true energies per call, trace) on a card that nobody knows."""
    blocks = campaign(seed, call_s)

    def load(drawn: Drawn) -> list[tuple[str, int, int]]:
        for b in blocks:
            drawn.pulse(b.start_ns, (b.end_ns - b.start_ns) / NS_PER_S, WATTS[b.name])
        return [(b.name, b.start_ns, b.end_ns) for b in blocks]

    trace, truth, _ = measured(kind, seed, load)
    names = tuple(call_s)
    true_j = []
    for name in names:
        own = [b for b in blocks if b.name == name]
        joules = truth([b.start_ns for b in own], [b.end_ns for b in own]).sum()
        true_j.append(joules / sum(b.calls for b in own))
    return evaluated(trace, blocks, names), np.array(true_j), trace


@pytest.mark.parametrize("kind", ["a100", "v100", "h100", "a100 rc"])
@pytest.mark.parametrize("call_s", [20e-6, 1e-3, 0.05, 1.0])
def test_one_function_of_any_length(kind: str, call_s: float) -> None:
    result, truth, _ = drawn_campaign(kind, 11, {"a": call_s})
    u = np.sqrt(np.diag(result.sums.cov()))
    assert abs(result.sums.joules[0] - truth[0]) < 3 * u[0] + 1e-4 * truth[0]
    assert result.rel()[0] < 0.01
    net = result.energy(np.ones(1), net=True)
    assert 0 < net.joules < result.sums.joules[0]


@pytest.mark.parametrize("seed", range(4))
def test_functions_measured_together(seed: int) -> None:
    call_s = {"a": 20e-6, "b": 1e-3, "c": 7e-3}
    result, truth, _ = drawn_campaign("a100", seed, call_s)
    cov = result.sums.cov()
    off = result.sums.joules - truth
    assert (np.abs(off) < 3 * np.sqrt(np.diag(cov)) + 1e-4 * truth).all()
    assert (result.rel() < 0.02).all()
    # A sum has the uncertainty of the sum: more than of independent parts, or less.
    calls = np.array([1e-3, 2e-5, 1e-5]) / np.array(list(call_s.values()))
    total = result.energy(calls)
    assert total.u_same_card == pytest.approx(np.sqrt(calls @ cov @ calls))
    assert total.joules == pytest.approx(calls @ result.sums.joules)
    assert abs(total.joules - calls @ truth) < 3 * total.u_same_card + 1e-4 * total.joules


def test_the_sum_of_windows_is_less_certain_than_independent_windows_would_be() -> None:
    _, _, trace = drawn_campaign("a100", 5, {"a": 1e-3})
    spans = trace.spans()
    starts, ends = spans["start_ns"].to_numpy(), spans["end_ns"].to_numpy()
    models = list(trace._models()[1].values())
    terms = models[0].terms(starts, ends)
    sums = combined(models, np.ones((1, len(starts))), starts, ends)
    fit = np.sqrt(sums.parts["fit"][0, 0])
    assert fit > 2 * np.sqrt((terms.terms["fit"] ** 2).sum())  # all rest on one power
    assert fit <= terms.terms["fit"].sum() * (1 + 1e-9)
    assert sums.joules[0] == pytest.approx(terms.joules.sum())
    # One window alone is what the trace says of it.
    alone = combined(models, np.eye(len(starts))[:1], starts, ends)
    assert alone.joules[0] == pytest.approx(terms.joules[0])
    assert np.sqrt(alone.parts["fit"][0, 0]) == pytest.approx(terms.terms["fit"][0])


def test_a_gain_is_common_to_all_and_left_out_on_one_card() -> None:
    result, _, trace = drawn_campaign("a100", 6, {"a": 1e-3, "b": 2e-3})
    blind = trace.calibrated(None)
    uncalibrated = evaluated(blind, result.blocks, result.names)
    whole = uncalibrated.sums.cov(same_card=False)
    assert np.sqrt(whole[0, 0]) > 0.03 * uncalibrated.sums.joules[0]
    gain = uncalibrated.sums.parts["gain"]
    assert gain[0, 1] == pytest.approx(np.sqrt(gain[0, 0] * gain[1, 1]))
    energy = uncalibrated.energy(np.array([1.0, 0.0]))
    assert energy.u_same_card == pytest.approx(np.sqrt(uncalibrated.sums.cov()[0, 0]))
    assert energy.u == pytest.approx(np.sqrt(whole[0, 0]))
    assert energy.u > 5 * energy.u_same_card


def test_time_of_blocks_that_is_no_work_widens_the_uncertainty() -> None:
    result, _, trace = drawn_campaign("a100", 7, {"a": 1e-3})
    late = [Block(b.name, b.start_ns, b.end_ns + MS, b.calls) for b in result.blocks]
    worse = evaluated(trace, late, ("a",))
    lost = 1e-3 * len(late) / sum(b.calls for b in late)
    assert np.sqrt(worse.sums.parts["block"][0, 0]) == pytest.approx(
        lost * worse.sums.net_joules[0] / worse.times[0][0], rel=0.1
    )
    assert worse.sums.parts["block"][0, 0] > 10 * result.sums.parts["block"][0, 0]


def test_why_names_what_dominates_and_the_time_it_would_take() -> None:
    result, _, _ = drawn_campaign("a100", 8, {"a": 1e-3})
    notes = result.why(0, Options(rel=1e-6), 10.0)
    assert "reached" in notes[0]
    assert "% of the variance" in notes[0]
    assert "1/sqrt(time)" in notes[1]


# What cannot be.


def a_generator() -> Iterator[int]:
    yield 1


async def a_coroutine() -> None:
    await asyncio.sleep(0)


async def an_async_generator() -> AsyncIterator[int]:
    yield 1


class Coroutine:
    async def __call__(self) -> None: ...


BAD: list[tuple[dict[str, object], type[Exception], str]] = [
    ({"rel": 0}, OptionError, "rel"),
    ({"rel": -0.1}, OptionError, "rel"),
    ({"rel": 1.0}, OptionError, "rel"),
    ({"rel": float("nan")}, OptionError, "NaN"),
    ({"rel": "1%"}, TypeError, "rel"),
    ({"budget_s": 0}, OptionError, "budget_s"),
    ({"budget_s": -1}, OptionError, "budget_s"),
    ({"budget_s": float("inf")}, OptionError, "budget_s"),
    ({"sync": "no"}, OptionError, "sync must be"),
    ({"budget_s": float("nan")}, OptionError, "NaN"),
    ({"budget_s": True}, TypeError, "budget_s"),
    ({"budget_s": 0.05}, OptionError, "too short"),
    ({"warmup": -1}, OptionError, "warmup"),
    ({"warmup": "some"}, OptionError, "warmup"),
    ({"warmup": 1.5}, OptionError, "warmup"),
    ({"warmup": True}, OptionError, "warmup"),
    ({"reset": 3}, TypeError, "reset"),
    ({"reset": a_coroutine}, OptionError, "reset"),
    ({"devices": "nothing"}, pyenergy.errors.DeviceError, "nothing"),
    ({"seed": -1}, OptionError, "seed"),
    ({"seed": "x"}, OptionError, "seed"),
]


@pytest.mark.parametrize(("options", "error", "match"), BAD)
def test_options_that_cannot_be(
    options: dict[str, object], error: type[Exception], match: str
) -> None:
    options = {"devices": "sim:a100", **options}
    with pytest.raises(error, match=match):
        pyenergy.measure(lambda: None, **options)  # type: ignore[arg-type]
    with pytest.raises(error, match=match):
        pyenergy.measure_many({"x": lambda: None}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fn", "error"),
    [
        (None, TypeError),
        (3, TypeError),
        (a_generator, OptionError),
        (a_coroutine, OptionError),
        (an_async_generator, OptionError),
        (functools.partial(a_coroutine), OptionError),
        (Coroutine(), OptionError),
    ],
)
def test_what_is_no_function_that_runs(fn: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        pyenergy.measure(fn, devices="sim:a100")
    with pytest.raises(error):
        pyenergy.measure_many({"x": fn}, devices="sim:a100")


def test_mappings_that_cannot_be() -> None:
    for functions, error in (
        ({}, OptionError),
        ({3: len}, TypeError),
        ({"": len}, OptionError),
        ({"a\n": len}, OptionError),
        ([len], TypeError),
    ):
        with pytest.raises(error):
            pyenergy.measure_many(functions, devices="sim:a100")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="name"):
        pyenergy.measure(lambda: None, name="", devices="sim:a100")


def test_names_of_functions() -> None:
    assert name_of(len) == "len"
    assert name_of(functools.partial(len, [])) == "len"
    assert name_of(Coroutine()) == "Coroutine"
    assert name_of(lambda: 0) == "<lambda>"


@pytest.mark.parametrize("name", ["_measure", "_blocks", "_warmup", "_measure_options"])
def test_docstring_examples(name: str) -> None:
    result = doctest.testmod(__import__(f"pyenergy.{name}", fromlist=["x"]))
    assert result.failed == 0
    assert result.attempted > 0


def test_an_estimate_says_so() -> None:
    with pytest.warns(EstimateWarning):
        m = pyenergy.measure(
            lambda: sum(range(20_000)), devices="estimate", budget_s=1.0, warmup=None
        )
    assert m.is_estimate
    assert m.energy.u >= 0.45 * m.energy.joules
    assert "ESTIMATE" in str(m)
    assert m.n == m.samples["calls"].sum() > 0


def test_without_a_pause_only_what_is_net_of_idle_is_unknown() -> None:
    t = START_NS + np.arange(200, dtype=np.int64) * 10 * MS
    trace = Trace.from_readings({"gpu:0/power": (t, np.full(200, 100.0))})
    one = Block("a", START_NS + 200 * MS, START_NS + 1200 * MS, 10)
    result = evaluated(trace, [one], ("a",))
    energy, net = (result.energy(np.ones(1), net=net) for net in (False, True))
    assert energy.joules == pytest.approx(10.0)
    assert math.isfinite(energy.u_same_card)
    # One block may differ from the next by all of it.
    assert energy.u_same_card > dict(energy.terms)["block"] > 0
    assert math.isnan(net.joules)
    assert math.isnan(net.u)
