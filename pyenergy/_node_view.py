# SPDX-License-Identifier: Apache-2.0
"""What a trace says of its node: energy by device and scope, and by process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from ._evaluation import Evaluation
    from .attribution.sweep import StaticPolicy

__all__ = ["NodeView"]


class NodeView:
    """The part of `Trace` that speaks of the whole node, and of who used it."""

    def _evaluated(self, method: str = "model", wait: bool = True) -> Evaluation:
        raise NotImplementedError

    def node(self) -> pl.DataFrame:
        """Energy by device and scope, their sum, and what of the node is not in it.

        With ``devices="node"`` these are all parts of the machine that have a sensor, none of them
        in another. Columns: ``device``; ``scope`` of its sensor; ``kind`` (``measured``,
        ``estimated``, ``unread``, ``sum``, ``not measured``); ``energy_j`` with its standard
        uncertainties ``u_j`` and ``u_same_card_j`` (without the sensors' gain and offset), J;
        ``share`` of the sum; ``note``. What is not measured has a row without an energy; if a
        device gave none, the sum has none either.
        """
        from ._node_table import node_table

        return node_table(self._evaluated())

    def processes(
        self, *, static: StaticPolicy = "separate", idle_w: float | None = None
    ) -> pl.DataFrame:
        """Energy by process: an **apportionment**, not a measurement, of a trace that was opened
        with ``processes=True``.

        The power of the CPU packages above idle is shared, five times a second, in proportion of
        CPU time (``/proc``), that of a GPU in proportion of the time in which a process had a
        kernel running (NVML's utilisation samples). A second of CPU time is not equal to another:
        frequency, instructions per cycle and shared cores differ, and ``u_j`` has 30 % (one
        standard uncertainty) of each process's power against the others' for it, 40 % on a GPU,
        beside the resolution of the times, what is known of idle, and the device's own
        uncertainty. A process that ran alone has none of that.

        Parameters
        ----------
        static : {"separate", "busy", "all"}
            What becomes of the idle power: a row ``(static)``; that of the busy share of the
            machine part of ``energy_j`` of who kept it busy; or all of it spread by busy time.
        idle_w : float, optional
            Idle power of the CPU packages together, W, if you know it; None: told from how power
            follows the load, with what is left open in ``u_j``.

        Returns
        -------
        polars.DataFrame
            ``device``, ``pid`` (null for what is no process), ``name``, ``kind`` (``process``,
            ``other``, ``static``, ``device``, ``unread``), ``busy_s`` (CPU time, or time
            with a kernel), ``energy_j``, its standard uncertainty ``u_j``, ``share`` of the device
            and ``apportionment`` (how). ``energy_j`` adds up to each device's energy. Devices that
            cannot be shared are one row, ``(device)``, and `process_notes` says why; those that
            gave no energy have a row without one.

        Raises
        ------
        StateError
            When the trace did not watch processes.
        OptionError
            For another ``static`` or ``idle_w``.
        NoReadingsError
            When no device gave an energy.
        """
        from .processes.table import process_table

        return process_table(self._evaluated(), static, idle_w)

    def process_notes(self) -> tuple[str, ...]:
        """What to know of `processes`: what could not be told apart, and why.

        Raises
        ------
        StateError
            When the trace did not watch processes.
        """
        from .processes.table import process_notes

        return process_notes(self._evaluated().recorded)
