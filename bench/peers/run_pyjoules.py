# SPDX-License-Identifier: Apache-2.0
"""pyJoules: an ``EnergyMeter`` on the GPU, started and stopped for each window."""

from __future__ import annotations

from importlib.metadata import version

from peer import Tool, serve
from pyJoules.device import DeviceFactory
from pyJoules.device.nvidia_device import NvidiaGPUDomain
from pyJoules.energy_meter import EnergyMeter


class PyJoules(Tool):
    """What ``EnergyContext`` and ``measure_energy`` do inside: differences of the counter."""

    version = version("pyJoules")

    def __init__(self) -> None:
        super().__init__()
        self._domain = NvidiaGPUDomain(0)
        self._meter = EnergyMeter(DeviceFactory.create_devices([self._domain]))

    def begin(self, label: str) -> None:
        self._meter.start(tag=label)

    def end(self) -> None:
        self._meter.stop()
        (sample,) = self._meter.get_trace()
        self.answer(sample.energy[str(self._domain)] / 1e3)


if __name__ == "__main__":
    serve(PyJoules())
