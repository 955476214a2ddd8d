# SPDX-License-Identifier: Apache-2.0
"""Operations from any table that names them and says when they ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OptionError
from .object_columns import of_objects
from .timeline import as_ns

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

__all__ = ["HOST", "Rows", "frame_of", "rows_of"]

HOST = "cpu:0"
_NEEDED = ("name", "start_ns", "end_ns")
_KNOWN = (*_NEEDED, "device", "stream", "layer")


class Rows:
    """Columns of operations before their times are joined to a recording; in the given order.

    Attributes
    ----------
    start_ns, end_ns : ndarray of int64
    name, device, layer, operator : ndarray of int32
        Indices into ``names``, ``devices``, ``layers`` and ``operators``; -1 where there is none.
    stream : ndarray of int64
    begins : ndarray of bool
    layer_types : tuple of str
    notes : list of str
    """

    def __init__(
        self,
        start_ns: NDArray[np.int64],
        end_ns: NDArray[np.int64],
        name: tuple[NDArray[np.int32], tuple[str, ...]],
        device: tuple[NDArray[np.int32], tuple[str, ...]] | None = None,
        layer: tuple[NDArray[np.int32], tuple[str, ...]] | None = None,
        stream: NDArray[np.int64] | None = None,
    ) -> None:
        none = np.full(len(start_ns), -1, np.int32)
        self.start_ns, self.end_ns = start_ns, end_ns
        self.name, self.names = name
        self.device, self.devices = device if device is not None else (none, ())
        self.layer, self.layers = layer if layer is not None else (none, ())
        self.stream = stream if stream is not None else none.astype(np.int64)
        self.operator = none
        self.operators: tuple[str, ...] = ()
        self.layer_types: tuple[str, ...] = ()
        self.begins = np.ones(len(start_ns), bool)
        self.notes: list[str] = []

    def __len__(self) -> int:
        return len(self.start_ns)

    def keep(self, good: NDArray[np.bool_], why: str) -> None:
        """Leave out the others, and say so."""
        if good.all():
            return
        self.notes.append(f"left out: {int((~good).sum())} of {len(good)} operations {why}")
        for column in (
            "start_ns",
            "end_ns",
            "name",
            "device",
            "layer",
            "operator",
            "stream",
            "begins",
        ):
            setattr(self, column, getattr(self, column)[good])


def frame_of(table: Any) -> pl.DataFrame:
    """``table`` as a frame: polars, pandas, pyarrow, a mapping of columns or a list of rows.

    Raises
    ------
    OptionError
        When it is none of these.
    """
    import polars as pl

    if isinstance(table, pl.LazyFrame):
        return table.collect()
    if isinstance(table, pl.DataFrame):
        return table
    what = (
        "operations are a frame (polars, pandas, pyarrow), a mapping of columns or a list of rows "
        f"with {', '.join(_NEEDED)}"
    )
    if table is None:
        raise OptionError(f"{what}; None is none")
    first = table[0] if isinstance(table, (list, tuple)) and len(table) else None
    if isinstance(first, (list, tuple)) and not hasattr(first, "_fields"):
        raise OptionError(
            f"{what}: each row names its values, as in {{'name': 'gemm', 'start_ns': 0, 'end_ns': "
            f"5}}; the first is a {type(first).__name__} without names"
        )
    try:
        if type(table).__module__.partition(".")[0] == "pandas":
            return _of_pandas(table)
        if isinstance(table, Mapping):
            table = {name: _column(name, values) for name, values in table.items()}
        return pl.DataFrame(table)
    except OptionError:
        raise
    except Exception as error:  # whatever polars makes of what is no table
        why = str(error).partition("\n")[0]  # what follows is about how polars was called
        raise OptionError(f"{what}; {type(table).__name__} is none: {why}") from None


def _of_pandas(table: Any) -> pl.DataFrame:
    """Column by column: pyarrow, which polars would ask for, may be absent."""
    import polars as pl

    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        raise OptionError(f"the table has two columns of one name: {', '.join(names)}")
    columns = {}
    for name in table.columns:
        column = table[name]
        if not isinstance(column.dtype, np.dtype):  # as floats, integers would lose digits
            column = column.astype(object)
        columns[str(name)] = _column(str(name), column.to_numpy())
    return pl.DataFrame(columns)


def _column(name: str, values: Any) -> Any:
    """Values for polars, which guesses the type of Python objects by the first of them."""
    import polars as pl

    if isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1:
        return pl.Series(name, list(values), dtype=pl.Object)
    return values


def rows_of(frame: pl.DataFrame) -> Rows:
    """The columns ``name, start_ns, end_ns``, and ``device, stream, layer`` where they are.

    Raises
    ------
    OptionError
        When a column is missing or has something else in it.
    TypeError
        For times that are not integers.
    """
    import polars as pl

    if not frame.columns:
        raise OptionError(
            f"the table is empty: the columns {', '.join(_NEEDED)} are needed (times in integer ns)"
        )
    missing = [column for column in _NEEDED if column not in frame.columns]
    if missing:
        raise OptionError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(frame.columns)}, and "
            f"{', '.join(_NEEDED)} are needed (times in integer ns)"
        )
    frame = frame.with_columns(
        of_objects(frame[name], is_time=name in _NEEDED[1:])
        for name in _KNOWN
        if name in frame.columns and frame.schema[name] == pl.Object
    )
    absent = frame.select(_NEEDED).null_count().row(0)
    if any(absent[1:]):
        frame, whole = frame.drop_nulls(["start_ns", "end_ns"]), len(frame)
    rows = Rows(
        _times(frame["start_ns"]),
        _times(frame["end_ns"]),
        _texts(frame["name"].fill_null("(no name)")),
        _texts(_devices(frame["device"])) if "device" in frame.columns else None,
        _texts(frame["layer"]) if "layer" in frame.columns else None,
        _stream(frame["stream"]) if "stream" in frame.columns else None,
    )
    if any(absent[1:]):
        rows.notes.append(f"left out: {whole - len(frame)} of {whole} operations without a time")
    unknown = [column for column in frame.columns if column not in _KNOWN]
    if unknown:
        rows.notes.append(f"columns that mean nothing here: {', '.join(unknown)}")
    return rows


def _times(column: pl.Series) -> NDArray[np.int64]:
    if len(column) and not (column.dtype.is_numeric() or column.dtype.is_temporal()):
        raise TypeError(f"{column.name} must be integers, ns; not {column.dtype}")
    try:
        return as_ns(column.to_numpy(), column.name)
    except ValueError as error:
        raise OptionError(str(error)) from None


def _texts(column: pl.Series) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """(index of each, the texts); -1 for null."""
    import polars as pl

    if column.dtype.is_float():
        column = column.fill_nan(None)  # what pandas has for a text that is missing
    texts = column.cast(pl.String)
    distinct = texts.drop_nulls().unique(maintain_order=True)
    numbers = pl.Series(np.arange(len(distinct), dtype=np.int32))
    index = texts.replace_strict(distinct, numbers, default=-1, return_dtype=pl.Int32)
    return index.to_numpy(), tuple(distinct.to_list())


def _devices(column: pl.Series) -> pl.Series:
    """Ids as recordings have them: a number is that of a GPU, and -1 the host."""
    import polars as pl

    column = _whole(column)
    if not column.dtype.is_integer():
        return column
    ids = {int(n): HOST if n < 0 else f"gpu:{n}" for n in column.drop_nulls().unique()}
    named: pl.Series = column.replace_strict(ids, default=None, return_dtype=pl.String)
    return named


def _stream(column: pl.Series) -> NDArray[np.int64]:
    import polars as pl

    column = _whole(column)
    if not (column.dtype.is_integer() or column.dtype == pl.Null):
        raise OptionError(f"stream must be integers, got {column.dtype}")
    return np.asarray(column.fill_null(-1).cast(pl.Int64).to_numpy())


def _whole(column: pl.Series) -> pl.Series:
    """Numbers that pandas has as floats because some are missing; any other as it is."""
    import polars as pl

    if not column.dtype.is_float():
        return column
    values = column.fill_nan(None)
    known = values.drop_nulls()
    if not ((known == known.round(0)) & (known.abs() < 2**53)).all():
        raise OptionError(f"{column.name} must be integers, got {column.dtype}")
    whole: pl.Series = values.cast(pl.Int64)
    return whole
