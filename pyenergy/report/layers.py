# SPDX-License-Identifier: Apache-2.0
"""Energies of layers as text: a table, the sum check, what must be known."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .._energy import format_with_uncertainty
from ..units import engineering

if TYPE_CHECKING:
    from .._layers import LayerEnergies

__all__ = ["render"]

_COLUMNS = ("layer", "kind", "calls", "in the model", "alone", "ratio", "time alone", "share")


def render(found: LayerEnergies) -> str:
    """One row a layer; then the sum check and the notes."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in _COLUMNS:
        is_text = column in ("layer", "kind")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=True)
    for row in found.table().iter_rows(named=True):
        table.add_row(*(escape(cell) for cell in _cells(row, found.model_class)))
    console = Console(file=io.StringIO(), width=160, color_system=None, highlight=False)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [line.rstrip() for line in text.rstrip().splitlines()]
    head = ["ESTIMATE, not a measurement"] if found.is_estimate else []
    notes = [*found.notes, "energies and times are per run of the model; ± is one standard "
             "uncertainty"]  # fmt: skip
    return "\n".join([*head, *rows, *_sum_check(found), *(f"· {note}" for note in notes)])


def _cells(row: dict[str, Any], model_class: str) -> list[str]:
    def joules(kind: str) -> str:
        value, u = row[f"{kind}_j"], row[f"{kind}_u_j"]
        return "-" if value is None else format_with_uncertainty(value, u, "J")

    calls, ratio, time_s, share = (row[name] for name in ("calls", "ratio", "time_s", "share"))
    unattributed = calls is None
    return [
        row["layer"] or model_class,
        "" if unattributed else row["layer_type"],
        "" if unattributed else str(calls),
        joules("in_situ"),
        joules("microbenchmark"),
        "-" if ratio is None else f"{ratio:.2f}",
        "-" if time_s is None else engineering(time_s, "s"),
        "-" if share is None else f"{share:.1%}",
    ]


def _sum_check(found: LayerEnergies) -> list[str]:
    model = found.model_energy
    whole = format_with_uncertainty(model.joules, model.u_same_card, "J")
    said = []
    capture = found.capture
    if capture is None:
        said.append(f"sum check: none, the model took {whole}")
    else:
        percent = format_with_uncertainty(100 * capture.ratio, 100 * capture.u, "%")
        without = sum(found.alone(layer) is None for layer in found.calls)
        but = f" (without {without} that could not run alone)" if without else ""
        said.append(f"sum check: the layers alone add up to {percent} of the model's {whole}{but}")
    if found.coverage is not None:
        said.append(f"in the model: {found.coverage:.1%} of its energy is in these layers")
    return said
