# SPDX-License-Identifier: Apache-2.0
"""Operations from any table that names them and says when they ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OptionError
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
    try:
        if type(table).__module__.partition(".")[0] == "pandas":
            # Column by column: pyarrow, which polars would ask for, may be absent.
            return pl.DataFrame({str(name): table[name].to_numpy() for name in table.columns})
        return pl.DataFrame(table)
    except Exception as error:  # whatever polars makes of what is no table
        raise OptionError(
            "operations are a frame (polars, pandas, pyarrow), a mapping of columns or a list of "
            f"rows with {', '.join(_NEEDED)}; {type(table).__name__} is none: {error}"
        ) from None


def rows_of(frame: pl.DataFrame) -> Rows:
    """The columns ``name, start_ns, end_ns``, and ``device, stream, layer`` where they are.

    Raises
    ------
    OptionError
        When a column is missing or has something else in it.
    TypeError
        For times that are not integers.
    """
    missing = [column for column in _NEEDED if column not in frame.columns]
    if missing:
        raise OptionError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(frame.columns)}, and "
            f"{', '.join(_NEEDED)} are needed (times in integer ns)"
        )
    absent = frame.select(_NEEDED).null_count().row(0)
    if any(absent[1:]):
        frame, whole = frame.drop_nulls(["start_ns", "end_ns"]), len(frame)
    rows = Rows(
        as_ns(frame["start_ns"].to_numpy(), "start_ns"),
        as_ns(frame["end_ns"].to_numpy(), "end_ns"),
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


def _texts(column: pl.Series) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """(index of each, the texts); -1 for null."""
    import polars as pl

    texts = column.cast(pl.String)
    distinct = texts.drop_nulls().unique(maintain_order=True)
    numbers = pl.Series(np.arange(len(distinct), dtype=np.int32))
    index = texts.replace_strict(distinct, numbers, default=-1, return_dtype=pl.Int32)
    return index.to_numpy(), tuple(distinct.to_list())


def _devices(column: pl.Series) -> pl.Series:
    """Ids as recordings have them: a number is that of a GPU, and -1 the host."""
    import polars as pl

    if not column.dtype.is_integer():
        return column
    ids = {int(n): HOST if n < 0 else f"gpu:{n}" for n in column.drop_nulls().unique()}
    named: pl.Series = column.replace_strict(ids, default=None, return_dtype=pl.String)
    return named


def _stream(column: pl.Series) -> NDArray[np.int64]:
    import polars as pl

    if not (column.dtype.is_integer() or column.dtype == pl.Null):
        raise OptionError(f"stream must be integers, got {column.dtype}")
    return np.asarray(column.fill_null(-1).cast(pl.Int64).to_numpy())
