# SPDX-License-Identifier: Apache-2.0
"""Sums of layers by the tree of modules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyenergy.attribution.layer_tree import tree
from pyenergy.errors import OptionError

NAME = st.lists(st.sampled_from("abc"), max_size=4).map(".".join)


def test_every_prefix_has_what_is_in_it() -> None:
    frame = tree(["h.0.attn.q", "h.0.attn", "h.0", "h.1.attn.q", "lm_head"], [1, 2, 4, 8, 16])
    assert frame.rows() == [
        ("", 0, 0.0, 31.0),
        ("h", 1, 0.0, 15.0),
        ("h.0", 2, 4.0, 7.0),
        ("h.0.attn", 3, 2.0, 3.0),
        ("h.0.attn.q", 4, 1.0, 1.0),
        ("h.1", 2, 0.0, 8.0),
        ("h.1.attn", 3, 0.0, 8.0),
        ("h.1.attn.q", 4, 8.0, 8.0),
        ("lm_head", 1, 16.0, 16.0),
    ]


@given(st.lists(st.tuples(NAME, st.floats(-1e9, 1e9)), max_size=12))
def test_sums_conserve(rows: list[tuple[str, float]]) -> None:
    names, values = [name for name, _ in rows], [value for _, value in rows]
    frame = tree(names, values)
    assert frame["total"][0] == math.fsum(values)
    for path, total in frame.select("path", "total").rows():
        inside = [value for name, value in rows if not path or f"{name}.".startswith(f"{path}.")]
        assert total == math.fsum(inside)
    for path, own in frame.select("path", "own").rows():
        assert own == math.fsum(value for name, value in rows if name == path)


def test_paths_are_taken_as_they_are() -> None:
    frame = tree([("a.b", "c"), ()], [1.0, 2.0], separator="/")
    assert frame["path"].to_list() == ["", "a.b", "a.b/c"]
    assert frame["own"].to_list() == [2.0, 0.0, 1.0]


def test_what_is_not_known_is_not_zero() -> None:
    frame = tree(["a.b", "c"], [np.nan, 1.0])
    assert [math.isnan(total) for total in frame["total"]] == [True, True, True, False]


def test_a_deep_tree() -> None:
    frame = tree([".".join("a" * 900)], [1.0])
    assert frame["total"].to_list() == [1.0] * 901


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match=r"2 names and values of shape \(1,\) do not fit"):
        tree(["a", "b"], [1.0])
