# SPDX-License-Identifier: Apache-2.0
"""How far each answer is from the truth, and how often our intervals hold it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGMAS = 1.96  # half the 95 % interval, in standard uncertainties


@dataclass
class Record:
    """One scenario as one tool saw it: a list has one entry for each window, NaN for no answer."""

    tool: str
    scenario: str
    length_s: list[float]
    truth_j: list[float]
    joules: list[float]
    u_j: list[float] = field(default_factory=list)
    u_same_card_j: list[float] = field(default_factory=list)
    run_s: float = 0.0
    cpu_s: float = 0.0
    answer_cpu_s: float = 0.0
    calls: int = 0
    config: str = ""

    @classmethod
    def of(
        cls, tool: str, scenario: str, heard: dict[str, Any], truth: list[float], calls: int
    ) -> Record:
        """From what a runner said (see ``peer.py``)."""
        lengths = [(end - start) / 1e9 for start, end in heard["stamps"]]
        columns: dict[str, list[float]] = {}
        for key in ("joules", "u_j", "u_same_card_j"):
            if any(key in answer for answer in heard["answers"]):
                found = [answer.get(key) for answer in heard["answers"]]
                columns[key] = [math.nan if v is None else v for v in found]
        if len(columns["joules"]) != len(truth):
            raise ValueError(f"{tool}: {len(columns['joules'])} answers, {len(truth)} windows")
        costs = {key: heard[key] for key in ("run_s", "cpu_s", "answer_cpu_s")}
        return cls(tool, scenario, lengths, truth, **columns, **costs, calls=calls)


def errors_percent(record: Record) -> NDArray[np.float64]:
    """Signed error of each window; NaN: no answer."""
    joules, truth = np.array(record.joules), np.array(record.truth_j)
    return np.asarray((joules - truth) / truth * 100)


def sum_error_percent(record: Record) -> float:
    """Signed error of the sum, over the windows that have an answer."""
    joules, truth = np.array(record.joules), np.array(record.truth_j)
    known = np.isfinite(joules)
    if not known.any():
        return math.nan
    return float((joules[known].sum() / truth[known].sum() - 1) * 100)


def median_error_percent(record: Record) -> float:
    """Median size of the errors of single windows."""
    sizes = np.abs(errors_percent(record))
    known = sizes[np.isfinite(sizes)]
    return float(np.median(known)) if len(known) else math.nan


def silent(record: Record) -> int:
    """Windows to which the tool gave no answer."""
    return int(np.isnan(record.joules).sum())


@dataclass(frozen=True)
class Coverage:
    """How many 95 % intervals held the truth."""

    inside: int
    total: int

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(self.inside + other.inside, self.total + other.total)

    @property
    def bounds(self) -> tuple[float, float]:
        """Where the true share lies with 95 % probability (Clopper and Pearson)."""
        if self.total == 0:
            return 0.0, 1.0
        from scipy.stats import binomtest

        low, high = binomtest(self.inside, self.total).proportion_ci(0.95, "exact")
        return float(low), float(high)

    def __str__(self) -> str:
        if self.total == 0:
            return "-"
        low, high = self.bounds
        share = self.inside / self.total
        return f"{self.inside}/{self.total} = {share:.1%} ({low:.1%} to {high:.1%})"


def coverage(record: Record, same_card: bool = False) -> Coverage:
    """Of joules +- 1.96 u; ``same_card``: of the part that repeats on one card."""
    u = np.array(record.u_same_card_j if same_card else record.u_j)
    if not len(u):
        return Coverage(0, 0)
    errors = np.abs(np.array(record.joules) - np.array(record.truth_j))
    known = np.isfinite(errors) & np.isfinite(u)
    return Coverage(int((errors[known] <= SIGMAS * u[known]).sum()), int(known.sum()))


def half_widths_percent(record: Record) -> NDArray[np.float64]:
    """Half of each 95 % interval against the truth: a wide one holds it easily."""
    return np.asarray(SIGMAS * np.array(record.u_j) / np.array(record.truth_j) * 100)


@dataclass(frozen=True)
class Point:
    """Errors of the windows of about one length."""

    length_s: float
    median: float
    p95: float
    windows: int


def by_length(records: Iterable[Record], edges_s: tuple[float, ...]) -> list[Point]:
    """Size of the errors in % against the windows' length; no answer is no joule: 100 %."""
    chosen = list(records)
    if not chosen:
        return []
    lengths = np.concatenate([r.length_s for r in chosen])
    sizes = np.nan_to_num(np.abs(np.concatenate([errors_percent(r) for r in chosen])), nan=100.0)
    which = np.digitize(lengths, edges_s)
    return [
        Point(
            float(np.median(lengths[which == k])),
            float(np.median(sizes[which == k])),
            float(np.percentile(sizes[which == k], 95)),
            int((which == k).sum()),
        )
        for k in np.unique(which)
    ]
