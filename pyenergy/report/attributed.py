# SPDX-License-Identifier: Apache-2.0
"""What ran and what it took, of the devices that were read, for files and pages about a trace.

`Trace.kernels` refuses when one device of several gave no reading: a sum would be wrong. A file
that shows each device by itself goes on, and says which is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..attribution.groups import Groups
from ..recording.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from .._device_shares import Attributed
    from .._trace import Trace
    from ..attribution.shares import DeviceShares
    from ..recording.operations import Operations

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

__all__ = ["Ran", "at_rest", "attributed_table", "grouped_u", "ran_on"]


@dataclass(frozen=True)
class Ran:
    """The operations of one device, and their shares where the device was read."""

    device: str
    operations: Operations
    attributed: Attributed | None
    shares: DeviceShares | None


def at_rest(trace: Trace) -> Trace:
    """The trace, or one that is still open as it is now: what is written speaks of one moment."""
    from .._trace import Trace

    source = trace._source
    if isinstance(source, Recorded) or not source.is_open:
        return trace
    now = Trace(trace.recorded)
    now._profile = trace._profile
    return now


def ran_on(trace: Trace) -> list[Ran]:
    """What ran on each device; nothing where no operations are attached."""
    evaluated = trace._evaluated()
    operations = evaluated.recorded.operations
    if operations is None:
        return []
    found = []
    for name in operations.used_devices():
        if name not in evaluated.models:
            found.append(Ran(name, operations.of_device(name), None, None))
            continue
        attributed = evaluated.attributed(name)
        shares = attributed.shares("separate")
        found.append(Ran(name, shares.operations, attributed, shares))
    return found


def attributed_table(trace: Trace, by: Sequence[str]) -> pl.DataFrame | None:
    """`Trace.kernels` of every device that was read, one under the other; None: of none.

    There is a column ``device``, and ``share`` is of all these devices together.
    """
    import polars as pl

    evaluated, operations = trace._evaluated(), trace.operations
    if operations is None:
        return None
    read = [name for name in operations.used_devices() if name in evaluated.models]
    if not read:
        return None
    keys = ["device", *(key for key in by if key != "device")]
    tables = [trace.kernels(keys, device=name) for name in read]
    table = pl.concat(tables, how="diagonal")
    whole = pl.col("energy_j") + pl.col("static_j")
    last = pl.col("kind") != "operation"
    return table.with_columns(share=whole / whole.sum()).sort(
        last, -pl.col("energy_j"), nulls_last=True, maintain_order=True
    )


def grouped_u(ran: Ran, index: Indices, count: int) -> Floats:
    """Standard uncertainty of groups' ``energy_j``, J.

    Parameters
    ----------
    ran : Ran
        Of a device that was read.
    index : ndarray of int64
        Group of each operation, -1 for none.
    count : int
        Number of groups.
    """
    assert ran.attributed is not None
    assert ran.shares is not None
    groups = Groups(index, count)
    return ran.attributed.group_u(ran.shares)(groups.sums(ran.shares.energy_j), groups)[0]
