# SPDX-License-Identifier: Apache-2.0
"""Steps of an engine that generates tokens, on the recording's clock, and how one is shared.

A step is what an engine does between two rounds of tokens: a forward pass over a batch in which
some requests have their prompt computed (prefill) and others make tokens (decode). Its energy is
divided over its requests in proportion of

    ``prompt_token * (prompt + recomputed) + output_token * (tokens that were decoded)``

The token that a prefill ends with comes out of the prefill itself: of a request whose prompt was
computed in a step, the first output token weighs nothing more. A request that took part without
any token to show for it (drafts that were all refused, a beam that was thrown away) weighs as much
as one decoded token. Padding is no token, and a row that has ended is no request of the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import OptionError, RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

__all__ = ["NOBODY", "OUTSIDE", "Part", "Step", "Steps", "Weights"]

OUTSIDE = "(outside of steps)"  # rows of the tables that are no request's
NOBODY = "(no request)"

Phase = Literal["prefill", "decode", "mixed", "none"]
_VERSION = 2  # 2: parts have unsure_tokens


@dataclass(frozen=True)
class Weights:
    """What a token weighs when the energy of a step is divided.

    They matter only in steps with both kinds: where all requests are at the same, the scale
    cancels. Equal weights say that a token is a token; a decoded one may well cost more, as each
    reads its request's whole cache for itself.

    Attributes
    ----------
    prompt_token, output_token : float
        Positive; only their ratio matters.

    Raises
    ------
    OptionError
        When one is not a positive number.
    """

    prompt_token: float = 1.0
    output_token: float = 1.0

    def __post_init__(self) -> None:
        for name in ("prompt_token", "output_token"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and 0 < value < float("inf")):
                raise OptionError(f"{name} must be a positive number, got {value!r}")


@dataclass(frozen=True)
class Part:
    """What a step did for one request.

    Attributes
    ----------
    request : str
        The request's id.
    prompt_tokens : int
        Tokens of its prompt that were computed; not padding, and not what a cache had.
    output_tokens : int
        Tokens that became output: accepted ones, up to and including end-of-sequence.
    recomputed_tokens : int
        Tokens, prompt or output, that were computed once more after a preemption: they cost
        energy and are neither prompt nor output a second time.
    sequences : int
        Outputs that the request has side by side, such as samples of one prompt: as many first
        tokens come out of its prefill.
    unsure_tokens : float
        Standard uncertainty of its tokens in this step, where somebody had to tell them: it is in
        the uncertainty of the energies of all requests of the step.

    Raises
    ------
    OptionError
        When a count is not a whole number, or the id is no text that can be one.
    """

    request: str
    prompt_tokens: int = 0
    output_tokens: int = 0
    recomputed_tokens: int = 0
    sequences: int = 1
    unsure_tokens: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.request, str) or not self.request:
            raise OptionError(f"a request's id is text, got {self.request!r}")
        if self.request in (NOBODY, OUTSIDE):
            raise OptionError(f"{self.request!r} is a row of the tables, no request's id")
        for name in ("prompt_tokens", "output_tokens", "recomputed_tokens", "sequences"):
            value = getattr(self, name)
            if type(value) is not int or value < (name == "sequences"):
                raise OptionError(
                    f"{name} of request {self.request!r} must be a whole number, got {value!r}"
                )
        if not 0 <= self.unsure_tokens < float("inf"):
            raise OptionError(
                f"unsure_tokens of request {self.request!r} must be a number that is not negative, "
                f"got {self.unsure_tokens!r}"
            )

    @property
    def is_prefill(self) -> bool:
        """Whether any of the request's context was computed."""
        return self.prompt_tokens + self.recomputed_tokens > 0

    @property
    def decoded(self) -> int:
        """Positions that weigh as decoded tokens."""
        if self.is_prefill:
            return max(self.output_tokens - self.sequences, 0)
        return max(self.output_tokens, int(self.took_part))

    @property
    def took_part(self) -> bool:
        """Whether it was in the step for certain, and not only may have been."""
        return self.unsure_tokens == 0 or self.is_prefill or self.output_tokens > 0

    def weights(self, by: Weights) -> tuple[float, float]:
        """(prefill, decode) of this request in the step."""
        computed = self.prompt_tokens + self.recomputed_tokens
        return by.prompt_token * computed, by.output_token * self.decoded


@dataclass(frozen=True)
class Step:
    """One step of an engine.

    Attributes
    ----------
    start_ns, end_ns : int
        On the recording's clock; the end is when its tokens existed.
    parts : tuple of Part
        Its requests, each once. None: work that is nobody's.

    Raises
    ------
    TypeError
        For times that are not integers.
    OptionError
        When it ends before it starts, or names a request twice.
    """

    start_ns: int
    end_ns: int
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        for value in (self.start_ns, self.end_ns):
            if type(value) is not int:
                raise TypeError(f"a step's times are integer nanoseconds, got {value!r}")
        if self.end_ns < self.start_ns:
            raise OptionError(f"a step ends before it starts: [{self.start_ns}, {self.end_ns}] ns")
        names = [part.request for part in self.parts]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise OptionError(f"a step has request {twice!r} twice: add its tokens up")

    @property
    def phase(self) -> Phase:
        """What the step was: ``mixed`` has prefill and decode, ``none`` no request."""
        prefill = any(part.is_prefill for part in self.parts)
        decode = any(part.decoded > 0 for part in self.parts)
        if prefill and decode:
            return "mixed"
        return "prefill" if prefill else "decode" if decode else "none"

    @property
    def kind(self) -> str:
        """Phase and number of requests to a factor of two: steps of a kind draw about the same."""
        if not self.parts:
            return self.phase
        most = 1 << (max(self.count, 1) - 1).bit_length()
        few = most // 2 + 1
        return f"{self.phase} x{most}" if few >= most else f"{self.phase} x{few}-{most}"

    @property
    def count(self) -> int:
        """Requests that were in it."""
        return sum(part.took_part for part in self.parts)

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens computed, of all requests."""
        return sum(part.prompt_tokens for part in self.parts)

    @property
    def output_tokens(self) -> int:
        """Tokens that became output, of all requests."""
        return sum(part.output_tokens for part in self.parts)

    def shares(self, weights: Weights) -> NDArray[np.float64]:
        """Shape (requests, 2): the part of the step's energy that is each one's prefill and decode.

        They add up to 1.
        """
        each = np.array([part.weights(weights) for part in self.parts], np.float64).reshape(-1, 2)
        if len(each) and not each.any():  # nobody was there for certain: whoever may have been
            each[:, 0] = 1.0
        return each / each.sum() if len(each) else each

    def shares_u(self, weights: Weights) -> NDArray[np.float64]:
        """Shape (requests,): standard uncertainty of the part of the energy that is each one's.

        A request's own tokens move its part, those of the others what they leave of the step.
        """
        if not self.parts:
            return np.zeros(0)
        each = np.array([sum(part.weights(weights)) for part in self.parts], np.float64)
        if not each.any():
            each[:] = 1.0
        own = np.array([part.unsure_tokens for part in self.parts]) * weights.prompt_token
        part = each / each.sum()
        others2 = np.maximum(float((own**2).sum()) - own**2, 0.0)
        u = np.sqrt(((1 - part) * own) ** 2 + part**2 * others2) / each.sum()
        return np.asarray(np.minimum(u, 1 / np.sqrt(3)))  # any part, from none to all


@dataclass(frozen=True)
class Steps:
    """The steps of one engine, in order of time; they do not overlap.

    Attributes
    ----------
    steps : tuple of Step
    arrivals_ns : mapping of str to int
        When each request was handed to the engine, where that is known.
    source : str
        What recorded them.
    notes : tuple of str
        What a reader must know of them.

    Raises
    ------
    OptionError
        When steps overlap, or are not in order of time.
    """

    steps: tuple[Step, ...]
    arrivals_ns: Mapping[str, int] = field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number, (before, after) in enumerate(pairwise(self.steps)):
            if after.start_ns < before.end_ns:
                raise OptionError(
                    f"step {number + 1} starts at {after.start_ns} ns, before step {number} ends "
                    f"at {before.end_ns} ns: steps are in order of time and do not overlap"
                )

    @classmethod
    def of(cls, steps: Steps | Iterable[Step]) -> Steps:
        """Steps as they are, or a sequence of single ones.

        Raises
        ------
        TypeError
            When something else is among them.
        """
        if isinstance(steps, Steps):
            return steps
        found = tuple(steps)
        for each in found:
            if not isinstance(each, Step):
                raise TypeError(f"steps are Steps or Step objects, got {type(each).__name__}")
        return cls(found)

    @property
    def requests(self) -> tuple[str, ...]:
        """Ids of the requests, in order of their first step."""
        return tuple(dict.fromkeys(part.request for step in self.steps for part in step.parts))

    @property
    def edges_ns(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Starts and ends of the steps."""
        starts = np.array([step.start_ns for step in self.steps], np.int64)
        ends = np.array([step.end_ns for step in self.steps], np.int64)
        return starts, ends

    def to_json(self) -> dict[str, Any]:
        """As JSON values: columns of times, and for each step its [request, tokens...] rows."""
        number = {name: i for i, name in enumerate(self.requests)}
        return {
            "version": _VERSION,
            "source": self.source,
            "notes": list(self.notes),
            "requests": list(number),
            "arrivals_ns": dict(self.arrivals_ns),
            "start_ns": [step.start_ns for step in self.steps],
            "end_ns": [step.end_ns for step in self.steps],
            "parts": [
                [
                    [
                        number[part.request],
                        part.prompt_tokens,
                        part.output_tokens,
                        part.recomputed_tokens,
                        part.sequences,
                        part.unsure_tokens,
                    ]
                    for part in step.parts
                ]
                for step in self.steps
            ],
        }

    @classmethod
    def from_json(cls, values: Any) -> Steps:
        """What `to_json` gave.

        Raises
        ------
        RecordingError
            When it is of a newer version, or no record of steps.
        """
        version = values.get("version") if isinstance(values, dict) else None
        if type(version) is not int or version < 1:
            raise RecordingError("the recording's 'steps' are no record of steps")
        if version > _VERSION:
            raise RecordingError(
                f"the steps have layout version {version}, this pyenergy reads up to {_VERSION}: "
                "upgrade pyenergy to read them"
            )
        try:
            names = values["requests"]
            columns = zip(values["start_ns"], values["end_ns"], values["parts"], strict=True)
            steps = tuple(
                Step(start, end, tuple(Part(names[n], *tokens) for n, *tokens in parts))
                for start, end, parts in columns
            )
            arrivals = {str(name): int(t) for name, t in values["arrivals_ns"].items()}
            return cls(steps, arrivals, str(values["source"]), tuple(values["notes"]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise RecordingError(f"the recording's steps are damaged: {error}") from error
