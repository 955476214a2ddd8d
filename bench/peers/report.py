# SPDX-License-Identifier: Apache-2.0
"""Records as tables, as a chart, and as a file that gives them back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from ..harness import machine
from . import OURS, PEERS, score
from .score import Coverage, Record
from .worlds import WRONG_GAIN, WRONG_OFFSET_W

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Between the lengths that the scenarios have; in s.
EDGES_S = (0.02, 0.08, 0.25, 0.7, 1.6, 4.5)
FLOOR_PERCENT = 0.01  # of the chart: smaller errors lie on it
# Okabe and Ito's colours, which people of every colour vision tell apart; markers do so in grey.
STYLES: dict[str, tuple[str, str]] = {
    "pyenergy": ("#000000", "o"),
    "zeus counter": ("#0072B2", "s"),
    "zeus approx": ("#56B4E9", "D"),
    "zeus power": ("#009E73", "v"),
    "codecarbon": ("#D55E00", "^"),
    "pyjoules": ("#CC79A7", "P"),
    "nvitop": ("#E69F00", "X"),
    "polling": ("#8C8C8C", "*"),
}
_DIGITS = 6


def tools_of(records: Iterable[Record]) -> list[str]:
    """In the order of the registry."""
    there = {r.tool for r in records}
    return [p.name for p in PEERS if p.name in there]


def _grouped(records: Iterable[Record], key: str) -> Iterator[tuple[str, list[Record]]]:
    """By one of their fields, in the order of first appearance."""
    order: dict[str, int] = {}
    chosen = list(records)
    for r in chosen:
        order.setdefault(getattr(r, key), len(order))
    chosen.sort(key=lambda r: order[getattr(r, key)])
    for name, group in groupby(chosen, key=lambda r: getattr(r, key)):
        yield name, list(group)


# Tables ------------------------------------------------------------------------------------


def error_tables(records: list[Record]) -> list[Table]:
    """One for each scenario: error of the sum, and median error of single windows, in %."""
    tools, tables = tools_of(records), []
    for scenario, of_scenario in _grouped(records, "scenario"):
        count = len(of_scenario[0].truth_j)
        what = "error of the window, %"
        if count > 1:
            what = f"{count} windows: error of the sum | median error of one, %"
        table = Table("sensor", *tools, title=f"{scenario}; {what}", title_justify="left")
        for config, of_config in _grouped(of_scenario, "config"):
            found = {r.tool: r for r in of_config}
            table.add_row(config, *(error_cell(found.get(tool)) for tool in tools))
        tables.append(table)
    return tables


def error_cell(record: Record | None) -> str:
    """``+1.2 | 3.4``, and how many windows got no answer."""
    if record is None:
        return ""
    if score.silent(record) == len(record.joules):
        return "no answer"
    text = f"{score.sum_error_percent(record):+.1f}"
    if len(record.joules) > 1:
        text += f" | {score.median_error_percent(record):.1f}"
    silent = score.silent(record)
    return f"{text} ({silent} unanswered)" if silent else text


def coverage_table(records: list[Record]) -> Table:
    """How often our intervals held the truth, with the bounds of that share."""
    ours = [r for r in records if r.tool == OURS and len(r.u_j)]
    table = Table(
        "scenario", "gain right", "gain wrong", "same card, gain right", "median half-width, %",
        title="Coverage of pyenergy's 95 % intervals", title_justify="left",
    )  # fmt: skip
    for name, group in [*_grouped(ours, "scenario"), ("all", ours)]:
        right = [r for r in group if "gain right" in r.config]
        wrong = [r for r in group if "gain wrong" in r.config]
        # What repeats on one card leaves its gain out: the truth has it only where it is right.
        cells = (_coverage(right), _coverage(wrong), _coverage(right, same_card=True))
        widths = [w for r in group for w in score.half_widths_percent(r)]
        table.add_row(name, *map(str, cells), f"{np.median(widths):.1f}" if widths else "")
    return table


def _coverage(records: list[Record], same_card: bool = False) -> Coverage:
    found = (score.coverage(r, same_card) for r in records)
    return reduce(lambda a, b: a + b, found, Coverage(0, 0))


def cost_table(records: list[Record], versions: dict[str, str]) -> Table:
    """What measuring cost each tool."""
    table = Table("tool", "version", "CPU ms/s", "and to answer, ms/s", "NVML calls/s",
                  title="Cost", title_justify="left")  # fmt: skip
    for tool in tools_of(records):
        group = [r for r in records if r.tool == tool]
        seconds = sum(r.run_s for r in group)
        rates = (sum(r.cpu_s for r in group) * 1e3, sum(r.answer_cpu_s for r in group) * 1e3,
                 float(sum(r.calls for r in group)))  # fmt: skip
        table.add_row(tool, versions.get(tool, ""), *(f"{rate / seconds:.1f}" for rate in rates))
    return table


# Chart -------------------------------------------------------------------------------------


def chart(records: list[Record], path: Path) -> None:
    """Error against window length: one panel for right gains, one for wrong ones, if any."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    wrong = f"readings {(WRONG_GAIN - 1) * 100:g} % and {WRONG_OFFSET_W:g} W too high"
    panels = {
        "readings right": [r for r in records if "gain right" in r.config],
        wrong: [r for r in records if "gain wrong" in r.config],
    }
    panels = {title: group for title, group in panels.items() if group}
    with mpl.rc_context({"font.size": 10, "svg.hashsalt": "pyenergy", "svg.fonttype": "none"}):
        figure = Figure(figsize=(5.4 * len(panels), 5.2), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (title, group) in zip(axes, panels.items(), strict=True):
            _panel(ax, title, group)
        axes[0].set_ylabel("error of one window (thick: median, thin: 95th percentile)")
        drawn = axes[0].get_legend_handles_labels()
        handles, labels = (names[::-1] for names in drawn)  # ours first
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(ax: Axes, title: str, records: list[Record]) -> None:
    tools = tools_of(records)
    for k, tool in reversed(list(enumerate(tools))):  # ours last: on top
        colour, marker = STYLES[tool]
        points = score.by_length((r for r in records if r.tool == tool), EDGES_S)
        apart = 1.04 ** (k - (len(tools) - 1) / 2)  # tools that agree would hide each other
        x = [p.length_s * apart for p in points]
        median = [max(p.median, FLOOR_PERCENT) for p in points]
        p95 = [max(p.p95, FLOOR_PERCENT) for p in points]
        width = 2.6 if tool == OURS else 1.4
        ax.plot(x, median, color=colour, marker=marker, markersize=5, lw=width, label=tool)
        ax.plot(x, p95, color=colour, lw=0.6, alpha=0.8)
    ax.set(xscale="log", yscale="log", title=title, xlabel="length of the window")
    ax.xaxis.set_major_formatter(lambda s, _: f"{s:g} s" if s >= 1 else f"{s * 1e3:g} ms")
    ax.yaxis.set_major_formatter(lambda percent, _: f"{percent:g} %")
    ax.grid(True, which="major", lw=0.4, color="#cccccc")
    ax.spines[["top", "right"]].set_visible(False)


# File --------------------------------------------------------------------------------------


def save(records: list[Record], about: dict[str, Any], path: Path) -> None:
    """As JSON, a line for each record, with the machine."""
    head = json.dumps({"machine": machine(), **about}, indent=1)
    lines = ",\n".join("  " + json.dumps(_plain(asdict(r))) for r in records)
    path.write_text(f'{head[:-2]},\n "records": [\n{lines}\n ]\n}}\n')


def load(path: Path) -> tuple[list[Record], dict[str, Any]]:
    """What `save` wrote: records, and all that stands beside them."""
    about = json.loads(path.read_text())
    known = {f.name for f in fields(Record)}
    records = []
    for entry in about.pop("records"):
        columns = {k: _numbers(v) for k, v in entry.items() if k in known}
        records.append(Record(**columns))
    return records, about


def _plain(value: Any) -> Any:
    """JSON has no NaN, and nobody needs 17 digits."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def _numbers(value: Any) -> Any:
    return [math.nan if v is None else v for v in value] if isinstance(value, list) else value
