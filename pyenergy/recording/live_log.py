# SPDX-License-Identifier: Apache-2.0
"""The log of a live recording: what a sampler does not see, a line each as it happens."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from ..errors import RecordingError
from .live_layout import sealed, unsealed
from .plain_file import opened

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LiveLog", "read_log"]


class LiveLog:
    """Lines that are on their way to the disk when `append` returns, whatever ends the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._new: deque[dict[str, Any]] = deque()
        self._writing = False
        self._number = 0
        self._waiting = b""  # what the disk refused
        self.error: OSError | None = None

    def append(self, entry: dict[str, Any]) -> None:
        """One more line. Never raises for the disk: `error` says why it took nothing.

        From a signal handler that interrupted it, the line is left for the one that writes.
        """
        if os.getpid() != self._pid:
            return  # a fork's copy, whose lock may be held for ever: the log is the parent's
        with self._lock:
            if self._file < 0:
                return
            self._new.append(entry)
            while self._new and not self._writing:
                self._writing = True
                try:
                    self._write()
                finally:
                    self._writing = False

    def _write(self) -> None:
        while self._new:
            entry = self._new.popleft()
            self._waiting += sealed({**entry, "n": self._number}) + b"\n"
            self._number += 1
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(self._file, self._waiting) :]
            self.error = None
        except OSError as error:
            self.error = error

    def close(self) -> None:
        """Nothing is written any more."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a log, without a last line that was not finished.

    Raises
    ------
    RecordingError
        When it cannot be read or is damaged.
    """
    try:
        with opened(path) as file:
            lines = file.read().split(b"\n")
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from error
    entries = []
    for number, line in enumerate(lines[:-1]):
        entry = unsealed(line)
        if entry is None or entry.pop("n", None) != number:
            raise RecordingError(f"{path} is damaged: line {number + 1} is not what was written")
        entries.append(entry)
    return entries
