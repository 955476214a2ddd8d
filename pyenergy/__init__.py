# SPDX-License-Identifier: Apache-2.0
"""Joules you can trust: GPU and CPU energy, each figure with its uncertainty.

>>> import pyenergy
>>> with pyenergy.trace(devices="sim:a100") as t:
...     with pyenergy.mark("work"):
...         _ = sum(range(100_000))
>>> t.energy.scope
'gpu'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import errors
from ._api import Monitor, load, now_ns, trace
from ._compare import Comparison, compare
from ._core import __version__
from ._devices import Device, devices
from ._energy import Energy
from ._keep import start, stop
from ._marks import mark
from ._native import get_cmake_dir, get_include, get_library, get_pkgconfig_dir
from ._source import EnergySource
from .errors import PyEnergyError

if TYPE_CHECKING:
    from . import sensor, testing
    from ._layers import LayerEnergies, layers
    from ._measure import Measurement, Measurements, measure, measure_many
    from ._trace import Trace
    from .recording.series import Series

__all__ = [
    "Comparison",
    "Device",
    "Energy",
    "EnergySource",
    "LayerEnergies",
    "Measurement",
    "Measurements",
    "Monitor",
    "PyEnergyError",
    "Series",
    "Trace",
    "__version__",
    "compare",
    "devices",
    "errors",
    "get_cmake_dir",
    "get_include",
    "get_library",
    "get_pkgconfig_dir",
    "layers",
    "load",
    "mark",
    "measure",
    "measure_many",
    "now_ns",
    "sensor",
    "start",
    "stop",
    "testing",
    "trace",
]

# Loaded when first used, to keep `import pyenergy` light.
_LAZY = {
    "LayerEnergies": "._layers",
    "layers": "._layers",
    "Measurement": "._measure",
    "Measurements": "._measure",
    "measure": "._measure",
    "measure_many": "._measure",
    "Trace": "._trace",
    "Series": ".recording.series",
    "testing": ".testing",
    "sensor": ".sensor",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'pyenergy' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_LAZY[name], __name__)
    value = module if name in ("testing", "sensor") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
