# SPDX-License-Identifier: Apache-2.0
"""A recording evaluated: a model of every device's energy, and what follows for windows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from . import _windows
from ._energies import DeviceEnergies
from ._energy import combine
from ._profiles import of_recorded
from .errors import DeviceError, NoReadingsError, WindowError
from .sensor.spans import Spans
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import ArrayLike, NDArray

    from ._device_shares import Attributed
    from ._energy import Energy
    from .recording.marks import Mark
    from .recording.recorded import Recorded
    from .sensor.profile import Profile
    from .sensor.terms import WindowTerms

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

# Between a host's stamp and the device's power lie a launch, or a synchronisation that returns.
# About 20 us from launch to kernel on a V100: NVIDIA, "Understanding the visualization of overhead
# and latency in Nsight Systems".
HOST_EDGE_U_S = 20e-6
_PAUSE_NS = 1_000_000  # between operations of one piece of work

__all__ = ["Evaluation", "span_table"]


@dataclass(frozen=True)
class Evaluation:
    """What a recording says of its devices' energies, by one method.

    Attributes
    ----------
    recorded : Recorded
    models : dict of str to DeviceEnergies
        By device id; those that gave no usable reading are absent.
    unreadable : dict of str to str
        Device ids that are absent, and why.
    method : str
    """

    recorded: Recorded
    models: dict[str, DeviceEnergies]
    unreadable: dict[str, str]
    method: str = "model"
    _attributed: dict[str, Attributed] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        recorded: Recorded,
        profile: Profile | None,
        method: str,
        periods: dict[str, dict[str, float]] | None = None,
    ) -> Evaluation:
        """Model every device; ``profile``: in place of the calibrations that were recorded.

        ``periods``: by device, what an evaluation before found of its sensors' update periods.

        Raises
        ------
        WindowError
            When the recording has no duration.
        """
        if recorded.bounds_ns[1] <= recorded.bounds_ns[0]:
            raise WindowError("the trace has no duration")
        first_ns = _first_ns(recorded)
        marks = [m for m in recorded.marks if m.end_ns >= first_ns]
        own = np.array([max(HOST_EDGE_U_S, _uniform_s(m.bound_ns)) for m in marks])
        spans = Spans.of(
            [(m.name, max(m.start_ns, first_ns), m.end_ns) for m in marks],
            # A few that are much later are told by their readings, and widen themselves alone.
            edge_u_s=float(np.quantile(own, 0.75)) if len(own) else HOST_EDGE_U_S,
            own_u_s=own,
        )
        models: dict[str, DeviceEnergies] = {}
        unreadable: dict[str, str] = {}
        for name, device in recorded.devices.items():
            known = profile or of_recorded(recorded, device)
            try:
                told = spans if len(spans) else _busy(recorded, name)
                bounds = recorded.bounds_ns
                if recorded.settled is not None:  # nothing usable came since
                    bounds = recorded.settled.until_ns(name, method), bounds[1]
                models[name] = DeviceEnergies(
                    device,
                    bounds,
                    told,
                    known,
                    method,
                    cut=recorded.settled is not None,
                    periods=None if periods is None else periods.setdefault(name, {}),
                )
            except NoReadingsError as error:
                unreadable[name] = str(error)
        return cls(recorded, models, unreadable, method)

    def chosen(self, device: str | None) -> list[DeviceEnergies]:
        """The model of one device, or of all in scope (None).

        Raises
        ------
        NoReadingsError
            When one of them gave nothing: a sum without it would be wrong.
        DeviceError
            When there is no such device.
        """
        if device is None and not self.unreadable:
            return list(self.models.values())
        if device is None or device in self.unreadable:
            wanted = self.unreadable if device is None else {device: self.unreadable[device]}
            rest = f"; read: {', '.join(self.models)} (see .energies)" if self.models else ""
            raise NoReadingsError("no energy for " + "; ".join(wanted.values()) + rest)
        if device not in self.models:
            there = ", ".join(self.models)
            raise DeviceError(f"no device {device!r} in this trace; it has: {there}")
        return [self.models[device]]

    def attributed(self, device: str) -> Attributed:
        """What ran on a device, with the powers of it; solved for once.

        Raises
        ------
        NoReadingsError, DeviceError
            As `chosen` does.
        """
        from ._device_shares import Attributed

        (energies,) = self.chosen(device)
        assert self.recorded.operations is not None
        if device not in self._attributed:
            part = self.recorded.operations.of_device(device)
            self._attributed[device] = Attributed(energies, part)
        return self._attributed[device]

    def energies(self) -> dict[str, Energy]:
        """Energy of the whole trace by device id."""
        return {name: self._whole(name) for name in self.models}

    def total(self) -> Energy:
        """Energy of the whole trace, all devices in scope together."""
        self.chosen(None)
        return combine([self._whole(name) for name in self.models])

    def window(self, t0_ns: int, t1_ns: int, device: str | None) -> Energy:
        """Energy of one window, with its notes."""
        starts, ends, whole = _windows.checked_in([t0_ns], [t1_ns], self.recorded)
        start, end = int(starts[0]), int(ends[0])
        self.chosen(device)
        names = self.models if device is None else [device]
        if whole[0]:
            return combine([self._whole(name, end) for name in names])
        return combine([self.models[name].energy(start, end) for name in names])

    def windows(
        self, starts_ns: ArrayLike, ends_ns: ArrayLike, device: str | None
    ) -> tuple[Floats, Floats, Floats]:
        """(joules, u, u_same_card) of windows, all chosen devices together."""
        starts, ends, whole = _windows.checked_in(starts_ns, ends_ns, self.recorded)
        joules, variance, own = (np.zeros(starts.shape) for _ in range(3))
        self.chosen(device)
        for name in self.models if device is None else [device]:
            terms = self._terms(name, starts, ends, whole)
            joules += terms.joules
            variance += terms.u**2
            own += terms.u_same_card**2
        return joules, np.sqrt(variance), np.sqrt(own)

    def _whole(self, name: str, end_ns: int | None = None) -> Energy:
        """Energy of a device from the trace's start."""
        settled, model = self.recorded.settled, self.models[name]
        start, end = self.recorded.bounds_ns
        end = end if end_ns is None else end_ns
        if settled is None:
            return model.energy(start, end)
        from ._settled import joined

        later = model.energy(settled.until_ns(name, self.method), end)
        return joined(settled, name, self.method, later)

    def _terms(
        self, name: str, starts: Times, ends: Times, whole: NDArray[np.bool_]
    ) -> WindowTerms:
        settled, model = self.recorded.settled, self.models[name]
        if settled is None or not whole.any():
            return model.terms(starts, ends)
        from ._settled import added

        starts = np.where(whole, settled.until_ns(name, self.method), starts)
        return added(settled.tally(name, self.method), model.terms(starts, ends), whole)

    def peak_power_w(self) -> float:
        """Largest sum of the devices' readings at one moment, W."""
        start, end = self.recorded.bounds_ns
        curves = [model.model.curve for model in self.models.values()]
        times = np.unique(np.concatenate([np.array([start, end]), *(c.knots()[0] for c in curves)]))
        times = times[(times >= start) & (times <= end)]
        return float(np.max(np.sum([curve.values(times) for curve in curves], axis=0)))


def _first_ns(recorded: Recorded) -> int:
    """From when on marks count: from the first reading, where what came before is not kept."""
    if recorded.settled is None:
        return np.iinfo(np.int64).min
    first = [int(r.t_first_ns[0]) for d in recorded.devices.values() for r in d.runs.values()
             if len(r)]  # fmt: skip
    return min([recorded.bounds_ns[0], *first])


def _busy(recorded: Recorded, device: str) -> Spans | None:
    """Where nobody marked anything, operations that were attached say when a device had work."""
    if recorded.operations is None:
        return None
    starts, ends = recorded.operations.busy(device, _PAUSE_NS)
    if not len(starts):
        return None
    return Spans(
        starts,
        ends,
        np.zeros(len(starts), np.int32),
        ("operations",),
        edge_u_s=max(HOST_EDGE_U_S, _uniform_s(recorded.operations.bound_ns)),
        source="what ran",
    )


def _uniform_s(bound_ns: float) -> float:
    """Standard uncertainty of what lies anywhere inside a bound, s."""
    return bound_ns / NS_PER_S / 3**0.5


def span_table(marks: Sequence[Mark], evaluation: Evaluation | None) -> pl.DataFrame:
    """One row for each mark, as `Trace.spans` describes it; None: there are no marks."""
    import polars as pl

    starts = np.array([m.start_ns for m in marks], dtype=np.int64)
    ends = np.array([m.end_ns for m in marks], dtype=np.int64)
    joules = u = own = np.zeros(0)
    if evaluation is not None:
        joules, u, own = evaluation.windows(starts, ends, None)
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
