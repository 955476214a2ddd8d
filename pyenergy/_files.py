# SPDX-License-Identifier: Apache-2.0
"""The files that a trace is written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .recording.recorded import Recorded

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from ._session import Session

__all__ = ["Filed"]


class Filed:
    """What `Trace` has for files."""

    _source: Session | Recorded

    @property
    def path(self) -> Path | None:
        """The file that ``pyenergy.trace(path=...)`` named, once it is written; else None."""
        source = self._source
        if isinstance(source, Recorded) or source.live is not None:
            return None
        return source.path

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recording to ``path``; `pyenergy.load` reads it.

        Raises
        ------
        RecordingError
            When it cannot be written.
        """
        from .recording.store import save

        return save(self._recorded(), path)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write every reading as a row of a Parquet file.

        Columns: ``device``, ``channel``, ``unit`` (SI, of ``value``), ``time_utc``,
        ``t_first_ns``, ``read_first_ns``, ``t_last_ns``, ``read_last_ns``, ``value`` (null where
        missing), ``count``, ``flags``: one row for each run of equal readings of each channel.
        Units, devices, marks, clock anchors, notes and provenance are JSON under the key
        ``pyenergy`` of the file's metadata (``polars.read_parquet_metadata``).

        Raises
        ------
        RecordingError
            When it cannot be written.
        """
        from .export.runs import write_parquet

        return write_parquet(self._recorded(), path)

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the table of `to_parquet` as CSV.

        The first line is a comment that begins with ``# pyenergy`` and holds the metadata as JSON:
        ``pandas.read_csv(path, comment="#")``.

        Raises
        ------
        RecordingError
            When it cannot be written.
        """
        from .export.runs import write_csv

        return write_csv(self._recorded(), path)

    def _recorded(self, wait: bool = True) -> Recorded:
        raise NotImplementedError
