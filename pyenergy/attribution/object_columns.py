# SPDX-License-Identifier: Apache-2.0
"""Columns of Python objects, as pandas keeps texts and integers beside missing values."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OptionError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["of_objects"]

_NO_VALUE = ("NoneType", "NAType", "NaTType")  # pandas', which need not be installed
_INT64 = np.iinfo(np.int64)


def of_objects(column: pl.Series, *, is_time: bool = False) -> pl.Series:
    """The integers, or the texts, that are in it; null where a value is missing.

    Raises
    ------
    OptionError
        For a mixture, for other objects, and for integers beyond int64.
    TypeError
        For times that are not integers.
    """
    import polars as pl

    values = [None if _is_missing(value) else value for value in column.to_list()]
    there = [value for value in values if value is not None]
    odd = next((value for value in there if not _is_integer(value)), None)
    if odd is None:
        for value in there:
            if not _INT64.min <= value <= _INT64.max:
                raise OptionError(f"{column.name} has {value}, which does not fit in int64")
        whole = [None if value is None else int(value) for value in values]
        return pl.Series(column.name, whole, dtype=pl.Int64)
    if is_time:
        raise TypeError(f"{column.name} must be integers, ns; {odd!r} is {type(odd).__name__}")
    for value in there:
        if not isinstance(value, str):
            raise OptionError(
                f"{column.name} must be texts, or integers, and not both: {value!r} is "
                f"{type(value).__name__}"
            )
    return pl.Series(column.name, values, dtype=pl.String)


def _is_missing(value: Any) -> bool:
    return type(value).__name__ in _NO_VALUE or (isinstance(value, float) and value != value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
