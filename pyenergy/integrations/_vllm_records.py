# SPDX-License-Identifier: Apache-2.0
"""What is kept of vLLM's statistics of a step: plain values, read by the names of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import OptionError

__all__ = ["Finished", "Record", "recorded"]


@dataclass(frozen=True)
class Finished:
    """Of a ``FinishedRequestStats``; times in s."""

    request: str | None
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    e2e_s: float
    prefill_s: float
    decode_s: float


@dataclass(frozen=True)
class Record:
    """One step's statistics.

    Attributes
    ----------
    t_ns : int
        When they arrived, ns of CLOCK_MONOTONIC.
    left_requests : bool
        Whether requests were running or waiting after the step.
    again_queried, again_hit : int
        Tokens that requests which had been preempted asked the prefix cache for, and found.
    context_tokens, elapsed_ms : int, float or None
        Prompt tokens that were computed, and how long the step took, where the engine says so.
    is_dummy : bool
        A step without requests, which engines in parallel take to keep in step.
    stamp_s : float or None
        The statistics' own Unix time; None where the step had no output.
    output_tokens, prompt_tokens : int
        Tokens made; prompt tokens computed of the requests that had their first token.
    preempted : int
        How often requests with output in this step had been preempted before.
    first_token_s, between_s : tuple of float
        Time to first token of requests that had it in this step, and time since the token before of
        the others.
    finished : tuple of Finished
    """

    t_ns: int
    left_requests: bool = False
    again_queried: int = 0
    again_hit: int = 0
    context_tokens: int | None = None
    elapsed_ms: float | None = None
    is_dummy: bool = False
    stamp_s: float | None = None
    output_tokens: int = 0
    prompt_tokens: int = 0
    preempted: int = 0
    first_token_s: tuple[float, ...] = ()
    between_s: tuple[float, ...] = ()
    finished: tuple[Finished, ...] = ()


def recorded(t_ns: int, scheduler: Any, iteration: Any) -> Record:
    """What a step's ``SchedulerStats`` and ``IterationStats`` say; either may be None.

    Raises
    ------
    OptionError
        When a field that is needed is not there.
    """
    try:
        of_scheduler = {} if scheduler is None else _scheduler(scheduler)
        of_iteration = {} if iteration is None else _iteration(iteration)
    except AttributeError as error:
        raise OptionError(
            f"vLLM's statistics are not as they were when this was written ({error}): see "
            "pyenergy.integrations.vllm for the commit"
        ) from error
    return Record(t_ns, **of_scheduler, **of_iteration)


def _scheduler(stats: Any) -> dict[str, Any]:
    cache = stats.prefix_cache_stats
    details = getattr(stats, "iteration_details", None)
    found = {
        "left_requests": stats.num_running_reqs + stats.num_waiting_reqs > 0,
        "again_queried": cache.preempted_queries,
        "again_hit": cache.preempted_hits,
    }
    if details is not None:
        found |= {
            "context_tokens": details.num_ctx_tokens,
            "elapsed_ms": details.elapsed_ms,
            "is_dummy": details.is_dummy,
        }
    return found


def _iteration(stats: Any) -> dict[str, Any]:
    # Before there was a breakdown by source, all prompt tokens were one number.
    by_source = getattr(stats, "prompt_token_stats", None)
    prompt = stats.num_prompt_tokens if by_source is None else by_source.computed
    return {
        "stamp_s": stats.iteration_timestamp,
        "output_tokens": stats.num_generation_tokens,
        "prompt_tokens": prompt,
        "preempted": stats.num_preempted_reqs,
        "first_token_s": tuple(stats.time_to_first_tokens_iter),
        "between_s": tuple(stats.inter_token_latencies_iter),
        "finished": tuple(_finished(each) for each in stats.finished_requests),
    }


def _finished(stats: Any) -> Finished:
    return Finished(
        request=getattr(stats, "request_id", None),
        prompt_tokens=stats.num_prompt_tokens,
        cached_tokens=getattr(stats, "num_cached_tokens", 0),
        output_tokens=stats.num_generation_tokens,
        e2e_s=stats.e2e_latency,
        prefill_s=stats.prefill_time,
        decode_s=stats.decode_time,
    )
