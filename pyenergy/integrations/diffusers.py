# SPDX-License-Identifier: Apache-2.0
"""Energy of diffusion pipelines: by denoising step, by image, and around the loop.

A pipeline's call has three phases: ``prepare`` (text encoders, latents, whatever is encoded before
the loop), ``denoise`` (one mark for each step) and ``decode`` (the VAE, what makes pictures of
latents). The steps' edges come from ``callback_on_step_end``, the start of the loop from the first
call of the network that denoises. On CUDA they are events in the device's queue: no step waits.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .._api import trace as open_trace
from ..errors import OptionError, StateError
from ..recording.marks import Mark
from ..units import NS_PER_S
from ._edges import Edges
from ._per import per

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from .._energy import Energy
    from .._trace import Trace

__all__ = ["Diffusion", "generate"]

# What denoises, as pipelines name it; a control network runs before it in each step.
_DENOISERS = ("unet", "transformer", "transformer_2", "controlnet", "prior")
_MADE = ("images", "frames", "audios", "image_embeds")  # fields of the pipelines' outputs


@dataclass(frozen=True)
class Diffusion:
    """What one call of a pipeline cost.

    Attributes
    ----------
    output : object
        What the pipeline returned.
    trace : Trace
        The trace around it, with the marks ``prepare``, ``denoise`` (one a step) and ``decode``.
    images : int
        How many images (videos, sounds) were made.
    start_ns, end_ns : int
        The call, ns of CLOCK_MONOTONIC.
    loop_ns : int or None
        When the loop began; None where the pipeline's denoiser is not known: the first step then
        has what came before it.
    steps_ns : tuple of int
        When each step ended.
    """

    output: Any
    trace: Trace
    images: int
    start_ns: int
    loop_ns: int | None
    steps_ns: tuple[int, ...]
    end_ns: int

    @property
    def energy(self) -> Energy:
        """Energy of the whole call."""
        return self.trace.window(self.start_ns, self.end_ns)

    @property
    def prepare(self) -> Energy | None:
        """Energy before the loop: text encoders, latents; None where that is not known."""
        return None if self.loop_ns is None else self.trace.window(self.start_ns, self.loop_ns)

    @property
    def denoise(self) -> Energy:
        """Energy of all steps."""
        return self.trace.window(self._begin_ns, self.steps_ns[-1])

    @property
    def decode(self) -> Energy:
        """Energy after the loop: the VAE, checks, conversion to pictures."""
        return self.trace.window(self.steps_ns[-1], self.end_ns)

    @property
    def joules_per_image(self) -> Energy:
        """Energy of the whole call over the images: those of a batch take the same steps."""
        energy = per(self.energy, self.images)
        assert energy is not None
        return energy

    @property
    def joules_per_step(self) -> Energy:
        """Energy of the steps over their number, for the whole batch."""
        energy = per(self.denoise, len(self.steps_ns))
        assert energy is not None
        return energy

    def steps(self) -> pl.DataFrame:
        """One row for each step, between what came before the loop and what came after.

        Columns: ``phase`` (``prepare``, ``denoise``, ``decode``), ``step`` (number from 0; null
        outside of the loop), ``start_ns``, ``end_ns``, ``time_s``, ``energy_j`` and its standard
        uncertainties ``u_j`` and ``u_same_card_j``, ``j_per_image``, ``share``, ``power_w``. The
        rows add up to the energy of the call.
        """
        import polars as pl

        edges = [self.start_ns, *([] if self.loop_ns is None else [self.loop_ns]), *self.steps_ns]
        starts = np.array(edges, np.int64)
        ends = np.append(starts[1:], np.int64(self.end_ns))
        joules, u = self.trace.windows(starts, ends)
        _, own = self.trace.windows(starts, ends, same_card=True)
        before = [] if self.loop_ns is None else [None]
        n = len(self.steps_ns)
        time_s = (ends - starts) / NS_PER_S
        return pl.DataFrame(
            {
                "phase": ["prepare"] * len(before) + ["denoise"] * n + ["decode"],
                "step": pl.Series([*before, *range(n), None], dtype=pl.Int64),
                "start_ns": starts,
                "end_ns": ends,
                "time_s": time_s,
                "energy_j": joules,
                "u_j": u,
                "u_same_card_j": own,
                "j_per_image": joules / self.images,
                "share": joules / joules.sum(),
                "power_w": np.divide(
                    joules, time_s, out=np.full(len(joules), np.nan), where=time_s > 0
                ),
            }
        )

    @property
    def _begin_ns(self) -> int:
        return self.start_ns if self.loop_ns is None else self.loop_ns


def generate(
    pipeline: Any,
    *args: Any,
    trace_options: dict[str, Any] | None = None,
    images: int | None = None,
    **kwargs: Any,
) -> Diffusion:
    """Call ``pipeline(*args, **kwargs)`` inside a trace.

    Parameters
    ----------
    pipeline : diffusers.DiffusionPipeline
        Any pipeline that takes ``callback_on_step_end``; a callback of your own is called too.
    trace_options : dict, optional
        Parameters of `pyenergy.trace`, such as ``{"devices": "gpu:0"}``.
    images : int, optional
        How many things are made; None: as many as the output has.
    *args, **kwargs
        Passed to the pipeline.

    Returns
    -------
    Diffusion

    Raises
    ------
    OptionError
        When the pipeline takes no ``callback_on_step_end``, or does not say how many it made.
    StateError
        When it took no step.
    """
    _require_callback(pipeline)
    edges = Edges(getattr(pipeline, "_execution_device", None) or pipeline.device)
    loop = _Loop(edges, kwargs.pop("callback_on_step_end", None))
    if loop.tensor_inputs is not None:
        kwargs["callback_on_step_end_tensor_inputs"] = loop.tensor_inputs
    with open_trace(**(trace_options or {})) as measured, edges, ExitStack() as stack:
        for denoiser in _denoisers(pipeline):
            hook = denoiser.register_forward_pre_hook(loop.begun)
            stack.callback(hook.remove)
        output = pipeline(*args, callback_on_step_end=loop.step_ended, **kwargs)
    if not loop.steps:
        raise StateError(
            f"{type(pipeline).__name__} took no denoising step: there is nothing to tell apart"
        )
    start_ns, end_ns = measured.bounds_ns
    times = edges.times_ns
    loop_ns = times.pop(0) if loop.is_begun else None
    made = images if images is not None else _count(output)
    result = Diffusion(output, measured, made, start_ns, loop_ns, tuple(times), end_ns)
    _mark(result)
    return result


class _Loop:
    """The denoising loop as its callbacks see it."""

    def __init__(self, edges: Edges, callback: Callable[..., Any] | None) -> None:
        self._edges, self._callback = edges, callback
        # Callbacks of diffusers' own kind say which tensors they want; pipelines look for that.
        wanted = getattr(callback, "tensor_inputs", None)
        self.tensor_inputs = None if wanted is None else list(wanted)
        self.is_begun = False
        self.steps = 0

    def begun(self, module: Any, args: Any) -> None:
        """Before each call of a denoiser."""
        if not self.is_begun and not self.steps:
            self.is_begun = True
            self._edges.mark()

    def step_ended(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> Any:
        """The user's callback belongs to the step that it follows."""
        found = tensors
        if self._callback is not None:
            found = self._callback(pipeline, step, timestep, tensors)
        self._edges.mark()
        self.steps += 1
        return found


def _denoisers(pipeline: Any) -> list[Any]:
    found = [getattr(pipeline, name, None) for name in _DENOISERS]
    return [module for module in found if hasattr(module, "register_forward_pre_hook")]


def _require_callback(pipeline: Any) -> None:
    import inspect

    if not callable(pipeline):
        raise OptionError(f"{type(pipeline).__name__} is no pipeline: it cannot be called")
    if "callback_on_step_end" not in inspect.signature(pipeline.__call__).parameters:
        raise OptionError(
            f"{type(pipeline).__name__} takes no callback_on_step_end, so that its steps cannot be "
            "told apart: put pyenergy.trace() around it for the energy of the whole"
        )


def _count(output: Any) -> int:
    """How many a pipeline made, from what it returned."""
    made = next((getattr(output, name) for name in _MADE if hasattr(output, name)), None)
    if made is None and isinstance(output, tuple) and output:
        made = output[0]
    if made is None or not hasattr(made, "__len__") or not len(made):
        raise OptionError(
            f"how many images {type(output).__name__} holds is not known: say so with images=..."
        )
    return len(made)


def _mark(result: Diffusion) -> None:
    trace = result.trace
    if result.loop_ns is not None:
        trace.add_span(Mark("prepare", result.start_ns, result.loop_ns))
    for start_ns, end_ns in pairwise([result._begin_ns, *result.steps_ns]):
        trace.add_span(Mark("denoise", start_ns, end_ns))
    trace.add_span(Mark("decode", result.steps_ns[-1], result.end_ns))
