# SPDX-License-Identifier: Apache-2.0
"""Times at which a model's work passed some point, without making it wait there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _core
from ..attribution.device_marks import CudaEvents, DeviceMarks
from ..errors import StateError

if TYPE_CHECKING:
    from ..attribution.device_marks import Events

__all__ = ["Edges"]


class Edges:
    """Edges between pieces of work, in order; a context manager around the work.

    On CUDA an edge is an event in the device's queue: the time is that at which the work before it
    was done. Elsewhere it is the host's.

    Parameters
    ----------
    device : torch.device, str or None
        Where the work runs.
    events : Events, optional
        A device's events, in place of those of ``device``.
    """

    def __init__(self, device: Any = None, events: Events | None = None) -> None:
        if events is None and str(device).startswith("cuda"):
            events = CudaEvents(device)
        self._marks = None if events is None else DeviceMarks(events, pool=256)
        self._host_ns: list[int] = []

    def __enter__(self) -> Edges:
        if self._marks is not None:
            self._marks.anchor()
        return self

    def mark(self) -> None:
        """What was asked for until now is before the next edge.

        Raises
        ------
        StateError
            While a CUDA graph is being captured: nothing runs then.
        """
        if self._marks is None:
            self._host_ns.append(_core.now_ns())
        elif self._marks.mark() < 0:
            raise StateError(
                "a CUDA graph is being captured, nothing runs: call the model once before it is "
                "measured"
            )

    def __exit__(self, *exc: object) -> None:
        if self._marks is not None:
            self._marks.anchor()

    @property
    def times_ns(self) -> list[int]:
        """The edges, ns of CLOCK_MONOTONIC; known when the context has been left."""
        if self._marks is None:
            return list(self._host_ns)
        times: list[int] = self._marks.times().t_ns.tolist()
        return times
