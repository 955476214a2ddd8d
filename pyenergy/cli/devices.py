# SPDX-License-Identifier: Apache-2.0
"""``pyenergy devices``: what this process can measure."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .. import _core
from .._devices import devices
from ..units import engineering

__all__ = ["command"]


def command() -> None:
    """List the devices this process can measure: GPUs in its own (CUDA's) order."""
    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("id", "name", "reads", "power range", "UUID"):
        table.add_column(name)
    found = devices()
    for device in found:
        channels = [c for c in _core.open_channels(device.info) if c.group == "fast"]
        reads = ", ".join(c.name for c in channels) or "nothing"
        if device.is_estimate:
            reads = "power [yellow](estimate, no sensor)[/]"
        low, high = device.meta.power_min_w, device.meta.power_max_w
        span = f"{engineering(low, 'W')} … {engineering(high, 'W')}" if high == high else "unknown"
        table.add_row(device.id, escape(device.meta.name), reads, span, device.meta.uuid)
    console.print(table)
    report = _core.enumerate("nvml")
    if not report.available:
        console.print(f"· NVIDIA GPUs: {report.reason}", markup=False)
    report = _core.enumerate("rapl")
    if report.reason:
        console.print(f"· RAPL: {report.reason}", markup=False, soft_wrap=True)
    if not found:
        console.print("nothing can be read here; 'pyenergy doctor' says why")
