# SPDX-License-Identifier: Apache-2.0
"""A serving engine's joules by request, from its statistics.

The statistics are SYNTHETIC: those that vLLM at commit cdf257e390cc92b67bdb793292237026d85c17c8
would give for schedules that are made up here (`vllm_engine`); no vLLM ran.
"""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from attached import S, taken
from vllm_engine import Engine, Round, SchedulerStats

from pyenergy.attribution.steps import OUTSIDE, Steps, Weights
from pyenergy.errors import OptionError, StateError
from pyenergy.integrations.vllm import StepLog

MS = 1_000_000


def told(steps: Steps) -> list[dict[str, tuple[int, int, int]]]:
    return [
        {
            p.request: (p.prompt_tokens, p.output_tokens, p.recomputed_tokens)
            for p in step.parts
            if p.took_part
        }
        for step in steps.steps
    ]


# ``long`` has its prompt in three chunks while others decode; ``b`` is preempted for two steps and
# computed again; ``a`` ends in between; then the engine idles until ``late`` arrives.
PROMPTS = {"a": 6, "b": 4, "long": 20, "late": 3}
ROUNDS = [
    Round(0.05, prompt={"a": 6, "b": 4}, made={"a": 1, "b": 1}),
    Round(0.03, made={"a": 1, "b": 1}),
    Round(0.06, prompt={"long": 8}, made={"a": 1, "b": 1}),
    Round(0.06, prompt={"long": 8}, made={"a": 1}),
    Round(0.04, prompt={"long": 4}, made={"a": 1, "long": 1}, ends=("a",)),
    Round(0.05, made={"b": 1, "long": 1}, back={"b": 7}),
    Round(0.03, made={"b": 1, "long": 1}, ends=("b", "long")),
    Round(0.04, prompt={"late": 3}, made={"late": 1}, idle_s=0.5),
    Round(0.02, made={"late": 1}, ends=("late",)),
]


@pytest.mark.parametrize("delay_s", [0.0, 0.002])
def test_a_preempted_and_a_chunked_request_are_told_step_by_step(delay_s: float) -> None:
    engine = Engine(PROMPTS, details=True, delay_s=delay_s)
    engine.run(ROUNDS)
    assert told(engine.log.steps()) == [each.truth for each in ROUNDS]


def test_joules_per_request_come_out_in_the_same_table() -> None:
    engine = Engine(PROMPTS, details=True)
    engine.run(ROUNDS)
    trace = taken()
    trace.add_steps(engine.log.steps(trace.bounds_ns))
    tokens, requests = trace.tokens(), trace.requests()
    whole = trace.energy.joules
    assert tokens["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
    assert requests["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
    assert tokens["phase"].to_list() == [
        "prefill", "decode", "mixed", "mixed", "mixed", "mixed", "decode", "prefill", "decode",
        OUTSIDE,
    ]  # fmt: skip
    assert tokens["time_s"].to_list()[:-1] == pytest.approx([each.took_s for each in ROUNDS])
    by_name = requests.rows_by_key("request", named=True, unique=True)
    assert list(by_name) == ["a", "b", "long", "late", OUTSIDE]
    assert [by_name[n]["output_tokens"] for n in PROMPTS] == [5, 5, 3, 2]
    assert [by_name[n]["prompt_tokens"] for n in PROMPTS] == [6, 4, 20, 3]
    assert [by_name[n]["recomputed_tokens"] for n in PROMPTS] == [0, 7, 0, 0]
    for name in PROMPTS:
        row = by_name[name]
        assert row["j_per_output_token"] == pytest.approx(row["energy_j"] / row["output_tokens"])
        assert row["u_j"] > 0
    # What a preemption costs is the request's own: as prefill, of the steps that computed it.
    energy = tokens["energy_j"]
    again = energy[5] * 7 / 8  # its token comes out of it; beside one token of ``long``
    assert by_name["b"]["prefill_j"] == pytest.approx(energy[0] * 4 / 10 + again, rel=1e-9)
    # vLLM's own time to first token, and that after it.
    state = engine.state["long"]
    first_s = state.first_token_ts - engine.MONO_S
    arrived_s = state.arrival_time - engine.WALL_S
    assert by_name["long"]["ttft_s"] == pytest.approx(first_s - arrived_s, abs=3e-4)
    assert by_name["long"]["tpot_s"] == pytest.approx((0.05 + 0.03) / 2)


def test_without_details_a_chunked_prompt_is_spread_evenly_and_said_to_be() -> None:
    engine = Engine(PROMPTS)
    engine.run(ROUNDS)
    steps = engine.log.steps()
    found = told(steps)
    assert [found[i]["long"][0] for i in (2, 3, 4)] == [6, 7, 7]
    assert [each.made for each in ROUNDS] == [
        {name: made for name, (_, made, _) in step.items() if made} for step in found
    ]
    assert any("no iteration details" in note for note in steps.notes)
    # Where no request was left, a step begins when its first request arrived.
    idle = steps.steps[7]
    waited_s = engine.state["late"].first_token_ts - engine.MONO_S
    waited_s -= engine.state["late"].arrival_time - engine.WALL_S
    assert (idle.end_ns - idle.start_ns) / S == pytest.approx(waited_s, abs=3e-4)


def parts_of(steps: Steps) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each request, and how well they are known."""
    seconds: dict[str, float] = {}
    unsure: dict[str, float] = {}
    for step in steps.steps:
        length_s = (step.end_ns - step.start_ns) / S
        shares = zip(step.parts, step.shares(Weights()), step.shares_u(Weights()), strict=True)
        for part, share, u in shares:
            seconds[part.request] = seconds.get(part.request, 0.0) + length_s * float(share.sum())
            unsure[part.request] = unsure.get(part.request, 0.0) + length_s * float(u)
    return seconds, unsure


@pytest.mark.parametrize("details", [False, True])
def test_what_is_told_of_a_chunked_prompt_is_in_the_uncertainty(details: bool) -> None:
    rounds = [
        Round(0.03, prompt={"a": 6}, made={"a": 1}),
        Round(0.06, prompt={"long": 3}, made={"a": 1}),
        Round(0.06, prompt={"long": 16}, made={"a": 1}),
        Round(0.04, prompt={"long": 1}, made={"a": 1, "long": 1}, ends=("a",)),
        Round(0.03, made={"long": 1}, ends=("long",)),
    ]
    engine = Engine({"a": 6, "long": 20}, details=details)
    engine.run(rounds)
    trace = taken()
    steps = engine.log.steps(trace.bounds_ns)
    trace.add_steps(steps)
    rows = trace.requests().rows_by_key("request", named=True, unique=True)
    seconds, unsure = parts_of(steps)
    truth = {"a": 0.03 + 0.06 / 4 + 0.06 / 17 + 0.04 / 2, "long": 0.06 * (3 / 4 + 16 / 17) + 0.05}
    for name, true_s in truth.items():
        assert (unsure[name] > 0) != details
        assert abs(seconds[name] - true_s) <= 2 * unsure[name] + 1e-6
        assert details or rows[name]["u_same_card_j"] > 100 * unsure[name]  # W at the least
    again = Steps.from_json(json.loads(json.dumps(steps.to_json())))
    assert again == steps


def test_what_was_computed_again_in_chunks_is_spread_over_its_steps() -> None:
    rounds = [
        Round(0.05, prompt={"a": 6, "b": 40}, made={"a": 1, "b": 1}),
        Round(0.03, made={"a": 1}),
        Round(0.06, made={"a": 1}, back={"b": 30}),
        Round(0.06, made={"a": 1, "b": 1}, back={"b": 11}),
        Round(0.03, made={"a": 1, "b": 1}, ends=("a", "b")),
    ]
    told_by = {}
    for known in (True, False):
        engine = Engine(
            {"a": 6, "b": 40}, details=known, cache=False, again_is_context=True, seed=3
        )
        engine.run(rounds)
        told_by[known] = engine.log.steps()
    assert told(told_by[True]) == [each.truth for each in rounds]
    seconds, unsure = parts_of(told_by[False])  # nothing tells in which steps: it is wide
    exact, _ = parts_of(told_by[True])
    for name in ("a", "b"):
        assert 0.005 < abs(seconds[name] - exact[name]) <= 2 * unsure[name]


def test_a_prefix_cache_that_is_off_means_that_all_is_computed_again() -> None:
    engine = Engine(PROMPTS, details=True, cache=False)
    engine.run(ROUNDS)
    assert told(engine.log.steps())[5]["b"] == (0, 1, 4 + 3)


def test_what_the_prefix_cache_had_of_a_prompt_was_not_computed() -> None:
    rounds = [
        Round(0.05, prompt={"a": 2}, made={"a": 1}),
        Round(0.03, made={"a": 1}, ends=("a",)),
    ]
    engine = Engine({"a": 18}, cached={"a": 16}, details=True)
    engine.run(rounds)
    assert told(engine.log.steps())[0] == {"a": (2, 1, 0)}


def test_accepted_drafts_are_output() -> None:
    rounds = [
        Round(0.05, prompt={"a": 5, "b": 5}, made={"a": 1, "b": 1}),
        Round(0.03, made={"a": 3, "b": 1}),
        Round(0.03, made={"a": 2, "b": 1}, ends=("a",)),
        Round(0.03, made={"b": 1}, ends=("b",)),
    ]
    engine = Engine({"a": 5, "b": 5}, details=True)
    engine.run(rounds)
    found = told(engine.log.steps())
    assert found == [each.truth for each in rounds]


def test_random_schedules_are_told_exactly_and_add_up() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        prompts: dict[str, int] = {}
        going: dict[str, int] = {}
        rounds: list[Round] = []
        for number in range(40):
            each = Round(float(rng.uniform(0.01, 0.05)))
            for name in list(going):
                each.made[name] = 1
                going[name] -= 1
                if going[name] == 0:
                    each.ends += (name,)
                    del going[name]
            if rng.random() < 0.4 or not each.made:
                name = f"r{number}"
                prompts[name] = int(rng.integers(1, 30))
                each.prompt[name], each.made[name] = prompts[name], 1
                going[name] = int(rng.integers(1, 8))
            rounds.append(each)
        engine = Engine(prompts, details=bool(seed % 2), delay_s=0.001, seed=seed)
        engine.run(rounds)
        steps = engine.log.steps()
        # Those that are not over when the log ends were never named.
        over = {name for each in rounds for name in each.ends}
        named = [{n: p for n, p in step.items() if n in over} for step in told(steps)]
        assert named == [{n: p for n, p in e.truth.items() if n in over} for e in rounds]
        for step, each in zip(steps.steps, rounds, strict=True):
            assert step.output_tokens == sum(each.made.values())
            assert step.prompt_tokens == sum(each.prompt.values())


def crowded(rng: np.random.Generator) -> tuple[dict[str, int], list[Round]]:
    """A schedule with preemptions as vLLM's scheduler does them: what was taken up last goes."""
    prompts = {f"r{i}": int(rng.integers(3, 20)) for i in range(8)}
    need = {name: int(rng.integers(4, 14)) for name in prompts}
    made = dict.fromkeys(prompts, 0)
    new, running, out = list(prompts), list[str](), list[str]()
    rounds: list[Round] = []
    while new or running or out:
        each = Round(float(rng.uniform(0.01, 0.05)))
        if len(running) > 1 and rng.random() < 0.2:
            out.append(running.pop())
        elif out and (rng.random() < 0.5 or not running):
            name = out.pop()
            each.back[name] = prompts[name] + made[name]
            running.append(name)
        elif new and (rng.random() < 0.6 or not running):
            name = new.pop(0)
            each.prompt[name] = prompts[name]
            running.append(name)
        for name in list(running):
            each.made[name] = 1
            made[name] += 1
            need[name] -= 1
            if not need[name]:
                each.ends += (name,)
                running.remove(name)
        if each.made:
            rounds.append(each)
    return prompts, rounds


def test_random_preemptions_are_told_exactly() -> None:
    right = count = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        prompts, rounds = crowded(rng)
        engine = Engine(prompts, details=True, cache=bool(seed % 2), delay_s=0.001, seed=seed)
        engine.run(rounds)
        steps = engine.log.steps()
        assert [s.output_tokens for s in steps.steps] == [sum(e.made.values()) for e in rounds]
        assert [s.prompt_tokens for s in steps.steps] == [sum(e.prompt.values()) for e in rounds]
        right += sum(a == e.truth for a, e in zip(told(steps), rounds, strict=True))
        count += len(rounds)
    assert right == count


def test_a_scheduler_with_priorities_keeps_what_a_step_made_and_what_is_off_is_said() -> None:
    """``a`` was taken up first, and is preempted all the same."""
    rounds = [
        Round(0.05, prompt={"a": 6, "b": 4}, made={"a": 1, "b": 1}),
        Round(0.03, made={"a": 1, "b": 1}),
        Round(0.04, made={"b": 1}),
        Round(0.05, made={"a": 1, "b": 1}, back={"a": 8}),
        Round(0.02, made={"b": 1}),
        Round(0.03, made={"a": 1}, ends=("a",), back={"a": 9}),
        Round(0.03, made={"b": 1}, ends=("b",)),
    ]
    engine = Engine({"a": 6, "b": 4}, details=True)
    engine.run(rounds)
    steps = engine.log.steps()
    assert [s.output_tokens for s in steps.steps] == [sum(e.made.values()) for e in rounds]
    exact = told(steps) == [each.truth for each in rounds]
    assert exact != any("other tokens than" in note for note in steps.notes)


def test_requests_that_began_before_the_log_are_counted_from_there() -> None:
    engine = Engine(PROMPTS, details=True)
    late, logger = StepLog(now_ns=lambda: engine.log._now_ns()), engine.logger
    engine.run(ROUNDS[:1])
    engine.logger = late(None, 0)
    engine.run(ROUNDS[1:])
    assert logger is not engine.logger
    found = late.steps()
    assert sum(step.output_tokens for step in found.steps) == 15 - 2
    assert told(found)[3]["long"] == (4, 1, 0)


def test_only_steps_of_the_trace_are_given() -> None:
    engine = Engine(PROMPTS, details=True)
    engine.run(ROUNDS)
    all_steps = engine.log.steps().steps
    low, high = all_steps[2].start_ns + MS, all_steps[5].end_ns
    some = engine.log.steps((low, high)).steps
    assert [step.end_ns for step in some] == [step.end_ns for step in all_steps[2:6]]
    assert some[0].start_ns == low
    assert some[3] == all_steps[5]


def test_a_log_that_was_cleared_begins_anew() -> None:
    engine = Engine(PROMPTS, details=True)
    engine.run(ROUNDS[:5])
    engine.log.clear()
    with pytest.raises(StateError, match="no step was logged"):
        engine.log.steps()
    engine.run(ROUNDS[5:])
    assert [s.output_tokens for s in engine.log.steps().steps] == [2, 2, 1, 1]


def test_a_long_log_takes_time_in_proportion() -> None:
    rounds, prompts = [], {}
    for number in range(4000):
        name = f"r{number}"
        prompts[name] = 5
        made = {f"r{i}": 1 for i in range(max(number - 7, 0), number + 1)}
        ends = (f"r{number - 7}",) if number >= 7 else ()
        rounds.append(Round(0.01, prompt={name: 5}, made=made, ends=ends))
    engine = Engine(prompts, details=True)
    engine.run(rounds)
    begun = time.process_time()
    steps = engine.log.steps()
    assert time.process_time() - begun < 5
    assert told(steps)[100] == rounds[100].truth


def test_a_dummy_step_is_nobodys() -> None:
    engine = Engine({}, details=True)
    engine.now_s += 0.01
    stats = engine._scheduler(Round(0.01), 0)
    stats.iteration_details.is_dummy = True  # type: ignore[attr-defined]
    engine.logger.record(stats, None)
    (step,) = engine.log.steps().steps
    assert step.phase == "none"
    assert (step.end_ns - step.start_ns) / S == pytest.approx(0.01)


def test_several_engines_are_kept_apart() -> None:
    log = StepLog()
    for engine in (0, 1):
        log(None, engine).record(SchedulerStats(), None)
    log(None, 0).record(SchedulerStats(), None, None, 1)
    log(None, 0).record(None, None)
    log(None, 0).log_engine_initialized()
    log(None, 0).log()
    log(None, 0).record_sleep_state(1, 0)
    with pytest.raises(OptionError, match=r"choose one with engine= \(0, 1\)"):
        log.steps()
    assert len(log.steps(engine=0).steps) == 1
    assert len(log.steps(engine=1).steps) == 2
    with pytest.raises(OptionError, match="no step of engine 7 was logged; there are: 0, 1"):
        log.steps(engine=7)


def test_an_empty_log_and_statistics_of_another_version_are_said() -> None:
    log = StepLog()
    with pytest.raises(StateError, match="no step was logged"):
        log.steps()

    class Other:
        num_running_reqs = 1

    with pytest.raises(OptionError, match=r"not as they were.*prefix_cache_stats"):
        log.record(Other(), None)
