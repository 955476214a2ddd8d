# SPDX-License-Identifier: Apache-2.0
"""`layers`: what each layer of a model costs, in the model and alone; do they add up?"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from ._api import trace as open_trace
from ._campaign import scale_of
from ._layer_alone import MODEL, Function, measured_alone, parts_of, tried
from ._layer_capture import ModelInputs, capture, untouched
from ._layer_energies import LayerEnergies
from ._layer_in_situ import InSitu, measured_in_situ
from ._measure_options import Options
from .attribution.layer_types import layer_type
from .attribution.partition import few
from .errors import OptionError
from .units import engineering

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._devices import DevicesLike
    from ._layer_capture import Captured

__all__ = ["LayerEnergies", "layers"]

_IN_SITU_SHARE = 0.25  # of the budget
_LEAST = 3.01  # update periods for each part, as `measure` needs


def layers(
    model: Any,
    inputs: Mapping[str, Any] | tuple[Any, ...] | Any,
    *,
    depth: int | None = None,
    match: str | Callable[[str, Any], bool] | None = None,
    rel: float = 0.05,
    budget_s: float = 60.0,
    devices: DevicesLike = "auto",
    in_situ: bool = True,
) -> LayerEnergies:
    """Energy of each layer of a model: where it is, and run alone on the inputs that it gets there.

    The model runs once to see which modules call which, and again to keep what each layer is called
    with. Then every layer is measured alone, the whole model beside them, by `measure_many`; and
    whole runs of the model are traced with hooks around the layers. Alone, a layer has its weights
    in the caches and no gap before it, so that the two differ; whether the layers alone add up to
    the model is the sum check (``capture``).

    Everything runs in inference mode, the model in whichever of training and evaluation it is.
    Buffers (running means) and random states are restored. Inputs of layers are kept by reference
    unless something changes them in place, and only while they fit into a quarter of the memory
    that is free. In situ, the hooks' own time (a few microseconds a call) is in the model's.

    Parameters
    ----------
    model : torch.nn.Module
    inputs : dict, tuple or tensor
        Keyword arguments, positional arguments, or the only one.
    depth : int, optional
        Layers are at most this deep, by the parts of their name; 0 is the model itself.
    match : str or callable, optional
        Layers are the outermost modules whose name this regular expression is found in, or for
        which ``match(name, module)`` is true. By default: attention and feed-forward blocks,
        modules with parameters of their own, and modules that call no other, whichever is
        outermost, so that every call is in one layer at most.
    rel : float
        Wanted half-width of each 95 % interval over the energy per call, on the same card.
    budget_s : float
        Time to spend at most, s; a fourth of it in situ. The first runs and what compiles in them
        come on top.
    devices : str, int or list of them
        As in `trace`; in situ it must be one.
    in_situ : bool
        False leaves out the runs of the whole model with hooks.

    Raises
    ------
    TypeError, OptionError
        For what is no model or no inputs, for options that cannot be, and where no module is left.
    DeviceError, NoReadingsError
        For devices that do not exist, or gave nothing.
    Exception
        Whatever the model raises on these inputs.

    Examples
    --------
    >>> found = pyenergy.layers(model, dict(tokens))  # doctest: +SKIP
    >>> print(found)                                  # doctest: +SKIP
    >>> found.capture.ratio                           # doctest: +SKIP
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    options = Options(rel=rel, budget_s=budget_s, devices=devices)
    chooser = _checked(depth, match)
    given = ModelInputs(inputs)
    with open_trace(devices=devices) as trace:
        scale_s = scale_of(trace)
    captured = capture(model, given, depth, chooser)
    with untouched(model):
        functions, of_layer, notes = _functions(captured)
        functions[MODEL] = tried(model, given.once())
        notes += _changing(functions)
        least_s = _least_s(scale_s, parts_of(functions) + in_situ, options.budget_s)
        situ: InSitu | str | None = None
        situ_s = 0.0
        if in_situ:
            situ_s = max(_IN_SITU_SHARE * options.budget_s, least_s)
            calls = sum(each.count for every in captured.calls.values() for each in every)
            situ = measured_in_situ(model, given, captured.modules, calls, situ_s, devices)
        alone_s = options.budget_s - situ_s
        alone = measured_alone(functions, options.rel, alone_s, least_s, devices)
    said = [*captured.notes, *notes, *alone.notes]
    said += [situ] if isinstance(situ, str) else [] if situ is None else situ.notes
    if model.training:
        said.append("the model is in training mode, as it was given: model.eval() for inference")
    return LayerEnergies(
        model_class=type(model).__name__,
        layer_types={
            name: layer_type(name, type(module).__name__)
            for name, module in captured.modules.items()
        },
        calls={name: sum(s.count for s in calls) for name, calls in captured.calls.items()},
        notes=tuple(dict.fromkeys(said)),
        _alone=alone,
        _functions=of_layer,
        _in_situ=situ if isinstance(situ, InSitu) else None,
    )


def _least_s(scale_s: float, parts: int, budget_s: float) -> float:
    """The shortest that a part may last, s."""
    least_s = _LEAST * scale_s
    if budget_s < parts * least_s:
        raise OptionError(
            f"budget_s={budget_s:g} is too short for a sensor that speaks of "
            f"{engineering(scale_s, 's')} at a time, in {parts} parts (in the model, alone, alone "
            f"with copies); give at least {math.ceil(10 * parts * least_s) / 10:g}"
        )
    return least_s


def _checked(
    depth: int | None, match: str | Callable[[str, Any], bool] | None
) -> Callable[[str, Any], bool] | None:
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int)):
        raise TypeError(f"depth must be a number of name parts or None, got {depth!r}")
    if depth is not None and depth < 0:
        raise OptionError(f"depth must be 0 (the model itself) or more, got {depth}")
    if match is None or callable(match):
        return match
    if not isinstance(match, str):
        raise TypeError(f"match must be a regular expression or a function, got {match!r}")
    try:
        pattern = re.compile(match)
    except re.error as error:
        raise OptionError(f"match is no regular expression: {error}") from error
    return lambda name, _: pattern.search(name) is not None


def _functions(
    captured: Captured,
) -> tuple[dict[str, Function], dict[str, dict[str, int] | None], list[str]]:
    """(functions by label, each layer's with calls, what to say); None for a layer that cannot."""
    functions: dict[str, Function] = {}
    of_layer: dict[str, dict[str, int] | None] = {}
    notes: list[str] = []
    for layer, signatures in captured.calls.items():
        module = captured.modules[layer]
        name = layer or type(module).__name__
        mine: dict[str, tuple[Function, int]] = {}
        why = next((each.why for each in signatures if each.arguments is None), "")
        for i, each in enumerate(signatures if not why else [], start=1):
            label = name if len(signatures) == 1 else f"{name} #{i}"
            assert each.arguments is not None
            try:
                mine[label] = tried(module, each.arguments), each.count
            except Exception as error:  # it needs what its model does around it
                why = f"it cannot run alone: {type(error).__name__}: {_first_line(error)}"
                break
        if why or not signatures:
            of_layer[layer] = None
            notes.append(f"{name}: {why or 'not called when inputs were kept'}")
            continue
        of_layer[layer] = {label: count for label, (_, count) in mine.items()}
        functions.update({label: function for label, (function, _) in mine.items()})
        if len(signatures) > 1:
            said = "; ".join(f"{s.count} of {', '.join(s.said)}" for s in signatures[:3])
            notes.append(f"{name} is called with {len(signatures)} different shapes: {said}")
    return functions, of_layer, notes


def _changing(functions: dict[str, Function]) -> list[str]:
    """One note for all functions that do the same to their arguments."""
    by_note: dict[str, list[str]] = {}
    for label, function in functions.items():
        if function.note:
            by_note.setdefault(function.note, []).append(label)
    return [f"{few(labels)}: {note}" for note, labels in by_note.items()]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]
