# SPDX-License-Identifier: Apache-2.0
"""One device's energy shared among its operations, by what the readings tell of their powers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._curves import constant, weighted_sum
from .attribution.regression import Regression, refusal, regress
from .attribution.shares import DeviceShares, share
from .attribution.tables import WholeU
from .attribution.unresolved import Unresolved, windows_u
from .sensor.counter_model import CounterModel
from .sensor.estimate import ActivityModel
from .sensor.spans import Spans
from .sensor.uncertainty import PowerModel
from .units import NS_PER_S, engineering

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from . import _core
    from ._energies import DeviceEnergies
    from .attribution.groups import Groups
    from .attribution.sweep import StaticPolicy
    from .attribution.tables import GroupU
    from .recording.operations import Operations

    Floats = NDArray[np.float64]
    OwnU = Callable[[Floats, Groups], Floats]  # of rows' energies, without the card's gain

__all__ = ["Attributed"]

_MOST_CLASSES = 400  # whose powers are solved for; beyond, the rarest share one
_MOST_OPERATIONS = 3_000_000  # that are solved for in seconds
_ROWS = 4096  # groups at a time: each has a dense row of classes


class Attributed:
    """Operations of one device, and the model of their powers.

    Where the sensor has an update clock and the readings support it, the powers of the classes
    (operations of one name) are solved for from all readings together (`regress`). Otherwise every
    operation has the power of its time, and the uncertainty says how little that tells.

    Attributes
    ----------
    regression : Regression or None
    notes : tuple of str
        How the powers were told, and what to know of them.
    """

    def __init__(self, energies: DeviceEnergies, operations: Operations) -> None:
        self._energies, self._operations = energies, operations
        self._bounds = energies.bounds_ns
        self._class = self._classes()
        self.regression, why = self._regressed()
        name = energies.device.meta.id
        if self.regression is None:
            self.notes: tuple[str, ...] = (
                f"{name}: shares by time: the powers of operations are not told apart ({why}): "
                "each has the power of its time, and its uncertainty any power that the device "
                "can draw",
            )
        else:
            said = "regression of the readings on what ran", *self.regression.notes
            self.notes = tuple(f"{name}: {note}" for note in said)
        self._split()

    # Powers ---------------------------------------------------------------------------------

    def _classes(self) -> NDArray[np.int32]:
        """Class of each operation: its name, the rarest in time being one together."""
        name = self._operations.name
        length = self._operations.end_ns - self._operations.start_ns
        time = np.bincount(name, length, len(self._operations.names))
        used = np.flatnonzero(np.bincount(name, minlength=len(time)))
        kept = used[np.argsort(-time[used], kind="stable")][: _MOST_CLASSES - 1]
        number = np.full(len(time), min(len(used), _MOST_CLASSES) - 1, np.int32)
        number[kept] = np.arange(len(kept), dtype=np.int32)
        self._names = tuple(self._operations.names[i] for i in kept)
        if len(used) > len(kept):
            self._names += (f"{len(used) - len(kept)} others",)
        return number

    def _regressed(self) -> tuple[Regression | None, str]:
        energies, operations = self._energies, self._operations
        if isinstance(energies.model, CounterModel):
            return None, "only the energy counter was read"
        if energies.model.prior.update_ns == 0:
            return None, "what is read is not a sensor that updates"
        if len(operations) > _MOST_OPERATIONS:
            return None, f"{len(operations):,} operations are too many to solve for"
        channel = energies.device.channels[energies.channel]
        response = energies.profile.response_of(channel.source) if energies.is_calibrated else None
        spans = Spans(
            operations.start_ns,
            operations.end_ns,
            np.ascontiguousarray(self._class[operations.name]),
            self._names,
            edge_u_s=operations.bound_ns / NS_PER_S / np.sqrt(3),
        )
        runs, prior = energies.device.runs[energies.channel], energies.model.prior
        why = refusal(runs, spans, prior, response)
        if why is not None:
            return None, why
        meta = energies.device.meta
        limits = meta.power_min_w, meta.power_max_w
        return regress(runs, spans, prior, limits, self._bounds, response), ""

    def _split(self) -> None:
        """The curves of dynamic and static power; together they are the device's energy."""
        energies, bounds = self._energies, self._bounds
        found = self.regression
        self._dynamic, self._static = energies.curves()
        if found is None:
            return
        card = energies.profile
        self._dynamic = weighted_sum(
            [(found.curve, 1 / card.gain), (found.level, -1 / card.gain)], *bounds
        )
        level = weighted_sum([(found.level, 1 / card.gain)], *bounds)
        # What the trace's own model says of the whole holds; by how much the level is off it.
        whole = energies.energy(*bounds)
        duration_s = (bounds[1] - bounds[0]) / NS_PER_S
        seen_j = _total(self._dynamic, bounds) + _total(level, bounds)
        apart_w = (whole.joules - seen_j) / duration_s
        self._static = weighted_sum([(level, 1.0), (constant(apart_w, *bounds), 1.0)], *bounds)
        # Without the sensor's zero, which both have.
        zero_w = card.offset_w / card.gain
        if abs(apart_w + zero_w) * duration_s > 2 * whole.u_same_card:
            both = engineering(seen_j - zero_w * duration_s, "J")
            self.notes += (
                f"{energies.device.meta.id}: operations and the level under them come to {both}, "
                f"the trace to {engineering(whole.joules, 'J')}: the difference is in the static "
                "part",
            )

    def whole_u(self) -> WholeU:
        """What is known of all the device's energy."""
        whole = self._energies.energy(*self._bounds)
        terms, card = dict(whole.terms), self._energies.profile
        return WholeU(whole.u_same_card, card.gain_u / card.gain, terms.get("offset", 0.0))

    # Shares ---------------------------------------------------------------------------------

    def shares(self, static: StaticPolicy) -> DeviceShares:
        """The energy of every operation and gap."""
        found = self.regression
        weights = None
        if found is not None and bool((found.beta_w > 0).any()):
            weights = np.maximum(found.beta_w, 0.0)[self._class[self._operations.name]]
        return share(
            self._energies.device.meta.id,
            self._operations,
            self._dynamic,
            self._static,
            self._bounds,
            weights=weights,
            static=static,
        )

    def group_u(self, shares: DeviceShares) -> GroupU:
        """Uncertainties of groups of operations."""
        own_u = self._unresolved(shares) if self.regression is None else self._resolved(shares)
        card = self._energies.profile

        def of(joules: Floats, groups: Groups) -> tuple[Floats, Floats]:
            own = own_u(joules, groups)
            return np.hypot(own, np.abs(joules) * card.gain_u / card.gain), own

        return of

    def _resolved(self, shares: DeviceShares) -> OwnU:
        from scipy.sparse import csr_array

        regression, gain = self.regression, self._energies.profile.gain
        assert regression is not None
        of_name = np.zeros(max(len(self._class), 1), np.int64)
        of_name[: len(self._class)] = self._class
        to_class = csr_array(
            (np.ones(len(of_name)), (np.arange(len(of_name)), of_name)),
            shape=(len(of_name), len(self._names)),
        )

        def of(joules: Floats, groups: Groups) -> Floats:
            seconds = groups.seconds(shares) @ to_class
            variance = np.zeros(len(joules))
            for first in range(0, len(joules), _ROWS):
                rows = slice(first, first + _ROWS)
                variance[rows] = regression.variances(seconds[rows].toarray())
            return np.sqrt(variance) / gain

        return of

    def _unresolved(self, shares: DeviceShares) -> OwnU:
        """Powers of their own within what the readings resolve, and what they leave open there."""
        energies = self._energies
        whole = energies.energy(*self._bounds)
        relative = whole.u_same_card / whole.joules if whole.joules > 0 else 0.0
        any_power = Unresolved(
            shares, _resolved_ns(energies), energies.model.high_w - energies.model.low_w
        )
        in_gaps = dict(whole.terms).get("gaps", 0.0)
        # What a class of activity explains, windows of it are as certain of as all its time is.
        by_class = isinstance(energies.model, ActivityModel)

        def of(joules: Floats, groups: Groups) -> Floats:
            own2 = any_power.u(groups) ** 2 + (relative * joules) ** 2
            read = windows_u(energies.terms, shares, groups)
            if read is None:
                return np.asarray(np.sqrt(own2 + in_gaps**2))
            own = np.sqrt(own2 + read.inside_j**2 + read.gaps_j**2)
            return (
                own
                if by_class or shares.dynamic.overlap_s > 0
                else np.minimum(own, read.together_j)
            )

        return of


def _resolved_ns(energies: DeviceEnergies) -> int:
    """Time over which readings average: what ran within it they tell only together."""
    runs, model = energies.device.runs[energies.channel], energies.model
    first = np.asarray(runs.t_first_ns[runs.usable])
    between_ns = int(np.median(np.diff(first))) if len(first) > 1 else 0
    if isinstance(model, ActivityModel):
        looks_s = model.response.reach_s - model.response.delay_s
        return max(between_ns, round((model.period_s + looks_s) * NS_PER_S))
    # Nobody found out how late they are: as late as they may be.
    late_ns = model.prior.lag_ns if isinstance(model, PowerModel) else 0
    return max(between_ns, late_ns)


def _total(curve: _core.EnergyCurve, bounds: tuple[int, int]) -> float:
    return float(curve.windows(np.array([bounds[0]]), np.array([bounds[1]]))[0])
