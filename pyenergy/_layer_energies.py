# SPDX-License-Identifier: Apache-2.0
"""What `layers` found: energies in the model and alone, side by side, with the sum check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._layer_alone import MODEL
from .attribution.tables import UNATTRIBUTED
from .errors import OptionError

if TYPE_CHECKING:
    import polars as pl

    from ._compare import Comparison
    from ._energy import Energy
    from ._layer_alone import Alone
    from ._layer_in_situ import InSitu
    from ._measure import Measurement
    from ._trace import Trace

__all__ = ["LayerEnergies"]

_COLUMNS = (
    "layer", "layer_type", "calls", "in_situ_j", "in_situ_u_j", "microbenchmark_j",
    "microbenchmark_u_j", "ratio", "time_s", "share",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LayerEnergies:
    """What the layers of a model cost, per run of the model: ``print`` it.

    Attributes
    ----------
    model_class : str
        Of the model.
    layer_types : dict of str to str
        Kind of each layer, by name, in order of their first call.
    calls : dict of str to int
        Calls of each layer in a run of the model.
    notes : tuple of str
        What a reader must know: what is compiled or otherwise hidden, what could not run alone and
        why, what was never called, weights and modules that are shared, what was not reached.
    """

    model_class: str
    layer_types: dict[str, str]
    calls: dict[str, int]
    notes: tuple[str, ...]
    _alone: Alone
    _functions: dict[str, dict[str, int] | None]  # of a layer, with calls; None: not all can run
    _in_situ: InSitu | None

    @property
    def measurements(self) -> dict[str, Measurement]:
        """Of each function: a layer, or ``layer #1``, ``#2`` where shapes differ; ``(model)``."""
        return dict(self._alone.found)

    @property
    def trace(self) -> Trace | None:
        """Of the runs in situ; its ``layers()`` are energies of all of them together."""
        return None if self._in_situ is None else self._in_situ.trace

    @property
    def model_energy(self) -> Energy:
        """Of the whole model, run again and again as the layers are."""
        return self._alone.found[MODEL].energy

    @property
    def is_estimate(self) -> bool:
        """Whether nothing was read, and energies come from load and a table."""
        return self._alone.found[MODEL].is_estimate

    @property
    def capture(self) -> Comparison | None:
        """The sum check: layers alone over the model; None where the model took no energy.

        Layers that could not run alone are not in it. Above 1, layers take more alone than where
        they are; below 1, something runs between them, or less efficiently there. The uncertainty
        is that of one card, whose gain cancels.
        """
        return self._alone.capture(self._summed())

    @property
    def unattributed(self) -> Energy:
        """The model's energy without the sum of its layers alone; below zero if these take more."""
        return self._alone.unattributed(self._summed())

    @property
    def unattributed_j(self) -> float:
        """`unattributed`, J."""
        return self.unattributed.joules

    @property
    def coverage(self) -> float | None:
        """Share of the model's energy that is in layers where they are; None: not measured."""
        return None if self._in_situ is None else self._in_situ.coverage

    def _summed(self) -> dict[str, float]:
        return {
            name: float(count)
            for functions in self._functions.values()
            for name, count in (functions or {}).items()
        }

    def alone(self, layer: str) -> Energy | None:
        """Of a layer's calls in a run of the model, run alone; None: it could not be.

        Raises
        ------
        OptionError
            For a layer that was not measured.
        """
        if layer not in self._functions:
            raise OptionError(f"no layer {layer!r}; there are: {', '.join(self._functions)}")
        functions = self._functions[layer]
        return None if functions is None else self._alone.total(functions)

    def table(self) -> pl.DataFrame:
        """One row for each layer, and a last one for what is in none.

        Columns: ``layer``, ``layer_type``, ``calls`` in a run of the model; for all of these
        together ``in_situ_j`` and ``microbenchmark_j`` with their standard uncertainties
        (``in_situ_u_j``, ``microbenchmark_u_j``, the card's gain included), ``ratio``
        (microbenchmark over in situ), ``time_s`` (of the microbenchmark) and ``share`` (of it in
        the whole model). Null is what is not known. Each energy column adds up to the model's.
        """
        import polars as pl

        rows = [self._row(layer) for layer in self._functions]
        return pl.DataFrame([*rows, self._rest()], schema=_schema())

    def _row(self, layer: str) -> dict[str, Any]:
        alone, situ = self.alone(layer), self._in_situ
        in_situ_j = None if situ is None else situ.joules.get(layer)
        return _row(
            layer,
            self.layer_types[layer],
            self.calls[layer],
            in_situ_j,
            None if situ is None else situ.u.get(layer),
            alone,
            self.model_energy.joules,
        )

    def _rest(self) -> dict[str, Any]:
        situ = self._in_situ
        return _row(
            UNATTRIBUTED,
            UNATTRIBUTED,
            None,
            None if situ is None else situ.between_j,
            None if situ is None else situ.between_u_j,
            self.unattributed,
            self.model_energy.joules,
        )

    def __str__(self) -> str:
        from .report.layers import render

        return render(self)

    def __repr__(self) -> str:
        return f"<pyenergy.LayerEnergies of {self.model_class}: {len(self._functions)} layers>"


def _schema() -> dict[str, Any]:
    import polars as pl

    kinds = {"layer": pl.String, "layer_type": pl.String, "calls": pl.Int64}
    return {name: kinds.get(name, pl.Float64) for name in _COLUMNS}


def _row(
    layer: str,
    kind: str,
    calls: int | None,
    in_situ_j: float | None,
    in_situ_u_j: float | None,
    alone: Energy | None,
    model_j: float,
) -> dict[str, Any]:
    joules = None if alone is None else alone.joules
    # What is in no layer is a difference: the ratio of two of them says nothing.
    comparable = calls is not None and joules is not None and in_situ_j is not None
    comparable = comparable and in_situ_j > 0  # type: ignore[operator]
    return {
        "layer": layer,
        "layer_type": kind,
        "calls": calls,
        "in_situ_j": in_situ_j,
        "in_situ_u_j": in_situ_u_j,
        "microbenchmark_j": joules,
        "microbenchmark_u_j": None if alone is None else alone.u,
        "ratio": joules / in_situ_j if comparable else None,  # type: ignore[operator]
        "time_s": None if alone is None else alone.duration_s,
        "share": joules / model_j if joules is not None and model_j > 0 else None,
    }
