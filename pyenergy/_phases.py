# SPDX-License-Identifier: Apache-2.0
"""What a trace says of its phases, steps and requests: sums over many windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _windows
from ._sums import summed
from .errors import NoReadingsError, StateError
from .recording.marks import Mark
from .recording.settled import PhaseTally
from .units import NS_PER_S, engineering

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from ._evaluation import Evaluation
    from .attribution.steps import Step, Steps, Weights
    from .attribution.steps_tables import WeightedWindows
    from .recording.recorded import Recorded

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

__all__ = ["STEPS", "UNMARKED", "Phased"]

STEPS = "steps"  # the annotation that steps are kept under
UNMARKED = "(unmarked)"


class Phased:
    """The part of `Trace` that adds windows up: by the name of a mark, by step, by request."""

    def _evaluated(self, method: str = "model", wait: bool = True) -> Evaluation:
        raise NotImplementedError

    def _recorded(self, wait: bool = True) -> Recorded:
        raise NotImplementedError

    def annotate(self, **values: Any) -> None:
        """Keep JSON values with the trace."""
        raise NotImplementedError

    def add_span(self, mark: Mark) -> None:
        """Label a span after the fact."""
        raise NotImplementedError

    def phases(self) -> pl.DataFrame:
        """Energy by name of the marks: one row a name, and one for the rest of the trace.

        Marks of one name that overlap count once in time and energy; of a mark that reaches
        outside the trace, the part inside counts. Of a trace with ``keep`` the rows have all marks
        that there ever were (the uncertainties of its parts add up linearly). Marks of different
        names may overlap: rows then add up to more than the trace. ``(unmarked)`` is the time in
        which no mark was open.

        Returns
        -------
        polars.DataFrame
            ``name``, ``count`` (marks), ``time_s``, ``energy_j`` and its standard uncertainties
            ``u_j`` and ``u_same_card_j`` (without the card's gain and offset), ``share`` of the
            trace, ``power_w``; in order of the first mark.

        Raises
        ------
        NoReadingsError
            When a device in scope gave no usable reading.
        """
        from .attribution.steps_tables import WeightedWindows, complement

        recorded = self._recorded()
        low, high = recorded.bounds_ns
        marks = [m for m in recorded.marks if m.start_ns <= high and m.end_ns >= low]
        by_name: dict[str, list[Mark]] = {}
        for mark in marks:
            by_name.setdefault(mark.name, []).append(mark)
        windows = [_united(mine, low, high) for mine in by_name.values()]
        windows.append(complement(*_united(marks, low, high), (low, high)))
        joules, u, own = self._sums([WeightedWindows(a, b, np.ones(len(a))) for a, b in windows])
        time_s = np.array([int((b - a).sum()) / NS_PER_S for a, b in windows])
        count = [len(mine) for mine in by_name.values()]
        rows = {
            name: PhaseTally(*row)
            for name, *row in zip(
                [*by_name, UNMARKED],
                [*count, len(windows[-1][0])],
                time_s.tolist(),
                joules.tolist(),
                u.tolist(),
                own.tolist(),
                strict=True,
            )
        }
        return _phase_table(_with_settled(rows, recorded), self._evaluated().total().joules)

    def tokens(self) -> pl.DataFrame:
        """Energy of each step of an engine that generated tokens, and of the time outside of them.

        Steps are there after `integrations.transformers.generate`, `integrations.vllm` or
        `add_steps`; a recording that was saved has them too. Columns: see
        `attribution.steps_tables.tokens_table`.

        Raises
        ------
        StateError
            When no steps are kept with the trace.
        NoReadingsError
            When a device in scope gave no usable reading.
        """
        from .attribution.steps_tables import tokens_table

        return tokens_table(self, self._steps())  # type: ignore[arg-type]

    def requests(self, weights: Weights | None = None) -> pl.DataFrame:
        """Energy of each request of an engine: its parts of the steps, by prefill and decode.

        ``weights`` says how a step with prompts and decoded tokens is divided; None: a token is a
        token. Columns: see `attribution.steps_tables.requests_table`. Raises what `tokens` does.
        """
        from .attribution.steps_tables import requests_table

        return requests_table(self, self._steps(), weights)  # type: ignore[arg-type]

    def add_steps(self, steps: Steps | Iterable[Step], *, mark: bool = True) -> None:
        """Keep an engine's steps with the trace, for `tokens` and `requests`; `save` writes them.

        Steps that were kept before are replaced.

        Parameters
        ----------
        steps : Steps or sequence of Step
            Inside the trace.
        mark : bool
            Label each step with what it was and how many requests it had, to a factor of two
            (``decode x3-4``). With labels the powers of steps of a kind are solved for together:
            a sensor that updates ten times a second tells little of single steps otherwise.

        Raises
        ------
        OptionError
            When steps overlap or are not in order of time.
        WindowError
            When one reaches outside the trace.
        """
        from .attribution.steps import Steps

        found = Steps.of(steps)
        recorded = self._recorded(wait=False)
        _windows.checked(*found.edges_ns, recorded.bounds_ns, recorded.settled)
        self.annotate(**{STEPS: found.to_json()})
        if mark:
            there = {(m.name, m.start_ns, m.end_ns) for m in self._recorded(wait=False).marks}
            for step in found.steps:
                if (step.kind, step.start_ns, step.end_ns) not in there:
                    self.add_span(Mark(step.kind, step.start_ns, step.end_ns))

    def _steps(self) -> Steps:
        from .attribution.steps import Steps

        kept = self._recorded().extra.get(STEPS)
        if kept is None:
            raise StateError(
                "no steps are kept with this trace: pyenergy.integrations.transformers.generate "
                "records them, and trace.add_steps(...) takes any engine's"
            )
        return Steps.from_json(kept)

    def _sums(self, rows: Sequence[WeightedWindows]) -> tuple[Floats, Floats, Floats]:
        """(joules, u, u_same_card) of weighted sums of windows, all devices together."""
        evaluated = self._evaluated()
        for row in rows:
            of = evaluated.recorded
            _windows.checked(row.starts_ns, row.ends_ns, of.bounds_ns, of.settled)
        return summed(evaluated.chosen(None), rows)


def _with_settled(rows: dict[str, PhaseTally], recorded: Recorded) -> dict[str, PhaseTally]:
    """With what is not kept any more, in order of the first mark; the rest of the trace last."""
    settled = recorded.settled
    if settled is None:
        return rows
    if settled.untold_s > 0:
        raise NoReadingsError(
            f"for {engineering(settled.untold_s, 's')} that are not kept, a device gave no usable "
            "reading: energies by name would lack that time (the trace's energy has it)"
        )
    names = dict.fromkeys(n for n in (*settled.phases, *rows) if n != UNMARKED)
    nothing = PhaseTally()
    return {
        name: settled.phases.get(name, nothing).plus(rows.get(name, nothing))
        for name in (*names, UNMARKED)
    }


def _phase_table(rows: dict[str, PhaseTally], whole_j: float) -> pl.DataFrame:
    import polars as pl

    joules = np.array([row.joules for row in rows.values()])
    time_s = np.array([row.time_s for row in rows.values()])
    return pl.DataFrame(
        {
            "name": pl.Series(list(rows), dtype=pl.String),
            "count": pl.Series([row.count for row in rows.values()], dtype=pl.Int64),
            "time_s": time_s,
            "energy_j": joules,
            "u_j": np.array([row.u for row in rows.values()]),
            "u_same_card_j": np.array([row.u_same_card for row in rows.values()]),
            "share": joules / (whole_j or np.nan),
            "power_w": np.divide(
                joules, time_s, out=np.full(len(joules), np.nan), where=time_s > 0
            ),
        }
    )


def _united(marks: Sequence[Mark], low: int, high: int) -> tuple[Times, Times]:
    """The time in which any of the marks was open, inside [low, high]: in order, not touching."""
    edges = np.array([(m.start_ns, m.end_ns) for m in marks], np.int64).reshape(-1, 2)
    edges = np.clip(edges, low, high)
    edges = edges[edges[:, 1] > edges[:, 0]]
    edges = edges[np.argsort(edges[:, 0], kind="stable")]
    if not len(edges):
        return edges[:, 0], edges[:, 1]
    reach = np.maximum.accumulate(edges[:, 1])
    first = np.append(True, edges[1:, 0] > reach[:-1])
    last = np.append(first[1:], True)
    return edges[first, 0], reach[last]
