# SPDX-License-Identifier: Apache-2.0
"""What a profiler saw, as columns: when each operation ran, where, and what launched it.

`kineto_json.read_kineto` fills them from a trace file, `kineto_live.from_profiler` from a
profiler in this process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GPU_WORK", "Category", "ProfilerEvents", "Provenance", "category_of"]


class Category(IntEnum):
    """What kind of operation, whatever the era called it."""

    KERNEL = 0
    MEMCPY = 1
    MEMSET = 2
    RUNTIME = 3  # the host inside a call such as cudaLaunchKernel
    DRIVER = 4  # the host inside a call such as cuLaunchKernel
    CPU_OP = 5
    ANNOTATION = 6  # record_function, on the host
    GPU_ANNOTATION = 7  # the same, from the first to the last operation that it launched
    PYTHON = 8
    SYNC = 9  # one stream waiting for another, on the device
    OTHER = 10


GPU_WORK = (Category.KERNEL, Category.MEMCPY, Category.MEMSET)
"""Categories of which the device is the worker."""

# As libkineto names its activity types, from 2021 on; compared without case.
_BY_NAME = {
    "kernel": Category.KERNEL,
    "concurrent_kernel": Category.KERNEL,
    "gpu_memcpy": Category.MEMCPY,
    "memcpy": Category.MEMCPY,
    "gpu_memset": Category.MEMSET,
    "memset": Category.MEMSET,
    "cuda_runtime": Category.RUNTIME,
    "runtime": Category.RUNTIME,
    "hip_runtime": Category.RUNTIME,
    "xpu_runtime": Category.RUNTIME,
    "mtia_runtime": Category.RUNTIME,
    "glow_runtime": Category.RUNTIME,
    "privateuse1_runtime": Category.RUNTIME,
    "cuda_driver": Category.DRIVER,
    "driver": Category.DRIVER,
    "xpu_driver": Category.DRIVER,
    "privateuse1_driver": Category.DRIVER,
    "cpu_op": Category.CPU_OP,
    "operator": Category.CPU_OP,
    "user_annotation": Category.ANNOTATION,
    "gpu_user_annotation": Category.GPU_ANNOTATION,
    "python_function": Category.PYTHON,
    "cuda_sync": Category.SYNC,
    "xpu_sync": Category.SYNC,
}


def category_of(name: str | None) -> Category:
    """The category that a profiler's own name for it means; OTHER where that is not known."""
    return _BY_NAME.get(name.lower(), Category.OTHER) if name else Category.OTHER


@dataclass(frozen=True)
class Provenance:
    """Where events come from.

    Attributes
    ----------
    source : str
        The file, or how the profiler in this process was read.
    schema : int or None
        ``schemaVersion`` of the file.
    base_time_ns : int or None
        Unix ns to which the stamps were relative (``baseTimeNanoseconds``, torch 2.4 and later).
    torch_version : str or None
        Where it is said.
    trace_id : str or None
        Kineto's own name for the recording.
    rank : int or None
        Of ``distributedInfo``.
    devices : tuple of str
        Names of the GPUs by index, where they are said.
    """

    source: str
    schema: int | None = None
    base_time_ns: int | None = None
    torch_version: str | None = None
    trace_id: str | None = None
    rank: int | None = None
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProfilerEvents:
    """Operations with a start and an end, ordered by start; every column has one row for each.

    Attributes
    ----------
    start_ns, end_ns : int64
        Unix ns (CLOCK_REALTIME, as Kineto stamps), where ``is_unix_time``; ns from an unknown
        origin otherwise. Not CLOCK_MONOTONIC.
    name : int32
        Index into ``names``.
    names : tuple of str
        Every name once.
    category : int8
        Of `Category`.
    device : int32
        Index of the GPU; -1 on the host.
    stream : int64
        On the GPU; -1 on the host.
    thread : int64
        Thread id on the host, as the profiler says it; -1 on the GPU or where none is said.
    correlation : int64
        What a launch and what it launched have in common; -1 where none. Not unique: a CUDA graph
        is one launch of many kernels.
    external_id : int64
        Id of the host operation (``External id``) that it is or was launched in; -1 where none.
    grid, block : int32 of shape (n, 3), or None
        Launch shape, -1 where none; None unless it was asked for.
    dropped : dict of str to int
        How many spans are left out, by reason.
    skipped : dict of str to int
        How many entries are no spans (flows, metadata, instants) or were not asked for.
    counts : dict of str to int
        What is odd but kept: lengths of zero, ids that several share, names that were repaired.
    is_unix_time : bool
        False where nothing says what the stamps count from.
    provenance : Provenance
        Where it comes from.
    notes : tuple of str
        What a reader of results should know.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    name: NDArray[np.int32]
    names: tuple[str, ...]
    category: NDArray[np.int8]
    device: NDArray[np.int32]
    stream: NDArray[np.int64]
    thread: NDArray[np.int64]
    correlation: NDArray[np.int64]
    external_id: NDArray[np.int64]
    provenance: Provenance
    grid: NDArray[np.int32] | None = None
    block: NDArray[np.int32] | None = None
    is_unix_time: bool = True
    dropped: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.start_ns)

    def name_of(self, row: int) -> str:
        """The name of one event."""
        return self.names[int(self.name[row])]

    def rows(self, *categories: Category) -> NDArray[np.int64]:
        """Indices of the events of these categories, in order of their start."""
        wanted = np.asarray(categories, dtype=np.int8)
        return np.flatnonzero(np.isin(self.category, wanted)).astype(np.int64)

    def on_gpu(self) -> NDArray[np.int64]:
        """Indices of what a GPU worked on: kernels, copies, fills."""
        return self.rows(*GPU_WORK)
