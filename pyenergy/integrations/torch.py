# SPDX-License-Identifier: Apache-2.0
"""`torch.profiler` with joules."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._api import Monitor, now_ns
from ..errors import OptionError, StateError

if TYPE_CHECKING:
    import polars as pl

    from .._trace import Trace
    from ..recording.operations import Operations

__all__ = ["EnergyProfiler"]

_KEPT = 100  # cycles of a schedule


class EnergyProfiler:
    """Profiles what runs inside and says what it cost; or gives a profiler's cycles their energy.

    Around the work, in place of ``torch.profiler.profile``::

        with EnergyProfiler(model=model) as p:
            model(**inputs)
        print(p.key_averages())

    As ``on_trace_ready`` of a profiler with a schedule, one trace for each cycle::

        energy = EnergyProfiler().start()
        with torch.profiler.profile(schedule=schedule, on_trace_ready=energy) as prof:
            for batch in data:
                step(batch)
                prof.step()
        energy.close()
        print(energy.traces[-1].kernels())

    Sampling runs from entering to leaving, or from `start` to `close`. A trace is of the work
    alone: the first profiler of a process takes seconds to get ready, and each takes a while to
    put together what it saw, which both lie outside of the trace. A profiler with a schedule gets
    ready in the midst of the work: then a trace, also in the ``with`` form, reaches from the first
    operation of a cycle to its last, and the ``with`` form has but the last cycle.

    Parameters
    ----------
    profiler : torch.profiler.profile, optional
        To wrap, not yet started; None: one is made with ``options``.
    model : torch.nn.Module, optional
        What runs: with it, layers have the names of ``model.named_modules()``.
    devices, rate_hz
        As of `pyenergy.trace`.
    **options
        Of ``torch.profiler.profile``; ``with_stack`` is on by default where a model is given.

    Attributes
    ----------
    profiler : torch.profiler.profile or None
        The one that is wrapped.
    """

    def __init__(
        self,
        profiler: Any = None,
        *,
        model: Any = None,
        devices: Any = "auto",
        rate_hz: float | None = None,
        **options: Any,
    ) -> None:
        if profiler is not None and options:
            raise OptionError(
                f"{', '.join(options)}: options make a profiler, and one was given: set them there"
            )
        self.profiler = profiler
        self._model, self._options = model, options
        self._monitor = Monitor(devices=devices, rate_hz=rate_hz)
        self._cycles: deque[tuple[tuple[int, int], Operations]] = deque(maxlen=_KEPT)
        self._made: list[Trace] | None = None
        self._running = False
        self._ready_ns = 0

    # Around the work ------------------------------------------------------------------------

    def __enter__(self) -> EnergyProfiler:
        from torch.profiler import profile

        self.start()
        if self.profiler is None:
            options = {"with_stack": self._model is not None, **self._options}
            self.profiler = profile(**options)
        try:
            self.profiler.__enter__()
        except BaseException:
            self.close()
            raise
        # Readings begin before the work, the trace with it: not with a profiler's loading.
        self._ready_ns = now_ns()
        return self

    def __exit__(self, *exc: Any) -> None:
        try:
            self.close()  # here the work ends; the profiler's own comes after it
        finally:
            self.profiler.__exit__(*exc)
        if exc[0] is None:
            scheduled = bool(getattr(self.profiler, "record_steps", False))
            end_ns = self._monitor.trace.bounds_ns[1]
            self._keep(self.profiler, None if scheduled else (self._ready_ns, end_ns))

    # As a handler ---------------------------------------------------------------------------

    def __call__(self, profiler: Any) -> None:
        """``on_trace_ready``: remember what this cycle saw."""
        if not self._running:
            raise StateError("a handler must sample before its profiler runs: start() it first")
        self._keep(profiler, None)

    def close(self) -> None:
        """Stop sampling; traces stay. A second call does nothing."""
        if self._running:
            self._running = False
            self._monitor.stop()

    def start(self) -> EnergyProfiler:
        """Start sampling, for use as a handler; returns itself.

        Raises
        ------
        StateError
            When it runs already.
        """
        if self._running:
            raise StateError("this profiler runs already: close() it, or make another one")
        self._monitor.start()
        self._running = True
        return self

    def _keep(self, profiler: Any, bounds: tuple[int, int] | None) -> None:
        from ..attribution.attach import operations_from

        recorded = self._monitor.trace._recorded(wait=False)
        operations = operations_from(profiler, recorded, model=self._model)
        if bounds is None:
            bounds = _extent(operations)
        self._cycles.append((bounds, operations))
        self._made = None

    # What it cost ---------------------------------------------------------------------------

    @property
    def traces(self) -> list[Trace]:
        """A trace for each cycle that was profiled, the latest 100; asking waits for readings."""
        from .._trace import Trace

        if self._made is not None:
            return self._made
        recorded = self._monitor.trace.recorded
        made = [
            Trace(replace(recorded, bounds_ns=bounds, operations=operations))
            for bounds, operations in self._cycles
        ]
        if not self._running:  # nothing more will come
            self._made = made
        return made

    @property
    def trace(self) -> Trace:
        """The latest trace.

        Raises
        ------
        StateError
            When nothing has been profiled yet.
        """
        if not self._cycles:
            raise StateError("nothing has been profiled yet: leave the with block first")
        return self.traces[-1]

    def key_averages(self) -> pl.DataFrame:
        """torch's averages by operator, with energies.

        Columns: ``name``, ``count``, ``cpu_time_s`` and ``self_cpu_time_s``, ``device_time_s`` and
        ``self_device_time_s`` (as torch says them), then of what the operator itself asked for
        ``energy_j``, ``u_j``, ``static_j`` and ``share``: the kernels that it launched, or on the
        host the time in which it called no other operator. Null where it asked for nothing that
        was measured. Last come operations that no operator is known for, and the gaps, so that
        energies add up to the trace's.

        Raises
        ------
        StateError
            When nothing has been profiled yet, or as a handler: torch forgets a cycle.
        """
        import polars as pl

        if self.profiler is None:
            raise StateError("of a handler's cycles torch keeps no averages: see traces")
        energies = self.trace.kernels("operator").select(
            "operator", "kind", "energy_j", "u_j", "static_j", "share"
        )
        averages = pl.DataFrame([_average(row) for row in self.profiler.key_averages()])
        joined = averages.join(
            energies.filter(kind="operation").drop("kind"),
            left_on="name",
            right_on="operator",
            how="full",
            coalesce=True,
        )
        rest = energies.filter(pl.col("kind") != "operation").drop("kind")
        table = pl.concat([joined, rest.rename({"operator": "name"})], how="diagonal")
        return table.sort("energy_j", descending=True, nulls_last=True)


def _average(row: Any) -> dict[str, Any]:
    """One of torch's averages; the device's times had CUDA's name before torch 2.6."""

    def seconds(*names: str) -> float:
        for name in names:
            if hasattr(row, name):
                return float(getattr(row, name)) / 1e6
        return 0.0

    return {
        "name": str(row.key),
        "count": int(row.count),
        "cpu_time_s": seconds("cpu_time_total"),
        "self_cpu_time_s": seconds("self_cpu_time_total"),
        "device_time_s": seconds("device_time_total", "cuda_time_total"),
        "self_device_time_s": seconds("self_device_time_total", "self_cuda_time_total"),
    }


def _extent(operations: Operations) -> tuple[int, int]:
    return int(np.min(operations.start_ns)), int(np.max(operations.end_ns))
