# SPDX-License-Identifier: Apache-2.0
"""A device's energy shared among its operations and the gaps between, with the static part apart.

The power curve of a device is the sum of a static part (what it takes with nothing to do) and a
dynamic one. Both are shared by a sweep over the operations' edges (`sweep`): the dynamic part by
weight among those that run, the static part equally. Nothing is clipped, so that operations, gaps
and their static parts add up to the energy of the window, whatever the policy. (`sweep.attribute`
has the same policies for a static power that is one number of watts; a level that wanders is a
curve, swept on its own.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from ..errors import OptionError
from .sweep import Attribution, StaticPolicy, attribute

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .. import _core
    from ..recording.operations import Operations

__all__ = ["DeviceShares", "share"]


@dataclass(frozen=True, eq=False)
class DeviceShares:
    """Where the energy of one device's window went; arrays have a row for each operation.

    Attributes
    ----------
    device : str
    operations : Operations
        Those of this device.
    dynamic : Attribution
        The dynamic part.
    energy_j, static_j : ndarray of float64
        J of each operation: what is its own, and the static part of its time that is kept apart.
    gap_energy_j, gap_static_j : ndarray of float64
        The same of each gap (``dynamic.gap_starts_ns``).
    total_j : float
        J of the window.
    static : str
        What became of the static part.
    """

    device: str
    operations: Operations
    dynamic: Attribution
    energy_j: NDArray[np.float64]
    static_j: NDArray[np.float64]
    gap_energy_j: NDArray[np.float64]
    gap_static_j: NDArray[np.float64]
    total_j: float
    static: StaticPolicy

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Seconds of each operation inside the window."""
        return self.dynamic.alone_s + self.dynamic.overlapped_s


def share(
    device: str,
    operations: Operations,
    dynamic: _core.EnergyCurve,
    static_part: _core.EnergyCurve,
    bounds_ns: tuple[int, int],
    *,
    weights: NDArray[np.float64] | None = None,
    static: StaticPolicy = "separate",
) -> DeviceShares:
    """Share both parts of a device's power.

    Parameters
    ----------
    device : str
        Its id.
    operations : Operations
        Of this device only.
    dynamic, static_part : EnergyCurve
        Power, W; their sum is the device's.
    bounds_ns : (int, int)
        The window, inside both curves.
    weights : ndarray of float64, optional
        Of operations that overlap, not negative.
    static : {"separate", "busy", "all"}
        ``separate``: kept apart, in ``static_j``. ``busy``: the operations that run have it, and a
        gap its own. ``all``: what gaps take is the operations' too, in proportion to their time.

    Raises
    ------
    OptionError
        For an unknown policy and weights that cannot be.
    """
    if static not in get_args(StaticPolicy):
        raise OptionError(f"static must be one of {get_args(StaticPolicy)}, got {static!r}")
    starts, ends = operations.start_ns, operations.end_ns
    moving = attribute(dynamic, starts, ends, weights=weights, bounds_ns=bounds_ns)
    resting = attribute(static_part, starts, ends, bounds_ns=bounds_ns)
    energy, gaps = moving.energy_j, moving.gap_energy_j
    apart, apart_gaps = resting.energy_j, resting.gap_energy_j
    if static == "all":
        apart, apart_gaps = _spread(resting, moving.alone_s + moving.overlapped_s)
    if static != "separate":
        energy, gaps = energy + apart, gaps + apart_gaps
        apart, apart_gaps = np.zeros_like(apart), np.zeros_like(apart_gaps)
    return DeviceShares(
        device=device,
        operations=operations,
        dynamic=moving,
        energy_j=energy,
        static_j=apart,
        gap_energy_j=gaps,
        gap_static_j=apart_gaps,
        total_j=moving.total_j + resting.total_j,
        static=static,
    )


def _spread(
    resting: Attribution, seconds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The static part of all time over the operations, by their seconds; a gap's where none ran."""
    whole_s = float(seconds.sum())
    if whole_s == 0.0:
        return resting.energy_j, resting.gap_energy_j
    spread = seconds * (resting.total_j / whole_s)
    return spread, np.zeros_like(resting.gap_energy_j)
