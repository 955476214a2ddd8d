# SPDX-License-Identifier: Apache-2.0
"""Exact names: which module of a model a profiler's ``nn.Module: Linear_12`` was.

torch's event tree, ``kineto_results.experimental_event_tree()``, says the address of the module of
each call. It is private to torch (2.13 has it): where it is not as known, names stay the
profiler's own, and a note says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MODULE", "ExactNames", "exact_names", "module_names"]

MODULE = re.compile(r"nn\.Module: ")
"""How names of calls of modules begin in a profile."""

_WRAPPED = "_orig_mod"  # torch.compile's wrapper around a module


@dataclass(frozen=True)
class ExactNames:
    """Modules of a model.

    Attributes
    ----------
    paths : dict of str to tuple of str
        Path of the module by the name that the profiler gave it.
    classes : dict of tuple of str to str
        Class by path.
    leaves : frozenset of tuple of str
        Paths of modules without modules in them.
    aliases : dict of str to tuple of str
        All names of modules that have more than one, by the first.
    notes : tuple of str
        What is not exact, and why.
    """

    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: dict[tuple[str, ...], str] = field(default_factory=dict)
    leaves: frozenset[tuple[str, ...]] = frozenset()
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def module_names(model: Any) -> dict[int, tuple[str, ...]]:
    """All names of every module by its address, as in ``named_modules()``, the first one first.

    ``torch.compile``'s wrapper has the name of what it wraps.
    """
    if not callable(getattr(model, "named_modules", None)):
        raise OptionError(f"a torch.nn.Module is needed, got {type(model).__name__}")
    names: dict[int, dict[str, None]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        parts = [part for part in name.split(".") if part != _WRAPPED]
        names.setdefault(id(module), {})[".".join(parts)] = None
    return {address: tuple(every) for address, every in names.items()}


def exact_names(prof: Any, model: Any) -> ExactNames:
    """Names of the modules of ``model`` in what ``prof`` recorded."""
    names = module_names(model)
    results = getattr(getattr(prof, "profiler", prof), "kineto_results", None)
    grow = getattr(results, "experimental_event_tree", None)
    if not callable(grow):
        return ExactNames(notes=(_unknown("has no event tree"),))
    try:
        seen = _addresses(grow())
    except (AttributeError, TypeError) as error:
        return ExactNames(notes=(_unknown(f"has another event tree ({error})"),))
    modules = {id(module): module for module in model.modules()}
    paths: dict[str, tuple[str, ...]] = {}
    notes = []
    unclear = 0
    for label, found in seen.items():
        if len(found) > 1:
            unclear += 1
            continue
        address = next(iter(found))
        if address in names and _class_in(label) == type(modules[address]).__name__:
            paths[label] = _path(names[address][0])
    if unclear:
        notes.append(
            f"{unclear} of the profiler's names stand for several modules: left as they are"
        )
    if not paths:
        notes.append(
            "no call of a module of this model is in the profile: take it with with_stack=True, "
            "and pass the very model that ran"
        )
    aliases = {every[0]: every for every in names.values() if len(every) > 1}
    if aliases:
        said = "; ".join(" = ".join(every) for every in list(aliases.values())[:3])
        more = f"; and {len(aliases) - 3} more" if len(aliases) > 3 else ""
        notes.append(f"modules of several names are listed by the first: {said}{more}")
    classes: dict[tuple[str, ...], str] = {}
    leaves = set()
    for address, every in names.items():
        path = _path(every[0])
        if path not in classes or type(modules[address]).__name__ != "OptimizedModule":
            classes[path] = type(modules[address]).__name__
        if next(modules[address].children(), None) is None:
            leaves.add(path)
    return ExactNames(paths, classes, frozenset(leaves), aliases, tuple(notes))


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")) if name else ()


def _class_in(label: str) -> str:
    return MODULE.sub("", label, count=1).rpartition("_")[0]


def _unknown(why: str) -> str:
    return f"this torch {why}: layers have the profiler's names, not the model's"


def _addresses(roots: Any) -> dict[str, set[int]]:
    """Addresses of modules by the profiler's name for them."""
    seen: dict[str, set[int]] = {}
    for node in _nodes(roots):
        module = getattr(node.extra_fields, "module", None)
        if module is not None:
            seen.setdefault(_name(node), set()).add(int(module.self_ptr))
    return seen


def _nodes(roots: Any) -> Iterator[Any]:
    stack = list(roots)
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children)


def _name(node: Any) -> str:
    try:
        return str(node.name)
    except UnicodeDecodeError as error:  # as `from_profiler` repairs it
        return error.object.decode(errors="replace")
