# SPDX-License-Identifier: Apache-2.0
"""A serving engine's joules by request, from its statistics. The statistics are SYNTHETIC.

The classes have the field names and types of vLLM's ``vllm/v1/metrics/stats.py`` at commit
cdf257e390cc92b67bdb793292237026d85c17c8; their values are those that an engine of that version
would give for the schedules below, which are made up: no vLLM ran.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from attached import S, taken

from pyenergy.attribution.steps import OUTSIDE, Steps
from pyenergy.errors import OptionError, StateError
from pyenergy.integrations.vllm import StepLog

MS = 1_000_000


@dataclass
class PrefixCacheStats:
    reset: bool = False
    requests: int = 0
    queries: int = 0
    hits: int = 0
    preempted_requests: int = 0
    preempted_queries: int = 0
    preempted_hits: int = 0


@dataclass
class SchedulerIterationDetails:
    """Of vLLM's pull request 46647, later than the commit above."""

    iteration_index: int
    num_ctx_requests: int
    num_ctx_tokens: int
    num_generation_requests: int
    num_generation_tokens: int
    elapsed_ms: float
    num_encoder_inputs: int = 0
    num_encoder_output_tokens: int = 0
    is_dummy: bool = False


@dataclass
class SchedulerStats:
    num_running_reqs: int = 0
    num_waiting_reqs: int = 0
    num_skipped_waiting_reqs: int = 0
    step_counter: int = 0
    current_wave: int = 0
    engines_paused: bool = False
    kv_cache_usage: float = 0.0
    prefix_cache_stats: PrefixCacheStats = field(default_factory=PrefixCacheStats)
    connector_prefix_cache_stats: PrefixCacheStats | None = None
    kv_cache_eviction_events: list[Any] = field(default_factory=list)
    spec_decoding_stats: Any | None = None
    kv_connector_stats: dict[str, Any] | None = None
    waiting_lora_adapters: dict[str, int] = field(default_factory=dict)
    running_lora_adapters: dict[str, int] = field(default_factory=dict)
    cudagraph_stats: Any | None = None
    perf_stats: Any | None = None


@dataclass
class FinishedRequestStats:
    finish_reason: Any
    request_id: str | None = None
    e2e_latency: float = 0.0
    num_prompt_tokens: int = 0
    num_generation_tokens: int = 0
    max_tokens_param: int | None = None
    queued_time: float = 0.0
    prefill_time: float = 0.0
    inference_time: float = 0.0
    decode_time: float = 0.0
    mean_time_per_output_token: float = 0.0
    is_corrupted: bool = False
    num_cached_tokens: int = 0


@dataclass
class PromptTokenStats:
    computed: int = 0
    local_cache_hit: int = 0
    external_kv_transfer: int = 0
    cached_tokens: int = 0
    total: int = 0


class IterationStats:
    def __init__(self, timestamp: float) -> None:
        self.iteration_timestamp = timestamp
        self.num_generation_tokens = 0
        self.prompt_token_stats = PromptTokenStats()
        self.num_preempted_reqs = 0
        self.finished_requests: list[FinishedRequestStats] = []
        self.max_num_generation_tokens_iter: list[int] = []
        self.n_params_iter: list[int] = []
        self.time_to_first_tokens_iter: list[float] = []
        self.inter_token_latencies_iter: list[float] = []
        self.num_corrupted_reqs: int = 0

    @property
    def num_prompt_tokens(self) -> int:
        return self.prompt_token_stats.total


@dataclass
class RequestStateStats:
    num_generation_tokens: int = 0
    arrival_time: float = 0.0
    queued_ts: float = 0.0
    scheduled_ts: float = 0.0
    first_token_ts: float = 0.0
    last_token_ts: float = 0.0
    first_token_latency: float = 0.0
    is_corrupted: bool = False


@dataclass
class Round:
    """What the made-up engine does in a step: tokens by request."""

    took_s: float
    prompt: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    ends: tuple[str, ...] = ()
    back: dict[str, int] = field(default_factory=dict)  # preempted before: tokens computed again
    idle_s: float = 0.0  # before it

    @property
    def truth(self) -> dict[str, tuple[int, int, int]]:
        names = dict.fromkeys((*self.prompt, *self.made, *self.back))
        return {n: (self.prompt.get(n, 0), self.made.get(n, 0), self.back.get(n, 0)) for n in names}


class Engine:
    """Gives a log the statistics of a schedule, at times on the trace's clock."""

    WALL_S, MONO_S = 1_790_000_000.0, 5_000.0  # Unix time; the engine's own clock

    def __init__(
        self,
        prompts: dict[str, int],
        *,
        details: bool = False,
        cached: dict[str, int] | None = None,
        cache: bool = True,
        delay_s: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.prompts, self.cached, self.details = prompts, cached or {}, details
        self.cache, self.delay_s = cache, delay_s
        self.rng = np.random.default_rng(seed)
        self.now_s, self.late_s = 2.0, 0.0  # of the trace's clock; of the logs
        self.log = StepLog(now_ns=lambda: round((self.now_s + self.late_s) * S))
        self.logger = self.log(None, 0)
        self.state: dict[str, RequestStateStats] = {}
        self.left = dict(prompts)

    def run(self, rounds: list[Round]) -> None:
        for number, each in enumerate(rounds):
            self.now_s += each.idle_s
            self._arrive(rounds[number:], each)
            begun_s = self.now_s
            self.now_s += each.took_s
            self.late_s = float(self.rng.uniform(0, self.delay_s))
            iteration = self._iteration(each, begun_s) if each.made else None
            for name in each.ends:
                self.left.pop(name)
            self.logger.record(self._scheduler(each, number), iteration, None, 0)

    def _arrive(self, rest: list[Round], now: Round) -> None:
        """A request arrives 5 to 20 ms before the first step that it is in."""
        for name in now.truth:
            if name not in self.state:
                arrived_s = self.now_s - float(self.rng.uniform(0.005, 0.02))
                self.state[name] = RequestStateStats(
                    arrival_time=self.WALL_S + arrived_s,
                    queued_ts=self.MONO_S + arrived_s,
                    scheduled_ts=self.MONO_S + self.now_s + 1e-4,
                )

    def _scheduler(self, each: Round, number: int) -> SchedulerStats:
        cache = PrefixCacheStats()
        if each.back and self.cache:
            cache.preempted_requests = len(each.back)
            cache.preempted_queries = sum(each.back.values()) + 16
            cache.preempted_hits = 16
        going = {n for n, s in self.state.items() if n in self.left}
        stats = SchedulerStats(num_running_reqs=len(going), prefix_cache_stats=cache)
        if self.details:
            stats.iteration_details = SchedulerIterationDetails(  # type: ignore[attr-defined]
                number, len(each.prompt), sum(each.prompt.values()),
                len(each.made), sum(each.made.values()), each.took_s * 1e3,
            )  # fmt: skip
        return stats

    def _iteration(self, each: Round, begun_s: float) -> IterationStats:
        stats = IterationStats(self.WALL_S + self.now_s + float(self.rng.uniform(0, 2e-4)))
        engine_s = self.MONO_S + self.now_s
        for name, tokens in each.made.items():
            state = self.state[name]
            stats.num_generation_tokens += tokens
            if state.num_generation_tokens == 0:
                cached = self.cached.get(name, 0)
                computed = self.prompts[name] - cached
                stats.prompt_token_stats.computed += computed
                stats.prompt_token_stats.cached_tokens += cached
                stats.prompt_token_stats.total += self.prompts[name]
                latency = stats.iteration_timestamp - state.arrival_time
                stats.time_to_first_tokens_iter.append(latency)
                state.first_token_ts = engine_s
            else:
                stats.inter_token_latencies_iter.append(engine_s - state.last_token_ts)
            stats.num_preempted_reqs += name in each.back
            state.num_generation_tokens += tokens
            state.last_token_ts = engine_s
        for name in each.ends:
            stats.finished_requests.append(self._finished(name, stats.iteration_timestamp))
        return stats

    def _finished(self, name: str, stamp_s: float) -> FinishedRequestStats:
        state = self.state[name]
        return FinishedRequestStats(
            finish_reason="stop",
            request_id=name,
            e2e_latency=stamp_s - state.arrival_time,
            num_prompt_tokens=self.prompts[name],
            num_generation_tokens=state.num_generation_tokens,
            queued_time=state.scheduled_ts - state.queued_ts,
            prefill_time=state.first_token_ts - state.scheduled_ts,
            inference_time=state.last_token_ts - state.scheduled_ts,
            decode_time=state.last_token_ts - state.first_token_ts,
            num_cached_tokens=self.cached.get(name, 0),
        )


def told(steps: Steps) -> list[dict[str, tuple[int, int, int]]]:
    return [
        {p.request: (p.prompt_tokens, p.output_tokens, p.recomputed_tokens) for p in step.parts}
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
