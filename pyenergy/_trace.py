# SPDX-License-Identifier: Apache-2.0
"""`Trace`: what was measured, and the energies that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, _windows
from ._energies import METHODS, DeviceEnergies
from ._energy import Energy, combine
from ._profiles import of_recorded
from .errors import DeviceError, NoReadingsError, OptionError, WindowError
from .recording.recorded import Recorded
from .recording.series import Series
from .sensor.spans import Spans
from .units import NS_PER_S

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import polars as pl
    from numpy.typing import ArrayLike, NDArray

    from ._session import Session
    from .recording.marks import Mark
    from .sensor.profile import Profile

__all__ = ["Trace"]


class Trace:
    """Energy of what ran inside `pyenergy.trace`, or of a recording that was loaded.

    A trace may be asked while it is still open; it then speaks of the time up to now. After it
    has closed, the first question waits until the readings that cover its end have been published
    (at most the sensor's lag); `wait` says so beforehand.
    """

    def __init__(self, source: Session | Recorded) -> None:
        self._source = source
        self._computed: dict[str, tuple[Recorded, dict[str, DeviceEnergies]]] = {}
        self._profile: Profile | None = None
        self._unreadable: dict[str, str] = {}
        self._missing: dict[str, dict[str, str]] = {}  # the same, by method
        self._extra: dict[str, Any] = {}
        self._spans: list[Mark] = []
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
            The time to speak of; None: from the first to the last of all.
        devices : mapping, optional
            ``{"gpu:0": {"name": ..., "uuid": ..., "architecture": "ampere",
            "power_max_w": 350.0}}``: what is known of the devices; all of it optional.

        Raises
        ------
        OptionError, RecordingError, TypeError
            For readings and spans that cannot be.

        Examples
        --------
        >>> import numpy as np, pyenergy
        >>> t_ns = np.arange(0, 10_000_000_000, 20_000_000)
        >>> t = pyenergy.Trace.from_readings({"gpu:0/power": (t_ns, np.full(len(t_ns), 300.0))})
        >>> round(t.window(1_000_000_000, 2_000_000_000).joules)
        300
        """
        from .recording.readings import recorded_from_readings

        _require_profile(profile)
        trace = cls(recorded_from_readings(readings, spans, bounds_ns=bounds_ns, devices=devices))
        trace._profile = profile
        return trace

    def calibrated(self, profile: Profile | None) -> Trace:
        """The same measurement evaluated with a card's calibration; None: with none.

        Raises
        ------
        DeviceError
            When the profile is of a card that is not in this trace.
        """
        _require_profile(profile)
        recorded = self._recorded()
        uuids = [d.meta.uuid for d in recorded.devices.values()]
        if profile is not None and profile.uuid and any(uuids) and profile.uuid not in uuids:
            raise DeviceError(
                f"the profile is of {profile.uuid}; this trace has: {', '.join(uuids)}"
            )
        again = Trace(_without_profiles(recorded))
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
        recorded, models = self._models(method, wait)
        return combine([m.energy(*recorded.bounds_ns) for m in self._chosen(models, None)])

    @property
    def energies(self) -> dict[str, Energy]:
        """Energy of the whole trace by device id (``gpu:0``, ``cpu:0``).

        Devices that gave no usable reading are absent here and named in `unreadable`.
        """
        recorded, models = self._models()
        return {name: model.energy(*recorded.bounds_ns) for name, model in models.items()}

    @property
    def unreadable(self) -> dict[str, str]:
        """Devices in scope that gave no usable reading, and why."""
        self._models()
        return dict(self._unreadable)

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
        recorded, models = self._models(method, wait)
        starts, ends = _windows.checked([t0_ns], [t1_ns], recorded.bounds_ns)
        chosen = self._chosen(models, device)
        return combine([m.energy(int(starts[0]), int(ends[0])) for m in chosen])

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
        joules, u, u_same_card = self._terms(starts_ns, ends_ns, device, method)
        return joules, u_same_card if same_card else u

    # What was measured ---------------------------------------------------------------------

    @property
    def bounds_ns(self) -> tuple[int, int]:
        """Start and end, ns of CLOCK_MONOTONIC; the end of an open trace is now."""
        if isinstance(self._source, Recorded):
            return self._source.bounds_ns
        return self._source.start_ns, self._source.end_ns or _core.now_ns()

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        start, end = self.bounds_ns
        return (end - start) / NS_PER_S

    @property
    def mean_power_w(self) -> float:
        """Energy over duration, W."""
        recorded, _ = self._models()
        start, end = recorded.bounds_ns
        return self.energy.joules / ((end - start) / NS_PER_S)

    @property
    def peak_power_w(self) -> float:
        """Largest sum of the devices' readings at one moment, W.

        A reading is an average over the sensor's window: shorter peaks do not show.
        """
        recorded, models = self._models()
        start, end = recorded.bounds_ns
        curves = [model.model.curve for model in models.values()]
        times = np.unique(np.concatenate([np.array([start, end]), *(c.knots()[0] for c in curves)]))
        times = times[(times >= start) & (times <= end)]
        return float(np.max(np.sum([curve.values(times) for curve in curves], axis=0)))

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
        import polars as pl

        recorded = self._recorded()
        low, high = recorded.bounds_ns
        marks = [m for m in recorded.marks if m.start_ns >= low and m.end_ns <= high]
        starts = np.array([m.start_ns for m in marks], dtype=np.int64)
        ends = np.array([m.end_ns for m in marks], dtype=np.int64)
        joules, u, own = self._terms(starts, ends, None, "model") if marks else [np.zeros(0)] * 3
        return pl.DataFrame(
            {
                "name": pl.Series([m.name for m in marks], dtype=pl.String),
                "depth": pl.Series([m.depth for m in marks], dtype=pl.Int64),
                "start_ns": starts,
                "end_ns": ends,
                "duration_s": (ends - starts) / NS_PER_S,
                "energy_j": joules,
                "u_j": u,
                "u_same_card_j": own,
                "mean_power_w": joules / np.maximum(ends - starts, 1) * NS_PER_S,
            }
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about this trace."""
        return self._recorded().notes

    @property
    def recorded(self) -> Recorded:
        """Everything that was measured, as plain data."""
        return self._recorded()

    def wait(self) -> Trace:
        """Wait until the readings that cover the end of a closed trace have been published."""
        self._recorded()
        return self

    def add_span(self, mark: Mark) -> None:
        """Label a span after the fact, as `pyenergy.mark` does while it runs."""
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
        self._extra.update(values)
        self._computed = {}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recording to ``path``; `pyenergy.load` reads it.

        Raises
        ------
        RecordingError
            When it cannot be written.
        """
        from .recording.store import save

        return save(self._recorded(), path)

    def __str__(self) -> str:
        from .report.text import render

        return render(self)

    def __repr__(self) -> str:
        state = "open" if not isinstance(self._source, Recorded) and self._source.is_open else ""
        return f"<pyenergy.Trace {self.duration_s:.3f} s{', ' + state if state else ''}>"

    # Inside --------------------------------------------------------------------------------

    def _terms(
        self, starts_ns: ArrayLike, ends_ns: ArrayLike, device: str | None, method: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(joules, u, u_same_card) of windows, all chosen devices together."""
        recorded, models = self._models(method)
        starts, ends = _windows.checked(starts_ns, ends_ns, recorded.bounds_ns)
        joules, variance, own = (np.zeros(starts.shape) for _ in range(3))
        for model in self._chosen(models, device):
            terms = model.terms(starts, ends)
            joules += terms.joules
            variance += terms.u**2
            own += terms.u_same_card**2
        return joules, np.sqrt(variance), np.sqrt(own)

    def _recorded(self, wait: bool = True) -> Recorded:
        from dataclasses import replace

        source = self._source
        recorded = source if isinstance(source, Recorded) else source.recorded(wait)
        if not (self._extra or self._spans):
            return recorded
        marks = sorted((*recorded.marks, *self._spans), key=lambda m: (m.start_ns, -m.end_ns))
        return replace(recorded, extra=dict(self._extra), marks=tuple(marks))

    def _models(
        self, method: str = "model", wait: bool = True
    ) -> tuple[Recorded, dict[str, DeviceEnergies]]:
        if method not in METHODS:
            raise OptionError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if method in self._computed:
            self._unreadable = self._missing.get(method, {})
            return self._computed[method]
        # Asked first: what is read from a trace that closes meanwhile is not its last word.
        is_open = not isinstance(self._source, Recorded) and self._source.is_open
        recorded = self._recorded(wait)
        if recorded.bounds_ns[1] <= recorded.bounds_ns[0]:
            raise WindowError("the trace has no duration")
        models: dict[str, DeviceEnergies] = {}
        unreadable: dict[str, str] = {}
        spans = Spans.of([(m.name, m.start_ns, m.end_ns) for m in recorded.marks])
        for name, device in recorded.devices.items():
            profile = self._profile or of_recorded(recorded, device)
            try:
                models[name] = DeviceEnergies(device, recorded.bounds_ns, spans, profile, method)
            except NoReadingsError as error:
                unreadable[name] = str(error)
        self._unreadable = unreadable  # as a whole: another thread may be asking
        if not is_open and wait:
            self._computed[method] = recorded, models
            self._missing[method] = unreadable
        return recorded, models

    def _chosen(
        self, models: dict[str, DeviceEnergies], device: str | None
    ) -> list[DeviceEnergies]:
        if device is None and not self._unreadable:
            return list(models.values())
        if device is None or device in self._unreadable:
            wanted = self._unreadable if device is None else {device: self._unreadable[device]}
            rest = f"; read: {', '.join(models)} (see .energies)" if models else ""
            raise NoReadingsError("no energy for " + "; ".join(wanted.values()) + rest)
        if device not in models:
            raise DeviceError(f"no device {device!r} in this trace; it has: {', '.join(models)}")
        return [models[device]]


def _without_profiles(recorded: Recorded) -> Recorded:
    from dataclasses import replace

    provenance = {k: v for k, v in recorded.provenance.items() if k != "profiles"}
    return replace(recorded, provenance=provenance)


def _require_profile(profile: object) -> None:
    from .sensor.profile import Profile

    if profile is not None and not isinstance(profile, Profile):
        raise OptionError(
            f"profile must be a pyenergy.sensor.Profile (see Profile.load), got {profile!r}"
        )
