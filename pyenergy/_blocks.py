# SPDX-License-Identifier: Apache-2.0
"""Blocks of calls for `measure`: how many, in which order, with which pauses.

A sensor sees a function that is shorter than its update period only in the mean over many calls,
and only if blocks and pauses fall differently on its updates each time. So the lengths of both are
drawn anew for every block, and with several functions the proportions and the order too: iterations
that are all alike show every reading the same mixture, which nothing can take apart again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Block", "Step", "calls_for", "columns", "gap_s", "next_round"]

SHORTEST, LONGEST = 0.5, 3.0  # length of a block, in update periods
_GAP_LOW, _GAP_HIGH = 0.3, 1.5  # of a pause
_LONG_GAP = 0.1  # share of pauses that are twice to four times as long
_TOGETHER = 0.5  # share of blocks of different functions that follow without a pause
_GROWTH = 32  # calls of a block over those of the one before: the first may be timed wrongly
_REST = 0.4  # chance that a function takes part in a round once it is known well enough


@dataclass(frozen=True)
class Block:
    """Calls that ran back to back.

    Attributes
    ----------
    name : str
        Function.
    start_ns, end_ns : int
        ns of CLOCK_MONOTONIC.
    calls : int
    """

    name: str
    start_ns: int
    end_ns: int
    calls: int


@dataclass(frozen=True)
class Step:
    """A block that is to run: calls of one function, then a pause (s; 0: none)."""

    name: str
    calls: int
    gap_s: float


def columns(
    blocks: Sequence[Block],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(starts_ns, ends_ns, calls) of blocks, shape (n,)."""
    table = np.array([(b.start_ns, b.end_ns, b.calls) for b in blocks], dtype=np.int64)
    table = table.reshape(-1, 3)
    return table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy()


def calls_for(rng: np.random.Generator, call_s: float, scale_s: float, last_calls: int = 0) -> int:
    """Calls of the next block: log-uniform from half to three update periods, at least one call.

    Parameters
    ----------
    rng : Generator
    call_s : float
        Time of a call as far as it is known, s; 0: unknown, one call.
    scale_s : float
        Update period of the sensor, s (its window, where that is longer).
    last_calls : int
        Calls of the block before, of which the next has at most 32 times as many; 0: no bound.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> calls_for(rng, 1.0, 0.1), 500 <= calls_for(rng, 1e-4, 0.1) <= 3000
    (1, True)
    """
    if call_s <= 0:
        return 1
    length_s = scale_s * math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST)))
    calls = max(1, round(length_s / call_s))
    return min(calls, _GROWTH * last_calls) if last_calls > 0 else calls


def gap_s(rng: np.random.Generator, scale_s: float) -> float:
    """Pause after a block, s: 0.3 to 1.5 update periods, every tenth up to four times as long."""
    gap = float(rng.uniform(_GAP_LOW, _GAP_HIGH)) * scale_s
    return gap * float(rng.uniform(2, 4)) if rng.random() < _LONG_GAP else gap


def next_round(
    rng: np.random.Generator,
    call_s: Mapping[str, float],
    scale_s: float,
    last_calls: Mapping[str, int],
    known: frozenset[str] = frozenset(),
) -> list[Step]:
    """One round of a randomised mixed design: every function a block.

    Parameters
    ----------
    rng : Generator
    call_s : mapping
        Function to time of a call, s.
    scale_s : float
        Update period of the sensor, s.
    last_calls : mapping
        Function to calls of its latest block.
    known : frozenset of str
        Functions that are known well enough: they take part in fewer rounds.

    Returns
    -------
    list of Step
        In the order in which to run them; proportions, order and pauses differ from round to
        round. With one function it is one block and a pause.
    """
    chosen = [name for name in call_s if name not in known or rng.random() < _REST]
    chosen = chosen or list(call_s)
    order = [chosen[i] for i in rng.permutation(len(chosen))]
    steps = []
    for i, name in enumerate(order):
        calls = calls_for(rng, call_s[name], scale_s, last_calls.get(name, 0))
        last = i == len(order) - 1
        together = not last and rng.random() < _TOGETHER
        steps.append(Step(name, calls, 0.0 if together else gap_s(rng, scale_s)))
    return steps
