# SPDX-License-Identifier: Apache-2.0
"""Energy of text generation with Hugging Face transformers, by prefill, decode and token.

The first token marks the end of prefill: `TokenClock` is a stopping criterion, which
``generate`` calls each time a token has been appended. Padding never counts, nor does anything
after a request's end-of-sequence token. Each call of the clock ends a step: of several tokens where
an assistant's drafts were accepted, and more than one before the first token where the prompt is
computed in chunks (``prefill_chunk_size``).
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _core
from .._api import trace as open_trace
from .._energy import Energy, format_with_uncertainty
from ..errors import OptionError
from ..recording.marks import Mark
from ..units import NS_PER_S, engineering
from ._generated import Chunks, Prompts, count_outputs, sequences_of, shown_columns, steps_of
from ._per import per

if TYPE_CHECKING:
    import polars as pl

    from .._trace import Trace
    from ..attribution.steps import Weights

__all__ = ["Generation", "TokenClock", "generate"]


class TokenClock:
    """Notes when each token came to exist; pass it to ``generate`` yourself, or use `generate`.

    It can be an element of ``stopping_criteria`` (any batch, beams, sampling) or the ``streamer``
    (one request; the prompt that a streamer is shown first is skipped). It never stops anything.

    Attributes
    ----------
    times_ns : list of int
        When each step's tokens existed, ns of CLOCK_MONOTONIC.
    lengths : list of int
        Columns that the sequences had then, the prompt's included; as a streamer: tokens so far.
    sequences : tensor or None
        The sequences at the last step, each beam of its own; None as a streamer.

    Parameters
    ----------
    sync : bool
        Wait for the device before a time is taken. ``generate`` waits for it right afterwards in
        any case, to see whether a request has ended: nothing is held up.
    """

    def __init__(self, sync: bool = True) -> None:
        self.times_ns: list[int] = []
        self.lengths: list[int] = []
        self.sequences: Any = None
        self._sync = sync
        self._prompt_shown = False

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """As a stopping criterion: False for every request."""
        self._tick(input_ids, int(input_ids.shape[1]))
        self.sequences = input_ids
        import torch

        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    def put(self, value: Any) -> None:
        """As a streamer: the prompt first, then each token."""
        if self._prompt_shown:
            new = int(value.shape[1]) if value.dim() > 1 else 1
            self._tick(value, new + (self.lengths[-1] if self.lengths else 0))
        self._prompt_shown = True

    def end(self) -> None:
        """As a streamer: nothing more comes."""

    def _tick(self, tensor: Any, length: int) -> None:
        # A token is a step's edge when it exists on the device, not when it has been asked for.
        if self._sync and tensor.is_cuda:
            sys.modules["torch"].cuda.synchronize(tensor.device)
        self.times_ns.append(_core.now_ns())
        self.lengths.append(length)


@dataclass(frozen=True)
class Generation:
    """What one call of ``generate`` cost.

    Attributes
    ----------
    output : object
        What ``generate`` returned.
    trace : Trace
        The trace around it, with the spans ``prefill`` and ``decode``.
    prompt_tokens, output_tokens : tuple of int
        By request, padding not counted; output up to and including end-of-sequence, by returned
        sequence where a request has several.
    first_token_ns : int or None
        When the first token existed, ns of CLOCK_MONOTONIC; None when none was generated.
    """

    output: Any
    trace: Trace
    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    start_ns: int
    first_token_ns: int | None
    end_ns: int

    @property
    def energy(self) -> Energy:
        """Energy of the whole call."""
        return self.trace.window(self.start_ns, self.end_ns)

    @property
    def prefill(self) -> Energy:
        """Energy up to the first token."""
        return self.trace.window(self.start_ns, self.first_token_ns or self.end_ns)

    @property
    def decode(self) -> Energy:
        """Energy after the first token."""
        return self.trace.window(self.first_token_ns or self.end_ns, self.end_ns)

    @property
    def joules_per_output_token(self) -> Energy | None:
        """(E_prefill + E_decode) / sum of output tokens; None without output tokens."""
        return per(self.energy, sum(self.output_tokens))

    @property
    def joules_per_prefill_token(self) -> Energy | None:
        """E_prefill / sum of prompt tokens."""
        return per(self.prefill, sum(self.prompt_tokens))

    @property
    def joules_per_decode_token(self) -> Energy | None:
        """E_decode / sum of (n_r - 1): prefill made each request's first token."""
        return per(self.decode, self._decode_tokens)

    @property
    def ttft_s(self) -> float | None:
        """Time to first token, s."""
        if self.first_token_ns is None:
            return None
        return (self.first_token_ns - self.start_ns) / NS_PER_S

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first, s, of the longest request."""
        longest = max(self.output_tokens, default=0)
        if self.first_token_ns is None or longest < 2:
            return None
        return (self.end_ns - self.first_token_ns) / NS_PER_S / (longest - 1)

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of all requests per second of the whole call."""
        return sum(self.output_tokens) / ((self.end_ns - self.start_ns) / NS_PER_S)

    def tokens(self) -> pl.DataFrame:
        """Energy of each step, and of the time after the last: `Trace.tokens`.

        Raises
        ------
        StateError
            When the model's own ``generate`` runs in several passes, so that no steps are known.
        """
        return self.trace.tokens()

    def requests(self, weights: Weights | None = None) -> pl.DataFrame:
        """Energy of each request, ``"0"`` being the first of the batch: `Trace.requests`.

        A step's energy is divided over the requests that were at work in it: a row that has ended
        is padding, and what its computation took belongs to those that went on.

        Raises what `tokens` does.
        """
        return self.trace.requests(weights)

    def summary(self) -> dict[str, str]:
        """Label and text of every figure, for a table."""
        rows = {
            "requests": str(len(self.output_tokens)),
            "prompt / output tokens": f"{sum(self.prompt_tokens)} / {sum(self.output_tokens)}",
            "TTFT": _time(self.ttft_s),
            "TPOT": _time(self.tpot_s),
            "throughput": f"{self.tokens_per_s:.4g} tokens/s",
        }
        for label, energy in (
            ("J/output token", self.joules_per_output_token),
            ("J/prefill token", self.joules_per_prefill_token),
            ("J/decode token", self.joules_per_decode_token),
        ):
            if energy is not None:
                rows[label] = format_with_uncertainty(energy.joules, energy.u, "J")
        return rows

    @property
    def _decode_tokens(self) -> int:
        return sum(max(n - 1, 0) for n in self.output_tokens)


def generate(
    model: Any,
    *args: Any,
    trace_options: dict[str, Any] | None = None,
    layers: bool = False,
    **kwargs: Any,
) -> Generation:
    """Call ``model.generate(*args, **kwargs)`` inside a trace.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Any model with ``generate``.
    trace_options : dict, optional
        Parameters of `pyenergy.trace`, such as ``{"devices": "gpu:0"}``.
    layers : bool
        Record the calls of the model's modules by hooks (some microseconds each):
        ``generation.trace.layers()`` and ``.tree()`` then tell where the energy went. What
        ``torch.compile`` hides is ``(unattributed)``, or one layer, and in ``trace.notes``. (The
        ``generate`` of ``torch.compile(model)`` is that of ``model``, and runs it as it is.)
    *args, **kwargs
        Passed to ``model.generate``; a token clock is added to ``stopping_criteria``.

    Returns
    -------
    Generation

    Raises
    ------
    OptionError
        When ``model`` cannot generate.
    """
    if not callable(getattr(model, "generate", None)):
        raise OptionError(f"{type(model).__name__} has no generate(): not a generative model")
    from transformers import StoppingCriteriaList

    from ..attribution import ModuleSpans

    model, said = _that_runs(model)
    sync = (trace_options or {}).get("sync", True)
    clock, chunks = TokenClock(sync), Chunks(model, kwargs, sync)
    criteria = [*(kwargs.pop("stopping_criteria", None) or []), clock]
    modules = ModuleSpans(model, notes=said) if layers else None
    prompts = Prompts.of(model, args, kwargs)
    with open_trace(**(trace_options or {})) as measured, modules or nullcontext(), chunks:
        output = model.generate(*args, stopping_criteria=StoppingCriteriaList(criteria), **kwargs)
    start_ns, end_ns = measured.bounds_ns
    first_ns = clock.times_ns[0] if clock.times_ns else None
    shown = shown_columns(model, args, kwargs, clock.lengths)
    outputs = count_outputs(model, kwargs, sequences_of(output), shown, clock)
    prompts = prompts if prompts is not None else Prompts.none(len(outputs))
    result = Generation(output, measured, prompts.tokens, outputs, start_ns, first_ns, end_ns)
    steps = steps_of(prompts, outputs, shown, clock, chunks, start_ns)
    if steps is not None:
        measured.add_steps(steps, mark=False)  # prefill and decode are marked
    for name, a, b in (("prefill", start_ns, first_ns), ("decode", first_ns, end_ns)):
        if a is not None and b is not None:
            measured.add_span(Mark(name, a, b))
    if modules is not None:
        measured.attach(modules)
    return result


def _that_runs(model: Any) -> tuple[Any, list[str]]:
    """The model whose calls ``generate`` makes, and what to say if it is not the one given.

    The wrapper that ``torch.compile`` makes hands ``generate`` to the model in it, which calls
    itself and not the wrapper: nothing of it is compiled.
    """
    runs = getattr(model.generate, "__self__", model)
    if runs is model or type(model).__name__ != "OptimizedModule":
        return model, []
    name = type(runs).__name__
    return runs, [
        f"generate of torch.compile({name}) calls {name} itself, so that nothing was compiled: "
        "model.compile() compiles its calls in generate, too"
    ]


def _time(value_s: float | None) -> str:
    return "none" if value_s is None else engineering(value_s, "s")
