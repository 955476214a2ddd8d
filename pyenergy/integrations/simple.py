# SPDX-License-Identifier: Apache-2.0
"""A plain face over the same machinery, for people who come from polling scripts."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._api import Monitor
from ..config import DEFAULT_RATE_HZ
from ..errors import NoReadingsError, OptionError

__all__ = ["EnergyEfficientInference", "EnergyMonitor"]


class EnergyMonitor:
    """Start, stop, joules.

    Parameters
    ----------
    gpu_id : int or None
        GPU in this process's visible order; None: whatever can be measured (``"auto"``).
    sampling_interval : float
        Poll at least this often, s. Polling is finer where it can be: it costs little, and the
        sensor's own update period decides what is seen.
    devices : str, optional
        Any device request that `pyenergy.trace` takes; wins over ``gpu_id``.
    """

    def __init__(
        self,
        gpu_id: int | None = 0,
        sampling_interval: float = 0.1,
        *,
        devices: str | None = None,
    ) -> None:
        if not sampling_interval > 0:
            raise OptionError(f"sampling_interval must be positive, got {sampling_interval!r}")
        request = devices or ("auto" if gpu_id is None else f"gpu:{gpu_id}")
        rate = max(DEFAULT_RATE_HZ, 1.0 / sampling_interval)
        self._monitor = Monitor(devices=request, rate_hz=None if rate == DEFAULT_RATE_HZ else rate)
        self._running = False

    def start(self) -> EnergyMonitor:
        """Start measuring."""
        self._monitor.start()
        self._running = True
        return self

    def stop(self) -> dict[str, float]:
        """Stop; returns ``energy_joules``, ``energy_uncertainty_joules`` (one standard
        uncertainty), ``duration_seconds`` and ``avg_power_watts``."""
        trace = self._monitor.stop()
        self._running = False
        energy = trace.energy
        return {
            "energy_joules": energy.joules,
            "energy_uncertainty_joules": energy.u,
            "duration_seconds": trace.duration_s,
            "avg_power_watts": energy.joules / trace.duration_s,
        }

    def get_current_power(self) -> float:
        """Latest power reading, W, summed over the devices measured.

        Raises
        ------
        NoReadingsError
            When there is none.
        """
        return sum(self._latest("power").values())

    def get_temperature(self) -> float:
        """Latest temperature, degrees Celsius; the hottest device's."""
        return max(self._latest("temperature").values())

    def get_memory_info(self) -> dict[str, float]:
        """Device memory in bytes: ``used``, ``total`` and ``free``."""
        used = sum(self._latest("memory_used").values())
        total = sum(self._latest("memory_total").values())
        return {"used": used, "total": total, "free": total - used}

    def __enter__(self) -> EnergyMonitor:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        if self._running:
            self.stop()

    def _latest(self, channel: str) -> dict[str, float]:
        if not self._running:
            with Monitor(devices=self._monitor.devices) as once:
                return _latest_of(once, channel)
        return _latest_of(self._monitor, channel)


class EnergyEfficientInference:
    """Generate text and learn what it cost.

    Parameters
    ----------
    model, tokenizer : transformers model and tokenizer
        As ``from_pretrained`` returns them.
    gpu_id : int or None
        GPU in this process's visible order; None: whatever can be measured.
    devices : str, optional
        Any device request that `pyenergy.trace` takes; wins over ``gpu_id``.
    """

    def __init__(
        self, model: Any, tokenizer: Any, gpu_id: int | None = 0, *, devices: str | None = None
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._devices = devices or ("auto" if gpu_id is None else f"gpu:{gpu_id}")

    def generate_with_energy_tracking(
        self, prompt: str, max_tokens: int = 100, **kwargs: Any
    ) -> dict[str, Any]:
        """Generate up to ``max_tokens`` tokens after ``prompt``.

        Returns ``output`` (text), ``energy_joules``, ``energy_uncertainty_joules``,
        ``tokens_generated``, ``joules_per_token`` (per output token; NaN when none was generated)
        and ``generation`` (`pyenergy.integrations.transformers.Generation`, with all the rest).
        """
        from .transformers import generate

        inputs = self.tokenizer(prompt, return_tensors="pt").to(self.model.device)
        result = generate(
            self.model,
            trace_options={"devices": self._devices},
            max_new_tokens=max_tokens,
            **inputs,
            **kwargs,
        )
        sequences = getattr(result.output, "sequences", result.output)
        energy, each = result.energy, result.joules_per_output_token
        return {
            "output": self.tokenizer.decode(sequences[0], skip_special_tokens=True),
            "energy_joules": energy.joules,
            "energy_uncertainty_joules": energy.u,
            "tokens_generated": sum(result.output_tokens),
            "joules_per_token": each.joules if each is not None else float("nan"),
            "generation": result,
        }


def _latest_of(monitor: Monitor, channel: str) -> dict[str, float]:
    trace = monitor.trace
    latest = {}
    for name in trace.channels:
        if name.endswith(f"/{channel}"):
            values = trace.series(name).values
            good = values[np.isfinite(values)]
            if len(good):
                latest[name] = float(good[-1])
    if not latest:
        raise NoReadingsError(f"no {channel} reading: {', '.join(trace.channels)} were read")
    return latest
