# SPDX-License-Identifier: Apache-2.0
"""What a call of transformers' ``generate`` made: prompts, outputs, and the steps between.

A request is a row of the batch that was passed in, also where several sequences are returned for
it: its prompt counts once. Its part of a step is the prompt that was
computed in it (chunk by chunk, and without what a cache had) and the columns of the output that
the step added, up to and including its end-of-sequence token.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import _core
from ..attribution.steps import Part, Step, Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Chunks", "Prompts", "count_outputs", "sequences_of", "shown_columns", "steps_of"]


class Ticks(Protocol):
    """When columns were added to the sequences, and what these were: a `TokenClock`."""

    times_ns: list[int]
    lengths: list[int]
    sequences: Any


@dataclass(frozen=True, eq=False)
class Prompts:
    """The prompts of a batch: for each request which of its columns are tokens.

    Attributes
    ----------
    columns : ndarray of bool, shape (requests, columns)
        Padding is False.
    cached : int
        Columns from the left that a cache held already.
    """

    columns: NDArray[np.bool_]
    cached: int = 0

    @classmethod
    def of(cls, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Prompts | None:
        """From the arguments of ``generate``; None when no prompt was given.

        Taken before ``generate`` runs: a cache that is passed in grows.
        """
        given = _given(args, kwargs)
        mask = kwargs.get("attention_mask")
        if given is None:
            return None
        if mask is None:
            mask = _inferred_mask(model, given, kwargs)
        if mask is not None:
            columns = mask.bool().cpu().numpy()
        else:
            columns = np.ones((int(given.shape[0]), int(given.shape[1])), np.bool_)
        cache = kwargs.get("past_key_values")
        length = int(getattr(cache, "get_seq_length", lambda: 0)())
        return cls(columns, length if columns.shape[1] > length else 0)

    @classmethod
    def none(cls, requests: int) -> Prompts:
        """Of requests that were begun without a prompt of tokens."""
        return cls(np.zeros((requests, 0), np.bool_))

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of each prompt, padding not counted."""
        return tuple(self.columns.sum(axis=1).tolist())

    def computed(self, start: int, stop: int) -> list[int]:
        """Tokens of each request in columns ``start`` to ``stop``, cached ones left out."""
        found: list[int] = self.columns[:, max(start, self.cached) : stop].sum(axis=1).tolist()
        return found

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.columns.shape[1])


class Chunks:
    """Notes when the chunks of a prompt were computed; a context manager around ``generate``.

    It watches the model's calls only where ``prefill_chunk_size`` is set: a hook may cost a
    compiled model its graph.

    Attributes
    ----------
    ends_ns : list of int
        When each call ended, ns of CLOCK_MONOTONIC.
    widths : list of int
        Columns that each call was given.
    """

    def __init__(self, model: Any, kwargs: dict[str, Any], sync: bool) -> None:
        size = _setting(model, kwargs, "prefill_chunk_size")
        self.ends_ns: list[int] = []
        self.widths: list[int] = []
        self._model = model if size else None
        self._sync = sync
        self._hook: Any = None

    def __enter__(self) -> Chunks:
        if self._model is not None:
            self._hook = self._model.register_forward_hook(self._called, with_kwargs=True)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _called(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        given = _given(args, kwargs)
        if given is None:
            return
        if self._sync and given.is_cuda:
            sys.modules["torch"].cuda.synchronize(given.device)
        self.ends_ns.append(_core.now_ns())
        self.widths.append(int(given.shape[1]))

    def before(self, first_ns: int, width: int) -> list[tuple[int, int]]:
        """(end of the chunk, columns in it) of a prompt whose first token existed at ``first_ns``.

        Only where the chunks make up the prompt: an assistant's drafts do not.
        """
        early = [i for i, end_ns in enumerate(self.ends_ns) if end_ns <= first_ns]
        found = [(self.ends_ns[i], self.widths[i]) for i in early]
        if sum(columns for _, columns in found) != width:
            return [(first_ns, width)]
        # The last call is over a little before its token exists.
        return [*found[:-1], (first_ns, found[-1][1])] if found else [(first_ns, width)]


def steps_of(
    prompts: Prompts,
    outputs: Sequence[int],
    shown: int,
    clock: Ticks,
    chunks: Chunks,
    start_ns: int,
) -> Steps | None:
    """The steps of one call; None when it had none, or ran in passes that begin anew.

    Parameters
    ----------
    prompts : Prompts
    outputs : sequence of int
        Output tokens of each returned sequence: as many for each request.
    shown : int
        Columns of the sequences before the first output token.
    clock : TokenClock
    chunks : Chunks
    start_ns : int
        When the call began, ns of CLOCK_MONOTONIC.
    """
    lengths = [shown, *clock.lengths]
    if len(lengths) < 2 or any(after <= before for before, after in pairwise(lengths)):
        return None
    requests = len(prompts.columns)
    each = max(len(outputs) // max(requests, 1), 1)
    of_request = [outputs[i * each : (i + 1) * each] for i in range(requests)]
    columns = list(pairwise(length - shown for length in lengths))
    steps, begin = [], start_ns
    parts = chunks.before(clock.times_ns[0], prompts.width - prompts.cached)
    stops = [prompts.cached + n for n in accumulate(width for _, width in parts)]
    for (end_ns, _), (start, stop) in zip(parts, pairwise([prompts.cached, *stops]), strict=True):
        made = columns[0] if end_ns == clock.times_ns[0] else (0, 0)
        tokens = zip(prompts.computed(start, stop), of_request, strict=True)
        # Without a prompt the prefill is that of the start tokens.
        begun = 0 if prompts.width else shown
        found = [
            Part(str(i), n + begun, _made(rows, *made), 0, each)
            for i, (n, rows) in enumerate(tokens)
        ]
        # A chunk that is all padding for a request does nothing for it.
        at_work = [p for p in found if p.prompt_tokens or p.output_tokens] or found
        steps.append(Step(begin, end_ns, tuple(at_work)))
        begin = end_ns
    for end_ns, made in zip(clock.times_ns[1:], columns[1:], strict=True):
        found = [Part(str(i), 0, _made(rows, *made), 0, each) for i, rows in enumerate(of_request)]
        at_work = [p for p in found if p.output_tokens] or found
        steps.append(Step(begin, end_ns, tuple(at_work)))
        begin = end_ns
    arrivals = {str(i): start_ns for i in range(requests)}
    return Steps(tuple(steps), arrivals, "transformers.generate")


def _made(rows: Sequence[int], start: int, stop: int) -> int:
    """Output tokens in the columns from ``start`` to ``stop``, of sequences with so many."""
    return sum(min(max(n - start, 0), stop - start) for n in rows)


def shown_columns(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], lengths: list[int]
) -> int:
    """Columns of the sequences before the first output token."""
    inputs, embeds = _inputs(args, kwargs), kwargs.get("inputs_embeds")
    if not model.config.is_encoder_decoder and (inputs is not None or embeds is not None):
        return int(inputs.shape[1]) if inputs is not None else 0
    # A start token, or those that the decoder was given. Of drafts several come in a step.
    if all(after == before + 1 for before, after in pairwise(lengths)):
        return max(lengths[0] - 1, 0) if lengths else 0
    begun = kwargs.get("decoder_input_ids")
    return int(begun.shape[1]) if begun is not None else 1


def sequences_of(output: Any) -> Any:
    """The tokens in what ``generate`` returned, which may be a dictionary of several things."""
    if isinstance(output, Mapping):
        return output["sequences"]
    return getattr(output, "sequences", output)


def count_outputs(
    model: Any, kwargs: dict[str, Any], sequences: Any, shown: int, clock: Ticks
) -> tuple[int, ...]:
    """Output tokens of each sequence, without what follows its end-of-sequence token.

    ``sequences`` is what was returned: of some models, such as Whisper, without start tokens and
    end-of-sequence. Those are counted as the clock saw them, where it saw what was returned; of
    several passes, what they returned counts.
    """
    ends = _tokens(_setting(model, kwargs, "eos_token_id"))
    if not _is_stripped(sequences, shown, clock):
        return tuple(_until_end(row, ends) for row in sequences[:, shown:].tolist())
    one_pass = all(after > before for before, after in pairwise(clock.lengths))
    beams = _setting(model, kwargs, "num_beams") or 1
    if one_pass and beams == 1 and len(clock.sequences) == len(sequences):
        return tuple(_until_end(row, ends) for row in clock.sequences[:, shown:].tolist())
    padding = ends | _tokens(_setting(model, kwargs, "pad_token_id"))
    kept = [_without(row, padding) for row in sequences.tolist()]
    if not one_pass:
        return tuple(kept)
    # What is shorter than the steps that were made had an end-of-sequence.
    return tuple(min(n + 1, clock.lengths[-1] - shown) for n in kept)


def _is_stripped(sequences: Any, shown: int, clock: Ticks) -> bool:
    """Whether what comes before the output was taken off the sequences."""
    if clock.sequences is None:
        return False
    begun = {tuple(row) for row in clock.sequences[:, :shown].tolist()}
    return any(tuple(row) not in begun for row in sequences[:, :shown].tolist())


def _inferred_mask(model: Any, given: Any, kwargs: dict[str, Any]) -> Any:
    """The mask that ``generate`` makes itself of a prompt without one; None: all are tokens.

    Padding is known by its token, unless that may also be an end-of-sequence. Of an encoder
    nothing is inferred: it works on all that it is given.
    """
    forward = getattr(model, "forward", None)
    takes_one = forward is None or "attention_mask" in inspect.signature(forward).parameters
    if given.is_floating_point() or model.config.is_encoder_decoder or not takes_one:
        return None
    pads = _tokens(_setting(model, kwargs, "pad_token_id"))
    if not pads or pads & _tokens(_setting(model, kwargs, "eos_token_id")):
        return None
    return given.ne(next(iter(pads)))


def _inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The prompt's tokens; what is no tokens (a spectrum, an image) is no prompt here."""
    inputs = args[0] if args else kwargs.get("input_ids", kwargs.get("inputs"))
    return None if inputs is None or inputs.is_floating_point() else inputs


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    inputs = _inputs(args, kwargs)
    return inputs if inputs is not None else kwargs.get("inputs_embeds")


def _setting(model: Any, kwargs: dict[str, Any], name: str) -> Any:
    """What ``generate`` takes for a setting: an argument, even None, comes first.

    What a configuration that is passed in leaves open, the model's own says.
    """
    if name in kwargs:
        return kwargs[name]
    given = getattr(kwargs.get("generation_config"), name, None)
    own = getattr(getattr(model, "generation_config", None), name, None)
    return own if given is None else given


def _tokens(setting: Any) -> set[int]:
    """The tokens of a setting: none, one, several, or a tensor of them."""
    if setting is None:
        return set()
    found = setting.tolist() if hasattr(setting, "tolist") else setting
    return {int(token) for token in (found if isinstance(found, (list, tuple)) else [found])}


def _until_end(tokens: list[int], ends: set[int]) -> int:
    """Tokens up to and including the first end-of-sequence; what follows is padding."""
    for position, token in enumerate(tokens):
        if token in ends:
            return position + 1
    return len(tokens)


def _without(tokens: list[int], padding: set[int]) -> int:
    """Tokens before the padding at the end."""
    n = len(tokens)
    while n and tokens[n - 1] in padding:
        n -= 1
    return n
