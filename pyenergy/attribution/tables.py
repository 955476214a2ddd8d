# SPDX-License-Identifier: Apache-2.0
"""Shares of operations as tables: by name, layer, stream or device, and the gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import OptionError
from ..units import NS_PER_S
from .groups import Groups
from .own_labels import GAP, UNATTRIBUTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from ..recording.operations import Operations
    from .shares import DeviceShares

    Floats = NDArray[np.float64]
    # (u, u without the card's gain) of groups, J, from their energies, J
    GroupU = Callable[[Floats, Groups], tuple[Floats, Floats]]

__all__ = ["BY", "GAP", "LEVEL_U", "UNATTRIBUTED", "WholeU", "gap_table", "operation_table"]

BY = ("name", "layer", "layer_type", "operator", "stream", "device")
LEVEL_U = "level_u_j"  # of the level, wherever it is counted: for sums of rows


class WholeU(NamedTuple):
    """Uncertainty of a device's whole energy."""

    own_u_j: float  # without the card's gain and offset
    gain_u: float  # relative
    offset_u_j: float


def operation_table(
    shares: Sequence[DeviceShares],
    u_of: Sequence[GroupU],
    totals: Sequence[WholeU],
    by: Sequence[str],
    unread: Sequence[tuple[str, Operations]] = (),
) -> pl.DataFrame:
    """One row for each group of operations, by energy, and one for the gaps of each device.

    Parameters
    ----------
    shares : sequence of DeviceShares
    u_of : sequence of functions
        For each device: uncertainties of groups of operations, a class being a name.
    totals : sequence of WholeU
        For each device: what is known of its whole energy.
    by : sequence of str
        Of `BY`.
    unread : sequence of (str, Operations)
        Devices that were not read, and what ran on them: rows without an energy.

    Raises
    ------
    OptionError
        When operations cannot be grouped like that.
    """
    import polars as pl

    unknown = [column for column in by if column not in BY]
    if unknown or not by:
        raise OptionError(f"by is one or more of {', '.join(BY)}, got {', '.join(unknown) or by!r}")
    by = tuple(dict.fromkeys(by))
    total_j = sum(each.total_j for each in shares)
    parts = [
        _of_device(each, u, total, by) for each, u, total in zip(shares, u_of, totals, strict=True)
    ]
    parts += [_of_unread(name, operations, by) for name, operations in unread]
    table = pl.concat(parts, how="diagonal")
    merge = [column for column in by if column != "device"]
    if "device" not in by and len(parts) > 1:
        table = _over_devices(table, merge)
    table = table.with_columns(
        share=(pl.col("energy_j") + pl.col("static_j")) / (total_j or float("nan")),
        power_w=(pl.col("energy_j") + pl.col("static_j"))
        / pl.when(pl.col("time_s") > 0).then(pl.col("time_s")),
    )
    last = pl.col("kind") != "operation"
    return table.sort(last, -pl.col("energy_j"), nulls_last=True, maintain_order=True)


def gap_table(shares: Sequence[DeviceShares]) -> pl.DataFrame:
    """One row for each gap, in order of time."""
    import polars as pl

    parts = []
    for each in shares:
        starts, ends = each.dynamic.gap_starts_ns, each.dynamic.gap_ends_ns
        parts.append(
            pl.DataFrame(
                {
                    "device": pl.Series([each.device] * len(starts), dtype=pl.String),
                    "start_ns": starts,
                    "end_ns": ends,
                    "time_s": (ends - starts) / NS_PER_S,
                    "energy_j": each.gap_energy_j,
                    "static_j": each.gap_static_j,
                }
            )
        )
    return pl.concat(parts).sort("start_ns", "device", maintain_order=True)


def _of_device(
    shares: DeviceShares, u_of: GroupU, whole: WholeU, by: Sequence[str]
) -> pl.DataFrame:
    import polars as pl

    operations = shares.operations
    rows = np.flatnonzero((shares.seconds > 0) | _within(shares))
    groups, index = _grouped(operations, rows, by)
    count = len(groups)

    def summed(values: Floats) -> Floats:
        return np.bincount(index, values[rows], count).astype(np.float64)

    energy, static = summed(shares.energy_j), summed(shares.static_j)
    dynamic = summed(shares.dynamic.energy_j)
    group_of = np.full(len(operations), -1, np.int64)
    group_of[rows] = index
    u, own = u_of(dynamic, Groups(group_of, count))
    # Of all operations together; what is not theirs is the rest of the whole.
    _, all_own = u_of(dynamic.sum(keepdims=True), Groups(np.minimum(group_of, 0), 1))
    gap_j, gap_static_j = float(shares.gap_energy_j.sum()), float(shares.gap_static_j.sum())
    gap_dynamic_j = float(shares.dynamic.gap_energy_j.sum())
    convention = shares.energy_j - shares.dynamic.energy_j  # a static part that is folded in
    gap_s = (shares.dynamic.gap_ends_ns - shares.dynamic.gap_starts_ns).sum() / NS_PER_S
    level = np.append(static + summed(convention), gap_j + gap_static_j - gap_dynamic_j)
    rest = _Rest.of(level, gap_dynamic_j, float(all_own[0]), whole)
    if shares.static != "separate":
        own = np.hypot(own, rest.own_j[:-1])
        u = np.sqrt(own**2 + (energy * whole.gain_u) ** 2 + rest.offset_j[:-1] ** 2)
    gap_u, gap_own = rest.of_gap(shares.static != "separate")
    labels = _labels(shares.device, operations, by, groups)
    gap_label = {column: shares.device if column == "device" else GAP for column in by}
    return pl.DataFrame(
        {
            **{
                column: pl.concat([labels[column], pl.Series([gap_label[column]])]) for column in by
            },
            "kind": ["operation"] * count + ["gap"],
            "count": [
                *np.bincount(index, operations.begins[rows], count).astype(np.int64).tolist(),
                len(shares.gap_energy_j),
            ],
            "time_s": np.append(summed(shares.seconds), gap_s),
            "energy_j": np.append(energy, gap_j),
            "u_j": np.append(u, gap_u),
            "u_same_card_j": np.append(own, gap_own),
            "static_j": np.append(static, gap_static_j),
            "static_u_j": rest.u_j if shares.static == "separate" else np.zeros(count + 1),
            LEVEL_U: rest.u_j,
            "lower_j": np.append(summed(shares.dynamic.lower_j + convention), gap_j),
            "upper_j": np.append(summed(shares.dynamic.upper_j + convention), gap_j),
        }
    )


class _Rest(NamedTuple):
    """Uncertainty of what is not the operations' own power: whole less them.

    Its errors go with its parts by size, as one level is under all of them.
    """

    own_j: Floats  # of the level under each group, and in the gaps
    offset_j: Floats
    u_j: Floats
    gap_share: float  # of what gaps have above the level
    whole_own_j: float
    whole_u_j: float

    @classmethod
    def of(
        cls, level_j: Floats, gap_dynamic_j: float, dynamic_own_j: float, whole: WholeU
    ) -> _Rest:
        own = float(np.hypot(dynamic_own_j, whole.own_u_j))
        rest_j = gap_dynamic_j + float(level_j.sum())
        u = float(np.sqrt(own**2 + (rest_j * whole.gain_u) ** 2 + whole.offset_u_j**2))
        size = float(np.abs(level_j).sum()) + abs(gap_dynamic_j)
        share = np.abs(level_j) / size if size else np.zeros(len(level_j))
        gap_share = abs(gap_dynamic_j) / size if size else 0.0
        return cls(share * own, share * whole.offset_u_j, share * u, gap_share, own, u)

    def of_gap(self, folded: bool) -> tuple[float, float]:
        """(u, u without the card's) of the energy of the gaps, with their level or without."""
        u, own = self.gap_share * self.whole_u_j, self.gap_share * self.whole_own_j
        if not folded:
            return u, own
        return u + float(self.u_j[-1]), own + float(self.own_j[-1])


def _within(shares: DeviceShares) -> NDArray[np.bool_]:
    """Operations without length that lie in the window: they count, and have no energy."""
    low, high = shares.dynamic.bounds_ns
    operations = shares.operations
    empty = operations.start_ns == operations.end_ns
    inside = (operations.start_ns >= low) & (operations.end_ns <= high)
    return np.asarray(empty & inside)


def _over_devices(table: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Rows of several devices added up; their errors are independent."""
    import polars as pl

    added = ("energy_j", "static_j", "lower_j", "upper_j")
    squared = ("u_j", "u_same_card_j", "static_u_j", LEVEL_U)
    read = pl.len() > pl.col("energy_j").null_count()  # a sum of nothing is not zero joules
    together = table.group_by([*by, "kind"], maintain_order=True).agg(
        *(pl.col(column).sum() for column in ("count", "time_s")),
        *(pl.when(read).then(pl.col(column).sum()).alias(column) for column in added),
        *(pl.when(read).then((pl.col(c) ** 2).sum().sqrt()).alias(c) for c in squared),
    )
    return together.select(table.columns)


def _of_unread(device: str, operations: Operations, by: Sequence[str]) -> pl.DataFrame:
    """What ran where nothing was read: how often and for how long."""
    import polars as pl

    groups, index = _grouped(operations, np.arange(len(operations)), by)
    seconds = (operations.end_ns - operations.start_ns) / NS_PER_S
    return pl.DataFrame(
        {
            **_labels(device, operations, by, groups),
            "kind": ["unread"] * len(groups),
            "count": np.bincount(index, operations.begins, len(groups)).astype(np.int64),
            "time_s": np.bincount(index, seconds, len(groups)),
        }
    )


def _grouped(
    operations: Operations, rows: NDArray[np.int64], by: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(keys of each group, shape (g, len(by)); group of each row)."""
    kinds = _kinds(operations)
    # The last is for operations that belong to no layer: index -1.
    kind_of = np.array([*(kinds.index(kind) for kind in operations.layer_types), -1], np.int64)
    keys = {
        "name": operations.name.astype(np.int64),
        "layer_type": kind_of[operations.layer if operations.layer_types else 0 * operations.layer],
        "layer": operations.layer.astype(np.int64),
        "operator": operations.operator.astype(np.int64),
        "stream": operations.stream,
        "device": np.zeros(len(operations), np.int64),
    }
    stacked = np.stack([keys[column][rows] for column in by], axis=1)
    groups, index = np.unique(stacked, axis=0, return_inverse=True)
    return groups, index.reshape(-1)


def _kinds(operations: Operations) -> tuple[str, ...]:
    return tuple(dict.fromkeys(operations.layer_types))


def _labels(
    device: str, operations: Operations, by: Sequence[str], groups: NDArray[np.int64]
) -> dict[str, pl.Series]:
    """The columns that say which group a row is."""
    import polars as pl

    texts = {
        "name": operations.names,
        "layer": operations.layers,
        "layer_type": _kinds(operations),
        "operator": operations.operators,
    }
    found = {}
    for column, keys in zip(by, groups.T.tolist(), strict=True):
        if column == "device":
            said = [device] * len(keys)
        elif column == "stream":
            said = [str(key) if key >= 0 else UNATTRIBUTED for key in keys]
        else:
            said = [texts[column][key] if key >= 0 else UNATTRIBUTED for key in keys]
        found[column] = pl.Series(said, dtype=pl.String)
    return found
