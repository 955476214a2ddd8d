# SPDX-License-Identifier: Apache-2.0
"""Steps of an engine: what they may be, how their energy is divided, and that it adds up."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from attached import BOUNDS, S, taken
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import START_NS, sampled

import pyenergy
from pyenergy import Trace
from pyenergy.attribution.steps import NOBODY, OUTSIDE, Part, Step, Steps, Weights
from pyenergy.attribution.steps_tables import requests_table, tokens_table
from pyenergy.errors import OptionError, RecordingError, StateError, WindowError
from pyenergy.testing import simulated


def example() -> Steps:
    """Two requests: one with a prompt in chunks, one that is preempted and computed again."""
    return Steps(
        (
            Step(2 * S, 3 * S, (Part("a", 6), Part("b", 3, 1))),
            Step(3 * S, 4 * S, (Part("a", 2, 1), Part("b", 0, 1))),
            Step(5 * S, 6 * S, (Part("a", 0, 1),)),
            Step(6 * S, 7 * S, (Part("a", 0, 2), Part("b", 0, 1, 5))),
        ),
        arrivals_ns={"a": 1 * S},
        source="by hand",
    )


@pytest.fixture(scope="module")
def trace() -> Trace:
    return taken()


def steady(watts: float = 100.0, **more: Any) -> Trace:
    t = np.arange(0, 10 * S, 10_000_000)
    return Trace.from_readings(
        {"gpu:0/power": (t, np.full(len(t), watts))}, bounds_ns=BOUNDS, **more
    )


def test_phases_of_steps_are_told_by_what_was_computed() -> None:
    assert [step.phase for step in example().steps] == ["prefill", "mixed", "decode", "mixed"]
    assert Step(0, 1).phase == "none"
    # The first token comes out of the prefill itself; a draft that was accepted with it does not.
    assert Step(0, 1, (Part("a", 5, 1),)).phase == "prefill"
    assert Step(0, 1, (Part("a", 5, 3),)).phase == "mixed"
    assert Step(0, 1, (Part("a", 5, 3, sequences=3),)).phase == "prefill"


def test_steps_of_a_kind_have_one_label() -> None:
    def kind(requests: int) -> str:
        return Step(0, 1, tuple(Part(str(i), 0, 1) for i in range(requests))).kind

    found = [kind(n) for n in (0, 1, 2, 3, 4, 5, 8, 9)]
    assert found == [
        "none", "decode x1", "decode x2", "decode x3-4", "decode x3-4", "decode x5-8",
        "decode x5-8", "decode x9-16",
    ]  # fmt: skip


def test_steps_that_are_added_are_labelled_once() -> None:
    trace, plain = taken(), taken()
    for _ in range(2):
        trace.add_steps(example())
    plain.add_steps(example(), mark=False)
    assert trace.spans()["name"].to_list() == ["prefill x2", "mixed x2", "decode x1", "mixed x2"]
    assert len(plain.spans()) == 0
    rows = trace.phases().rows_by_key("name", named=True, unique=True)
    assert rows["mixed x2"]["count"] == 2


def served(rng: np.random.Generator) -> tuple[list[tuple[int, float]], list[Step], list[float]]:
    """Power of a made-up engine, its steps, and the joules of each: steps of 8 to 90 ms."""
    script, steps, joules = {0: 60.0}, [], []
    now = START_NS + S // 5
    while now < START_NS + 9 * S:
        prefill = bool(rng.random() < 0.15)
        live = [f"r{j}" for j in range(max(0, len(steps) // 40 - 2), len(steps) // 40 + 1)]
        prompts = [int(rng.integers(5, 50)) if prefill and n == live[-1] else 0 for n in live]
        parts = tuple(
            Part(n, prompt, int(rng.integers(1, 4)))
            for n, prompt in zip(live, prompts, strict=True)
        )
        length = int(rng.integers(30, 90) if prefill else rng.integers(8, 30)) * 1_000_000
        watts = 320.0 if prefill else 150.0 + 20.0 * len(live)
        script |= {now: watts, now + length: 60.0}
        steps.append(Step(now, now + length, parts))
        joules.append(watts * length / S)
        now += length + (0 if rng.random() < 0.7 else int(rng.integers(1, 20)) * 1_000_000)
    return list(script.items()), steps, joules


# With seed 6 the energy counter of the H100 moves the sums by half a percent.
@pytest.mark.parametrize(("card", "seed"), [("a100", 0), ("h100", 6)])
def test_requests_of_steps_shorter_than_the_sensor_are_within_their_uncertainty(
    card: str, seed: int
) -> None:
    script, steps, joules = served(np.random.default_rng(seed))
    truth: dict[str, float] = {}
    for step, energy in zip(steps, joules, strict=True):
        for part, share in zip(step.parts, step.shares(Weights()).sum(axis=1), strict=True):
            truth[part.request] = truth.get(part.request, 0.0) + energy * share
    with simulated(card) as world:
        world[0].script(script)
        trace = sampled(seconds=10)
    trace.add_steps(steps)
    table, each = trace.requests(), trace.tokens()
    assert table["energy_j"].sum() == pytest.approx(trace.energy.joules, rel=1e-9)
    for row in table.filter(pl.col("request") != OUTSIDE).iter_rows(named=True):
        assert abs(row["energy_j"] - truth[row["request"]]) < 3 * row["u_same_card_j"]
        assert row["u_same_card_j"] < 0.03 * row["energy_j"]  # without labels: about all of it
    # Never worse known than if all errors of its steps were one.
    assert table["u_same_card_j"][:-1].sum() <= each["u_same_card_j"][:-1].sum() * (1 + 1e-9)


def test_a_step_is_divided_by_what_was_computed() -> None:
    step = Step(0, 1, (Part("a", 6, 1), Part("b", 0, 2)))
    assert step.shares(Weights()) == pytest.approx(np.array([[0.75, 0], [0, 0.25]]))
    assert step.shares(Weights(1, 3)) == pytest.approx(np.array([[0.5, 0], [0, 0.5]]))
    # A request with nothing to show for a step took part in it all the same.
    refused = Step(0, 1, (Part("a", 0, 0), Part("b", 0, 3)))
    assert refused.shares(Weights())[:, 1] == pytest.approx([0.25, 0.75])
    # What is computed again weighs as a prompt does.
    again = Step(0, 1, (Part("a", 0, 1, 3), Part("b", 0, 1)))
    assert again.shares(Weights()).sum(axis=1) == pytest.approx([0.75, 0.25])


def test_requests_of_a_steady_power_have_the_joules_that_follow() -> None:
    table = requests_table(steady(), example()).rows_by_key("request", named=True, unique=True)
    a, b, rest = table["a"], table["b"], table[OUTSIDE]
    assert a["prefill_j"] == pytest.approx(100 * (6 / 9 + 2 / 3))
    assert a["decode_j"] == pytest.approx(100 * (1 + 2 / 7))  # beside 5 of b, computed again
    assert b["prefill_j"] == pytest.approx(100 * (3 / 9 + 5 / 7))
    assert b["decode_j"] == pytest.approx(100 / 3)
    assert rest["energy_j"] == pytest.approx(400.0)
    assert (a["prompt_tokens"], a["output_tokens"], a["recomputed_tokens"]) == (8, 4, 0)
    assert (b["prompt_tokens"], b["output_tokens"], b["recomputed_tokens"]) == (3, 3, 5)
    assert (a["count"], b["count"]) == (4, 3)
    assert a["j_per_output_token"] == pytest.approx(a["energy_j"] / 4)
    assert a["ttft_s"] == pytest.approx(3.0)  # from its arrival to the end of its second step
    assert b["ttft_s"] == pytest.approx(1.0)  # from its first step: no arrival is known
    assert a["tpot_s"] == pytest.approx(3.0 / 3)
    assert b["tpot_s"] == pytest.approx(4.0 / 2)


@pytest.mark.parametrize("devices", [("gpu:0",), ("gpu:0", "gpu:1")])
def test_steps_and_requests_add_up_to_the_trace(devices: tuple[str, ...]) -> None:
    trace = taken(devices)
    whole = trace.energy.joules
    tokens, requests = tokens_table(trace, example()), requests_table(trace, example())
    for table in (tokens, requests):
        assert table["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
        assert table["share"].sum() == pytest.approx(1.0, rel=1e-9)
    inside = tokens.filter(phase=OUTSIDE)["energy_j"][0]
    assert requests.filter(request=OUTSIDE)["energy_j"][0] == pytest.approx(inside, rel=1e-12)
    parts = requests["prefill_j"].sum() + requests["decode_j"].sum()
    assert parts + inside == pytest.approx(whole, rel=1e-9)
    for i, step in enumerate(example().steps):
        energy = trace.window(step.start_ns, step.end_ns)
        assert tokens["energy_j"][i] == pytest.approx(energy.joules, rel=1e-12)
        assert tokens["u_j"][i] == pytest.approx(energy.u, rel=1e-12)
    assert tokens["time_s"].sum() == pytest.approx(8.0)
    assert tokens["tokens"].to_list() == [10, 4, 1, 3, 0]
    assert tokens["count"].to_list() == [2, 2, 1, 2, 0]


def test_one_request_alone_is_as_certain_as_the_window_it_fills(trace: Trace) -> None:
    """A hundred steps that touch: what is not known of their inner edges cancels."""
    edges = np.linspace(2 * S, 4 * S, 101).astype(np.int64).tolist()
    steps = [Step(a, b, (Part("a", 0 if i else 5, 1),)) for i, (a, b) in enumerate(pairwise(edges))]
    row = requests_table(trace, steps).row(0, named=True)
    energy = trace.window(2 * S, 4 * S)
    assert row["energy_j"] == pytest.approx(energy.joules, rel=1e-9)
    assert row["u_j"] == pytest.approx(energy.u, rel=1e-9)
    assert row["u_same_card_j"] == pytest.approx(energy.u_same_card, rel=1e-9)
    table = tokens_table(trace, steps)
    assert table["u_j"][:100].sum() > 3 * energy.u


def test_weights_that_alternate_do_not_pile_up_uncertainty(trace: Trace) -> None:
    edges = np.linspace(2 * S, 4 * S, 101).astype(np.int64).tolist()
    steps = [
        Step(a, b, (Part("a", 0, 1 + i % 2), Part("b", 0, 1)))
        for i, (a, b) in enumerate(pairwise(edges))
    ]
    rows = requests_table(trace, steps)
    linear = tokens_table(trace, steps)["u_j"][:100].sum() * 7 / 12
    assert rows["u_j"][0] < linear
    # The gain is common to all: no request is known better than that.
    assert rows["u_j"][0] >= 0.035 * rows["energy_j"][0]


def test_the_gain_of_the_card_is_common_to_all_windows_of_a_request(trace: Trace) -> None:
    table = requests_table(trace, example())
    card = np.sqrt(table["u_j"].to_numpy() ** 2 - table["u_same_card_j"].to_numpy() ** 2)
    assert (card >= 0.035 * table["energy_j"].to_numpy() * (1 - 1e-9)).all()


def test_steps_that_are_nobodys_have_a_row_of_their_own(trace: Trace) -> None:
    steps = [Step(2 * S, 3 * S, (Part("a", 4, 1),)), Step(3 * S, 4 * S)]
    table = requests_table(trace, steps)
    assert table["request"].to_list() == ["a", NOBODY, OUTSIDE]
    nobody = table.row(1, named=True)
    expected = trace.window(3 * S, 4 * S)
    assert nobody["energy_j"] == pytest.approx(expected.joules, rel=1e-12)
    assert nobody["prompt_tokens"] is nobody["ttft_s"] is nobody["j_per_output_token"] is None
    assert table["energy_j"].sum() == pytest.approx(trace.energy.joules, rel=1e-9)
    assert tokens_table(trace, steps)["phase"].to_list() == ["prefill", "none", OUTSIDE]


def test_a_request_without_output_has_no_joules_per_token(trace: Trace) -> None:
    row = requests_table(trace, [Step(2 * S, 3 * S, (Part("a", 4),))]).row(0, named=True)
    assert row["j_per_output_token"] is row["ttft_s"] is row["tpot_s"] is None
    one = requests_table(trace, [Step(2 * S, 3 * S, (Part("a", 4, 1),))]).row(0, named=True)
    assert one["j_per_output_token"] == pytest.approx(one["energy_j"])
    assert one["tpot_s"] is None


def test_no_steps_leave_the_whole_trace_outside(trace: Trace) -> None:
    for table in (tokens_table(trace, []), requests_table(trace, [])):
        assert len(table) == 1
        assert table["energy_j"][0] == pytest.approx(trace.energy.joules, rel=1e-9)
        assert table["u_j"][0] == pytest.approx(trace.energy.u, rel=1e-9)


def test_steps_without_length_have_no_energy(trace: Trace) -> None:
    steps = [Step(2 * S, 2 * S, (Part("a", 4, 1),)), Step(2 * S, 3 * S, (Part("a", 0, 1),))]
    table = tokens_table(trace, steps)
    assert table["energy_j"][0] == 0.0
    assert np.isnan(table["power_w"][0])
    assert requests_table(trace, steps)["energy_j"].sum() == pytest.approx(trace.energy.joules)


_parts = st.lists(
    st.builds(
        Part,
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 50),
        st.integers(0, 4),
        st.integers(0, 9),
    ),
    max_size=3,
    unique_by=lambda part: part.request,
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, S // 4), st.integers(0, S // 4), _parts), max_size=12),
    st.floats(1e-3, 1e3),
)
def test_whatever_the_steps_all_sums_are_whole(rows: list[Any], ratio: float) -> None:
    trace = _SHARED
    steps, now = [], BOUNDS[0]
    for pause, length, parts in rows:
        steps.append(Step(now + pause, now + pause + length, tuple(parts)))
        now += pause + length
    whole = trace.energy.joules
    table = requests_table(trace, steps, Weights(ratio, 1.0))
    assert table["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
    assert tokens_table(trace, steps)["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
    assert (table["u_j"].to_numpy() >= table["u_same_card_j"].to_numpy()).all()
    assert Steps.from_json(Steps.of(steps).to_json()) == Steps.of(steps)


_SHARED = taken()


def test_steps_are_kept_with_a_saved_trace(tmp_path: Path) -> None:
    trace = taken()
    with pytest.raises(StateError, match=r"no steps are kept with this trace.*add_steps"):
        trace.tokens()
    trace.add_steps(example())
    before = trace.tokens()
    assert before.equals(tokens_table(trace, example()))
    again = pyenergy.load(trace.save(tmp_path / "run.npz"))
    assert again.tokens().equals(before)
    assert again.requests(Weights(2, 1)).equals(requests_table(trace, example(), Weights(2, 1)))
    assert Steps.from_json(again.recorded.extra["steps"]) == example()


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Step(2, 1), OptionError, r"ends before it starts: \[2, 1\]"),
        (lambda: Step(0.5, 1), TypeError, "integer nanoseconds, got 0.5"),
        (lambda: Step(0, 1, (Part("a"), Part("a"))), OptionError, "request 'a' twice"),
        (lambda: Part("a", -1), OptionError, "prompt_tokens of request 'a' must be a whole"),
        (lambda: Part("a", 1, 0.5), OptionError, "output_tokens of request 'a'"),
        (lambda: Part("a", 1, 0, True), OptionError, "recomputed_tokens of request 'a'"),
        (lambda: Part("a", 1, 0, 0, 0), OptionError, "sequences of request 'a'"),
        (lambda: Part(3), OptionError, "id is text, got 3"),
        (lambda: Part(""), OptionError, "id is text"),
        (lambda: Part(OUTSIDE), OptionError, "a row of the tables"),
        (lambda: Weights(0.0), OptionError, "prompt_token must be a positive number"),
        (lambda: Weights(1, float("nan")), OptionError, "output_token must be a positive"),
        (lambda: Weights(True), OptionError, "prompt_token must be a positive number"),
        (lambda: Steps((Step(0, 5), Step(4, 6))), OptionError, "step 1 starts at 4 ns, before"),
        (lambda: Steps.of([(0, 1)]), TypeError, "Steps or Step objects, got tuple"),
    ],
)
def test_what_no_step_can_be_is_said(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


def test_steps_outside_the_trace_are_refused(trace: Trace) -> None:
    beyond = [Step(8 * S, 10 * S, (Part("a", 1, 1),))]
    for ask in (tokens_table, requests_table):
        with pytest.raises(WindowError, match="outside the recording"):
            ask(trace, beyond)
    with pytest.raises(WindowError, match="outside the recording"):
        taken().add_steps(beyond)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"version": 3}, "reads up to 2: upgrade"),
        ({"version": "1"}, "no record of steps"),
        ({"end_ns": [1]}, "damaged"),
        ({"requests": []}, "damaged"),
        ({"start_ns": [0.5, 1, 2, 3]}, "damaged"),
    ],
)
def test_damaged_steps_of_a_recording_are_refused(damage: dict[str, Any], says: str) -> None:
    with pytest.raises(RecordingError, match=says):
        Steps.from_json({**example().to_json(), **damage})


def test_steps_of_a_device_that_could_not_be_read_have_no_energy() -> None:
    t = np.arange(0, 10 * S, 10_000_000)
    trace = Trace.from_readings({"gpu:0/power": (t, np.full(len(t), np.nan))}, bounds_ns=BOUNDS)
    with pytest.raises(pyenergy.errors.NoReadingsError):
        tokens_table(trace, example())
