# SPDX-License-Identifier: Apache-2.0
"""Which requests were at work in which step of a vLLM engine, told from its statistics.

A step's statistics have latencies and totals, and name a request only when it ends. What follows:

- A request begins with an entry of time to first token. Stamp less latency is when it arrived; the
  end of a request says the same of it (stamp less end-to-end latency): that is whose it was.
- Every later token is an entry of inter-token latency: the time since the step of the request's
  token before. Engine times of the steps follow from these latencies, and each entry leads from an
  earlier step to this one: a request is a path along such entries.
- Where several requests meet in a step and one goes on later than the others, it was preempted: of
  those that have steps to spare, the one that the engine took up last, as its scheduler chooses
  where there are no priorities. What a step made in all is right whoever it was.
- Tokens beyond one for each entry are accepted drafts, which go to requests that need them.
- A request that comes back after a preemption has its context computed again: as much as the
  prefix cache was asked for and did not have, or all of it where the cache was not asked.
- A prompt is computed in the steps from when the request was scheduled to its first token.
- Where a prompt, or what was computed again, may have been cut over several steps and nothing says
  how, or a request was preempted before its first token, its tokens there are unsure (``unsure``).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from math import hypot, sqrt
from typing import TYPE_CHECKING

from ..units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._vllm_records import Finished, Record

__all__ = ["Request", "reconstructed"]

_SAME_S = 2e-6  # Unix time in a float64 is good to a quarter of a microsecond
_LATE_S = 1e-3  # by which one step may be logged later than another
_EARLY = 0.75  # of a step: what is scheduled later was scheduled for the next


@dataclass(eq=False)
class Request:
    """A request and what the steps did for it, by the number of the step.

    Attributes
    ----------
    name : str
        vLLM's id, or one made up where it was not told.
    arrival_ns : int or None
    first : int
        Step of its first token; -1: before the log began.
    end : int
        Step in which it ended, or the last there is.
    joined : int
        Step of its first token, or in which it came back.
    finished : Finished or None
    prompt, made, again : dict of int to int
        Prompt tokens computed, tokens made, tokens computed once more.
    unsure : dict of int to float
        Standard uncertainty of the tokens computed, in steps of which it is not known how many.
    total : int
        Tokens made so far.
    restarted : bool
        Whether it may have been preempted before its first token.
    """

    first: int
    end: int
    name: str = ""
    joined: int = -1
    arrival_s: float | None = None
    arrival_ns: int | None = None
    finished: Finished | None = None
    prompt: dict[int, int] = field(default_factory=dict)
    made: dict[int, int] = field(default_factory=dict)
    again: dict[int, int] = field(default_factory=dict)
    unsure: dict[int, float] = field(default_factory=dict)
    total: int = 0
    restarted: bool = False

    @property
    def last(self) -> int:
        """Step of its last token so far."""
        return next(reversed(self.made), self.first)

    def slack(self, step: int) -> int:
        """Steps that are left from this one, less the tokens that are left to make."""
        if self.finished is None or self.first < 0:
            return 0
        return (self.end - step + 1) - (self.finished.output_tokens - self.total)

    def make(self, step: int, tokens: int) -> None:
        """Give it tokens in a step, which comes after all that it has."""
        self.made[step] = self.made.get(step, 0) + tokens
        self.total += tokens

    def doubt(self, step: int, tokens: float) -> None:
        """Its tokens in a step are not known by so many more."""
        self.unsure[step] = hypot(self.unsure.get(step, 0.0), tokens)

    @property
    def is_off(self) -> bool:
        """Whether it was seen from its first token and has others than the engine counted."""
        if self.finished is None or self.first < 0:
            return False
        return self.total != self.finished.output_tokens


def reconstructed(records: Sequence[Record]) -> list[Request]:
    """The requests of all steps, in order of their first token."""
    requests = _begun(records)
    _end(requests, records)
    times = _engine_times(records)
    _follow(requests, records, times)
    _prompts(requests, records, times)
    _name(requests)
    return requests


def _engine_times(records: Sequence[Record]) -> list[float]:
    """The engine's own time of each step, s, with the first as zero.

    The shortest latency ties a step to an earlier one: to that which agrees best with when the
    two were logged.
    """
    times: list[float] = []
    for number, record in enumerate(records):
        since_s = (record.t_ns - records[number - 1].t_ns) / NS_PER_S if number else 0.0
        guess = (times[-1] if times else 0.0) + since_s
        if record.between_s and times:
            shortest_s = min(record.between_s)
            exact = times[_nearest(times, guess - shortest_s)] + shortest_s
            if abs(exact - guess) <= max(0.5 * since_s, _LATE_S):
                guess = exact
        times.append(guess)
    return times


def _nearest(times: list[float], t_s: float) -> int:
    """Index of the time that is nearest; they are in order."""
    after = bisect_left(times, t_s)
    if after == len(times) or (after and t_s - times[after - 1] < times[after] - t_s):
        return after - 1
    return after


def _begun(records: Sequence[Record]) -> list[Request]:
    requests = []
    for number, record in enumerate(records):
        for latency_s in record.first_token_s:
            assert record.stamp_s is not None
            arrival_ns = record.t_ns - round(latency_s * NS_PER_S)
            arrival_s = record.stamp_s - latency_s
            requests.append(
                Request(
                    number,
                    len(records) - 1,
                    joined=number,
                    arrival_s=arrival_s,
                    arrival_ns=arrival_ns,
                )
            )
    return requests


def _end(requests: list[Request], records: Sequence[Record]) -> None:
    """Match the ends of requests to their beginnings; some began before the log did."""
    begun = sorted(requests, key=lambda r: r.arrival_s or 0.0)
    arrived = [r.arrival_s or 0.0 for r in begun]
    for number, record in enumerate(records):
        for finished in record.finished:
            if not finished.output_tokens:
                continue  # given up before its first token
            assert record.stamp_s is not None
            arrival_s = record.stamp_s - finished.e2e_s
            first = bisect_left(arrived, arrival_s - _SAME_S)
            same = begun[first : bisect_right(arrived, arrival_s + _SAME_S)]
            same = [r for r in same if r.finished is None and r.first <= number]
            if not same:
                same = [Request(-1, number)]
                requests.append(same[0])
            began_ns = record.t_ns - round(finished.decode_s * NS_PER_S)
            off_ns = [abs(records[max(r.first, 0)].t_ns - began_ns) for r in same]
            found = same[off_ns.index(min(off_ns))]
            found.finished, found.end = finished, number


def _follow(requests: list[Request], records: Sequence[Record], times: list[float]) -> None:
    """Lead every request along the latencies, and give it a token at each."""
    onward: dict[int, list[int]] = {}
    for number, record in enumerate(records):
        for between_s in record.between_s:
            onward.setdefault(_source(times, number, between_s), []).append(number)
    here: dict[int, list[Request]] = {}
    for request in requests:
        here.setdefault(request.first, []).append(request)
    for number in range(-1, len(records)):
        present = here.get(number, [])
        if number >= 0:
            _tokens(present, number, records[number])
        for target in sorted(onward.get(number, []), reverse=True):
            if not present:  # one that began before the log and did not end in it
                requests.append(Request(-1, len(records) - 1))
                present = [requests[-1]]
            # The latest first: of those that were taken up together, the last.
            found = min(reversed(present), key=lambda r: _misfit(r, number, target))
            present.remove(found)
            if target > number + 1:
                found.joined = target
            here.setdefault(target, []).append(found)


def _source(times: list[float], number: int, between_s: float) -> int:
    """The step that lies so long before; -1: one before the log began."""
    since = times[number] - between_s
    if not number or since < times[0] - _LATE_S:
        return -1
    return min(_nearest(times, since), number - 1)


def _misfit(request: Request, number: int, target: int) -> tuple[bool, int]:
    """How little it suits a request to have its next token in the step ``target``.

    The engine preempts what it took up last.
    """
    sits_out = target - number - 1
    impossible = request.end < target
    if request.finished is not None and request.first >= 0:
        spare = request.slack(number + 1)
        impossible |= spare < sits_out or spare > request.end - number - 1
    return impossible, -request.joined if sits_out else request.slack(number + 1)


def _tokens(present: list[Request], number: int, record: Record) -> None:
    """Give the step's tokens to the requests that are in it."""
    back = [r for r in present if 0 <= r.last < number - 1 and r.first != number]
    if record.preempted and back:
        _compute_again(back, number, record)
    left = record.output_tokens
    for request in present:
        request.make(number, min(left, 1))
        left -= request.made[number]
    drafted = [r for r in present if r.first != number] or present
    for _ in range(left if drafted else 0):
        hungry = min(drafted, key=lambda r: (r.finished is None, r.slack(number + 1)))
        hungry.make(number, 1)


def _compute_again(back: list[Request], number: int, record: Record) -> None:
    """The context of requests that were preempted: by what the prefix cache did not have."""
    context = [(r.finished.prompt_tokens if r.finished else 0) + r.total for r in back]
    lost = record.again_queried - record.again_hit if record.again_queried else sum(context)
    for request, tokens in zip(back, context, strict=True):
        request.again[number] = lost * tokens // max(sum(context), 1)
    back[0].again[number] += lost - sum(r.again[number] for r in back)


def _prompts(requests: list[Request], records: Sequence[Record], times: list[float]) -> None:
    """Spread every prompt over the steps in which it was computed."""
    budget = [record.context_tokens for record in records]
    known = [r for r in requests if r.first >= 0 and r.finished is not None]
    muddled = _muddled(known, records, times)
    for request in sorted(known, key=lambda r: _scheduled(r, times)):
        assert request.finished is not None
        tokens = request.finished.prompt_tokens - request.finished.cached_tokens
        steps = _prefill_steps(request, times)
        whole, rooms = tokens, [budget[step] for step in steps]
        for position, step in enumerate(steps):
            room, left = budget[step], len(steps) - position
            take = tokens if left == 1 else tokens // left if room is None else min(tokens, room)
            request.prompt[step] = take
            tokens -= take
            if room is not None:
                budget[step] = max(room - take, 0)
        guessed, beside = None in rooms, not muddled.isdisjoint(steps)
        if len(steps) > 1 and (guessed or beside):
            if not guessed:
                muddled.update(steps)  # whose room it took is not known either
            # Where it only has to be split, as any split is; else a step had anything up to all.
            anything = request.restarted or (guessed and beside)
            most = whole / sqrt(12) if anything else whole / len(steps)
            for step in steps:
                request.doubt(step, most * _any_split(len(steps)))
    _chunks(requests, budget)
    begun_in: dict[int, list[Request]] = {}
    for request in requests:
        begun_in.setdefault(request.first, []).append(request)
    for number, record in enumerate(records):
        begun = begun_in.get(number, [])
        unknown = [r for r in begun if r.finished is None]
        told = [r.finished for r in begun if r.finished is not None]
        rest = record.prompt_tokens - sum(f.prompt_tokens - f.cached_tokens for f in told)
        for position, request in enumerate(unknown):
            request.prompt[number] = max(rest, 0) // len(unknown)
            if position < max(rest, 0) % len(unknown):
                request.prompt[number] += 1


def _muddled(known: list[Request], records: Sequence[Record], times: list[float]) -> set[int]:
    """Steps with prompts of requests that may have been preempted before their first token.

    The engine counts a preemption with the next output; those that came back after one are known.
    What the others had computed is not, nor what was left for those beside them.
    """
    unseen = [record.preempted for record in records]
    for request in known:
        for step in request.again:
            unseen[step] -= 1
    found: set[int] = set()
    for request in known:
        if unseen[request.first] > 0:
            request.restarted = True
            found.update(_prefill_steps(request, times))
        for back in request.again:
            found.update(_away(request, back))
    return found


def _away(request: Request, back: int) -> range:
    """The steps since a request was preempted, up to that in which it is back; latest first."""
    before = max((step for step in request.made if step < back), default=request.first)
    return range(back, before, -1)


def _any_split(n: int) -> float:
    """Relative standard deviation of a part where any split into ``n`` is as likely."""
    return sqrt((n - 1) / (n + 1))


def _chunks(requests: list[Request], budget: list[int | None]) -> None:
    """Spread what was computed again over the steps since it was preempted.

    Where the engine says how much context a step computed, what no prompt accounts for was that;
    of the rest nobody knows in which of these steps it was: it stays in the last of them.
    """
    came_back = [(step, r) for r in requests for step in r.again]
    for back, request in sorted(came_back, key=lambda each: each[0]):
        left = request.again.pop(back)
        since = _away(request, back)
        for step in since:
            room = budget[step]
            take = min(left, room or 0)
            if take and room is not None:
                request.again[step] = request.again.get(step, 0) + take
                budget[step] = room - take
                left -= take
        request.again[back] = request.again.get(back, 0) + left
        if left and len(since) > 1:
            for step in since:
                request.doubt(step, left / sqrt(3) / (1 if step == back else len(since) - 1))


def _scheduled(request: Request, times: list[float]) -> float:
    assert request.finished is not None
    return times[request.first] - request.finished.prefill_s


def _prefill_steps(request: Request, times: list[float]) -> list[int]:
    """Steps from when it was scheduled to its first token, which is in the last of them."""
    since = _scheduled(request, times)
    earliest = request.first
    while earliest and since < _latest_start(times, earliest - 1):
        earliest -= 1
    return list(range(earliest, request.first + 1))


def _latest_start(times: list[float], step: int) -> float:
    """Until when what was scheduled is taken to have been for this step."""
    begun = times[step - 1] if step else times[0]
    return begun + _EARLY * (times[step] - begun)


def _name(requests: list[Request]) -> None:
    """vLLM's ids; made up where they are not told, and told apart where they were used twice."""
    seen: dict[str, int] = {}
    for number, request in enumerate(requests):
        told = request.finished.request if request.finished is not None else None
        kind = "finished" if request.finished is not None else "unfinished"
        name = told or f"{kind}-{number}"
        seen[name] = seen.get(name, 0) + 1
        request.name = name if seen[name] == 1 else f"{name}#{seen[name]}"
