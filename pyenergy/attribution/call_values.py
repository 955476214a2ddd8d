# SPDX-License-Identifier: Apache-2.0
"""What a module was called with: kept, copied, compared, measured in bytes.

Tensors are found in dicts, lists, tuples and in the attributes of any other object, such as a cache
of keys and values. Tensors are kept as they are, detached; objects that are neither tensors nor
plain values are copied when they are kept, as a call may change them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "Arguments",
    "Kept",
    "copied",
    "fingerprint",
    "kept",
    "signature",
    "storages",
    "tensors",
    "versions",
]

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range)
_DEEPEST = 8  # objects in objects: a cache holds layers, which hold tensors


@dataclass
class Arguments:
    """Arguments of one call."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Kept:
    """Arguments that are kept, and what of them could not be."""

    arguments: Arguments
    uncopied: tuple[str, ...] = ()  # classes of objects that refuse to be copied


def leaves(value: Any, depth: int = 0, seen: set[int] | None = None) -> Iterator[Any]:
    """Tensors and plain values in a value, in a fixed order; what holds them gives its size."""
    import torch

    seen = set() if seen is None else seen
    if isinstance(value, (torch.Tensor, *_PLAIN)):
        yield value
        return
    if id(value) in seen or depth > _DEEPEST or _is_code(value):
        return
    seen.add(id(value))
    if isinstance(value, Arguments):
        inner: list[Any] = [value.args, value.kwargs]
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield len(value)
        inner = list(value)
    elif isinstance(value, dict):
        yield len(value)
        inner = [*value.values(), *vars(value).values()] if hasattr(value, "__dict__") else [
            *value.values()
        ]  # fmt: skip
    else:
        slots = getattr(type(value), "__slots__", ())
        names = [slots] if isinstance(slots, str) else list(slots)
        inner = [getattr(value, name) for name in names if hasattr(value, name)]
        inner += list(getattr(value, "__dict__", {}).values())
    for each in inner:
        yield from leaves(each, depth + 1, seen)


def tensors(value: Any) -> list[Any]:
    """All tensors in a value."""
    import torch

    return [leaf for leaf in leaves(value) if isinstance(leaf, torch.Tensor)]


def signature(arguments: Arguments) -> tuple[str, ...]:
    """What tells calls apart that do different work: shapes, types, places, flags.

    Numbers are not in it: a position that counts up would make every call another.
    """
    import torch

    said = []
    for leaf in leaves(arguments):
        if isinstance(leaf, torch.Tensor):
            size = "×".join(map(str, leaf.shape)) or "scalar"
            said.append(f"{size} {str(leaf.dtype).removeprefix('torch.')} {leaf.device}")
        elif isinstance(leaf, bool) or leaf is None:
            said.append(str(leaf))
    return tuple(said)


def versions(value: Any) -> list[tuple[Any, int]]:
    """Tensors with the count of changes in place that torch keeps."""
    return [(tensor, tensor._version) for tensor in tensors(value) if not tensor.is_inference()]


def fingerprint(value: Any) -> list[Any]:
    """Equal before and after a call that changed nothing of its arguments."""
    import torch

    print_: list[Any] = []
    for leaf in leaves(value):
        if isinstance(leaf, torch.Tensor):
            version = -1 if leaf.is_inference() else leaf._version
            print_.append((_address(leaf), tuple(leaf.shape), version))
        else:
            print_.append(repr(leaf))
    return print_


def storages(value: Any) -> dict[int, int]:
    """Bytes of each piece of memory that tensors of a value keep alive, by its address."""
    found = {}
    for tensor in tensors(value):
        try:
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        except (NotImplementedError, RuntimeError):  # sparse and other tensors without one
            found[id(tensor)] = tensor.numel() * tensor.element_size()
    return found


def kept(arguments: Arguments, clone: bool = False) -> Kept:
    """Arguments for later: tensors detached, or cloned; objects of their own copied."""

    def tensor(value: Any) -> Any:
        value = value.detach()
        return value.clone() if clone or value.is_inference() else value

    return _mapped(arguments, tensor)


def copied(arguments: Arguments) -> Kept:
    """Arguments that a call may change as it likes."""
    return _mapped(arguments, lambda tensor: tensor.detach().clone())


def _mapped(arguments: Arguments, tensor: Callable[[Any], Any]) -> Kept:
    import torch

    uncopied: list[str] = []

    def mapped(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return tensor(value)
        if isinstance(value, _PLAIN) or _is_code(value):
            return value
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(mapped(each) for each in value)
        if type(value) is dict:
            return {key: mapped(each) for key, each in value.items()}
        try:
            return copy.deepcopy(value)
        except Exception:  # whatever an object raises: it is passed on as it is
            uncopied.append(type(value).__name__)
            return value

    with torch.inference_mode(False), torch.no_grad():
        args, kwargs = mapped(arguments.args), mapped(arguments.kwargs)
    return Kept(Arguments(args, kwargs), tuple(dict.fromkeys(uncopied)))


def _is_code(value: Any) -> bool:
    """Modules, functions, types: not data that a call is about."""
    import torch

    return isinstance(value, (torch.nn.Module, type)) or (
        callable(value) and not hasattr(value, "__dict__")
    ) or type(value).__name__ in ("function", "method", "builtin_function_or_method")  # fmt: skip


def _address(tensor: Any) -> int:
    try:
        return int(tensor.data_ptr())
    except (NotImplementedError, RuntimeError):
        return id(tensor)
