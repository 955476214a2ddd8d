# SPDX-License-Identifier: Apache-2.0
"""What a trace says of its operations: kernels, layers, gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import NoReadingsError, OptionError, StateError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl

    from ._device_shares import Attributed
    from ._evaluation import Evaluation
    from ._trace import Trace
    from .attribution.attach import Clock
    from .attribution.shares import DeviceShares
    from .attribution.sweep import StaticPolicy
    from .recording.operations import Operations
    from .recording.recorded import Recorded

__all__ = ["Attributing"]


class Attributing:
    """The part of `Trace` that shares energy among operations."""

    _operations: Operations | None

    def _evaluated(self, method: str = "model", wait: bool = True) -> Evaluation:
        raise NotImplementedError

    def _recorded(self, wait: bool = True) -> Recorded:
        raise NotImplementedError

    def _changed(self) -> None:
        raise NotImplementedError

    def attach(
        self,
        operations: Any,
        *,
        model: Any = None,
        device: str | None = None,
        clock: Clock = "auto",
    ) -> None:
        """Say which operations ran: `kernels`, `layers` and `gaps` then tell their energies.

        Where nothing is marked, the trace's own energy is told from when they ran, too. Operations
        that were attached before are replaced.

        Parameters
        ----------
        operations : table, path, profiler, modules or events
            A frame (polars, pandas, pyarrow), a mapping of columns or a list of rows with ``name``,
            ``start_ns`` and ``end_ns`` (integers), and where known ``device`` (``"gpu:0"``,
            ``"cuda:0"`` for the same, or the GPU's number, -1 being the host), ``stream`` (integer)
            and ``layer``. Or a Kineto trace
            (``.json``, ``.json.gz``), an SQLite export of Nsight Systems, a
            ``torch.profiler.profile`` that has finished, or what `attribution.read_kineto` gives:
            of these the GPUs' kernels, copies and fills, and where there are none the host's
            operators, each with the time in which it called no other. Or an
            `attribution.ModuleSpans` that recorded the calls of a model's modules.
        model : torch.nn.Module, optional
            What a ``torch.profiler.profile`` in this process saw run, taken with
            ``with_stack=True``: layers then have the names of ``model.named_modules()``.
        device : str, optional
            Where operations that name no device ran; None: on the only GPU, or the only device.
        clock : {"auto", "recording", "unix"}
            What the times are on: the recording's own clock (CLOCK_MONOTONIC of a live trace, as
            `pyenergy.now_ns`), or Unix time, ns. ``"auto"``: whichever puts them in this trace.

        Raises
        ------
        OptionError
            When it is no table of operations, or has none with a time.
        TypeError
            For times that are not integers.
        WindowError
            When no operation ran during this trace: they are of another run.
        ClockStepError
            When the system's clock was set while they ran, so that their times cannot be trusted.
        """
        from .attribution.attach import operations_from

        self._operations = operations_from(
            operations, self._recorded(), model=model, device=device, clock=clock
        )
        self._changed()

    @property
    def operations(self) -> Operations | None:
        """What was attached, on this recording's clock; None: nothing."""
        return self._recorded().operations

    def kernels(
        self,
        by: str | Sequence[str] = "name",
        *,
        device: str | None = None,
        static: StaticPolicy = "separate",
    ) -> pl.DataFrame:
        """Where the energy went, by operation: one row for each name, and one for the gaps.

        ``energy_j + static_j`` adds up to the energy of the devices that operations ran on.
        `attribution_notes` says how the powers were told, and which names only together.

        Parameters
        ----------
        by : {"name", "layer", "layer_type", "operator", "stream", "device"} or several of them
            What makes a row.
        device : str, optional
            One device; None: all that operations ran on.
        static : {"separate", "busy", "all"}
            What becomes of the power that the device takes with nothing to do, where the readings
            tell it apart: kept in ``static_j``; part of ``energy_j`` of what runs then; or that of
            gaps too spread over the operations by their time.

        Returns
        -------
        polars.DataFrame
            The columns of ``by``, ``kind`` (``operation``, ``gap``, or ``unread`` on a
            device that gave no energy), ``count``, ``time_s``,
            ``energy_j`` and its standard uncertainties ``u_j`` and ``u_same_card_j`` (without the
            card's gain and offset), ``static_j`` and ``static_u_j``, ``lower_j`` and ``upper_j``
            (``energy_j`` had it taken nothing, or all, of what ran at the same time), ``share`` of
            the whole, ``power_w`` (mean, static included); by energy.

        Raises
        ------
        StateError
            When no operations were attached.
        NoReadingsError
            When a device of theirs gave no usable reading.
        OptionError
            For other options.
        """
        from .attribution.tables import LEVEL_U

        return self._table(by, device, static).drop(LEVEL_U)

    def layers(
        self,
        by: str | Sequence[str] = ("layer", "layer_type"),
        *,
        device: str | None = None,
        static: StaticPolicy = "separate",
    ) -> pl.DataFrame:
        """Where the energy went, by layer of the model: the columns of `kernels`.

        What belongs to no layer that is known is a row of its own, ``(unattributed)``; the trace's
        notes say how much of the time has a layer. ``by="layer_type"`` sums kinds of layers:
        Embedding, Attention, FFN, Norm, LMHead/Classifier, Convolution, Other.

        Takes and raises what `kernels` does.
        """
        return self.kernels(by, device=device, static=static)

    def tree(self, *, device: str | None = None, static: StaticPolicy = "separate") -> pl.DataFrame:
        """Energy of each module with all modules in it.

        Columns: ``path``, ``depth`` (0 is the model), ``own_j`` (without the modules in it),
        ``total_j`` (with them) and its standard uncertainty ``u_j``, ``share`` of the whole; each
        module before those in it. Last come what belongs to no layer and the gaps, so that
        ``own_j`` adds up to the whole. The static part of its time is in every row.

        Takes and raises what `kernels` does.
        """
        from .attribution.module_tree import module_tree

        found = self._shares(device, static)
        return module_tree(
            self._table("layer", device, static),
            [shares for _, shares in found],
            [each.group_u(shares) for each, shares in found],
        )

    def gaps(self, *, device: str | None = None) -> pl.DataFrame:
        """Stretches of the trace in which no operation ran, in order of time.

        Columns: ``device``, ``start_ns``, ``end_ns``, ``time_s``, ``energy_j``, ``static_j`` (as in
        `kernels`). Raises what `kernels` does.
        """
        from .attribution.tables import gap_table

        return gap_table([shares for _, shares in self._shares(device, "separate")])

    def attribution_notes(self, *, device: str | None = None) -> list[str]:
        """How the powers of operations were told, on each device, and what to know of them.

        Classes that are known only together, what was not supported by the readings so that each
        operation has the power of its time, devices that operations ran on and nobody read.

        Takes and raises what `kernels` does.
        """
        evaluated, found = self._evaluated(), self._shares(device, "separate")
        notes = [note for each, _ in found for note in each.notes]
        operations = evaluated.recorded.operations
        assert operations is not None
        busy = operations.used_devices() if device is None else []
        return notes + [
            f"{name}: operations ran there, and this trace did not read it"
            for name in busy
            if name not in evaluated.recorded.devices
        ]

    def _table(
        self, by: str | Sequence[str], device: str | None, static: StaticPolicy
    ) -> pl.DataFrame:
        from .attribution.tables import operation_table

        keys = (by,) if isinstance(by, str) else tuple(by)
        found = self._shares(device, static)
        operations, recorded = self.operations, self._recorded()
        assert operations is not None
        elsewhere = [
            name
            for name in operations.used_devices()
            if device is None and name not in recorded.devices
        ]
        return operation_table(
            [shares for _, shares in found],
            [each.group_u(shares) for each, shares in found],
            [each.whole_u() for each, _ in found],
            keys,
            [(name, operations.of_device(name)) for name in elsewhere],
        )

    def _shares(
        self, device: str | None, static: StaticPolicy
    ) -> list[tuple[Attributed, DeviceShares]]:
        evaluated = self._evaluated()
        operations = evaluated.recorded.operations
        if operations is None:
            raise StateError(
                "no operations are attached: trace.attach(a torch profiler, a Kineto trace or any "
                "table of name, start_ns, end_ns)"
            )
        names = _devices(operations, evaluated, device)
        found = [evaluated.attributed(name) for name in names]
        return [(each, each.shares(static)) for each in found]

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write a page that shows where the joules went, one HTML file that needs no network.

        The energy with its interval, power over time with the marks, tree map and tables by layer
        and kernel where operations are attached, the uncertainty budget, sensors and provenance.
        A device that gave no reading is said to be so; no sum is shown without it.

        Raises
        ------
        RecordingError
            When the file cannot be written.
        """
        from .report.html import write_html

        return write_html(self._trace(), path)

    def perfetto(
        self, path: str | os.PathLike[str], merge: str | os.PathLike[str] | None = None
    ) -> Path:
        """Write power, marks, operations and layers with their joules for ui.perfetto.dev.

        ``merge`` is a Kineto trace of the same run: the file then holds that, too. Files, clocks
        and errors: `pyenergy.report.perfetto.write_perfetto`.
        """
        from .report.perfetto import write_perfetto

        return write_perfetto(self._trace(), path, merge)

    def speedscope(self, path: str | os.PathLike[str]) -> Path:
        """Write a flame graph of microjoules for speedscope.app.

        Errors: `pyenergy.report.flame.write_speedscope`.
        """
        from .report.flame import write_speedscope

        return write_speedscope(self._trace(), path)

    def folded(self, path: str | os.PathLike[str]) -> Path:
        """Write stacks with their microjoules, as flamegraph.pl and its like read them.

        Errors: `pyenergy.report.flame.write_folded`.
        """
        from .report.flame import write_folded

        return write_folded(self._trace(), path)

    def _trace(self) -> Trace:
        return self  # type: ignore[return-value]  # `Trace` is the only one


def _devices(operations: Operations, evaluated: Evaluation, device: str | None) -> list[str]:
    """Ids of the devices that are asked for and have operations."""
    busy = operations.used_devices()
    if device is not None:
        if device not in busy:
            raise OptionError(f"no operation ran on {device!r}; they ran on: {', '.join(busy)}")
        busy = [device]
    unknown = [name for name in busy if name not in evaluated.recorded.devices]
    if unknown and len(unknown) == len(busy):
        raise NoReadingsError(
            f"operations ran on {', '.join(unknown)}, which this trace did not read; it has: "
            f"{', '.join(evaluated.recorded.devices)}"
        )
    return [name for name in busy if name not in unknown]
