# SPDX-License-Identifier: Apache-2.0
"""Sums of many windows, such as the energy per call, with the uncertainty of the *sum*.

The errors of windows that one fit gave are not independent. For each device, with weights W of
shape (m, n) for m sums over n windows, the covariance of the sums is the total of

=======================  ==========================================================================
gain, offset             common to all: rank one
fit                      ``W L Cov(beta) L' W'``, L the seconds of each class in each window less
                         what the level could have explained: what the classes share cancels or
                         adds as it should
drift                    the error of the whole measurement in proportion of time, and each
                         window's own, independent
counter                  by how much the energy counter corrects the whole trace, in proportion
                         of energy
misfit                   fit and drift again where readings miss the model, and what each strange
                         reading says, independent
clock, edges, inside     of each window: independent, as no two fall alike on the sensor's updates
gaps                     linear: the same unknown power
=======================  ==========================================================================

Without a model of the activity (nothing but readings, or a counter) every term adds up linearly,
unless the reading is always fresh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .sensor.estimate import ActivityModel
from .sensor.response import overlaps
from .sensor.terms import CARD_TERMS, MISFIT, WindowTerms
from .sensor.uncertainty import PowerModel
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ._energies import DeviceEnergies

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

__all__ = ["Sums", "combined"]


@dataclass(frozen=True)
class Sums:
    """m sums over the windows of one measurement.

    Attributes
    ----------
    joules : ndarray, shape (m,)
        J (per call, where the weights are).
    parts : dict of str to ndarray, shape (m, m)
        Covariance that each term contributes, J^2.
    net_joules : ndarray, shape (m,)
        Net of idle: what the sums would be less without their functions, J.
    net_parts : dict of str to ndarray, shape (m, m)
    windows_j : ndarray, shape (n,)
        Energy of each window, J.
    """

    joules: Floats
    parts: dict[str, Floats]
    net_joules: Floats
    net_parts: dict[str, Floats]
    windows_j: Floats

    def cov(self, same_card: bool = True, net: bool = False) -> Floats:
        """Covariance of the sums, J^2; ``same_card``: without gain and offset."""
        parts = self.net_parts if net else self.parts
        total = np.zeros((len(self.joules),) * 2)
        for name, part in parts.items():
            if not (same_card and name in CARD_TERMS):
                total = total + part
        return total


def combined(models: Iterable[DeviceEnergies], weights: Floats, starts: Times, ends: Times) -> Sums:
    """Sums of windows over all devices, whose errors are independent.

    Parameters
    ----------
    models : iterable of DeviceEnergies
    weights : ndarray, shape (m, n)
        How much of each window each sum holds, such as 1 / calls.
    starts, ends : ndarray of int64, shape (n,)
        Windows, inside the recording; not empty, in order.
    """
    total: Sums | None = None
    for model in models:
        one = _of_device(model, weights, starts, ends)
        total = one if total is None else _added(total, one)
    assert total is not None
    return total


def _added(a: Sums, b: Sums) -> Sums:
    return Sums(
        a.joules + b.joules,
        _sum_of_parts(a.parts, b.parts),
        a.net_joules + b.net_joules,
        _sum_of_parts(a.net_parts, b.net_parts),
        a.windows_j + b.windows_j,
    )


def _sum_of_parts(a: dict[str, Floats], b: dict[str, Floats]) -> dict[str, Floats]:
    names = dict.fromkeys((*a, *b))
    return {n: np.asarray(a.get(n, 0.0) + b.get(n, 0.0), dtype=np.float64) for n in names}


def _of_device(energies: DeviceEnergies, weights: Floats, starts: Times, ends: Times) -> Sums:
    model = energies.model
    by_activity = isinstance(model, ActivityModel)
    terms = _unfused(energies, starts, ends) if by_activity else energies.terms(starts, ends)
    bounds = starts[:1], ends.max(keepdims=True)
    whole = _unfused(energies, *bounds)
    seconds = (ends - starts) / NS_PER_S
    shares = _Shares(
        weights,
        terms,
        whole,
        (weights @ seconds) / (float(bounds[1][0] - bounds[0][0]) / NS_PER_S),
        _moved_by_counter(energies) if by_activity else 0.0,
    )
    parts = {name: shares.linear(name) for name in (*CARD_TERMS, "gaps")}
    if isinstance(model, ActivityModel):
        parts |= _activity_parts(model, shares, starts, ends)
        net, net_parts = _net_of_level(energies, model, shares, starts, ends, parts)
    else:
        fresh = isinstance(model, PowerModel) and model.prior.update_ns == 0
        for name in terms.terms:
            if name not in parts:
                parts[name] = shares.independent(name) if fresh else shares.linear(name)
        net, net_parts = _net_of_pauses(energies, shares, starts, ends, parts)
    return Sums(weights @ terms.joules, parts, net, net_parts, terms.joules)


def _unfused(energies: DeviceEnergies, starts: Times, ends: Times) -> WindowTerms:
    """What the readings say, the counter left out.

    A counter that ticks a little late takes the same share from every block: over many blocks
    alike it tells less than it seems to. Over the whole measurement it is compared as a check.
    """
    terms = energies.model.windows(starts, ends)
    card = energies.profile
    seconds = (ends - starts) / NS_PER_S
    joules = (terms.joules - card.offset_w * seconds) / card.gain
    own = {name: value / card.gain for name, value in terms.terms.items()}
    gain = {"gain": np.abs(joules) * card.gain_u / card.gain}
    return WindowTerms(joules, {**gain, "offset": seconds * card.offset_u_w / card.gain, **own})


def _moved_by_counter(energies: DeviceEnergies) -> float:
    """Relative change of the energy of the whole trace, idle at both ends, by the counter."""
    model = energies.model
    bounds = np.array([model.start_ns]), np.array([model.end_ns])  # type: ignore[union-attr]
    without = float(_unfused(energies, *bounds).joules[0])
    return abs(float(energies.terms(*bounds).joules[0]) / without - 1) if without > 0 else 0.0


@dataclass(frozen=True)
class _Shares:
    """Weights, the windows' terms, and the sums' part of the time from first to last."""

    weights: Floats
    terms: WindowTerms
    whole: WindowTerms
    of_time: Floats
    counter: float  # what the counter makes of the energy of the whole trace, relative

    def term(self, name: str) -> Floats:
        return self.terms.terms.get(name, np.zeros(self.weights.shape[1]))

    def linear(self, name: str) -> Floats:
        size = self.weights @ self.term(name)
        return np.outer(size, size)

    def independent(self, name: str) -> Floats:
        return np.asarray((self.weights * self.term(name) ** 2) @ self.weights.T)

    def in_proportion(self, name: str) -> Floats:
        u = float(self.whole.terms.get(name, np.zeros(1))[0])
        return np.outer(self.of_time, self.of_time) * u**2 + self.independent(name)


def _activity_parts(
    model: ActivityModel, shares: _Shares, starts: Times, ends: Times
) -> dict[str, Floats]:
    parts = {name: shares.independent(name) for name in ("clock", "edges", "inside")}
    lever = model.levers(starts, ends)
    alone = np.sqrt(np.einsum("ij,jk,ik->i", lever, model.lever_cov, lever).clip(0))
    # What the calibrated gain makes of each window's own term, it makes of its share in the sum.
    scale = np.divide(shares.term("fit"), alone, out=np.zeros_like(alone), where=alone > 0)
    summed = shares.weights @ (lever * scale[:, None])
    parts["fit"] = summed @ model.lever_cov @ summed.T
    parts["drift"] = shares.in_proportion("drift")
    moved_j = shares.counter * (shares.weights @ shares.terms.joules)
    parts["counter"] = np.outer(moved_j, moved_j)
    inflation = model.fitted.misfit_ratio**2 - 1 if model.fitted.misfit_ratio > MISFIT else 0.0
    own = shares.term("misfit") ** 2
    own = own - inflation * (shares.term("fit") ** 2 + shares.term("drift") ** 2)
    strange = (shares.weights * own.clip(0)) @ shares.weights.T
    parts["misfit"] = inflation * (parts["fit"] + parts["drift"]) + strange
    return parts


def _net_of_level(
    energies: DeviceEnergies,
    model: ActivityModel,
    shares: _Shares,
    starts: Times,
    ends: Times,
    parts: dict[str, Floats],
) -> tuple[Floats, dict[str, Floats]]:
    """Power of the classes times their time: the level is what would be without them."""
    fitted, gain = model.fitted, energies.profile.gain
    seconds = np.asarray((shares.weights @ overlaps(fitted.activity, starts, ends)) / gain)
    net = seconds @ fitted.beta
    fit = seconds @ fitted.beta_cov @ seconds.T
    ratio2 = max(fitted.misfit_ratio**2, 1.0) if fitted.misfit_ratio > MISFIT else 1.0
    relative = energies.profile.gain_u / gain
    own = {n: parts[n] for n in ("clock", "edges", "inside", "gaps", "counter")}
    card = {"gain": np.outer(net, net) * relative**2}
    return net, {**card, "fit": fit, "misfit": (ratio2 - 1) * fit, **own}


def _net_of_pauses(
    energies: DeviceEnergies,
    shares: _Shares,
    starts: Times,
    ends: Times,
    parts: dict[str, Floats],
) -> tuple[Floats, dict[str, Floats]]:
    """Less the mean power of the pauses between the windows."""
    pauses = starts[1:] > ends[:-1]
    begin, end = ends[:-1][pauses], starts[1:][pauses]
    idle_s = float((end - begin).sum()) / NS_PER_S
    gross = shares.weights @ shares.terms.joules
    if idle_s <= 0:
        return np.full(len(gross), np.nan), {"fit": np.full((len(gross),) * 2, np.nan)}
    idle = energies.terms(begin, end)
    seconds = shares.weights @ ((ends - starts) / NS_PER_S)
    net = gross - seconds * float(idle.joules.sum()) / idle_s
    u_w = float(idle.u_same_card.sum()) / idle_s  # linear: all of one cause
    card = {"gain": np.outer(net, net) * (energies.profile.gain_u / energies.profile.gain) ** 2}
    own = {n: part for n, part in parts.items() if n not in CARD_TERMS}
    return net, {**card, **own, "drift": np.outer(seconds, seconds) * u_w**2}
