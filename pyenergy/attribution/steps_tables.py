# SPDX-License-Identifier: Apache-2.0
"""Energies by step and by request, as tables whose rows add up to the trace.

What lies outside of the steps (before the first, between them, after the last) is a row of its
own, so that steps and it, or requests and it, add up to the energy of the whole trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from ..units import NS_PER_S
from .steps import NOBODY, OUTSIDE, Steps, Weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from .steps import Step

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

__all__ = ["WeightedWindows", "complement", "requests_table", "tokens_table"]


class WeightedWindows(NamedTuple):
    """A sum of windows: in order of time, not overlapping, each times a weight."""

    starts_ns: Times
    ends_ns: Times
    weights: Floats


class Summing(Protocol):
    """The part of `Trace` that the tables need."""

    @property
    def kept_ns(self) -> tuple[int, int]:
        """Start and end of the trace."""

    def _sums(self, rows: Sequence[WeightedWindows]) -> tuple[Floats, Floats, Floats]:
        """(joules, u, u_same_card) of sums of windows."""


def tokens_table(trace: Summing, steps: Steps | Iterable[Step]) -> pl.DataFrame:
    """One row for each step, in order of time, and one for the time outside of them.

    Parameters
    ----------
    trace : Trace
    steps : Steps or sequence of Step
        Inside the trace.

    Returns
    -------
    polars.DataFrame
        ``step`` (its number from 0), ``phase`` (``prefill``, ``decode``, ``mixed``, ``none``),
        ``start_ns``, ``end_ns``, ``time_s``, ``count`` (requests), ``prompt_tokens`` computed and
        ``output_tokens`` made, ``tokens`` (both together), ``energy_j`` and its standard
        uncertainties ``u_j`` and ``u_same_card_j``, ``share`` of the trace, ``power_w``. The last
        row, ``(outside of steps)``, has no number and no times.

    Raises
    ------
    WindowError
        When a step reaches outside the trace.
    OptionError
        When steps overlap.
    """
    import polars as pl

    found = Steps.of(steps)
    starts, ends = found.edges_ns
    rest = _outside(found, trace.kept_ns)
    one = np.ones(1)
    windows = [WeightedWindows(starts[i : i + 1], ends[i : i + 1], one) for i in range(len(starts))]
    joules, u, own = trace._sums([*windows, rest])
    time_s = np.append(ends - starts, (rest.ends_ns - rest.starts_ns).sum()) / NS_PER_S
    n = len(starts)
    prompt = [step.prompt_tokens for step in found.steps]
    output = [step.output_tokens for step in found.steps]
    return pl.DataFrame(
        {
            "step": pl.Series([*range(n), None], dtype=pl.Int64),
            "phase": [*(step.phase for step in found.steps), OUTSIDE],
            "start_ns": pl.Series([*starts.tolist(), None], dtype=pl.Int64),
            "end_ns": pl.Series([*ends.tolist(), None], dtype=pl.Int64),
            "time_s": time_s,
            "count": [*(step.count for step in found.steps), 0],
            "prompt_tokens": [*prompt, 0],
            "output_tokens": [*output, 0],
            "tokens": [*(a + b for a, b in zip(prompt, output, strict=True)), 0],
            "energy_j": joules,
            "u_j": u,
            "u_same_card_j": own,
            "share": _share(joules),
            "power_w": np.divide(joules, time_s, out=np.full(n + 1, np.nan), where=time_s > 0),
        }
    )


def requests_table(
    trace: Summing, steps: Steps | Iterable[Step], weights: Weights | None = None
) -> pl.DataFrame:
    """One row for each request, in order of its first step, and the rest of the trace.

    Parameters
    ----------
    trace : Trace
    steps : Steps or sequence of Step
        Inside the trace.
    weights : Weights, optional
        How a step's energy is divided; None: a token is a token.

    Returns
    -------
    polars.DataFrame
        ``request``, ``prompt_tokens`` and ``recomputed_tokens`` that were computed,
        ``output_tokens``, ``count`` (steps that it was in), ``prefill_j`` and ``decode_j``, of
        which ``energy_j`` is the sum, its standard uncertainties ``u_j`` and ``u_same_card_j``
        (both with that of its tokens, where somebody had to tell them),
        ``share`` of the trace, ``j_per_output_token``, ``ttft_s`` (from its arrival, or where that
        is not known from the start of its first step, to the end of the step with its first
        token) and ``tpot_s`` (time per token after the first; none with fewer than two). Then
        ``(no request)``, where a step had none, and ``(outside of steps)``: null is what does not
        apply. The rows add up to the energy of the trace.

    Raises
    ------
    WindowError
        When a step reaches outside the trace.
    OptionError
        When steps overlap.
    """
    import polars as pl

    found = Steps.of(steps)
    starts, ends = found.edges_ns
    owned = _owned(found, weights or Weights())
    windows = [WeightedWindows(starts[o.index], ends[o.index], o.prefill + o.decode) for o in owned]
    joules, u, own = trace._sums([*windows, _outside(found, trace.kept_ns)])
    told = np.append(_told_u(trace, found, owned), 0.0)
    u, own = np.hypot(u, told), np.hypot(own, told)
    prefill, _, _ = trace._sums(
        [WeightedWindows(starts[o.index], ends[o.index], o.prefill) for o in owned]
    )
    tokens = np.array([o.tokens for o in owned], np.int64).reshape(-1, 3)
    real = [o.request != NOBODY for o in owned]
    times = [_times(found, o) for o in owned]
    j_each = [
        float(j) / n if n else None for j, n in zip(joules[:-1], tokens[:, 1].tolist(), strict=True)
    ]
    integers = {
        name: pl.Series([*_where(real, tokens[:, i].tolist()), None], dtype=pl.Int64)
        for i, name in enumerate(("prompt_tokens", "output_tokens", "recomputed_tokens"))
    }
    decode = joules[:-1] - prefill
    floats: dict[str, Floats | Sequence[float | None]] = {
        "prefill_j": [*_where(real, prefill.tolist()), None],
        "decode_j": [*_where(real, decode.tolist()), None],
        "energy_j": joules,
        "u_j": u,
        "u_same_card_j": own,
        "share": _share(joules),
        "j_per_output_token": [*j_each, None],
        "ttft_s": [*(ttft for ttft, _ in times), None],
        "tpot_s": [*(tpot for _, tpot in times), None],
    }
    return pl.DataFrame(
        {
            "request": [*(o.request for o in owned), OUTSIDE],
            **integers,
            "count": pl.Series([*(len(o.index) for o in owned), None], dtype=pl.Int64),
            **{name: pl.Series(values, dtype=pl.Float64) for name, values in floats.items()},
        }
    )


def _outside(steps: Steps, bounds_ns: tuple[int, int]) -> WeightedWindows:
    starts, ends = complement(*steps.edges_ns, bounds_ns)
    return WeightedWindows(starts, ends, np.ones(len(starts)))


def complement(starts: Times, ends: Times, bounds_ns: tuple[int, int]) -> tuple[Times, Times]:
    """What windows in order, not overlapping, leave of the time in ``bounds_ns``."""
    begin = np.append(np.int64(bounds_ns[0]), ends)
    finish = np.append(starts, np.int64(bounds_ns[1]))
    kept = finish > begin
    return begin[kept], finish[kept]


def _told_u(trace: Summing, found: Steps, owned: Sequence[_Owned]) -> Floats:
    """Standard uncertainty of each request's energy, J, by what is not known of its tokens."""
    unsure = [
        i for i, step in enumerate(found.steps) if any(part.unsure_tokens for part in step.parts)
    ]
    if not unsure:
        return np.zeros(len(owned))
    starts, ends = found.edges_ns
    one = np.ones(1)
    windows = [WeightedWindows(starts[i : i + 1], ends[i : i + 1], one) for i in unsure]
    step_j = np.zeros(len(found.steps))
    step_j[unsure] = trace._sums(windows)[0]
    # Tokens that were booked too early or too late are so in step after step: no quadrature.
    return np.array([float(o.told_u @ np.abs(step_j[o.index])) for o in owned])


@dataclass(frozen=True)
class _Owned:
    """A request's steps: their numbers, its part of each, and its tokens in all."""

    request: str
    index: NDArray[np.int64]
    prefill: Floats
    decode: Floats
    told_u: Floats  # standard uncertainty of its part of each
    output: list[int]  # by step
    tokens: tuple[int, int, int]  # prompt, output, recomputed


def _owned(found: Steps, weights: Weights) -> list[_Owned]:
    """Requests in order of their first step; steps that are nobody's come last."""
    rows: dict[str, list[tuple[int, float, float, float]]] = {}
    output: dict[str, list[int]] = {}
    tokens: dict[str, tuple[int, int, int]] = {}
    for number, step in enumerate(found.steps):
        shares = zip(step.parts, step.shares(weights), step.shares_u(weights), strict=True)
        for part, (prefill, decode), u in shares:
            row = number, float(prefill), float(decode), float(u)
            rows.setdefault(part.request, []).append(row)
            output.setdefault(part.request, []).append(part.output_tokens)
            before = tokens.get(part.request, (0, 0, 0))
            now = part.prompt_tokens, part.output_tokens, part.recomputed_tokens
            tokens[part.request] = tuple(a + b for a, b in zip(before, now, strict=True))  # type: ignore[assignment]
    nobody = [(number, 0.0, 1.0, 0.0) for number, step in enumerate(found.steps) if not step.parts]
    if nobody:
        rows[NOBODY] = nobody
    return [
        _Owned(
            request,
            np.array([row[0] for row in mine], np.int64),
            np.array([row[1] for row in mine], np.float64),
            np.array([row[2] for row in mine], np.float64),
            np.array([row[3] for row in mine], np.float64),
            output.get(request, []),
            tokens.get(request, (0, 0, 0)),
        )
        for request, mine in rows.items()
    ]


def _times(found: Steps, owned: _Owned) -> tuple[float | None, float | None]:
    """(time to first token, time per token after it), s."""
    made = [
        found.steps[i].end_ns
        for i, n in zip(owned.index.tolist(), owned.output, strict=False)
        if n > 0
    ]
    if not made:
        return None, None
    start_ns = found.arrivals_ns.get(owned.request, found.steps[int(owned.index[0])].start_ns)
    ttft = (made[0] - start_ns) / NS_PER_S
    n = owned.tokens[1]
    return ttft, (made[-1] - made[0]) / NS_PER_S / (n - 1) if n > 1 else None


def _where(real: list[bool], values: list[float] | list[int]) -> list[float | int | None]:
    return [value if is_real else None for is_real, value in zip(real, values, strict=True)]


def _share(joules: Floats) -> Floats:
    total = float(joules.sum())
    return joules / total if total else np.full(len(joules), np.nan)
