# SPDX-License-Identifier: Apache-2.0
"""Which modules are the layers of a model: disjoint ones, so that nothing is counted twice.

A first run of the model is watched for who calls whom. A layer is then the outermost module, going
down from the model, that

- is an attention or a feed-forward block (by `layer_type`), as the work between its modules, such
  as the softmax, is its own; but not one that holds blocks of the other kind: that is a stage; or
- has parameters of its own, which no module in it accounts for; or
- is a ``torch.nn.TransformerEncoderLayer``, which in evaluation runs as one fused operation; or
- calls no other module.

What a layer calls belongs to it, and what runs between layers (residual sums) to none: it is
unattributed. ``depth`` ends the way down early; ``match`` is a rule in place of these.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import OptionError
from .layer_names import module_names
from .layer_types import layer_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    Hooks = tuple[Callable[..., None], Callable[..., None]]  # before a call, and after it

__all__ = [
    "CONTAINERS",
    "CallTree",
    "Candidates",
    "Partition",
    "compiled_modules",
    "few",
    "hooked",
    "partition",
]

CONTAINERS = ("ModuleList", "ModuleDict", "ParameterList", "ParameterDict")
"""Classes of modules that are never called."""

_BLOCKS = ("Attention", "FFN")
_FUSED = "TransformerEncoderLayer"  # unless hooks are on it or on anything in it

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Candidates:
    """Modules that hooks can see.

    Attributes
    ----------
    modules : dict of int to torch.nn.Module
        By address.
    names : dict of int to tuple of str
        All their names, the first is used.
    compiled : dict of int to str
        Those whose inside is compiled, with what to say of it.
    """

    modules: dict[int, Any]
    names: dict[int, tuple[str, ...]]
    compiled: dict[int, str]

    @classmethod
    def of(cls, model: Any) -> Self:
        """All but containers that are never called, and what is inside compiled modules."""
        names = module_names(model)
        hidden, compiled = compiled_modules(model, names)
        modules = {
            id(module): module
            for module in model.modules()
            if id(module) not in hidden and type(module).__name__ not in CONTAINERS
        }
        return cls(modules, names, compiled)

    def name(self, address: int) -> str:
        return self.names[address][0]


def compiled_modules(
    model: Any, names: Mapping[int, tuple[str, ...]], prefix: str = ""
) -> tuple[set[int], dict[int, str]]:
    """(modules inside compiled ones, where hooks do not run; the compiled, with what to say of it).

    Modules are by their address; ``names`` are those of `module_names`, ``prefix`` is put in front.
    """
    hidden: set[int] = set()
    compiled: dict[int, str] = {}
    for module in model.modules():
        name = ".".join(filter(None, (prefix, names[id(module)][0]))) or type(module).__name__
        inner = getattr(module, "_orig_mod", None)
        if type(module).__name__ == "OptimizedModule" and inner is not None:
            hidden.update(id(each) for each in inner.modules())
            compiled[id(module)] = f"{name} is compiled: the modules in it are not told apart"
        elif getattr(module, "_compiled_call_impl", None) is not None:
            hidden.update(id(each) for each in module.modules())
            instead = f"its time is its parent's; torch.compile({name}) instead gives it a span"
            if module is model:
                instead = "hooks do not run, so that nothing in it is told apart"
            compiled[id(module)] = f"{name} is compiled in place: {instead}"
        elif _has_compiled_forward(module):
            hidden.update(id(each) for each in module.modules() if each is not module)
            compiled[id(module)] = (
                f"{name}.forward is compiled: the modules in it are not told apart"
            )
    return hidden, compiled


def _has_compiled_forward(module: Any) -> bool:
    """Whether ``torch.compile`` made its forward, on the object or on the class."""
    forward = getattr(module, "forward", None)
    compiled = getattr(forward, "_torchdynamo_orig_callable", None) is not None
    return compiled and not getattr(forward, "_torchdynamo_disable", False)


@contextmanager
def hooked(
    modules: Mapping[_Key, Any], hooks: Callable[[_Key, threading.local], Hooks]
) -> Iterator[None]:
    """Around each call of the modules, however it ends, run their hooks.

    Parameters
    ----------
    modules : mapping to torch.nn.Module
    hooks : callable
        Makes those of the module of a key: ``before(module, args, kwargs)``, ahead of hooks that it
        has already, and ``after(module, args, result)``. The other argument is what a thread keeps
        from hook to hook.
    """
    handles: list[Any] = []
    local = threading.local()
    try:
        for key, module in modules.items():
            before, after = hooks(key, local)
            handles.append(module.register_forward_pre_hook(before, prepend=True, with_kwargs=True))
            handles.append(module.register_forward_hook(after, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class CallTree:
    """Who called whom, while the candidates are `hooked`.

    Attributes
    ----------
    calls : list of (int, int)
        Module, by address, and the index of the call that it was made in, or -1.
    """

    candidates: Candidates
    calls: list[tuple[int, int]] = field(default_factory=list)

    def hooks(self, address: int, local: threading.local) -> Hooks:
        """Those of a candidate."""

        def before(*_: Any) -> None:
            stack = local.__dict__.setdefault("stack", [])
            self.calls.append((address, stack[-1] if stack else -1))
            stack.append(len(self.calls) - 1)

        def after(*_: Any) -> None:
            stack = local.stack
            while stack and self.calls[stack.pop()][0] != address:
                pass

        return before, after


@dataclass(frozen=True)
class Partition:
    """The layers: names and modules, and what to say of them."""

    layers: dict[str, Any]
    notes: tuple[str, ...]


def partition(
    model: Any,
    tree: CallTree,
    depth: int | None,
    match: Callable[[str, Any], bool] | None,
) -> Partition:
    """The layers of a model that ran.

    Raises
    ------
    OptionError
        When none is left.
    """
    rule = _Rule(model, tree, depth, match)
    owner: list[int] = []
    chosen: dict[int, None] = {}
    for address, parent in tree.calls:
        mine = owner[parent] if parent >= 0 else 0
        if not mine and rule.is_layer(address):
            mine = address
            chosen[address] = None
        owner.append(mine)
    named = tree.candidates
    if not chosen and id(model) not in named.compiled:
        raise OptionError(_none_left(model, rule))
    layers = {named.name(address): named.modules[address] for address in chosen}
    return Partition(layers, tuple(_said(model, rule, chosen)))


class _Rule:
    """Whether a module is a layer, once the calls above it are not."""

    def __init__(
        self,
        model: Any,
        tree: CallTree,
        depth: int | None,
        match: Callable[[str, Any], bool] | None,
    ) -> None:
        self.candidates, self.depth, self.match = tree.candidates, depth, match
        self.model = id(model)
        self.called = {address for address, _ in tree.calls}
        self.inside: dict[int, set[int]] = {address: set() for address in self.called}
        for address, parent in tree.calls:
            while parent >= 0:  # every call above it
                above, parent = tree.calls[parent]
                if above != address:
                    self.inside[above].add(address)

    def is_layer(self, address: int) -> bool:
        name, module = self.candidates.name(address), self.candidates.modules[address]
        parts = len(name.split(".")) if name else 0
        if self.depth is not None and parts > self.depth:
            return False
        at_depth = parts == self.depth
        if address == self.model:
            alone = self.match is None and next(module.children(), None) is None
            return at_depth or alone
        if self.match is not None:
            return self.match(name, module)
        own = next(module.parameters(recurse=False), None) is not None
        whole = own or not self.inside[address] or _is_fused(module)
        return at_depth or whole or self._is_block(address)

    def _is_block(self, address: int) -> bool:
        kind = self.kind(address)
        if kind not in _BLOCKS:
            return False
        return not any(self.kind(each) in _BLOCKS and self.kind(each) != kind
                       for each in self.inside[address])  # fmt: skip

    def kind(self, address: int) -> str:
        module = self.candidates.modules[address]
        return layer_type(self.candidates.name(address), type(module).__name__)


def _is_fused(module: Any) -> bool:
    return type(module).__name__ == _FUSED and not module.training


def _none_left(model: Any, rule: _Rule) -> str:
    if rule.match is not None or rule.depth is not None:
        return "no module that was called is left: look at depth and match"
    return (
        f"{type(model).__name__} called none of its modules with these inputs, so that nothing can "
        "be told apart (does it use their weights itself, or replay a CUDA graph?); "
        "pyenergy.measure(lambda: model(...)) gives the whole"
    )


def _said(model: Any, rule: _Rule, chosen: dict[int, None]) -> list[str]:
    """What is hidden, shared, or was never called."""
    named = rule.candidates
    said = list(named.compiled.values())
    several = [named.names[address] for address in chosen if len(named.names[address]) > 1]
    if several:
        said.append(f"modules of several names are listed by the first: {_equal(several)}")
    tied = _tied(named, chosen)
    if tied:
        said.append(f"weights that several layers share count in each use of them: {_equal(tied)}")
    fused = [
        name
        for address in chosen
        for name, module in ((named.name(address), named.modules[address]),)
        if _is_fused(module)
    ]
    if fused:
        said.append(
            f"torch takes the fused path of {_FUSED} only where no hooks are: alone it may, in "
            f"situ it does not: {few(fused)}"
        )
    dark = [
        named.name(address)
        for address in chosen
        if address not in named.compiled
        and not rule.inside[address]
        and any(next(each.parameters(), None) is not None for each in
                named.modules[address].children())
    ]  # fmt: skip
    if dark:
        said.append(
            "called no module of those in them, and are one layer each (a kernel of their own, or "
            f"a CUDA graph): {few(dark)}"
        )
    within = {id(each) for address in chosen for each in named.modules[address].modules()}
    unused = [
        named.name(address)
        for address, module in named.modules.items()
        if address not in rule.called | within
        and address not in named.compiled
        and next(module.parameters(recurse=False), None) is not None
    ]
    if unused:
        said.append(f"never called with these inputs: {few(unused)}")
    return said


def _tied(named: Candidates, chosen: dict[int, None]) -> list[tuple[str, ...]]:
    """Parameters that are in several layers, by their names."""
    homes: dict[int, dict[int, str]] = {}
    for address in chosen:
        for inner, parameter in named.modules[address].named_parameters():
            full = ".".join(filter(None, (named.name(address), inner)))
            homes.setdefault(id(parameter), {})[address] = full
    return [tuple(where.values()) for where in homes.values() if len(where) > 1]


def few(items: Sequence[str], separator: str = ", ") -> str:
    """The first three, and how many more.

    >>> few(["a", "b"]), few(list("abcde"))
    ('a, b', 'a, b, c and 2 more')
    """
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return separator.join(items[:3]) + more


def _equal(groups: list[tuple[str, ...]]) -> str:
    return few([" = ".join(each) for each in groups], "; ")
