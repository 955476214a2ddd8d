# SPDX-License-Identifier: Apache-2.0
"""Whether readings that were taken elsewhere can be watts and joules.

As with times (`time_units`): what cannot be right is refused, what is strange is said in a note,
nothing is converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import OptionError
from ..units import NS_PER_S, engineering

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Column = tuple[NDArray[np.int64], NDArray[np.float64]]

__all__ = ["BOARDS", "BOARD_W", "check_both", "check_counter", "check_limit", "check_power"]

# The largest boards (a superchip's module) draw 3 kW, a node around them 15, a rack 130 kW. What is
# named after a GPU or a CPU is a board, or at most a few nodes; all else ends where readings do.
BOARD_W, _NODES_W, _LARGEST_W = 5e3, 100e3, 1e6
BOARDS = ("gpu", "cpu")
_MICRO_W = 1e7  # 10 kW if it were milliwatts: rather 10 W in microwatts
# Readings pass a board's limit by half in transients; milliwatts pass it a thousandfold, and even
# at an idle of 5 % fiftyfold.
_BEYOND_LIMIT = 10.0
# In kilowatts a board never reaches a 500th of its limit, nor, where that is not known, one.
_KILOWATTS, _LEAST_W = 500.0, 1.0
_FEWEST = 3  # readings, or rises of a counter, that a suspicion needs

# Counter over integral of the power, and the unit that makes it so. Sensors of one board differ by
# some 10 %: within a factor of 2 of one of these it is the unit.
_RATIOS = (
    (1e3, "the counter is in millijoules (values / 1000), or the times are microseconds"),
    (1e6, "the counter is in microjoules (values / 1_000_000), or the times are milliseconds"),
    (1e9, "the times are seconds (times * 1_000_000_000)"),
    (1e-3, "the power is in milliwatts (values / 1000), or the counter in kilojoules"),
    (1e-6, "the power is in microwatts (values / 1_000_000)"),
    (1 / 3.6e3, "the counter is in watt-hours (values * 3600)"),
    (1 / 3.6e6, "the counter is in kilowatt-hours (values * 3_600_000)"),
)


def check_limit(name: str, kind: str, watts: float) -> list[str]:
    """Notes on a limit (``"power_max_w"``) that was given for a device of a kind (``"gpu"``).

    Raises
    ------
    OptionError
        When it cannot be watts.
    """
    return _draw(name, kind, watts, "watts")


def check_power(
    kind: str, values: NDArray[np.float64], power_max_w: float = float("nan")
) -> list[str]:
    """Notes on readings that do not look like watts; ``power_max_w``: NaN where not known.

    Raises
    ------
    OptionError
        When they cannot be watts.
    """
    sound = values[values >= 0]
    if len(sound) == 0:
        return []
    notes = _draw("the median reading", kind, float(np.median(sound)), "watts", power_max_w)
    if len(sound) < _FEWEST or kind not in BOARDS:
        return notes
    highest, zeros = float(sound.max()), int((sound == 0).sum())
    if 0 < highest < (_LEAST_W if np.isnan(power_max_w) else power_max_w / _KILOWATTS):
        notes.append(
            f"no reading is above {engineering(highest, 'W')}: they look like kilowatts "
            "(values * 1000)"
        )
    elif zeros:
        notes.append(
            f"{zeros} of {len(values)} readings are exactly 0 W and are taken as that: if 0 stands "
            "for what could not be read, give NaN"
        )
    return notes


def check_counter(
    kind: str,
    t: NDArray[np.int64],
    values: NDArray[np.float64],
    power_max_w: float = float("nan"),
) -> list[str]:
    """Notes on readings that do not look like joules, or like a counter.

    Raises
    ------
    OptionError
        When they cannot be joules.
    """
    sound = values >= 0
    when, moved = t[sound], np.diff(values[sound])
    changes, falls = int((moved != 0).sum()), int((moved < 0).sum())
    if falls >= _FEWEST and falls > 0.1 * changes:
        return [
            f"it falls {falls} of the {changes} times that it changes, but a counter only grows: "
            "joules per interval are added up first (np.cumsum), watts are 'power'"
        ]
    up = np.flatnonzero(moved > 0) + 1
    seconds = int(when[up[-1]] - when[up[0]]) / NS_PER_S if len(up) >= _FEWEST else 0.0
    if seconds <= 0:
        return []
    joules = float(moved[up[1:] - 1].sum())  # without the first rise, which began unseen
    return _draw("its rise", kind, joules / seconds, "joules", power_max_w)


def check_both(power: Column, counter: Column) -> list[str]:
    """Notes on a device's power and counter, (t_ns, values) each, that do not belong together.

    Raises
    ------
    OptionError
        When one of them is in another unit.
    """
    ratio = _ratio(power, counter)
    if not ratio > 0:
        return []
    said = f"the energy counter rises {ratio:.3g} times as fast as the power readings say"
    for wrong, why in _RATIOS:
        if 0.5 < ratio / wrong < 2:
            raise OptionError(f"{said}: {why}")
    if 0.1 < ratio < 10:
        return []
    return [f"{said}: one of them is in another unit, or another device's"]


def _draw(
    what: str, kind: str, watts: float, unit: str, power_max_w: float = float("nan")
) -> list[str]:
    """Notes on a power that is too much, or the error."""
    small, divisor = ("micro", "1_000_000") if watts > _MICRO_W else ("milli", "1000")
    cure = f"{small}{unit} (values / {divisor})"
    said = f"{what} is {engineering(watts, 'W')}"
    if watts > _BEYOND_LIMIT * power_max_w:
        raise OptionError(
            f"{said}, {watts / power_max_w:.0f} times the device's power_max_w of "
            f"{engineering(power_max_w, 'W')}: it looks like {cure}, or power_max_w is not watts"
        )
    board = kind in BOARDS
    if watts > (_NODES_W if board else _LARGEST_W):
        other = "; what is more than a board has a name of its own, as 'rack:0'" if board else ""
        raise OptionError(f"{said}: it looks like {cure}{other}")
    if board and watts > BOARD_W:
        return [f"{said}, much for one board: is it in {cure}?"]
    return []


def _ratio(power: Column, counter: Column) -> float:
    """Counter over integral of the power, from its first rise to its last; NaN: no telling."""
    at, watts = (column[power[1] >= 0] for column in power)
    t, total = (column[counter[1] >= 0] for column in counter)
    inside = (t >= at[:1]) & (t <= at[-1:]) if len(at) > 1 else np.zeros(len(t), bool)
    t, total = t[inside], total[inside]
    moved = np.diff(total)
    up = np.flatnonzero(moved > 0) + 1
    if len(up) <= _FEWEST:
        return float("nan")
    seconds = (at - at[0]) / NS_PER_S
    summed = np.concatenate([[0.0], np.cumsum(np.diff(seconds) * (watts[1:] + watts[:-1]) / 2)])
    edges = np.interp((t[up[[0, -1]]] - at[0]) / NS_PER_S, seconds, summed)
    used = float(edges[1] - edges[0])
    return float(moved[up[1:] - 1].sum()) / used if used > 0 else float("nan")
