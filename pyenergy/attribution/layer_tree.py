# SPDX-License-Identifier: Apache-2.0
"""Sums of layers rolled up to every module that holds them."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import ArrayLike

__all__ = ["tree"]


def tree(
    names: Sequence[str | Sequence[str]], values: ArrayLike, *, separator: str = "."
) -> pl.DataFrame:
    """Roll values of layers up by the tree of modules.

    Parameters
    ----------
    names : sequence of str or of sequences of str
        Layers by name or by path; ``""`` and ``()`` are the model itself. One may occur often.
    values : array of float
        What each of them took by itself. A value that is not known is NaN, and so is every total
        it is in.
    separator : str
        What separates the parts of a name and joins those of a path.

    Returns
    -------
    polars.DataFrame
        ``path``, ``depth`` (0 is the model), ``own`` (without the modules in it) and ``total``
        (with them), each module before those in it, in order of appearance. ``own`` adds up to
        the sum of ``values``, and so does the ``total`` of the first row.

    Examples
    --------
    >>> tree(["h.0.mlp", "h.0.attn", "lm_head"], [3.0, 1.0, 5.0])["total"].to_list()
    [9.0, 4.0, 4.0, 3.0, 1.0, 5.0]
    """
    import polars as pl

    numbers = np.asarray(values, np.float64)
    if numbers.shape != (len(names),):
        raise OptionError(f"{len(names)} names and values of shape {numbers.shape} do not fit")
    own: dict[tuple[str, ...], list[float]] = {(): []}
    inner: dict[tuple[str, ...], list[tuple[str, ...]]] = {(): []}
    for name, value in zip(names, numbers.tolist(), strict=True):
        path = tuple(name.split(separator) if name else ()) if isinstance(name, str) else name
        path = tuple(path)
        for depth in range(1, len(path) + 1):
            prefix = path[:depth]
            if prefix not in own:
                own[prefix], inner[prefix] = [], []
                inner[prefix[:-1]].append(prefix)
        own[path].append(value)
    order = _depth_first(inner)
    below: dict[tuple[str, ...], list[float]] = {}
    for path in reversed(order):  # every value once, so that no rounding adds up on the way
        below[path] = [*own[path], *(value for part in inner[path] for value in below.pop(part))]
        inner[path] = []
        own[path] = [fsum(own[path]), fsum(below[path])]
    return pl.DataFrame(
        {
            "path": [separator.join(path) for path in order],
            "depth": [len(path) for path in order],
            "own": [own[path][0] for path in order],
            "total": [own[path][1] for path in order],
        },
        schema={"path": pl.String, "depth": pl.Int64, "own": pl.Float64, "total": pl.Float64},
    )


def _depth_first(inner: dict[tuple[str, ...], list[tuple[str, ...]]]) -> list[tuple[str, ...]]:
    order = []
    stack: list[tuple[str, ...]] = [()]
    while stack:
        path = stack.pop()
        order.append(path)
        stack.extend(reversed(inner[path]))
    return order
