# SPDX-License-Identifier: Apache-2.0
"""Pictures of a trace and of a calibration. Needs the ``report`` extra (matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PyEnergyError
from ..units import NS_PER_S

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from .._trace import Trace
    from ..sensor.calibrate import Calibration

__all__ = ["calibration_plot", "power_plot"]


def power_plot(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Draw every device's power readings over time, with the marks shaded, to a PNG, SVG or PDF.

    A reading is drawn as it was seen: a level while it was unchanged, broken where nothing was
    read.

    Raises
    ------
    PyEnergyError
        When matplotlib is not installed, with the command that installs it.
    """
    figure = _figure(9, 3.6)
    axes = figure.add_subplot()
    start, end = trace.kept_ns
    for name in trace.channels:
        if name.endswith("/power"):
            _draw_series(axes, trace, name, start)
    _draw_marks(axes, trace, start)
    axes.set(xlim=(0, (end - start) / NS_PER_S), xlabel="time (s)", ylabel="power reading (W)")
    axes.set_ylim(0, 1.25 * axes.dataLim.y1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(trace), loc="left", fontsize=10)
    axes.legend(loc="lower left", frameon=False, fontsize=8)
    return _written(figure, path)


def _figure(width: float, height: float) -> Any:
    """An empty figure that needs no display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PyEnergyError("plots need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _written(figure: Any, path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    try:
        figure.savefig(target, dpi=150)
    except (OSError, ValueError) as error:  # ValueError: a format that matplotlib does not write
        raise PyEnergyError(f"cannot write {str(target)!r}: {error}") from error
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


def calibration_plot(result: Calibration, path: str | os.PathLike[str]) -> Path:
    """Draw the readings of a calibration, the model of them, and below what it leaves.

    On the left all of it, on the right a few updates from the middle of the square wave.

    Raises
    ------
    PyEnergyError
        When matplotlib is not installed, or the file cannot be written.
    """
    figure = _figure(9.5, 4.6)
    fit = result.fits[result.channel]
    start = int(fit.updates.t_ns[0])
    t = (fit.updates.t_ns - start) / NS_PER_S
    residual = fit.updates.value - fit.model_w
    axes = figure.subplots(2, 2, sharex="col", sharey="row", height_ratios=(3, 1))
    zoom = _zoom(result, t, start, 30 * fit.clock.period_s)
    for column, (a, b) in enumerate(((t[0], t[-1]), zoom)):
        upper, lower = axes[0, column], axes[1, column]
        for begin, end in zip(result.spans.starts_ns, result.spans.ends_ns, strict=True):
            if begin <= start + b * NS_PER_S and end >= start + a * NS_PER_S:
                span = ((begin - start) / NS_PER_S, (end - start) / NS_PER_S)
                upper.axvspan(*span, color="C1", alpha=0.12, lw=0)
        upper.step(t, fit.updates.value, where="post", color="0.45", lw=0.9, label="reading")
        upper.plot(t, fit.model_w, ".", color="C0", ms=3.5, label="model")
        lower.axhline(0, color="0.8", lw=0.8)
        lower.plot(t, residual, ".", color="C3", ms=3)
        lower.set(xlim=(a, b), xlabel="time (s)")
        for each in (upper, lower):
            each.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("power reading (W)")
    axes[1, 0].set_ylabel("residual (W)")
    limit = 1.2 * max(float(np.quantile(np.abs(residual), 0.995)), 1e-3)
    axes[1, 0].set_ylim(-limit, limit)
    axes[0, 1].legend(loc="upper right", frameon=False, fontsize=8)
    response = fit.response or "response as the catalogue has it"
    name = result.profile.name or result.profile.uuid
    figure.suptitle(f"{name}: {response}; load shaded", x=0.01, ha="left", fontsize=10)
    return _written(figure, path)


def _zoom(
    result: Calibration, t: NDArray[np.float64], start: int, length_s: float
) -> tuple[float, float]:
    """Around the middle of the shorter spans: the square wave."""
    lengths = result.spans.ends_ns - result.spans.starts_ns
    waves = result.spans.starts_ns[lengths <= np.median(lengths)]
    middle = (int(waves[len(waves) // 2]) - start) / NS_PER_S
    first = max(min(middle, float(t[-1]) - length_s), 0.0)
    return first, min(first + length_s, float(t[-1]))
