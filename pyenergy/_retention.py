# SPDX-License-Identifier: Apache-2.0
"""``keep=``: how much of a trace's readings stays in memory, and when the rest is settled."""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import OptionError
from .recording.settled import Settled
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .recording.marks import Mark
    from .recording.recorded import Recorded

__all__ = ["Retention", "clipped", "keep_ns_of"]

SHORTEST_S = 10.0
LONGEST_S = 366 * 86_400.0
_UNITS_S = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")
# Readings stay until a part as long as what is kept, within these bounds, can be evaluated as one.
_SHORTEST_PART_NS = 60 * NS_PER_S  # an evaluation takes about 0.1 s
_LONGEST_PART_NS = 600 * NS_PER_S


def keep_ns_of(keep: str | float | None) -> int | None:
    """The time to keep in ns; None: everything.

    Raises
    ------
    OptionError
        For what is no time, or one that cannot be.

    Examples
    --------
    >>> keep_ns_of("10min") == keep_ns_of(600)
    True
    """
    if keep is None:
        return None
    seconds = math.nan
    if isinstance(keep, str):
        found = _TEXT.fullmatch(keep)
        if found is not None and found[2] in _UNITS_S:
            seconds = float(found[1]) * _UNITS_S[found[2]]
    elif isinstance(keep, numbers.Real) and not isinstance(keep, bool):
        try:
            seconds = float(keep)
        except OverflowError:
            seconds = math.inf
    if not SHORTEST_S <= seconds <= LONGEST_S:  # NaN is not
        raise OptionError(
            "keep must be a time of 10 s to 366 d, such as '10min', '2h', '1d' or a number of "
            f"seconds, got {keep!r}"
        )
    return round(seconds * NS_PER_S)


class Retention:
    """What one trace keeps.

    Parameters
    ----------
    keep_ns : int
        At least so much is kept.
    start_ns : int
        Of the trace.
    margin_ns : int
        How far around a time readings speak of it.
    """

    def __init__(self, keep_ns: int, start_ns: int, margin_ns: int) -> None:
        self.keep_ns = keep_ns
        self.margin_ns = margin_ns
        self.part_ns = min(max(keep_ns, _SHORTEST_PART_NS, 2 * margin_ns), _LONGEST_PART_NS)
        self.kept_ns = start_ns  # readings are kept from here on
        self._periods: dict[str, dict[str, float]] = {}
        self._settled = Settled(start_ns, start_ns, keep_ns / NS_PER_S)

    @property
    def settled(self) -> Settled | None:
        """What is not kept any more; None: everything is."""
        return self._settled if self._settled.blocks else None

    def next_ns(self, now_ns: int) -> int | None:
        """Up to where the next part is to be settled; None: nothing is due yet."""
        upto = self.kept_ns + self.part_ns
        covered = upto + max(self.keep_ns, self.margin_ns)
        return upto if covered <= now_ns else None

    def evaluated(self, block: Recorded) -> Settled:
        """What is settled once this block is, which begins where the kept readings do."""
        from ._settled import settle

        return settle(self._settled, block, self._periods)

    def settle(self, settled: Settled) -> None:
        """Readings from before its end are needed no more (but for the margin)."""
        self._settled, self.kept_ns = settled, settled.end_ns


def clipped(marks: Iterable[Mark], start_ns: int, end_ns: int) -> tuple[Mark, ...]:
    """The parts of marks that lie in a time, by start."""
    inside = [
        replace(m, start_ns=max(m.start_ns, start_ns), end_ns=min(m.end_ns, end_ns))
        for m in marks
        if m.start_ns < end_ns and m.end_ns > start_ns
    ]
    return tuple(sorted(inside, key=lambda m: (m.start_ns, -m.end_ns)))
