# SPDX-License-Identifier: Apache-2.0
"""Layers run alone, each on the inputs that it gets in the model, and the model beside them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._compare import Comparison
from ._energy import Energy, combine
from ._measure import measure_many
from .attribution.call_values import copied, fingerprint, leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._devices import DevicesLike
    from ._measure import Measurement, Measurements
    from .attribution.call_values import Arguments

__all__ = ["MODEL", "Alone", "Function", "measured_alone", "parts_of", "tried"]

MODEL = "(model)"
"""What the whole model is called among the functions."""

_FEWEST_SHARE = 0.25  # of the budget, for functions that need copies of their arguments


@dataclass
class Function:
    """A module with arguments, ready to run again and again.

    Attributes
    ----------
    call : callable
        Runs it once.
    fresh : bool
        Whether it needs new copies of its arguments for every call, by ``renew``.
    note : str
        What a reader must know of it.
    """

    module: Any
    arguments: Arguments
    fresh: bool = False
    note: str = ""
    _ready: Arguments | None = None

    @property
    def call(self) -> Callable[[], object]:
        if self.fresh:
            return self._call_fresh
        return functools.partial(self.module, *self.arguments.args, **self.arguments.kwargs)

    @property
    def is_used(self) -> bool:
        """Whether the copies have been used."""
        return self._ready is None

    def renew(self) -> None:
        self._ready = copied(self.arguments).arguments

    def _call_fresh(self) -> object:
        if self._ready is None:  # after a warm-up without reset
            self.renew()
        arguments, self._ready = self._ready, None
        assert arguments is not None
        return self.module(*arguments.args, **arguments.kwargs)


def tried(module: Any, arguments: Arguments) -> Function:
    """Run a module once or twice outside its model: what does it do to its arguments?

    One that changes tensors in place to what they stay (such as a ReLU in place) runs on the same
    ones again; another, such as one that fills a cache, gets new copies for every call.

    Raises
    ------
    Exception
        Whatever the module raises.
    """
    import torch

    mine = copied(arguments).arguments
    before = fingerprint(mine)
    with torch.inference_mode():
        module(*mine.args, **mine.kwargs)
    after = fingerprint(mine)
    if after == before:
        return Function(module, arguments)
    once = copied(mine).arguments
    stays = False
    if _only_in_place(before, after):
        try:
            with torch.inference_mode():
                module(*mine.args, **mine.kwargs)
            stays = _equal(once, mine)
        except Exception:  # it is not made for what it left itself
            stays = False
    if stays:
        return Function(
            module, mine, note="changes its input in place: after the first call it sees its output"
        )
    return Function(
        module, arguments, True, "changes its arguments: each call has a copy, made outside of it"
    )


def _only_in_place(before: list[Any], after: list[Any]) -> bool:
    """Whether the same tensors are there, with other values: nothing was added or replaced."""

    def without_version(print_: list[Any]) -> list[Any]:
        return [each[:2] if isinstance(each, tuple) else each for each in print_]

    return without_version(before) == without_version(after)


def _equal(a: Any, b: Any) -> bool:
    import torch

    mine, other = list(leaves(a)), list(leaves(b))
    if len(mine) != len(other):
        return False
    for x, y in zip(mine, other, strict=True):
        if isinstance(x, torch.Tensor):
            if not (isinstance(y, torch.Tensor) and x.shape == y.shape):
                return False
            if not bool(torch.isclose(x, y, rtol=0, atol=0, equal_nan=True).all()):
                return False
        elif isinstance(y, torch.Tensor) or x != y:
            return False
    return True


@dataclass(frozen=True)
class Alone:
    """What functions cost, from one or two measurements of all together."""

    groups: tuple[Measurements, ...]
    notes: tuple[str, ...] = ()
    found: dict[str, Measurement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for group in self.groups:
            self.found.update(group)

    def total(self, calls: Mapping[str, float]) -> Energy:
        """So many calls of each; functions measured apart are independent but for the card."""
        parts = [
            group.total(own)
            for group in self.groups
            if (own := {name: n for name, n in calls.items() if name in group})
        ]
        return parts[0] if len(parts) == 1 else combine(parts)

    def capture(self, calls: Mapping[str, float]) -> Comparison | None:
        """Sum of the layers over the model, with what they share left out of its uncertainty."""
        model = self.found[MODEL].energy.joules
        if not calls:
            return Comparison(0.0, 0.0)
        if not model > 0:
            return None
        ratio = self.total(calls).joules / model
        apart = self.total({**calls, MODEL: -ratio})  # zero; what is left is its uncertainty
        return Comparison(ratio, apart.u_same_card / model, notes=("same card",))

    def unattributed(self, calls: Mapping[str, float]) -> Energy:
        """The model without its layers: below zero where these take more alone than in it."""
        return self.total({MODEL: 1.0, **{name: -n for name, n in calls.items()}})


def parts_of(functions: Mapping[str, Function]) -> int:
    """How many measurements they take: 1, or 2."""
    return len({function.fresh for function in functions.values()})


def measured_alone(
    functions: Mapping[str, Function],
    rel: float,
    budget_s: float,
    least_s: float,
    devices: DevicesLike,
) -> Alone:
    """Measure functions together; those that need copies of their arguments apart from the rest.

    `measure` runs what makes the copies before every call, as a span of its own, of which a
    function that needs none should know nothing. Each measurement has ``least_s`` of the budget.
    """
    import torch

    plain = {name: f for name, f in functions.items() if not f.fresh}
    fresh = {name: f for name, f in functions.items() if f.fresh}
    fresh_s = budget_s * len(fresh) / len(functions)
    if plain and fresh:
        fresh_s = max(fresh_s, _FEWEST_SHARE * budget_s, least_s)
        fresh_s = min(fresh_s, (1 - _FEWEST_SHARE) * budget_s, budget_s - least_s)
    groups = []
    with torch.inference_mode():
        for group, seconds, reset in (
            (plain, budget_s - fresh_s, None), (fresh, fresh_s, _renewing(list(fresh.values())))
        ):  # fmt: skip
            if group:
                calls = {name: f.call for name, f in group.items()}
                groups.append(
                    measure_many(calls, rel=rel, budget_s=seconds, devices=devices, reset=reset)
                )
    found = [m for group in groups for m in group.values()]
    few = [m.name for m in found if not m.converged]
    notes = []
    if few:
        worst = max(m.rel for m in found)
        said = f"the worst is known to ± {worst:.0%}" if math.isfinite(worst) else "some not at all"
        notes.append(
            f"{len(few)} of {len(found)} functions are not known to ± {rel:.2g} (95 %), {said}: a "
            "longer budget_s, or fewer layers (depth=, match=); .measurements says why"
        )
    return Alone(tuple(groups), tuple(notes))


def _renewing(functions: list[Function]) -> Callable[[], object]:
    """Copies for whoever has used theirs; always one, so that every call of it is the same work."""
    last = functions[:1]

    def reset() -> None:
        used = [f for f in functions if f.is_used] or last
        last[:] = used[-1:]
        for function in used:
            function.renew()

    return reset
