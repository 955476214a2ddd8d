# SPDX-License-Identifier: Apache-2.0
"""pyenergy: sampling runs from the start, a trace around each scenario, a mark for each window."""

from __future__ import annotations

from contextlib import ExitStack

from peer import Tool, serve

import pyenergy

DEVICES = "gpu:0"  # through NVML, as a real one


class PyEnergy(Tool):
    """Energies and uncertainties come from the spans of the trace."""

    version = pyenergy.__version__

    def __init__(self) -> None:
        super().__init__()
        self._monitor = None
        if hasattr(pyenergy, "start"):
            pyenergy.start(devices=DEVICES)
        else:
            self._monitor = pyenergy.Monitor(devices=DEVICES).start()
        self._scenario = ExitStack()

    def start(self) -> None:
        self._trace = self._scenario.enter_context(pyenergy.trace(devices=DEVICES))

    def begin(self, label: str) -> None:
        self._mark = pyenergy.mark(label)
        self._mark.__enter__()

    def end(self) -> None:
        self._mark.__exit__(None, None, None)

    def stop(self) -> None:
        self._scenario.close()
        for span in self._trace.spans().iter_rows(named=True):
            more = {"u_j": span["u_j"]}
            if "u_same_card_j" in span:
                more["u_same_card_j"] = span["u_same_card_j"]
            self.answer(span["energy_j"], **more)

    def close(self) -> None:
        if self._monitor is None:
            pyenergy.stop()
        else:
            self._monitor.stop()


if __name__ == "__main__":
    serve(PyEnergy())
