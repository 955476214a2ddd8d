# SPDX-License-Identifier: Apache-2.0
"""Energy of encoders by sequence, and of speech models by second of audio."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .._api import trace as open_trace
from ..attribution.steps import Part, Step
from ..errors import OptionError
from ..units import NS_PER_S
from ._edges import Edges
from ._per import per
from .transformers import Generation, generate

if TYPE_CHECKING:
    import polars as pl

    from .._energy import Energy
    from .._trace import Trace

__all__ = ["Encoded", "Speech", "encode", "transcribe"]


@dataclass(frozen=True)
class Encoded:
    """What it cost to encode sequences.

    Attributes
    ----------
    outputs : list
        What the model returned for each batch.
    trace : Trace
        The trace around them all; each batch is a step of it.
    tokens : tuple of int
        Tokens of each sequence, padding not counted; 0 where the model was given no tokens.
    """

    outputs: list[Any]
    trace: Trace
    tokens: tuple[int, ...]

    @property
    def energy(self) -> Energy:
        """Energy of all batches and the time between them."""
        return self.trace.energy

    @property
    def joules_per_sequence(self) -> Energy:
        """Energy over the number of sequences."""
        energy = per(self.energy, len(self.tokens))
        assert energy is not None
        return energy

    @property
    def joules_per_token(self) -> Energy | None:
        """Energy over the tokens of all sequences; None where the model was given no tokens."""
        return per(self.energy, sum(self.tokens))

    @property
    def sequences_per_s(self) -> float:
        """Sequences per second of the trace."""
        return len(self.tokens) / self.trace.duration_s

    def sequences(self) -> pl.DataFrame:
        """Energy of each sequence: its batch's, divided by tokens (`Trace.requests`).

        ``request`` is the number of the sequence; those without tokens share alike.
        """
        return self.trace.requests()


def encode(
    model: Any,
    batches: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    trace_options: dict[str, Any] | None = None,
) -> Encoded:
    """Call ``model(**batch)`` for each batch, without gradients, inside a trace.

    Parameters
    ----------
    model : torch.nn.Module
        Such as a BERT with ``AutoModel``.
    batches : mapping or iterable of mappings
        What a tokenizer gives (``input_ids``, ``attention_mask``), one batch or several.
    trace_options : dict, optional
        Parameters of `pyenergy.trace`, such as ``{"devices": "gpu:0"}``.

    Returns
    -------
    Encoded

    Raises
    ------
    OptionError
        When there is no batch, or one that is no mapping with a tensor in it.
    """
    import torch

    found = [batches] if isinstance(batches, Mapping) else list(batches)
    counts = [_tokens(batch) for batch in found]
    if not found:
        raise OptionError("no batch was given: there is nothing to encode")
    outputs = []
    edges = Edges(getattr(model, "device", None))
    with open_trace(**(trace_options or {})) as measured, edges, torch.inference_mode():
        edges.mark()
        for batch in found:
            outputs.append(model(**batch))
            edges.mark()
    steps, number = [], 0
    for (start_ns, end_ns), tokens in zip(pairwise(edges.times_ns), counts, strict=True):
        names = [str(number + i) for i in range(len(tokens))]
        parts = tuple(Part(name, n) for name, n in zip(names, tokens, strict=True))
        steps.append(Step(start_ns, end_ns, parts))
        number += len(tokens)
    measured.add_steps(steps)
    return Encoded(outputs, measured, tuple(n for tokens in counts for n in tokens))


@dataclass(frozen=True)
class Speech:
    """What it cost to make text of audio.

    Attributes
    ----------
    generation : Generation
        The call of ``generate``: its output, trace, output tokens and steps.
    audio_s : tuple of float
        Length of each clip, s.
    """

    generation: Generation
    audio_s: tuple[float, ...]

    @property
    def energy(self) -> Energy:
        """Energy of the whole call."""
        return self.generation.energy

    @property
    def joules_per_audio_second(self) -> Energy:
        """Energy over the seconds of audio, not those that the call took."""
        energy = per(self.energy, math.fsum(self.audio_s))
        assert energy is not None
        return energy

    @property
    def audio_seconds_per_second(self) -> float:
        """How many times faster than the audio plays (the inverse real-time factor)."""
        took_s = (self.generation.end_ns - self.generation.start_ns) / NS_PER_S
        return math.fsum(self.audio_s) / took_s


def transcribe(
    model: Any,
    input_features: Any,
    *,
    audio_s: float | Iterable[float],
    trace_options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Speech:
    """Call ``model.generate(input_features=..., **kwargs)`` inside a trace.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Such as a Whisper.
    input_features : torch.Tensor
        What a feature extractor gives, one row for each clip.
    audio_s : float or iterable of float
        Length of each clip, s, before it was padded: what padding costs is part of the price.
    trace_options : dict, optional
        Parameters of `pyenergy.trace`, such as ``{"devices": "gpu:0"}``.
    **kwargs
        Passed to ``model.generate``.

    Returns
    -------
    Speech

    Raises
    ------
    OptionError
        When the lengths are not those of the clips, or the model cannot generate.
    """
    lengths = _seconds(audio_s)
    if len(lengths) != int(input_features.shape[0]):
        raise OptionError(
            f"{len(lengths)} lengths in audio_s, but {int(input_features.shape[0])} clips in "
            "input_features"
        )
    made = generate(model, trace_options=trace_options, input_features=input_features, **kwargs)
    return Speech(made, lengths)


def _seconds(audio_s: float | Iterable[float]) -> tuple[float, ...]:
    """Lengths of clips; numbers of NumPy and torch are numbers, texts are not."""
    given = audio_s if isinstance(audio_s, Iterable) else (audio_s,)
    try:
        found = tuple(math.fsum((s,)) for s in given)
    except TypeError:
        raise OptionError(
            "audio_s must be positive seconds, one number for each clip, before it was padded; "
            f"got {audio_s!r}"
        ) from None
    if any(not (math.isfinite(s) and s > 0) for s in found):
        raise OptionError(f"audio_s must be positive seconds, got {audio_s!r}")
    return found


def _tokens(batch: Mapping[str, Any]) -> tuple[int, ...]:
    """Tokens of each sequence of a batch, padding not counted; 0 for what is no tokens."""
    if not isinstance(batch, Mapping):
        raise OptionError(
            f"a batch is a mapping such as a tokenizer gives, got {type(batch).__name__}"
        )
    mask, ids = batch.get("attention_mask"), batch.get("input_ids")
    if mask is not None and mask.dim() == 2:
        return tuple(int(n) for n in mask.sum(dim=-1))
    if ids is not None:
        return (int(ids.shape[1]),) * int(ids.shape[0])
    shaped = next((value for value in batch.values() if getattr(value, "ndim", 0) > 0), None)
    if shaped is None:
        raise OptionError(f"no tensor with sequences in a batch of {', '.join(batch) or 'nothing'}")
    return (0,) * int(shaped.shape[0])
