# SPDX-License-Identifier: Apache-2.0
"""A device's energy shared among those who kept it busy, in proportion of their busy time.

The power P_s that is there with nothing to do is told apart first: power against load is a line
whose intercept it is, known the better the more the load varied and the lower it came; it lies
between nothing and the lowest power that was seen. The rest of each interval's energy is shared.

What a busy second costs differs from process to process by a factor 1 + e_p, e_p of standard
deviation `intensity_u`, the same for a process all along: with shares s the error of one's energy
is ``sum_i D_i s_pi (e_p - sum_q s_qi e_q)``, nothing for who is alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..attribution.sweep import StaticPolicy
    from .usage import Usage

    Floats = NDArray[np.float64]

__all__ = ["Idle", "Intervals", "Shared", "apportion", "idle_power"]

_FEW = 5  # intervals that a line needs
_SHORTEST_S = 0.05
# Power over load is no straight line: leading it on to no load, as far again as it was seen, may
# miss by this share of the lowest power.
_BENT = 0.3
_CLEAR = 3.0  # times the resolution: what a load must have varied to tell anything


@dataclass(frozen=True)
class Intervals:
    """A device between the moments at which its users were looked at.

    Attributes
    ----------
    seconds, joules : ndarray, shape (n,)
    busy_s : ndarray, shape (p, n)
        Of each user.
    total_s : ndarray, shape (n,)
        Of the device; at least the sum of its users'.
    excess_s : float
        By how much the users' times exceeded the device's own.
    units, resolution_s
        As `Usage` has them.
    """

    seconds: Floats
    joules: Floats
    busy_s: Floats
    total_s: Floats
    excess_s: float
    units: int
    resolution_s: float

    @classmethod
    def of(cls, usage: Usage, edges_ns: NDArray[np.int64], joules: Floats) -> Intervals:
        """Between ``edges_ns``, the first and last of which are the trace's."""
        busy = np.diff(usage.busy_s, axis=1)
        total = np.diff(usage.total_s)
        users = busy.sum(axis=0)
        return cls(
            np.diff(edges_ns) / NS_PER_S,
            joules,
            busy,
            np.maximum(total, users),
            float(np.maximum(users - total, 0.0).sum()),
            usage.units,
            usage.resolution_s,
        )


@dataclass(frozen=True)
class Idle:
    """Power with nothing to do, and its standard uncertainty, W."""

    watts: float
    u_w: float


@dataclass(frozen=True)
class Shared:
    """Energies of all users, then of all others, then static, J, with standard uncertainties.

    ``u_j`` leaves the device's own uncertainty out.
    """

    joules: Floats
    u_j: Floats


def idle_power(of: Intervals) -> Idle:
    """Told from how power follows load."""
    long = of.seconds >= min(_SHORTEST_S, float(of.seconds.max()))
    power = of.joules[long] / of.seconds[long]
    load = of.total_s[long] / of.seconds[long]
    lowest = max(float(power.min()), 0.0)
    prior_w, prior_u = lowest / 2, lowest / np.sqrt(12)  # anywhere from nothing up to it
    steps = of.resolution_s * np.sqrt(of.units / 6) / of.seconds[long]
    line = _line(load, power) if np.std(load) > _CLEAR * float(np.median(steps)) else None
    if line is None or prior_u == 0:
        return Idle(prior_w, prior_u)
    weights = np.array([prior_u**-2, line.u_w**-2])
    watts = float(weights @ np.array([prior_w, line.watts]) / weights.sum())
    # A line that leads outside the bounds is wrong by at least that.
    outside = max(line.watts - lowest, -line.watts, 0.0)
    return Idle(watts, float(np.hypot(weights.sum() ** -0.5, outside)))


def _line(load: Floats, power: Floats) -> Idle | None:
    """The intercept of power over load; None where the load tells none."""
    if len(load) < _FEW:
        return None
    design = np.stack([np.ones_like(load), load], axis=1)
    (intercept, slope), *_ = np.linalg.lstsq(design, power, rcond=None)
    rest = power - design @ np.array([intercept, slope])
    variance = float(rest @ rest) / (len(load) - 2)
    try:
        cov = variance * np.linalg.inv(design.T @ design)
    except np.linalg.LinAlgError:
        return None
    bent_w = _BENT * float(power.min()) * float(load.min() / np.ptp(load))
    u_w = float(np.sqrt(cov[0, 0] + bent_w**2))
    return Idle(float(intercept), max(u_w, 1e-3 * float(np.abs(power).max())))


def apportion(of: Intervals, idle: Idle, static: StaticPolicy, intensity_u: float) -> Shared:
    """Share the energy of all intervals; what nobody watched kept busy is the others'."""
    others = of.total_s - of.busy_s.sum(axis=0)
    busy = np.vstack([of.busy_s, others])
    some = of.total_s > 0
    shares = np.divide(busy, of.total_s, out=np.zeros_like(busy), where=some)
    shares[-1, ~some] = 1.0  # above idle, and nobody was busy
    level = idle.watts * of.seconds
    above = of.joules - level
    to_users = _of_static(of, busy, static)  # per W of idle power, s
    dynamic = shares @ above
    users = dynamic + to_users * idle.watts
    rest_s = float(of.seconds.sum() - to_users.sum())
    variance = _intensities(shares, above, intensity_u) + _resolution(of, above, shares)
    variance += ((to_users - shares @ of.seconds) * idle.u_w) ** 2
    return Shared(
        np.append(users, rest_s * idle.watts),
        np.append(np.sqrt(variance), abs(rest_s) * idle.u_w),
    )


def _of_static(of: Intervals, busy: Floats, static: StaticPolicy) -> Floats:
    """Seconds of idle power that each user has to bear."""
    if static == "separate":
        return np.zeros(len(busy))
    if static == "busy":
        return np.asarray((busy / of.units).sum(axis=1))
    whole = busy.sum(axis=1)
    if whole.sum() <= 0:
        return np.append(np.zeros(len(busy) - 1), of.seconds.sum())
    return np.asarray(whole / whole.sum() * of.seconds.sum())


def _intensities(shares: Floats, above: Floats, intensity_u: float) -> Floats:
    """Variance from what a busy second of each costs."""
    mixed = (shares * above) @ shares.T
    lever = np.diag(shares @ above) - mixed
    return np.asarray(intensity_u**2 * (lever**2).sum(axis=1))


def _resolution(of: Intervals, above: Floats, shares: Floats) -> Floats:
    """Variance from the steps of cumulative times: an edge's error is lost by one interval and won
    by the next, so that it cancels as far as their powers are alike."""
    some = of.total_s > 0
    per_s = np.divide(above, of.total_s, out=np.zeros_like(above), where=some)
    step2 = of.resolution_s**2 / 12
    own = np.full(len(shares), _edges2(per_s)) * step2
    own[-1] *= max(len(shares) - 1, 1)
    device = np.array([_edges2(per_s * row) for row in shares]) * step2 * of.units
    return own + device


def _edges2(levers: Floats) -> float:
    return float((np.diff(np.concatenate([[0.0], levers, [0.0]])) ** 2).sum())
