# SPDX-License-Identifier: Apache-2.0
"""Options and functions of `measure`, checked before anything runs."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._devices import DevicesLike

    Warmup = Literal["auto"] | int | None

__all__ = ["Options", "checked_function", "checked_functions", "name_of"]


@dataclass(frozen=True)
class Options:
    """Checked options of `measure` and `measure_many`, which describe them."""

    rel: float = 0.01
    budget_s: float = 60.0
    warmup: Warmup = "auto"
    reset: Callable[[], object] | None = None
    devices: DevicesLike = "auto"
    sync: bool = True
    seed: int | None = None

    def __post_init__(self) -> None:
        rel = _number("rel", self.rel)
        if not 0 < rel < 1:
            raise OptionError(f"rel must lie inside (0, 1), such as 0.01, got {self.rel!r}")
        budget = _number("budget_s", self.budget_s)
        if not 0 < budget <= 1e6:
            raise OptionError(f"budget_s must be seconds above 0, got {self.budget_s!r}")
        object.__setattr__(self, "rel", rel)
        object.__setattr__(self, "budget_s", budget)
        is_count = isinstance(self.warmup, int) and not isinstance(self.warmup, bool)
        if not (self.warmup is None or self.warmup == "auto" or (is_count and self.warmup >= 0)):
            raise OptionError(
                f"warmup must be 'auto', a number of calls, or None, got {self.warmup!r}"
            )
        is_seed = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        if self.seed is not None and not (is_seed and self.seed >= 0):
            raise OptionError(f"seed must be a number from 0, or None, got {self.seed!r}")
        if not isinstance(self.sync, bool):
            raise OptionError(f"sync must be True or False, got {self.sync!r}")
        if self.reset is not None:
            checked_function(self.reset, "reset")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if math.isnan(number):
        raise OptionError(f"{name} must not be NaN")
    return number


def checked_function(fn: object, what: str = "fn") -> Callable[[], object]:
    """``fn``, if calling it runs it.

    Raises
    ------
    TypeError
        When it is not callable.
    OptionError
        When a call only makes a generator or a coroutine.
    """
    if not callable(fn):
        raise TypeError(f"{what} must be callable without arguments, got {fn!r}")
    for function in (fn, getattr(fn, "__call__", fn)):  # noqa: B004 - of an object
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise OptionError(f"{what} is a generator: a call makes it and runs nothing")
        if inspect.iscoroutinefunction(function):
            raise OptionError(
                f"{what} is a coroutine: a call makes it and runs nothing; "
                "measure(lambda: asyncio.run(fn()))"
            )
    return fn


def checked_functions(functions: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
    """A mapping of printable names to functions.

    Raises
    ------
    TypeError, OptionError
        For what is no such mapping, or an empty one.
    """
    try:
        items = list(functions.items())
    except AttributeError as error:
        raise TypeError(f"measure_many takes {{name: function}}, got {functions!r}") from error
    if not items:
        raise OptionError("measure_many needs at least one function")
    for name, _ in items:
        if not isinstance(name, str):
            raise TypeError(f"a function's name must be a string, got {name!r}")
        if not name or not name.isprintable():
            raise OptionError(f"a function needs a name of printable characters, got {name!r}")
    return {name: checked_function(fn, repr(name)) for name, fn in items}


def name_of(fn: object) -> str:
    """What to call a function.

    >>> import functools
    >>> name_of(functools.partial(print, 1)), name_of(len)
    ('print', 'len')
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__name__", None) or type(fn).__name__)
