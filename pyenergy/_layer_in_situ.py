# SPDX-License-Identifier: Apache-2.0
"""Layers where they are: whole runs of the model in a trace, with hooks around the layers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from ._api import trace as open_trace
from ._blocks import calls_for, gap_s
from ._campaign import scale_of
from .attribution.layer_spans import LayerSpans
from .attribution.module_spans import ModuleSpans
from .errors import NoReadingsError, OptionError
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._devices import DevicesLike
    from ._layer_capture import ModelInputs
    from ._trace import Trace

__all__ = ["InSitu", "OutermostSpans", "measured_in_situ"]

_EVENTS = 8192  # of CUDA: two for each call of a layer, until the burst of runs is over


class OutermostSpans(ModuleSpans):
    """Spans of chosen modules and of the model: what runs inside one of them is its own."""

    def __init__(self, model: Any, layers: Mapping[str, Any]) -> None:
        self._root = model
        hooked = {id(model), *(id(module) for module in layers.values())}
        super().__init__(model, match=lambda _, module: id(module) in hooked, pool=_EVENTS)
        self._root_is_layer = any(module is model for module in layers.values())

    def spans(self) -> LayerSpans:
        spans = super().spans()
        numbers = [i for i, (_, module) in enumerate(self._modules) if module is self._root]
        return _outermost(spans, -1 if self._root_is_layer else numbers[0])


def _outermost(spans: LayerSpans, root: int) -> LayerSpans:
    """Pieces of calls inside a layer given to the outermost layer around them."""
    if len(spans) == 0 or int(spans.depth.max()) == (0 if root < 0 else 1):
        return spans
    owner = np.arange(len(spans))
    path: list[int] = []
    for row, (layer, depth) in enumerate(
        zip(spans.layer.tolist(), spans.depth.tolist(), strict=True)
    ):
        del path[depth:]
        if path and spans.layer[owner[path[-1]]] != root:
            owner[row] = owner[path[-1]]
        elif layer == root and path:
            owner[row] = owner[path[-1]]  # a model that calls itself
        path.append(row)
    span = owner[spans.segments.span]
    segments = replace(spans.segments, span=span, layer=spans.layer[span])
    return replace(spans, segments=segments)


@dataclass(frozen=True)
class InSitu:
    """Energies of layers where they are, per run of the model.

    Attributes
    ----------
    trace : Trace
        Its ``layers()`` and ``tree()`` say more.
    forwards : int
        Runs in it.
    joules, u : dict of str to float
        Of the layers, J; a layer that no reading tells of is not in them.
    between_j, between_u_j : float or None
        Of the model between its layers, J; None: no reading tells.
    notes : tuple of str
    """

    trace: Trace
    forwards: int
    joules: dict[str, float]
    u: dict[str, float]
    between_j: float | None
    between_u_j: float | None
    notes: tuple[str, ...]

    @property
    def coverage(self) -> float | None:
        """Share of a run's energy that is in layers."""
        if self.between_j is None:
            return None
        total = sum(self.joules.values()) + self.between_j
        return 1 - self.between_j / total if total > 0 else None


def measured_in_situ(
    model: Any,
    inputs: ModelInputs,
    layers: Mapping[str, Any],
    calls: int,
    budget_s: float,
    devices: DevicesLike,
) -> InSitu | str:
    """Run the model in a trace; a text says why that cannot tell its layers apart.

    ``calls`` is how many calls of layers are in a run.
    """
    import torch

    if getattr(model, "_compiled_call_impl", None) is not None:
        return "not measured in situ: hooks do not run on a model that is compiled in place"
    try:
        spans = OutermostSpans(model, layers)
    except OptionError as error:  # it is on several devices
        return f"not measured in situ: {error}"
    most = max(1, _EVENTS // (2 * calls + 2))  # runs in a burst
    with open_trace(devices=devices) as trace:
        why = _elsewhere(spans.device_id, list(trace.recorded.devices))
        if why:
            return f"not measured in situ: {why}"
        with spans, torch.inference_mode():
            forwards = _run(model, inputs, spans, most, budget_s, scale_of(trace))
    (device,) = trace.recorded.devices
    notes = []
    if device != spans.device_id:
        notes.append(f"the model ran on {spans.device_id}, the energies are {device}'s meanwhile")
        spans.device_id = device
    trace.attach(spans)
    try:
        return _read(trace, forwards, layers, notes)
    except NoReadingsError as error:
        return f"not measured in situ: {error}"


def _elsewhere(device: str, read: list[str]) -> str:
    """Why the energy of the devices that are read is not that of layers on ``device``, or ""."""
    if len(read) != 1:
        return (
            f"{len(read)} devices are measured, of which layers in situ share one: choose it with "
            f"devices='{device if device in read or not read else read[0]}'"
        )
    if device.startswith("gpu") and device not in read:
        return f"the model is on {device}, and {read[0]} is measured"
    return ""


def _run(
    model: Any,
    inputs: ModelInputs,
    spans: ModuleSpans,
    most: int,
    budget_s: float,
    scale_s: float,
) -> int:
    """Bursts of runs with pauses, of random lengths as those of `measure`; how many runs."""
    rng = np.random.default_rng()
    begin_ns = _core.now_ns()
    forwards, last, each_s = 0, 0, 0.0
    while True:
        left_s = budget_s - (_core.now_ns() - begin_ns) / NS_PER_S
        if forwards and left_s < each_s:
            return forwards
        last = min(calls_for(rng, each_s, scale_s, last), most)
        if each_s > 0:
            last = max(1, min(last, int(left_s / each_s)))
        burst_ns = _core.now_ns()
        for _ in range(last):
            arguments = inputs.once()
            model(*arguments.args, **arguments.kwargs)
        spans.reanchor()  # waits for the device; its events are free again
        each_s = (_core.now_ns() - burst_ns) / NS_PER_S / last
        forwards += last
        time.sleep(gap_s(rng, scale_s))


def _read(trace: Trace, forwards: int, layers: Mapping[str, Any], notes: list[str]) -> InSitu:
    import polars as pl

    table = trace.layers("layer").filter(pl.col("kind") == "operation")
    joules, u = {}, {}
    # Between layers that are the model itself is nothing.
    between_j, between_u_j = (0.0, 0.0) if "" in layers else (None, None)
    for row in table.iter_rows(named=True):
        value = (row["energy_j"] + row["static_j"]) / forwards
        of = float(np.hypot(row["u_j"], row["static_u_j"])) / forwards
        if row["layer"] in layers:
            joules[row["layer"]], u[row["layer"]] = value, of
        else:
            between_j, between_u_j = value, of
    said = dict.fromkeys([*notes, *trace.notes])
    return InSitu(trace, forwards, joules, u, between_j, between_u_j, tuple(said))
