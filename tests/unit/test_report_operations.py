# SPDX-License-Identifier: Apache-2.0
"""The table of operations as a terminal shows it: labels, long names, what rounding left."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any

import polars as pl
import pytest
from attached import S, rows, taken
from rich.console import Console

from pyenergy.attribution.tables import BY
from pyenergy.report.operations import operations_table


def printed(table: pl.DataFrame, top: int = 20) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None, highlight=False)
    console.print(operations_table(table, top))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize("by", [*[(key,) for key in BY], *combinations(BY, 2), BY])
def test_every_row_has_its_labels_however_it_is_grouped(by: tuple[str, ...]) -> None:
    trace = taken(("gpu:0", "gpu:1"))
    trace.attach(rows(device=[0, 1, 1], stream=[7, 7, 13], layer=["x.attn", None, "x.mlp"]))
    table = trace.kernels(by)
    text = printed(table)
    header, _, *body = [line.split() for line in text.splitlines() if line.strip()]
    assert header[: len(by)] == list(by)
    assert len(body) == len(table)
    for line, row in zip(text.splitlines()[3:], table.iter_rows(named=True), strict=False):
        for key in by:
            assert row[key] in line


def test_gaps_of_a_device_are_told_from_its_operations() -> None:
    trace = taken(("gpu:0", "gpu:1"))
    trace.attach(rows(device=[0, 1, 1]))
    body = [line.strip() for line in printed(trace.kernels("device")).splitlines()[3:]]
    starts = [line.split("  ")[0] for line in body if line]
    assert sorted(starts) == ["gpu:0", "gpu:0 (nothing ran)", "gpu:1", "gpu:1 (nothing ran)"]


def test_a_key_that_is_asked_for_twice_is_one() -> None:
    trace = taken(("gpu:0", "gpu:1"))
    trace.attach(rows(device=[0, 1, 1]))
    assert trace.kernels(("name", "name")).equals(trace.kernels("name"))


def test_a_long_name_is_cut_in_its_middle_and_whole_in_the_frame() -> None:
    name = "void gemm<" + 2000 * "a" + ", 128, 64>"
    trace = taken()
    trace.attach(rows(name=[name, "b", name]))
    table = trace.kernels()
    assert name in table["name"].to_list()
    text = printed(table)
    assert "void gemm<aaa" in text
    assert "aaa, 128, 64>" in text
    assert "…" in text
    assert max(map(len, text.splitlines())) < 130


def row(kind: str, energy_j: float, u_j: float, static_j: float = 0.0) -> dict[str, Any]:
    return {
        "name": kind, "kind": kind, "count": 1, "time_s": 1e-9, "energy_j": energy_j, "u_j": u_j,
        "static_j": static_j, "static_u_j": 0.0, "share": energy_j / 200, "power_w": energy_j * 1e9,
    }  # fmt: skip


def test_what_rounding_leaves_is_shown_as_zero_and_a_small_energy_is_not() -> None:
    table = pl.DataFrame([row("operation", 200.0, 3.0), row("gap", -0.061e-9, 0.007e-9)])
    gap = printed(table).splitlines()[4]
    assert gap.split() == ["gap", "1", "1", "ns", "0", "J", "0.0%", "0", "W"]
    assert table["energy_j"][1] == -0.061e-9
    for energy_j, u_j in ((-0.061e-9, 1e-6), (2e-9, 0.007e-9)):  # either is not known to be zero
        small = pl.DataFrame([row("operation", 200.0, 3.0), row("gap", energy_j, u_j)])
        assert "±" in printed(small).splitlines()[4]


def test_what_was_not_read_stays_so_beside_what_was() -> None:
    trace = taken()
    trace.attach({"name": ["a", "b"], "start_ns": [2 * S, 4 * S], "end_ns": [3 * S, 5 * S],
                  "device": [0, 3]})  # fmt: skip
    table = trace.kernels()
    unread = table.filter(kind="unread")
    assert unread["energy_j"].to_list() == unread["u_j"].to_list() == [None]
    assert "not read" in printed(table)
