# SPDX-License-Identifier: Apache-2.0
"""Where the processes of one user on one machine agree on who reads a device: locks and folders.

A folder of the user (``$XDG_RUNTIME_DIR/pyenergy``, else ``/tmp/pyenergy-UID``), which nobody else
may enter. For each device and way to sample it, by a key

``KEY.lock``
    Locked exclusively (``flock``) by the one that reads the device. The kernel lets go when that
    process ends, however it ends: the lock cannot go stale.
``KEY.use``
    Locked shared by everybody who wants the readings.
``KEY-NNNNNN.live``
    Live recordings (`recording.live_layout`), one for each reader in turn.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StateError
from .recording.live_folder import SUFFIX, is_live_folder
from .recording.live_read import LiveReader

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ShareFolder", "share_key", "user_folder"]


def user_folder() -> Path:
    """The user's folder, made where there is none.

    Raises
    ------
    StateError
        When it is another's, or others may write to it.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(runtime) / "pyenergy" if runtime else Path(f"/tmp/pyenergy-{os.geteuid()}")
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise StateError(
            f"share='node' needs the folder {path}: {error.strerror or error}; set XDG_RUNTIME_DIR "
            "to a folder of your own"
        ) from error
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not ours or found.st_mode & 0o077:
        what = "others may enter it" if ours else "it is not a folder of yours"
        raise StateError(
            f"share='node' cannot trust {path}: {what}; remove it or set XDG_RUNTIME_DIR"
        )
    return path


def share_key(parts: Iterable[object]) -> str:
    """A file's name for what two processes must have in common to share readings."""
    return hashlib.sha256(json.dumps([str(p) for p in parts]).encode()).hexdigest()[:16]


class ShareFolder:
    """The files of one key. Locks are on this object's own file descriptions."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._lock = os.open(folder / f"{key}.lock", flags, 0o600)
        try:
            self._use = os.open(folder / f"{key}.use", flags, 0o600)
        except OSError:
            os.close(self._lock)
            raise
        fcntl.flock(self._use, fcntl.LOCK_SH)

    def lead(self) -> bool:
        """Whether the device is ours to read; asked again it stays so."""
        return _locked(self._lock, fcntl.LOCK_EX)

    def follow(self) -> None:
        """Let go of the device, for another to read."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def is_wanted(self) -> bool:
        """Whether another process uses the readings."""
        # To convert the lock, the kernel lets go of it first: only who reads the device asks.
        if not _locked(self._use, fcntl.LOCK_EX):
            fcntl.flock(self._use, fcntl.LOCK_SH)
            return True
        fcntl.flock(self._use, fcntl.LOCK_SH)
        return False

    def recordings(self) -> list[Path]:
        """The live recordings there are, oldest first."""
        found = self._folder.glob(f"{self._key}-*{SUFFIX}")
        return sorted(path for path in found if is_live_folder(path))

    def next_target(self) -> Path:
        """Where the next reader records to."""
        numbers = [int(p.name[len(self._key) + 1 : -len(SUFFIX)]) for p in self.recordings()]
        return self._folder / f"{self._key}-{max(numbers, default=0) + 1:06d}"

    def remove_recordings(self) -> None:
        """All of them, with their tails, and what was left half made: nobody wants them."""
        for path in self._folder.glob(f"{self._key}-*"):
            with contextlib.suppress(Exception):  # damaged: only its files are removed
                for tail in LiveReader(path).tails():
                    tail.unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Let go of both locks. In a fork's child the parent keeps them."""
        for file in (self._lock, self._use):
            if file >= 0:
                os.close(file)
        self._lock = self._use = -1


def _locked(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
