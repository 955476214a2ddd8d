# SPDX-License-Identifier: Apache-2.0
"""A trace as a table that a person enjoys reading."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from .._energy import format_with_uncertainty
from ..sensor.catalog import GAIN_U
from ..units import engineering

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from .._trace import Trace

__all__ = ["budget_table", "print_trace", "render", "summary"]

_MAX_SPANS = 20


def render(trace: Trace, width: int = 96) -> str:
    """Plain text of `summary`, without colour."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    print_trace(trace, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def print_trace(trace: Trace, console: Console) -> None:
    """Print the summary of a trace to a rich console."""
    for part in summary(trace):
        console.print(part)


def summary(trace: Trace) -> list[RenderableType]:
    """Title, devices, spans, what was generated, notes: what a terminal shows of a trace."""
    parts: list[RenderableType] = [_title(trace), _device_table(trace)]
    generation = trace.recorded.extra.get("generation")
    if generation is not None:
        parts.append(_generation_table(generation))
    if trace.marks and not trace.unreadable:  # a sum without a device would be wrong
        parts.append(_span_table(trace))
    parts.extend(f"[dim]·[/] {_plain(note)}" for note in _notes(trace))
    return parts


def _title(trace: Trace) -> str:
    title = f"[bold]pyenergy[/]  {engineering(trace.duration_s, 's')}"
    if any(d.meta.source == "estimate" for d in trace.recorded.devices.values()):
        title += "   [bold yellow]ESTIMATE, not a measurement[/]"
    return title


def _device_table(trace: Trace) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("device", "energy", "95 % interval", "mean power"):
        table.add_column(name, justify="left" if name == "device" else "right", no_wrap=True)
    recorded, energies = trace.recorded, trace.energies
    for device_id, device in recorded.devices.items():
        label = f"{device_id}  {_plain(device.meta.name)}"
        energy = energies.get(device_id)
        if energy is None:
            table.add_row(label, "[bold red]not readable[/]", "", "")
            continue
        table.add_row(
            label,
            str(energy),
            energy.format_interval(0.95),
            engineering(energy.joules / trace.duration_s, "W"),
        )
    if len(energies) > 1 and not trace.unreadable:
        total = trace.energy
        mean = engineering(total.joules / trace.duration_s, "W")
        table.add_section()
        table.add_row("all", f"[bold]{total}[/]", total.format_interval(0.95), mean)
    return table


def _span_table(trace: Trace) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("span", "time", "energy", "mean"):
        table.add_column(name, justify="left" if name == "span" else "right")
    spans = trace.spans()
    for row in spans.head(_MAX_SPANS).iter_rows(named=True):
        table.add_row(
            "  " * row["depth"] + _plain(row["name"]),
            engineering(row["duration_s"], "s"),
            format_with_uncertainty(row["energy_j"], row["u_j"], "J"),
            engineering(row["mean_power_w"], "W"),
        )
    if len(spans) > _MAX_SPANS:
        table.add_row(f"… {len(spans) - _MAX_SPANS} more (trace.spans())", "", "", "")
    return table


def budget_table(trace: Trace) -> Table:
    """Where the uncertainty of each device's energy comes from, largest first."""
    from rich import box
    from rich.table import Table

    from ..sensor.terms import TERMS

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("device", "u of", "J", "share of u²", "what it is"):
        table.add_column(name, justify="right" if name in ("J", "share of u²") else "left")
    for device_id, energy in trace.energies.items():
        table.add_section()
        for term, joules in energy.budget().items():
            if joules == 0.0:
                continue
            share = f"{joules**2 / energy.u**2:.1%}" if energy.u > 0 else ""
            table.add_row(device_id, term, f"{joules:.3g}", share, TERMS.get(term, ""))
        table.add_row(device_id, "[bold]all[/]", f"[bold]{energy.u:.3g}[/]", "100%", "")
        own = f"{energy.u_same_card:.3g}"
        table.add_row(device_id, "same card", own, "", "without the card's gain and offset")
    return table


def _generation_table(generation: dict[str, object]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("generation")
    table.add_column("", justify="right")
    for name, value in generation.items():
        table.add_row(name, str(value))
    return table


def _notes(trace: Trace) -> list[str]:
    notes = list(trace.notes)
    notes.extend(f"not readable: {reason}" for reason in trace.unreadable.values())
    for device_id, energy in trace.energies.items():
        uuid = trace.recorded.devices[device_id].meta.uuid
        who = f"{device_id} ({uuid})" if uuid else device_id
        notes.append(f"{who}: {energy.scope} scope, {energy.method}")
        notes.extend(energy.notes)
    models = trace._evaluated().models.values()
    read = [m for m in models if m.device.meta.source != "estimate"]
    unknown = [m for m in read if not m.is_calibrated or m.profile.gain_u >= GAIN_U]
    gain = "; the sensor's unknown gain is included" if unknown else ""
    notes.append(f"± is one standard uncertainty{gain}")
    return list(dict.fromkeys(notes))


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
