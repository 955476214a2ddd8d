# SPDX-License-Identifier: Apache-2.0
"""nvitop: mean power of its collector times the duration it states; it reads no energy."""

from __future__ import annotations

import math
from importlib.metadata import version

from nvitop import Device, ResourceMetricCollector
from peer import Tool, serve

INTERVAL_S = 0.01  # its default of 1 s would give no answer to most windows
TAG = "window"


class Nvitop(Tool):
    """A collection for each window inside one that never ends, as its docs nest them."""

    version = version("nvitop")

    def __init__(self) -> None:
        super().__init__()
        self._collector = ResourceMetricCollector(
            devices=[Device(0)], root_pids=set(), interval=INTERVAL_S
        )
        # Its background thread ends with the last collection and is not started again.
        self._collector.activate(tag="always")

    def begin(self, label: str) -> None:
        self._collector.activate(tag=TAG)

    def end(self) -> None:
        found = self._collector.collect()
        self._collector.deactivate(tag=TAG)
        prefix = f"always/{TAG}/"
        power_w = found.get(f"{prefix}gpu:0/power_usage (W)/mean", math.nan)
        self.answer(power_w * found[f"{prefix}duration (s)"])

    def close(self) -> None:
        self._collector.deactivate(tag="always")


if __name__ == "__main__":
    serve(Nvitop())
