# SPDX-License-Identifier: Apache-2.0
"""`Trace`: what was measured, and the energies that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, _windows
from ._attributing import Attributing
from ._energies import METHODS
from ._evaluation import Evaluation, span_table
from ._files import Filed
from ._node_view import NodeView
from ._phases import Phased
from ._profiles import require_profile, without_profiles
from ._source import Sourced
from .errors import DeviceError, OptionError, StateError
from .recording.recorded import Recorded
from .recording.series import Series
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import polars as pl
    from numpy.typing import ArrayLike, NDArray

    from ._energies import DeviceEnergies
    from ._energy import Energy
    from ._session import Session
    from .recording.marks import Mark
    from .recording.operations import Operations
    from .sensor.profile import Profile

__all__ = ["Trace"]


class Trace(Attributing, Phased, NodeView, Filed, Sourced):
    """Energy of what ran inside `pyenergy.trace`, or of a recording that was loaded.

    A trace may be asked while it is still open; it then speaks of the time up to now. After it
    has closed, the first question waits until the readings that cover its end have been published
    (at most the sensor's lag); `wait` says so beforehand.
    """

    def __init__(self, source: Session | Recorded) -> None:
        self._source = source
        self._computed: dict[str, Evaluation] = {}  # by method
        self._profile: Profile | None = None
        self._extra: dict[str, Any] = {}
        self._spans: list[Mark] = []
        self._operations: Operations | None = None
        if isinstance(source, Recorded):
            self._extra.update(source.extra)

    @classmethod
    def from_readings(
        cls,
        readings: Mapping[str, tuple[ArrayLike, ArrayLike]],
        spans: Iterable[tuple[str, int, int]] = (),
        *,
        profile: Profile | None = None,
        bounds_ns: tuple[int, int] | None = None,
        devices: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Trace:
        """A trace of readings that were taken elsewhere, through the same model.

        Parameters
        ----------
        readings : mapping
            ``{"gpu:0/power": (t_ns, watts), "gpu:0/energy": (t_ns, joules)}``: integer times in
            ns on any one clock, and values; as they were logged, repeated values included.
        spans : iterable of (name, start_ns, end_ns)
            Labelled times on the same clock; spans with the same name are one activity class.
        profile : Profile, optional
            The card's calibration; a response that it leaves out is identified from the spans.
        bounds_ns : (int, int), optional
            The time to speak of; None: from the first to the last of all. What of it lies beyond
            the readings counts as time in which nothing was read: any power that the device can
            draw.
        devices : mapping, optional
            ``{"gpu:0": {"name": "NVIDIA A100-SXM4-40GB", "uuid": ..., "architecture": "ga100",
            "field": "instant", "power_max_w": 350.0}}``: what is known of the devices; all of it
            optional. The architecture is kepler, maxwell, pascal, volta, turing, ga100 (A100, A30:
            another sensor than the other Amperes), ampere, ada, hopper or blackwell; without it
            the name tells it. The field, which the sensor's model also needs: what the driver was
            asked for, instant, average or default (``nvidia-smi``'s power.draw).

        Raises
        ------
        OptionError, RecordingError, TypeError
            For readings and spans that cannot be, or are in another unit.
        DeviceError
            When the profile is of another card.

        Examples
        --------
        >>> import numpy as np, pyenergy
        >>> t_ns = np.arange(0, 10_000_000_000, 20_000_000)
        >>> t = pyenergy.Trace.from_readings({"gpu:0/power": (t_ns, np.full(len(t_ns), 300.0))})
        >>> round(t.window(1_000_000_000, 2_000_000_000).joules)
        300
        """
        from .recording.readings import recorded_from_readings

        trace = cls(recorded_from_readings(readings, spans, bounds_ns=bounds_ns, devices=devices))
        return trace.calibrated(profile)

    def calibrated(self, profile: Profile | None) -> Trace:
        """The same measurement evaluated with a card's calibration; None: with none.

        Raises
        ------
        DeviceError
            When the profile is of a card that is not in this trace.
        StateError
            Of a trace with ``keep`` that does not have all its readings any more.
        """
        require_profile(profile)
        recorded = self._recorded()
        if recorded.settled is not None:
            raise StateError(
                "the part of this trace that is not kept (keep=) was settled with the calibration "
                "of its time; with a path the file has every reading: pyenergy.load(path)"
            )
        uuids = [d.meta.uuid for d in recorded.devices.values()]
        if profile is not None and profile.uuid and any(uuids) and profile.uuid not in uuids:
            raise DeviceError(
                f"the profile is of {profile.uuid}; this trace has: {', '.join(uuids)}"
            )
        again = Trace(without_profiles(recorded))
        again._profile = profile
        return again

    # Energies ------------------------------------------------------------------------------

    @property
    def energy(self) -> Energy:
        """Energy of the whole trace, all devices in scope together.

        Raises
        ------
        NoReadingsError
            When a device in scope gave no usable reading: a sum without it would be wrong.
        """
        return self.total()

    def total(self, *, method: str = "model", wait: bool = True) -> Energy:
        """Energy of the whole trace, with a choice of how it is obtained.

        Parameters
        ----------
        method : {"model", "trapezoid", "counter"}
            ``"model"``: the sensor's model, what `energy` uses. The others are for comparison: the
            plain integral of the readings, and the plain difference of the energy counter.
        wait : bool
            Whether to wait for the readings that cover the end of a trace that has just closed;
            False answers at once, with the wider uncertainty of an end that is not covered.

        Raises
        ------
        NoReadingsError
            When a device in scope gave nothing that the method can use.
        OptionError
            For a method that does not exist.
        """
        return self._evaluated(method, wait).total()

    @property
    def energies(self) -> dict[str, Energy]:
        """Energy of the whole trace by device id (``gpu:0``, ``cpu:0``).

        Devices that gave no usable reading are absent here and named in `unreadable`.
        """
        return self._evaluated().energies()

    @property
    def unreadable(self) -> dict[str, str]:
        """Devices in scope that gave no usable reading, and why."""
        return dict(self._evaluated().unreadable)

    def window(
        self,
        t0_ns: int,
        t1_ns: int,
        device: str | None = None,
        *,
        method: str = "model",
        wait: bool = True,
    ) -> Energy:
        """Energy between two moments of CLOCK_MONOTONIC (`pyenergy.now_ns`).

        Parameters
        ----------
        t0_ns, t1_ns : int
            The window, inside `bounds_ns`; an empty one has exactly 0 J.
        device : str, optional
            One device; None sums all in scope.
        method, wait
            As in `total`.

        Raises
        ------
        TypeError
            When a time is not an integer.
        WindowError
            When the window is reversed or outside the recording.
        """
        return self._evaluated(method, wait).window(t0_ns, t1_ns, device)

    def windows(
        self,
        starts_ns: ArrayLike,
        ends_ns: ArrayLike,
        device: str | None = None,
        *,
        method: str = "model",
        same_card: bool = False,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies of many windows at once.

        Parameters
        ----------
        starts_ns, ends_ns : array of int
            Windows of shape (n,), ns of CLOCK_MONOTONIC, in any order, overlapping or not;
            sorted ones are fastest.
        device : str, optional
            One device; None sums all in scope, the errors of different devices being
            independent.
        method : str
            As in `total`.
        same_card : bool
            Leave the cards' gain and offset out of the uncertainties, for comparisons on one card.

        Returns
        -------
        joules, u : ndarray of float64, shape (n,)
            Energies and their standard uncertainties, J.

        Raises
        ------
        TypeError
            When times are not integers.
        WindowError
            When a window is reversed or outside the recording, or lengths differ.
        """
        joules, u, u_same_card = self._evaluated(method).windows(starts_ns, ends_ns, device)
        return joules, u_same_card if same_card else u

    # What was measured ---------------------------------------------------------------------

    @property
    def bounds_ns(self) -> tuple[int, int]:
        """Start and end, ns of CLOCK_MONOTONIC; the end of an open trace is now."""
        if isinstance(self._source, Recorded):
            return self._source.whole_ns
        return self._source.start_ns, self._source.end_ns or _core.now_ns()

    @property
    def kept_ns(self) -> tuple[int, int]:
        """From when to when readings are kept: `bounds_ns`, but for a trace with ``keep``.

        Windows, spans, series, tables, reports and files are of this time. Of what came before,
        energies of the whole trace have everything, and so have windows that begin with the trace.
        """
        return self._recorded(wait=False).bounds_ns

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        start, end = self.bounds_ns
        return (end - start) / NS_PER_S

    @property
    def mean_power_w(self) -> float:
        """Energy over duration, W."""
        evaluated = self._evaluated()
        start, end = evaluated.recorded.whole_ns
        return evaluated.total().joules / ((end - start) / NS_PER_S)

    @property
    def peak_power_w(self) -> float:
        """Largest sum of the devices' readings at one moment, W.

        A reading is an average over the sensor's window: shorter peaks do not show.
        """
        evaluated = self._evaluated()
        settled = evaluated.recorded.settled
        before = np.nan if settled is None else settled.peak_w
        return float(np.fmax(evaluated.peak_power_w(), before))

    def series(self, name: str) -> Series:
        """Readings of one channel, such as ``"gpu:0/power"``; zero-copy, read-only.

        Raises
        ------
        DeviceError
            Naming the channels that exist.
        """
        recorded = self._recorded()
        device_id, _, channel = name.partition("/")
        device = recorded.devices.get(device_id)
        if device is None or channel not in device.channels:
            raise DeviceError(f"no series {name!r}; this trace has: {', '.join(self.channels)}")
        return Series.of(name, device.channels[channel].unit, device.runs[channel])

    @property
    def channels(self) -> list[str]:
        """Names that `series` takes."""
        return [f"{d}/{c}" for d, data in self._recorded().devices.items() for c in data.channels]

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The labelled spans, by start."""
        return self._recorded().marks

    def spans(self) -> pl.DataFrame:
        """The labelled spans with their energies, one row each, by start.

        Columns: ``name``, ``depth`` (marks around it), ``start_ns``, ``end_ns``, ``duration_s``,
        ``energy_j``, ``u_j`` (standard uncertainty), ``u_same_card_j`` (without the card's gain and
        offset), ``mean_power_w``; all devices in scope.
        Spans may nest and overlap: their energies do not add up to the trace's.
        """
        recorded = self._recorded()
        low, high = recorded.bounds_ns
        marks = [m for m in recorded.marks if m.start_ns >= low and m.end_ns <= high]
        return span_table(marks, self._evaluated() if marks else None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about this trace."""
        recorded = self._recorded()
        attached = recorded.operations.notes if recorded.operations is not None else ()
        settled = (recorded.settled.note,) if recorded.settled is not None else ()
        return (*recorded.notes, *settled, *attached)

    @property
    def recorded(self) -> Recorded:
        """Everything that was measured, as plain data."""
        return self._recorded()

    def wait(self) -> Trace:
        """Wait until the readings that cover the end of a closed trace have been published."""
        self._recorded()
        return self

    def add_span(self, mark: Mark) -> None:
        """Label a span after the fact, as `pyenergy.mark` does while it runs.

        Raises
        ------
        WindowError
            When it lies where readings are not kept any more (``keep``).
        """
        recorded = self._recorded(wait=False)
        if recorded.settled is not None and mark.start_ns < recorded.bounds_ns[0]:
            _windows.checked([mark.start_ns], [mark.end_ns], recorded.bounds_ns, recorded.settled)
        live = None if isinstance(self._source, Recorded) else self._source.live
        if live is not None:
            live.mark(mark)
        self._spans.append(mark)
        self._computed = {}

    def annotate(self, **values: Any) -> None:
        """Keep JSON values with the trace; `save` writes them, ``recorded.extra`` has them.

        Raises
        ------
        TypeError
            When a value is not JSON.
        """
        import json

        json.dumps(values)
        live = None if isinstance(self._source, Recorded) else self._source.live
        if live is not None:
            live.annotate(values)
        self._extra.update(values)
        self._computed = {}

    def __str__(self) -> str:
        from .report.text import render

        return render(self)

    def __repr__(self) -> str:
        state = "open" if not isinstance(self._source, Recorded) and self._source.is_open else ""
        return f"<pyenergy.Trace {self.duration_s:.3f} s{', ' + state if state else ''}>"

    # Inside --------------------------------------------------------------------------------

    def _recorded(self, wait: bool = True) -> Recorded:
        from dataclasses import replace

        source = self._source
        recorded = source if isinstance(source, Recorded) else source.recorded(wait)
        if not (self._extra or self._spans or self._operations is not None):
            return recorded
        marks = sorted((*recorded.marks, *self._spans), key=lambda m: (m.start_ns, -m.end_ns))
        operations = recorded.operations if self._operations is None else self._operations
        extra = {**recorded.extra, **self._extra}
        return replace(recorded, extra=extra, marks=tuple(marks), operations=operations)

    def _changed(self) -> None:
        self._computed = {}

    def _evaluated(self, method: str = "model", wait: bool = True) -> Evaluation:
        if method not in METHODS:
            raise OptionError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if method in self._computed:
            return self._computed[method]
        # Asked first: what is read from a trace that closes meanwhile is not its last word.
        is_open = not isinstance(self._source, Recorded) and self._source.is_open
        evaluated = Evaluation.of(self._recorded(wait), self._profile, method)
        if not is_open and wait:
            self._computed[method] = evaluated
        return evaluated

    def _models(self) -> tuple[Recorded, dict[str, DeviceEnergies]]:
        """For tests that look at the model behind an energy."""
        evaluated = self._evaluated()
        return evaluated.recorded, evaluated.models
