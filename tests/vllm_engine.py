# SPDX-License-Identifier: Apache-2.0
"""SYNTHETIC statistics of a serving engine, in the shape of vLLM's.

The classes have the field names and types of vLLM's ``vllm/v1/metrics/stats.py`` at commit
cdf257e390cc92b67bdb793292237026d85c17c8; their values are those that an engine of that version
would give for a schedule that is made up: no vLLM ran.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyenergy.integrations.vllm import StepLog

S = 1_000_000_000


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
        again_is_context: bool = False,
        delay_s: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.prompts, self.cached, self.details = prompts, cached or {}, details
        self.cache, self.delay_s = cache, delay_s
        self.again_is_context = again_is_context
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
            context = sum(each.prompt.values())
            context += sum(each.back.values()) if self.again_is_context else 0
            stats.iteration_details = SchedulerIterationDetails(  # type: ignore[attr-defined]
                number, len(each.prompt), context,
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
