# SPDX-License-Identifier: Apache-2.0
"""Pictures of a trace. Needs the ``report`` extra (matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PyEnergyError
from ..units import NS_PER_S

if TYPE_CHECKING:
    import os

    from .._trace import Trace

__all__ = ["power_plot"]


def power_plot(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Draw every device's power readings over time, with the marks shaded, to a PNG, SVG or PDF.

    A reading is drawn as it was seen: a level while it was unchanged, broken where nothing was
    read.

    Raises
    ------
    PyEnergyError
        When matplotlib is not installed, with the command that installs it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PyEnergyError("plots need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    start, end = trace.bounds_ns
    for name in trace.channels:
        if name.endswith("/power"):
            _draw_series(axes, trace, name, start)
    _draw_marks(axes, trace, start)
    axes.set(xlim=(0, (end - start) / NS_PER_S), xlabel="time (s)", ylabel="power reading (W)")
    axes.set_ylim(0, 1.25 * axes.dataLim.y1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(trace), loc="left", fontsize=10)
    axes.legend(loc="lower left", frameon=False, fontsize=8)
    target = Path(path)
    figure.savefig(target, dpi=150)
    return target


def _draw_series(axes: Any, trace: Trace, name: str, start: int) -> None:
    series = trace.series(name)
    t = np.stack([series.t_ns, series.last_ns], axis=1).ravel()
    y = np.repeat(series.values, 2)  # NaN where missing: matplotlib breaks the line there
    device = trace.recorded.devices[name.split("/")[0]].meta
    kind = " (estimate)" if device.source == "estimate" else ""
    axes.plot((t - start) / NS_PER_S, y, lw=1.4, label=f"{device.id} {device.name}{kind}")


def _draw_marks(axes: Any, trace: Trace, start: int) -> None:
    top = [m for m in trace.marks if m.depth == 0]
    if len(top) > 30:
        return
    names = list(dict.fromkeys(m.name for m in top))
    for mark in top:
        colour = f"C{(names.index(mark.name) + 1) % 10}"
        a, b = (mark.start_ns - start) / NS_PER_S, (mark.end_ns - start) / NS_PER_S
        axes.axvspan(a, b, color=colour, alpha=0.12, lw=0)
        if b - a > 0.012 * len(mark.name) * trace.duration_s:  # else it would cover its neighbour
            axes.text((a + b) / 2, 0.97, mark.name, transform=axes.get_xaxis_transform(),
                      ha="center", va="top", fontsize=8, color=colour)  # fmt: skip


def _title(trace: Trace) -> str:
    if trace.unreadable:
        return "some devices could not be read"
    return f"{trace.energy} in {trace.duration_s:.2f} s"
