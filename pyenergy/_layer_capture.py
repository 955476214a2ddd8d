# SPDX-License-Identifier: Apache-2.0
"""The inputs that each layer of a model really gets, from runs of the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .attribution.call_values import (
    Arguments,
    copied,
    fingerprint,
    kept,
    signature,
    storages,
    tensors,
    versions,
)
from .attribution.partition import CallTree, Candidates, Partition, hooked, partition
from .errors import OptionError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from .attribution.partition import Hooks

__all__ = ["Captured", "ModelInputs", "Signature", "capture", "untouched"]

_KEEP_SHARE = 0.25  # of the memory that is free, for inputs of layers
_MOST_SIGNATURES = 16  # of a layer: each takes its part of the budget


@dataclass
class Signature:
    """Calls of a layer that are alike.

    Attributes
    ----------
    said : tuple of str
        Shapes, types and flags.
    count : int
        Calls in one run of the model.
    arguments : Arguments or None
        Of the first of them; None where they could not be kept.
    why : str
        Why not.
    """

    said: tuple[str, ...]
    count: int = 0
    arguments: Arguments | None = None
    why: str = ""


@dataclass(frozen=True)
class Captured:
    """Layers with their modules, and with what they were called."""

    modules: dict[str, Any]
    calls: dict[str, list[Signature]]
    notes: tuple[str, ...]


class ModelInputs:
    """What the model is to be run on; ``changes`` says whether a run changes it."""

    def __init__(self, inputs: Any) -> None:
        self._given = _arguments(inputs)
        self.changes = False

    def once(self) -> Arguments:
        """Arguments for one run: the given ones, or copies where a run changes them."""
        return copied(self._given).arguments if self.changes else self._given

    def survey(self, run: Callable[[Arguments], object]) -> None:
        """The first run, on copies: does it change them?"""
        mine = copied(self._given).arguments
        before = fingerprint(mine)
        run(mine)
        self.changes = fingerprint(mine) != before


def _arguments(inputs: Any) -> Arguments:
    import torch

    if isinstance(inputs, torch.Tensor):
        return Arguments((inputs,))
    if isinstance(inputs, tuple):
        return Arguments(inputs)
    if isinstance(inputs, Mapping):
        wrong = [key for key in inputs if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"inputs as a dict are keyword arguments, got the key {wrong[0]!r}")
        return Arguments((), dict(inputs))
    raise TypeError(
        "inputs must be a dict (keyword arguments), a tuple (positional ones) or one tensor, got "
        f"{type(inputs).__name__}"
    )


def capture(
    model: Any,
    inputs: ModelInputs,
    depth: int | None,
    match: Callable[[str, Any], bool] | None,
) -> Captured:
    """Choose the layers, and keep what each is called with.

    Two runs of the model: one that tells who calls whom, one that keeps inputs of the layers by
    reference; a third one where something changed them in place meanwhile, which copies those.
    """
    import torch

    def run(arguments: Arguments) -> None:
        with torch.no_grad():  # not inference mode: there, torch counts no changes in place
            model(*arguments.args, **arguments.kwargs)

    tree = CallTree(Candidates.of(model))
    with untouched(model), hooked(tree.candidates.modules, tree.hooks):
        inputs.survey(run)
    chosen = partition(model, tree, depth, match)
    found = _run(model, chosen, inputs, run, set())
    if found.changed:
        found = _run(model, chosen, inputs, run, found.changed)
    return Captured(chosen.layers, found.calls(), (*chosen.notes, *found.notes()))


def _run(
    model: Any,
    chosen: Partition,
    inputs: ModelInputs,
    run: Callable[[Arguments], None],
    clone: set[tuple[str, tuple[str, ...]]],
) -> _Keeper:
    keeper = _Keeper(chosen.layers, clone, _known(model))
    with untouched(model), hooked(keeper.layers, keeper.hooks):
        run(inputs.once())
        keeper.look()
    return keeper


def _known(model: Any) -> set[int]:
    """Memory that the model holds anyway."""
    return set(storages([*model.parameters(), *model.buffers()]))


@dataclass
class _Keeper:
    """Keeps the arguments of each signature's first call, while the layers are `hooked`."""

    layers: dict[str, Any]
    clone: set[tuple[str, tuple[str, ...]]]
    held: set[int]  # addresses of memory that is counted already
    changed: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)
    bytes: dict[str, int] = field(default_factory=dict)  # kept, by device
    uncopied: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._found: dict[str, dict[tuple[str, ...], Signature]] = {n: {} for n in self.layers}
        self._seen: list[tuple[tuple[str, tuple[str, ...]], list[tuple[Any, int]]]] = []

    def hooks(self, name: str, local: threading.local) -> Hooks:
        """Those of a layer."""

        def before(module: Any, args: Any, kwargs: Any) -> None:
            inside = local.__dict__.get("inside", 0)
            local.inside = inside + 1
            if not inside:  # else it is part of the layer that called it
                self._keep(name, Arguments(args, dict(kwargs)))

        def after(*_: Any) -> None:
            local.inside -= 1

        return before, after

    def _keep(self, name: str, arguments: Arguments) -> None:
        said = signature(arguments)
        found = self._found[name]
        known = found.get(said)
        if known is not None:
            known.count += 1
            return
        found[said] = new = Signature(said, 1)
        if len(found) > _MOST_SIGNATURES:
            new.why = f"called with more than {_MOST_SIGNATURES} different shapes"
            return
        clone = (name, said) in self.clone
        new.why = self._too_large(arguments, clone)
        if new.why:
            return
        copy = kept(arguments, clone)
        self.uncopied.update(copy.uncopied)
        new.arguments = copy.arguments
        if not clone:
            self._seen.append(((name, said), versions(copy.arguments)))

    def _too_large(self, arguments: Arguments, clone: bool) -> str:
        """Why they cannot be kept; they are counted where they can."""
        new = storages(arguments)
        if not clone:
            new = {address: size for address, size in new.items() if address not in self.held}
        device = next((str(tensor.device) for tensor in tensors(arguments)), "cpu")
        size, so_far = sum(new.values()), self.bytes.get(device, 0)
        most = _KEEP_SHARE * (_free_bytes(device) + so_far)
        if size + so_far > most:
            return (
                f"its inputs are not kept: with them, those of all layers would take "
                f"{(size + so_far) / 1e6:.3g} MB of {device}, and {most / 1e6:.3g} MB may be; "
                "choose fewer layers (match=) or smaller inputs"
            )
        self.bytes[device] = size + so_far
        self.held.update(new)
        return ""

    def look(self) -> None:
        """Which of the arguments kept by reference are no longer what the layer got."""
        for key, before in self._seen:
            if any(tensor._version != version for tensor, version in before):
                self.changed.add(key)
        self._seen = []

    def calls(self) -> dict[str, list[Signature]]:
        return {name: list(found.values()) for name, found in self._found.items()}

    def notes(self) -> list[str]:
        if not self.uncopied:
            return []
        said = ", ".join(sorted(self.uncopied))
        return [f"arguments that refuse to be copied are shared between calls: {said}"]


def _free_bytes(device: str) -> float:
    """Memory that is free on a torch device."""
    import torch

    if device.startswith("cuda"):
        return float(torch.cuda.mem_get_info(device)[0])
    with open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    raise OptionError("/proc/meminfo does not say how much memory is available")


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Leave no trace of runs: buffers (such as running means) and random states as before."""
    import torch

    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not torch.nn.parameter.is_lazy(buffer)
    ]
    cuda = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        for module, name, buffer, value in buffers:
            module._buffers[name] = buffer
            with torch.inference_mode(buffer.is_inference()), torch.no_grad():
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
