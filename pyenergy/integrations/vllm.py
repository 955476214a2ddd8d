# SPDX-License-Identifier: Apache-2.0
"""Joules of a vLLM engine by step and by request, from the statistics that it logs.

`StepLog` is a factory of stat loggers: vLLM calls it with its configuration and hands what it
makes the statistics of every step. Nothing of vLLM is imported::

    log = StepLog()
    engine = AsyncLLM.from_engine_args(args, stat_loggers=[log])
    with pyenergy.trace() as t:
        ...  # serve
    t.add_steps(log.steps(t.bounds_ns))
    t.tokens(), t.requests()

The fields are those of ``vllm/v1/metrics/stats.py`` at commit
cdf257e390cc92b67bdb793292237026d85c17c8 (read in the mirror doublewordai/vllm-upstream):
``SchedulerStats``, ``IterationStats``, ``FinishedRequestStats`` and ``PrefixCacheStats``; and where
the engine has it, ``SchedulerStats.iteration_details`` of vLLM's pull request 46647
(``--enable-logging-iteration-details``). Of what they leave open see `_vllm_requests`.

A step ends when its statistics arrive in the process that logs, which is some fraction of a
millisecond after its tokens existed. It starts where the one before ended if requests were left
then, else when the first of its requests arrived; with ``iteration_details``, as long before its
end as the engine says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _core
from ..attribution.steps import Part, Step, Steps
from ..errors import OptionError, StateError
from ..units import NS_PER_MS, NS_PER_S
from ._vllm_records import Record, recorded
from ._vllm_requests import reconstructed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._vllm_requests import Request

__all__ = ["StatLogger", "StepLog"]

_NOTE = (
    "vLLM's statistics name a request when it ends: which of them was at work in a step is told "
    "from latencies (what that leaves open of their tokens is in the requests' uncertainties), and "
    "the end of a step is when its statistics arrived"
)
_NO_DETAILS = (
    "the engine gives no iteration details (--enable-logging-iteration-details): prompts that took "
    "several steps are spread evenly over them"
)


class StatLogger:
    """What vLLM calls after each step, of the shape of its ``StatLoggerBase``."""

    def __init__(self, log: StepLog, engine_index: int = 0) -> None:
        self._log, self._engine = log, engine_index

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int | None = None,
    ) -> None:
        """Note a step; either statistic may be None."""
        engine = self._engine if engine_idx is None else engine_idx
        self._log.record(scheduler_stats, iteration_stats, engine)

    def log_engine_initialized(self) -> None:
        """Nothing is to be said."""

    def log(self) -> None:
        """Nothing is to be said."""

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        """An engine that sleeps takes no steps."""


class StepLog:
    """Collects the statistics of every step, and makes steps of them.

    Parameters
    ----------
    now_ns : callable, optional
        CLOCK_MONOTONIC in ns.
    """

    def __init__(self, now_ns: Callable[[], int] = _core.now_ns) -> None:
        self._now_ns = now_ns
        self._begun_ns = now_ns()
        self._records: dict[int, list[Record]] = {}

    def __call__(self, vllm_config: Any = None, engine_index: int = 0) -> StatLogger:
        """A logger for one engine: what vLLM asks a factory for."""
        return StatLogger(self, engine_index)

    def record(self, scheduler_stats: Any, iteration_stats: Any, engine: int = 0) -> None:
        """Note what a step's statistics say; they may be changed afterwards.

        Raises
        ------
        OptionError
            When they lack a field that is needed: they are of another version of vLLM.
        """
        if scheduler_stats is not None or iteration_stats is not None:
            found = recorded(self._now_ns(), scheduler_stats, iteration_stats)
            self._records.setdefault(engine, []).append(found)

    def clear(self) -> None:
        """Forget what was logged, between traces of an engine that runs for long."""
        self._records.clear()
        self._begun_ns = self._now_ns()

    def steps(
        self, bounds_ns: tuple[int, int] | None = None, *, engine: int | None = None
    ) -> Steps:
        """The steps that ended within ``bounds_ns`` (None: all), with their requests.

        Parameters
        ----------
        bounds_ns : (int, int), optional
            Such as ``trace.bounds_ns``; of the first step only what lies inside.
        engine : int, optional
            Which of several engines; each has devices of its own.

        Raises
        ------
        StateError
            When no step was logged.
        OptionError
            When there are several engines, or not that one.
        """
        records = self._of(engine)
        requests = reconstructed(records)
        parts = _parts(requests)
        low, high = bounds_ns if bounds_ns is not None else (self._begun_ns, records[-1].t_ns)
        steps, before_ns = [], self._begun_ns
        for number, record in enumerate(records):
            start_ns = _start(records, number, before_ns)
            before_ns = record.t_ns
            if low <= record.t_ns <= high:
                mine = () if record.is_dummy else tuple(parts.get(number, ()))
                steps.append(Step(max(start_ns, low), record.t_ns, mine))
        arrivals = {r.name: r.arrival_ns for r in requests if r.arrival_ns is not None}
        return Steps(tuple(steps), arrivals, "vLLM stat logger", _notes(records, requests))

    def _of(self, engine: int | None) -> list[Record]:
        if not self._records:
            raise StateError(
                "no step was logged: give this log to the engine as stat_loggers=[log], and do not "
                "disable its statistics"
            )
        names = ", ".join(str(name) for name in sorted(self._records))
        if engine is None and len(self._records) > 1:
            raise OptionError(f"several engines were logged: choose one with engine= ({names})")
        chosen = next(iter(self._records)) if engine is None else engine
        if chosen not in self._records:
            raise OptionError(f"no step of engine {engine} was logged; there are: {names}")
        return self._records[chosen]


def _start(records: list[Record], number: int, before_ns: int) -> int:
    """When a step began, no earlier than the one before ended."""
    record = records[number]
    if record.elapsed_ms is not None:
        return max(before_ns, record.t_ns - round(record.elapsed_ms * NS_PER_MS))
    if number and records[number - 1].left_requests:
        return before_ns
    if record.first_token_s:
        return max(before_ns, record.t_ns - round(max(record.first_token_s) * NS_PER_S))
    return before_ns


def _notes(records: list[Record], requests: list[Request]) -> tuple[str, ...]:
    """What a reader must know of the steps."""
    notes = [_NOTE]
    if any(record.context_tokens is None for record in records):
        notes.append(_NO_DETAILS)
    if off := sum(request.is_off for request in requests):
        notes.append(
            f"{off} of {len(requests)} requests came out with other tokens than the engine "
            "counted: it preempted in another order than the last first; sums over all hold"
        )
    return tuple(notes)


def _parts(requests: list[Request]) -> dict[int, list[Part]]:
    """The parts of every step, by its number."""
    found: dict[int, list[Part]] = {}
    for request in requests:
        for step in sorted({*request.prompt, *request.made, *request.again, *request.unsure}):
            prompt, again = request.prompt.get(step, 0), request.again.get(step, 0)
            unsure = request.unsure.get(step, 0.0)
            if prompt or again or unsure or step in request.made:
                part = Part(request.name, prompt, request.made.get(step, 0), again, 1, unsure)
                found.setdefault(step, []).append(part)
    return found
