# SPDX-License-Identifier: Apache-2.0
"""The running of `measure`: warm-up, rounds of blocks, a look at what is known so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from . import _core, _sync
from ._blocks import Block, calls_for, gap_s, next_round
from ._warmup import FEWEST, settled_from
from .errors import NoReadingsError
from .recording.marks import Mark, longest_wait_ns
from .sensor.catalog import POWER_CHANNELS, prior_for
from .units import NS_PER_S, engineering

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._measure_options import Options
    from ._session import Session
    from ._trace import Trace

    # Half-widths relative to the energy per call, by function.
    Judge = Callable[[Trace, list[Block]], Mapping[str, float]]
    Progress = Callable[[float, str], None]

__all__ = ["Campaign", "scale_of"]

_EDGE_S = 1.0  # idle before and after, so that the sensor sees what idle is
_WARMUP_SHARE = 0.2  # of the budget
_FEWEST_BLOCKS = 5  # of each function before it may be called known
_FIRST_LOOK_S, _LOOK_S, _LOOK_SHARE, _LONGEST_LOOK_S = 3.0, 5.0, 0.1, 15.0
_MARGIN = 0.97  # of `rel`: the last evaluation must not come out a hair above it
_MOST_SPANS = 20_000  # with reset every call is a span
_RESETS_ALONE = 0.5  # share of blocks before which reset runs by itself, to be told from the calls
_UNKNOWN_S = 0.1  # update period where the catalogue knows none: that of most cards


@dataclass
class _Function:
    """What is known of a function while it is measured."""

    call: Callable[[], object]
    call_s: float = 0.0
    last_calls: int = 0
    warm: list[Block] = field(default_factory=list)
    ended_ns: list[int] = field(default_factory=list)  # of blocks, which with reset are many spans


def scale_of(trace: Trace) -> float:
    """Longest update period (or window, where longer) of the power sensors in a trace, s."""
    scales = []
    for device in trace.recorded.devices.values():
        for name in POWER_CHANNELS:
            if (c := device.channels.get(name)) is not None:
                prior = prior_for(
                    device.meta.architecture, c.source, c.update_ns, c.window_ns, c.delay_ns
                )
                scales.append(max(prior.update_ns, prior.window_ns) / NS_PER_S)
                break
    longest = max(scales, default=0.0)
    return longest if longest > 0 else _UNKNOWN_S


class Campaign:
    """Runs functions in blocks inside one open session.

    Attributes
    ----------
    blocks : list of Block
        What was measured, in order; warm-up is not in it.
    notes : list of str
        What a reader must know of how it went.
    elapsed_s : float
        Time since it began, s.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[[], object]],
        options: Options,
        session: Session,
        trace: Trace,
        scale_s: float,
    ) -> None:
        self.blocks: list[Block] = []
        self.notes: list[str] = []
        self._functions = {name: _Function(call) for name, call in functions.items()}
        self._reset = None if options.reset is None else _Function(options.reset)
        self._options, self._session, self._trace = options, session, trace
        self._scale_s = scale_s
        self._rng = np.random.default_rng(options.seed)
        self._begin_ns = _core.now_ns()
        self._edge_s = max(min(_EDGE_S, 0.1 * options.budget_s), min(scale_s, 0.3 * _EDGE_S))
        self._end_s = options.budget_s - self._edge_s  # of the last block

    @property
    def elapsed_s(self) -> float:
        return (_core.now_ns() - self._begin_ns) / NS_PER_S

    def run(self, judge: Judge, progress: Progress) -> None:
        """Warm up, then rounds until all is known or the budget is spent."""
        try:
            time.sleep(self._edge_s)
            progress(self.elapsed_s, "warm-up")
            for name in self._functions:
                self._warm_up(name)
            time.sleep(gap_s(self._rng, self._scale_s))
            self._rounds(judge, progress)
            time.sleep(self._edge_s)
        except KeyboardInterrupt:
            self._keep_warm_up()
            if not all(any(b.name == n for b in self.blocks) for n in self._functions):
                raise  # there is nothing to tell
            self.notes.append(f"interrupted after {engineering(self.elapsed_s, 's')}")

    # Rounds --------------------------------------------------------------------------------

    def _rounds(self, judge: Judge, progress: Progress) -> None:
        began_s = self.elapsed_s
        end_s = self._end_s
        look_s = began_s + min(_FIRST_LOOK_S, 0.4 * (end_s - began_s))
        known: frozenset[str] = frozenset()
        state = "measuring"
        while self.elapsed_s < end_s:
            if not self._round(end_s, known):
                break
            progress(self.elapsed_s, state)
            if self.elapsed_s < look_s or end_s - self.elapsed_s < self._scale_s:
                continue
            reached = self._look(judge)
            known = frozenset(n for n, r in reached.items() if r <= _MARGIN * self._options.rel)
            if len(known) == len(self._functions):
                break
            look_s = self._next_look(began_s, max(reached.values(), default=0.0))
            if reached:
                state = f"± {max(reached.values()):.2%} so far"
        self._keep_warm_up()

    def _round(self, end_s: float, known: frozenset[str]) -> bool:
        """One round; False when not even one more block fits into the budget."""
        ran = False
        call_s = {name: f.call_s for name, f in self._functions.items()}
        last = {name: f.last_calls for name, f in self._functions.items()}
        for step in next_round(self._rng, call_s, self._scale_s, last, known):
            one_s = self._functions[step.name].call_s
            if self.elapsed_s + one_s > end_s and self._has_run(step.name):
                continue
            room = int((end_s - self.elapsed_s) / one_s) if one_s > 0 else step.calls
            made = self._block(step.name, step.name, max(1, min(step.calls, room)))
            self._functions[step.name].ended_ns.append(made[-1].end_ns)
            time.sleep(step.gap_s)
            ran = True
        return ran

    def _has_run(self, name: str) -> bool:
        return bool(self._functions[name].warm) or any(b.name == name for b in self.blocks)

    def _look(self, judge: Judge) -> dict[str, float]:
        """Relative half-widths reached so far, from the blocks that readings cover by now."""
        covered = _core.now_ns() - round(3 * self._scale_s * NS_PER_S)
        # Not the spans: with reset every call is one, and a single block would do.
        classes = [*self._functions.values(), *([self._reset] if self._reset else [])]
        if min(sum(end < covered for end in c.ended_ns) for c in classes) < _FEWEST_BLOCKS:
            return {}
        done = [b for b in self.blocks if b.end_ns < covered]
        try:
            return dict(judge(self._trace, done))
        except NoReadingsError:
            return {}  # too early for a fit; the end will say

    def _next_look(self, began_s: float, reached: float) -> float:
        """When to look again: where errors that fall as 1/sqrt(t) would be small enough."""
        measured = self.elapsed_s - began_s
        needed = measured * (reached / self._options.rel) ** 2 - measured
        shortest = max(min(_LOOK_S, self._options.budget_s / 4), _LOOK_SHARE * self.elapsed_s)
        return self.elapsed_s + float(np.clip(1.05 * needed, shortest, _LONGEST_LOOK_S))

    # Blocks --------------------------------------------------------------------------------

    def _block(self, name: str, label: str, calls: int) -> list[Block]:
        """Run calls of a function and label them; with reset, each call is a span of its own."""
        function, reset = self._functions[name], self._reset
        first = len(self.blocks)
        if reset is None:
            self._spanned(name, label, calls)
        else:
            # A span each: fewer in a block where the budget would hold too many of them.
            most = max(1, int(_MOST_SPANS * 2 * self._scale_s / self._options.budget_s))
            if not reset.ended_ns or self._rng.random() < _RESETS_ALONE:
                self._resets_alone(reset, most)
            for _ in range(min(calls, most)):
                self._run_reset(reset)
                self._spanned(name, label, 1)
        made = self.blocks[first:]
        function.last_calls = sum(b.calls for b in made)
        function.call_s = sum(b.end_ns - b.start_ns for b in made) / NS_PER_S / function.last_calls
        if reset is not None:  # what a call takes of the budget, reset and all
            lasted = (made[-1].end_ns - made[0].start_ns) / NS_PER_S / len(made)
            function.call_s = max(function.call_s, lasted)
        return made

    def _resets_alone(self, reset: _Function, most: int) -> None:
        """A block of resets as long as one of calls is.

        Between calls that are all alike every reading holds the same mixture of the two, and what
        little tells them apart is mostly late labels. A sensor that looks at a quarter of the time
        must find resets and nothing else when it looks.
        """
        if reset.last_calls == 0:
            self._run_reset(reset)  # how long does it take?
        count = calls_for(self._rng, reset.call_s, self._scale_s, max(reset.last_calls, 1))
        room = int((self._end_s - self.elapsed_s) / reset.call_s)
        reset.last_calls = max(1, min(count, most, room))
        for _ in range(reset.last_calls):
            end_ns = self._run_reset(reset)
        reset.ended_ns.append(end_ns)

    def _spanned(self, name: str, label: str, calls: int) -> None:
        call = self._functions[name].call
        self._synchronize()
        waits = _core.run_delay()
        start_ns = _core.now_ns()
        try:
            for _ in repeat(None, calls):
                call()
            self._synchronize()
        except BaseException:
            self._trace.add_span(Mark(f"{name} (interrupted)", start_ns, _core.now_ns()))
            raise
        end_ns = _core.now_ns()
        waited_ns = longest_wait_ns(waits, _core.run_delay())
        self._trace.add_span(Mark(label, start_ns, end_ns, bound_ns=waited_ns))
        self.blocks.append(Block(name, start_ns, end_ns, calls))

    def _run_reset(self, reset: _Function) -> int:
        """A class of its own: always just before a call, its work would pass for the call's."""
        waits = _core.run_delay()
        start_ns = _core.now_ns()
        reset.call()
        self._synchronize()
        end_ns = _core.now_ns()
        waited_ns = longest_wait_ns(waits, _core.run_delay())
        self._trace.add_span(Mark("(reset)", start_ns, end_ns, bound_ns=waited_ns))
        reset.call_s = max((end_ns - start_ns) / NS_PER_S, 1e-9)
        return end_ns

    def _synchronize(self) -> None:
        if self._session.sync:
            _sync.synchronize(self._session.devices)

    # Warm-up -------------------------------------------------------------------------------

    def _warm_up(self, name: str) -> None:
        """Run a function without counting it; how long, the option says."""
        warmup = self._options.warmup
        if not warmup:
            return
        label = f"{name} (warm-up)"
        began_ns = _core.now_ns()
        remark = ""
        if isinstance(warmup, int):
            self._block(name, label, warmup)
        else:
            remark = self._until_settled(name, label)
        warm, self.blocks = self.blocks, []
        self._functions[name].warm = warm
        time.sleep(gap_s(self._rng, self._scale_s))
        lasted = engineering((warm[-1].end_ns - began_ns) / NS_PER_S, "s")
        calls = sum(b.calls for b in warm)
        self.notes.append(f"{name}: warm-up of {calls} calls in {lasted} discarded{remark}")

    def _until_settled(self, name: str, label: str) -> str:
        """Run blocks until time and readings settle; a remark where they did not."""
        function, options = self._functions[name], self._options
        began_ns, began_s = _core.now_ns(), self.elapsed_s
        end_s = began_s + _WARMUP_SHARE * options.budget_s / len(self._functions)
        times: list[float] = []
        while True:
            calls = calls_for(self._rng, function.call_s, self._scale_s, function.last_calls)
            made = self._block(name, label, calls)
            spent = sum(b.end_ns - b.start_ns for b in made) / sum(b.calls for b in made)
            times.append(spent)
            if len(times) >= FEWEST and self._settled(times, began_ns):
                return ""
            if self.elapsed_s + function.call_s > end_s:
                few = len(times) < FEWEST
                return f" ({'too few to tell settled or not' if few else 'it had not settled'})"

    def _settled(self, times: list[float], began_ns: int) -> bool:
        tolerance = self._options.rel
        if settled_from(times, tolerance) is None:
            return False
        seen_from = began_ns + round(2 * self._scale_s * NS_PER_S)
        for device in self._trace.recorded.devices.values():
            for name in POWER_CHANNELS:
                if (runs := device.runs.get(name)) is not None:
                    shown = runs.value[runs.usable & (runs.t_first_ns >= seen_from)]
                    # Equal readings are one run: few runs over a long time have settled.
                    waited_s = (_core.now_ns() - seen_from) / NS_PER_S
                    if len(shown) < FEWEST and waited_s < 2 * FEWEST * self._scale_s:
                        return False
                    if len(shown) >= FEWEST and settled_from(shown, tolerance) is None:
                        return False
                    break
        return True

    def _keep_warm_up(self) -> None:
        """Where warm-up left no time for anything else, it is what was measured."""
        for name, function in self._functions.items():
            if function.warm and not any(b.name == name for b in self.blocks):
                self.blocks.extend(function.warm)
                self.notes = [n for n in self.notes if not n.startswith(f"{name}: warm-up of")]
                self.notes.append(f"{name}: the budget held no more than the warm-up, counted here")
        self.blocks.sort(key=lambda b: b.start_ns)
