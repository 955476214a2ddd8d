# SPDX-License-Identifier: Apache-2.0
"""A report of a trace as one HTML file that needs nothing else, and no network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .._energy import format_with_uncertainty
from ..recording.whole_file import whole_file
from ..units import engineering
from .attributed import at_rest, ran_on
from .html_page import page
from .html_parts import safe, section
from .html_power import power_chart
from .html_sections import budgets, operations, phases_table, provenance, sensors, tokens
from .text import _notes

if TYPE_CHECKING:
    from .._trace import Trace

__all__ = ["render_html", "write_html"]


def write_html(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write `render_html` to ``path``.

    Raises
    ------
    RecordingError
        When the file cannot be written.
    """
    target, text = Path(path), render_html(trace)
    with whole_file(target) as part:
        part.write_text(text, encoding="utf-8")
    return target


def render_html(trace: Trace) -> str:
    """The page: headline with its interval, power over time, where the joules went, how sure.

    A device that was not read is said to be so, and what would be a sum without it is left out.
    """
    trace = at_rest(trace)
    body = [
        _banners(trace),
        _headline(trace),
        section("Power over time", "power", _power(trace)),
        section("Phases", "phase-energies", phases_table(trace)),
        section("Tokens", "generation", tokens(trace)),
        section("Where the joules went", "joules", operations(trace)),
        section("Where the uncertainty comes from", "uncertainty", budgets(trace)),
        section("Sensors", "sensors", sensors(trace)),
        section("Provenance", "provenance", provenance(trace)),
        section("Notes", "notes", _all_notes(trace)),
    ]
    what = "not readable" if trace.unreadable else str(trace.energy)
    return page(f"{safe(what)} · pyenergy", "".join(body))


def _banners(trace: Trace) -> str:
    parts = []
    estimated = [d.meta.id for d in trace.recorded.devices.values() if d.meta.source == "estimate"]
    if estimated:
        parts.append(
            '<div class="estimate" role="note"><b>ESTIMATE, not a measurement</b>'
            f"{safe(', '.join(estimated))}: no sensor was read.</div>"
        )
    if trace.unreadable:
        lines = "".join(f"<div>{safe(reason)}</div>" for reason in trace.unreadable.values())
        parts.append(f'<div class="missing" role="note">Not readable, and in no sum: {lines}</div>')
    return "".join(parts)


def _headline(trace: Trace) -> str:
    seconds, energies = trace.duration_s, trace.energies
    parts = ["<h1>pyenergy</h1>"]
    tiles = [("time", engineering(seconds, "s"), "")]
    if trace.unreadable:
        parts.append('<p class="headline">no total</p>')
        parts.append('<p class="interval">a sum without a device would be wrong</p>')
    else:
        energy = trace.energy
        parts.append(f'<p class="headline">{safe(energy)}</p>')
        parts.append(
            f'<p class="interval">95 % interval {safe(energy.format_interval(0.95))}; ± is one '
            "standard uncertainty</p>"
        )
        mean = format_with_uncertainty(energy.joules / seconds, energy.u / seconds, "W")
        tiles += [
            ("mean power", mean, ""),
            ("peak power", engineering(trace.peak_power_w, "W"), ""),
        ]
    if len(trace.recorded.devices) > 1 or trace.unreadable:
        for device_id, device in trace.recorded.devices.items():
            own = energies.get(device_id)
            said, interval = "not readable", ""
            if own is not None:
                said, interval = str(own), own.format_interval(0.95)
            tiles.append((f"{device_id} {device.meta.name}", said, interval))
    else:
        tiles += [(d.meta.id, d.meta.name, "") for d in trace.recorded.devices.values()]
    shown = "".join(
        f"<div><b>{safe(said)}</b>{f'<small>{safe(more)}</small>' if more else ''}"
        f"<span>{safe(name)}</span></div>"
        for name, said, more in tiles
    )
    return f'{"".join(parts)}<div class="tiles">{shown}</div>'


def _power(trace: Trace) -> str:
    parts = []
    for device_id, device in trace.recorded.devices.items():
        if len(trace.recorded.devices) > 1:
            parts.append(f"<h3>{safe(device_id)} {safe(device.meta.name)}</h3>")
        if device_id in trace.unreadable:
            parts.append(f'<p class="bad">{safe(trace.unreadable[device_id])}</p>')
        else:
            parts.append(power_chart(trace, device_id))
    parts.append(
        '<div class="legend"><span><i style="background:var(--band)"></i>readings: least to '
        'greatest in each pixel</span><span><i class="line" style="background:var(--accent)"></i>'
        "the model's power, its area being the energy</span><span><i "
        'style="background:var(--bad);opacity:.25"></i>nothing was read</span></div>'
    )
    return "".join(parts)


def _all_notes(trace: Trace) -> str:
    notes = list(_notes(trace))
    for ran in ran_on(trace):
        if ran.attributed is not None:
            notes.extend(ran.attributed.notes)
    lines = "".join(f"<li>{safe(note)}</li>" for note in dict.fromkeys(notes))
    return f"<ul>{lines}</ul>"
