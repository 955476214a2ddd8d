# SPDX-License-Identifier: Apache-2.0
"""Parts of the page that are tables: phases, layers, kernels, uncertainty, sensors, provenance."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from .._energy import format_with_uncertainty
from ..attribution.tables import GAP, UNATTRIBUTED
from ..errors import PyEnergyError
from ..sensor.terms import TERMS
from ..units import engineering
from .attributed import attributed_table
from .html_parts import Cell, bar, energy_cell, facts, percent, quantity, safe, table
from .html_treemap import Tile, treemap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._trace import Trace

__all__ = ["budgets", "operations", "phases_table", "provenance", "sensors", "tokens"]

_ENERGY = "energy ± u, 95 %"
_MOST_GAPS = 0.6  # of the whole, in a tree map


def phases_table(trace: Trace) -> str:
    """The marks with their energies; none where a device is missing from the sum."""
    if not trace.marks:
        return ""
    if trace.unreadable:
        return (
            "<p>Energies of phases are not given: they would be without "
            f"{safe(', '.join(trace.unreadable))}.</p>"
        )
    low = trace.kept_ns[0]
    rows = []
    for row in trace.spans().iter_rows(named=True):
        name = f'<span class="in" style="--d:{row["depth"]}">{safe(row["name"])}</span>'
        rows.append(
            [
                Cell(name, row["name"], "t"),
                quantity((row["start_ns"] - low) / 1e9, "s"),
                quantity(row["duration_s"], "s", "n"),
                energy_cell(row["energy_j"], row["u_j"]),
                quantity(row["mean_power_w"], "W"),
            ]
        )
    head = [("phase", "t"), ("start", "n w"), ("time", "n"), (_ENERGY, "n"), ("mean", "n w")]
    return table("phases", head, rows, "trace.spans() has them")


# Tokens -------------------------------------------------------------------------------------


def tokens(trace: Trace) -> str:
    """What was generated, and its energies where they are known."""
    generation = trace.recorded.extra.get("generation")
    parts = []
    if isinstance(generation, dict):
        parts.append(facts(generation))
    ask = getattr(trace, "tokens", None)
    if callable(ask):
        try:
            found = ask()
        except PyEnergyError:  # nothing was generated here, or a device was not read
            found = None
        if found is not None and hasattr(found, "iter_rows"):
            parts.append(_frame("tokens", found))
    return "".join(parts)


def _frame(name: str, frame: Any) -> str:
    """Any table: energies with the uncertainties beside them, other columns as they are."""
    pairs = {c: u for c in frame.columns if (u := _u_of(c)) in frame.columns}
    shown = [c for c in frame.columns if c not in pairs.values()]
    rows = [
        [
            energy_cell(row[c], row[pairs[c]]) if c in pairs else _plain_cell(c, row[c])
            for c in shown
        ]
        for row in frame.iter_rows(named=True)
    ]
    head = [(c, "t" if rows and rows[0][i].kind == "t" else "n") for i, c in enumerate(shown)]
    return table(name, head, rows, "trace.tokens() has them")


def _u_of(column: str) -> str:
    if column == "energy_j":
        return "u_j"
    return f"{column[:-2]}_u_j" if column.endswith("_j") else ""


def _plain_cell(column: str, value: Any) -> Cell:
    for ending, unit in (("_j", "J"), ("_s", "s"), ("_w", "W")):
        if column.endswith(ending) and isinstance(value, (int, float)):
            return quantity(float(value), unit, "n")
    if isinstance(value, float):
        return Cell(f"{value:.6g}", value)
    if isinstance(value, int):
        return Cell(f"{value:,}", value)
    return Cell("" if value is None else safe(value), safe(value), "t")


# Operations ---------------------------------------------------------------------------------


def operations(trace: Trace) -> str:
    """Where the energy went: tree map, and tables by kind of layer, module, layer and kernel."""
    attached = trace.operations
    if attached is None:
        return (
            "<p>No operations are attached. <code>trace.attach(...)</code> takes a torch profiler, "
            "a Kineto or nsys file, or any table of name, start_ns, end_ns.</p>"
        )
    layered = bool((attached.layer >= 0).any())
    several = len(attached.used_devices()) > 1
    kernels = attributed_table(trace, ("device", "name"))
    if kernels is None:
        return "<p>None of the devices that operations ran on was read.</p>"
    by = ("device", "layer", "layer_type") if layered else ("device", "name")
    parts = [_map(_tiles(attributed_table(trace, by), layered, several))]
    parts.append(
        '<p class="dim">Each energy has the static part of its time in it; together they are the '
        "energy of the devices that operations ran on. Below each energy is its 95 % "
        "interval.</p>"
    )
    if layered:
        parts += [
            _headed("By kind of layer", _shares(trace, "layer_type", several)),
            _headed("By module, with all modules in it", _tree(trace)),
            _headed("By layer", _shares(trace, "layer", several)),
        ]
    parts.append(_headed("By kernel", _shares(trace, "name", several)))
    unread = [name for name in attached.used_devices() if name not in trace.energies]
    if unread:
        parts.append(
            f'<p class="bad">Not in it: what ran on {safe(", ".join(unread))}, which was not '
            "read.</p>"
        )
    return "".join(parts)


def _map(tiles: Sequence[Tile]) -> str:
    """The tree map; without the gaps where beside them nothing else could be seen."""
    gaps = [tile for tile in tiles if tile.label.endswith(GAP)]
    whole, idle = sum(t.joules for t in tiles), sum(t.joules for t in gaps)
    if not (whole > 0 and idle > _MOST_GAPS * whole) or len(gaps) == len(tiles):
        return treemap(tiles)
    said = "; ".join(f"{tile.label}: {tile.said}" for tile in gaps)
    return (
        f"<p><b>{safe(said)}, {safe(percent(idle / whole))} of the whole.</b> The map shows the "
        f"other {safe(percent(1 - idle / whole))}, which could not be seen beside it.</p>"
        + treemap([tile for tile in tiles if tile not in gaps], whole)
    )


def _headed(title: str, body: str) -> str:
    return f"<h3>{safe(title)}</h3>{body}" if body else ""


def _tiles(frame: Any, layered: bool, several: bool) -> list[Tile]:
    found = []
    for row in frame.filter(frame["energy_j"].is_not_null()).iter_rows(named=True):
        name = row["layer" if layered else "name"]
        nobody = row["kind"] != "operation" or name == UNATTRIBUTED
        device = f"{row['device']}: " if several else ""
        kind = "" if nobody else (row["layer_type"] if layered else row["device"])
        joules, u = row["energy_j"] + row["static_j"], math.hypot(row["u_j"], row["static_u_j"])
        label = GAP if row["kind"] == "gap" else name or "(model)"
        said = format_with_uncertainty(joules, u, "J")
        found.append(Tile(device + label, kind, joules, said, layered and not nobody))
    return found


def _shares(trace: Trace, by: str, several: bool) -> str:
    """`Trace.kernels` as a table, the static part of each time added."""
    frame = attributed_table(trace, ("device", by))
    assert frame is not None
    static = bool((frame["static_j"].fill_null(0.0) != 0).any())
    rows = [_share_row(row, by, several, static) for row in frame.iter_rows(named=True)]
    head = [
        ({"name": "kernel", "layer_type": "kind"}.get(by, by), "t l"),
        *([("device", "t d")] if several else []),
        (_ENERGY, "n"),
        *([("of it static", "n w")] if static else []),
        ("share", "n"),
        ("time", "n w"),
        ("count", "n w"),
        ("mean", "n w"),
    ]
    return table(f"by-{by}", head, rows, f"trace.kernels({by!r}) has them")


def _share_row(row: dict[str, Any], by: str, several: bool, static: bool) -> list[Cell]:
    joules, u = row["energy_j"], None
    if joules is not None:
        joules, u = joules + row["static_j"], math.hypot(row["u_j"], row["static_u_j"])
    name = GAP if row["kind"] == "gap" else row[by] or "(model)"
    nobody = row["kind"] != "operation" or name == UNATTRIBUTED
    shown = f'<span class="dim">{safe(name)}</span>' if nobody else safe(name)
    static_cell = Cell("", None, "n w")
    if row["static_j"] is not None:
        of_it = energy_cell(row["static_j"], row["static_u_j"])
        static_cell = of_it._replace(kind="n w")
    return [
        Cell(shown, name, "t l"),
        *([Cell(safe(row["device"]), row["device"], "t d")] if several else []),
        energy_cell(joules, u),
        *([static_cell] if static else []),
        bar(row["share"]),
        quantity(row["time_s"], "s"),
        Cell(f"{row['count']:,}", row["count"], "n w"),
        quantity(row["power_w"], "W"),
    ]


def _tree(trace: Trace) -> str:
    """Modules with all in them; of several devices together, where all were read."""
    try:
        frame = trace.tree()
    except PyEnergyError:
        return ""
    attached = trace.operations
    assert attached is not None
    separator = "/" if any("/" in name for name in attached.layers) else "."
    rows = []
    for row in frame.iter_rows(named=True):
        path, depth = row["path"] or "(model)", row["depth"]
        name = path.split(separator)[-1] if depth else path
        inset = f'<span class="in" style="--d:{depth}" title="{safe(path)}">{safe(name)}</span>'
        rows.append(
            [
                Cell(inset, path, "t l"),
                energy_cell(row["total_j"], row["u_j"]),
                bar(row["share"]),
                quantity(row["own_j"], "J"),
            ]
        )
    head = [("module", "t l"), (_ENERGY, "n"), ("share", "n"), ("its own", "n w")]
    return table("by-module", head, rows, "trace.tree() has them")


# Uncertainty, sensors, provenance -----------------------------------------------------------


def budgets(trace: Trace) -> str:
    """Where the uncertainty of each device's energy comes from."""
    parts: list[str] = []
    energies = trace.energies
    for device_id, energy in energies.items():
        rows = [
            [
                Cell(f"{safe(term)}<small>{safe(TERMS.get(term, ''))}</small>", term, "t l"),
                quantity(joules, "J", "n"),
                bar(joules**2 / energy.u**2 if energy.u > 0 else None),
            ]
            for term, joules in energy.budget().items()
            if joules != 0.0
        ]
        head = [("u of", "t l"), ("J", "n"), ("share of u²", "n")]
        said = (
            f"<p>{safe(energy)}: together u = {safe(engineering(energy.u, 'J'))}; without the "
            f"card's gain and offset, for comparisons on one card, "
            f"{safe(engineering(energy.u_same_card, 'J'))}.</p>"
        )
        name = f"<h3>{safe(device_id)}</h3>" if len(trace.recorded.devices) > 1 else ""
        parts.append(name + said + table(f"budget-{len(parts)}", head, rows))
    return "".join(parts)


def sensors(trace: Trace) -> str:
    """Which devices were read, through which sensors, how often, and by which model."""
    parts = []
    models = trace._evaluated().models
    for number, (device_id, device) in enumerate(trace.recorded.devices.items()):
        meta, model = device.meta, models.get(device_id)
        known: dict[str, Any] = {
            "method": model.method if model is not None else "",
            "not readable": trace.unreadable.get(device_id, ""),
            "UUID": meta.uuid,
            "PCI": meta.pci_bus_id,
            "architecture": meta.architecture,
            "driver": meta.driver,
            "read through": meta.source,
            "power range": _range(meta.power_min_w, meta.power_max_w),
        }
        if model is not None:
            card = model.profile
            whose = f"calibrated ({card.name or card.uuid})" if model.is_calibrated else "assumed"
            known["gain"] = f"{card.gain:.4g} ± {card.gain_u:.2g}, {whose}"
            known["offset"] = f"{card.offset_w:.3g} ± {card.offset_u_w:.2g} W, {whose}"
        head = [
            ("channel", "t"), ("unit", "t"), ("reads", "n"), ("values", "n"), ("failed", "n"),
            ("updates", "n w"), ("source", "t w"), ("scope", "t w"),
        ]  # fmt: skip
        parts.append(
            f"<h3>{safe(device_id)} {safe(meta.name)}</h3>{facts(known)}"
            + table(f"channels-{number}", head, _channels(device))
        )
    return "".join(parts)


def _range(low: float, high: float) -> str:
    """What of it is known."""
    known = [
        f"{word} {engineering(value, 'W')}"
        for word, value in (("at least", low), ("at most", high))
        if math.isfinite(value)
    ]
    return ", ".join(known)


def _channels(device: Any) -> list[Sequence[Cell]]:
    rows: list[Sequence[Cell]] = []
    for name, channel in device.channels.items():
        runs = device.runs[name]
        usable = runs.usable
        failed = int(runs.count[~usable].sum())
        rows.append(
            [
                Cell(safe(name), name, "t"),
                Cell(safe(channel.unit), channel.unit, "t"),
                Cell(f"{int(runs.count.sum()):,}", int(runs.count.sum())),
                Cell(f"{int(usable.sum()):,}", int(usable.sum())),
                Cell(f'<span class="bad">{failed:,}</span>' if failed else "0", failed),
                quantity(channel.update_ns / 1e9 if channel.update_ns > 0 else None, "s"),
                Cell(safe(channel.source), channel.source, "t w"),
                Cell(safe(channel.scope), channel.scope, "t w"),
            ]
        )
    return rows


def provenance(trace: Trace) -> str:
    """Where, when and with what; what was kept with the trace; how the clocks were joined."""
    recorded = trace.recorded
    known = dict(recorded.provenance)
    if len(recorded.anchors):
        widest = max(anchor.width_ns for anchor in recorded.anchors)
        known["clock anchors"] = (
            f"{len(recorded.anchors)}, each known to within {engineering(widest / 1e9, 's')}"
        )
    if recorded.operations is not None:
        known["operations"] = f"{len(recorded.operations):,} from {recorded.operations.source}"
        bound_ns = recorded.operations.bound_ns
        within = f"joined to within {engineering(bound_ns / 1e9, 's')}"
        known["their clock"] = within if bound_ns > 0 else "the recording's own"
    for name, value in recorded.extra.items():
        if name != "generation":
            known[f"kept: {name}"] = json.dumps(value)
    return facts(known)
