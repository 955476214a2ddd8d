# SPDX-License-Identifier: Apache-2.0
"""Measurements of functions as text: a line that says it all, then what must be known."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from .._energy import format_with_uncertainty
from ..units import engineering

if TYPE_CHECKING:
    from .._measure import Measurement, Measurements

__all__ = ["render", "render_many"]

_WIDER = 1.5  # absolute over same-card uncertainty that deserves a word


def render(measurement: Measurement) -> str:
    """The energy per call in one line; the interval and the notes below."""
    lines = [_headline(measurement), *_details(measurement)]
    return "\n".join([*lines, *(f"  · {note}" for note in _notes([measurement]))])


def render_many(measurements: Measurements) -> str:
    """A table, one row a function."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("function", "energy/call", "95 %, same card", "net", "time", "power", "calls"):
        table.add_column(column, justify="left" if column == "function" else "right", no_wrap=True)
    for m in measurements.values():
        table.add_row(
            escape(m.name),
            format_with_uncertainty(m.energy.joules, m.energy.u_same_card, "J"),
            f"± {m.rel:.2%}" + ("" if m.converged else " !"),
            format_with_uncertainty(m.net_energy.joules, m.net_energy.u_same_card, "J"),
            engineering(m.time_s, "s"),
            engineering(m.power_w, "W"),
            _thousands(m.n),
        )
    console = Console(file=io.StringIO(), width=110, color_system=None, highlight=False)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [line.rstrip() for line in text.rstrip().splitlines()]
    head = ["ESTIMATE, not a measurement"] if _estimated(list(measurements.values())) else []
    notes = _notes(list(measurements.values()))
    return "\n".join([*head, *rows, *(f"· {note}" for note in notes)])


def _headline(m: Measurement) -> str:
    energy = format_with_uncertainty(m.energy.joules, m.energy.u_same_card, "J")
    time = format_with_uncertainty(m.time_s, m.time_u_s, "s")
    estimate = "ESTIMATE, " if m.is_estimate else ""
    return (
        f"{m.name}: {estimate}{energy}/call, {time}, {engineering(m.power_w, 'W')}, "
        f"{_thousands(m.n)} calls in {engineering(m.elapsed_s, 's')}"
    )


def _details(m: Measurement) -> list[str]:
    own = format_with_uncertainty(m.energy.joules, m.energy.u, "J")
    net = format_with_uncertainty(m.net_energy.joules, m.net_energy.u_same_card, "J")
    low, high = (engineering(j, "J", 5) for j in m.interval())
    return [
        f"  95 %: {low} … {high} (± {m.rel:.2%}, same card)"
        + ("" if m.converged else "   NOT as narrow as asked for"),
        f"  absolute: {own}/call;  net of idle: {net}/call",
    ]


def _notes(found: list[Measurement]) -> list[str]:
    notes = [note for m in found for note in m.notes]
    notes += [note for m in found for note in m.energy.notes]
    if _estimated(found):
        notes.append("nothing was read: energies are an ESTIMATE from load and a table, ± 50 %")
    elif any(m.energy.u > _WIDER * m.energy.u_same_card for m in found):
        gain = max(m.energy.u / abs(m.energy.joules) for m in found if m.energy.joules)
        notes.append(
            f"against other cards ± {gain:.1%} (one standard uncertainty): the card's gain is "
            "unknown to that; pyenergy calibrate narrows it"
        )
    notes.append("± is one standard uncertainty, of comparisons on one card where not said")
    return list(dict.fromkeys(notes))


def _estimated(found: list[Measurement]) -> bool:
    return any(m.is_estimate for m in found)


def _thousands(n: int) -> str:
    return f"{n:,}".replace(",", " ")
