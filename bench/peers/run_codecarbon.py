# SPDX-License-Identifier: Apache-2.0
"""CodeCarbon: a task for each window, the finest that it offers."""

from __future__ import annotations

from importlib.metadata import version

from codecarbon import OfflineEmissionsTracker
from peer import Tool, serve

J_PER_KWH = 3.6e6


class CodeCarbon(Tool):
    """``start_task`` and ``stop_task`` read the energy counter; only the GPU's part is taken."""

    version = version("codecarbon")

    def __init__(self) -> None:
        super().__init__()
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="DEU",
            measure_power_secs=1,
            gpu_ids=[0],
            output_methods=[],
            log_level="error",
            allow_multiple_runs=True,
        )
        self._count = 0
        self.begin("warm up")  # the first task looks for the hardware, for seconds
        self.end()

    def begin(self, label: str) -> None:
        self._count += 1  # names of tasks must differ
        self._tracker.start_task(f"{label} {self._count}")

    def end(self) -> None:
        self.answer(self._tracker.stop_task().gpu_energy * J_PER_KWH)


if __name__ == "__main__":
    serve(CodeCarbon())
