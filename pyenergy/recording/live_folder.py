# SPDX-License-Identifier: Apache-2.0
"""Folders of live recordings: one writer each, and whether that writer is still alive."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecordingError

__all__ = ["LiveFolder", "Owner", "is_live_folder", "live_folder", "owner_of"]

SUFFIX = ".live"
META, LOG, LOCK = "meta.json", "log.jsonl", "lock"

# Of the folders that this process records to. A fork shares them: the child lets go, so that they
# end with the process that records.
_locks: set[int] = set()


@dataclass(frozen=True)
class Owner:
    """The process that records to a folder."""

    pid: int
    host: str

    def __str__(self) -> str:
        elsewhere = f" on {self.host}" if self.host != os.uname().nodename else ""
        return f"process {self.pid}{elsewhere}"


def live_folder(target: Path) -> Path:
    """Where the recording of ``target`` is while it is not finished."""
    return target.with_name(target.name + SUFFIX)


def is_live_folder(path: Path) -> bool:
    """Whether ``path`` is such a folder, of whatever version."""
    return (path / META).is_file() and (path / LOCK).is_file()


def owner_of(folder: Path) -> Owner | None:
    """Who records to the folder now; None when nobody does.

    Raises
    ------
    RecordingError
        When that cannot be told.
    """
    try:
        with _opened(folder / LOCK) as lock:
            owner = _owner(os.read(lock, 4096))
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return owner
            except OSError:  # a file system without locks: by the process itself, on this host
                return owner if _is_running(owner) else None
    except OSError as error:
        raise RecordingError(f"cannot read {folder}: {error.strerror or error}") from error
    return None


class LiveFolder:
    """A folder that this process records to, until `close`."""

    def __init__(self, path: Path, lock: int, note: str) -> None:
        self.path = path
        self.note = note
        self._lock = lock

    @classmethod
    def claim(cls, target: Path) -> LiveFolder:
        """Make the folder of ``target``.

        One that a process left which has died is moved aside; `note` says so.

        Raises
        ------
        RecordingError
            When it cannot be made, or another process or trace records to it.
        """
        folder = live_folder(target)
        if "\0" in str(target) or not target.name:
            raise RecordingError(f"cannot write {str(target)!r}: it is not a file's name")
        if os.path.exists(target) and not target.is_file():
            raise RecordingError(f"cannot write {str(target)!r}: it is not a file")
        new = folder.with_name(f"{folder.name}.{os.getpid()}.new")
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            try:
                lock = _locked(new / LOCK)
                try:
                    note = _install(new, folder, target)
                except BaseException:
                    _let_go(lock)
                    raise
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise
        except OSError as error:
            why = error.strerror or error
            raise RecordingError(f"cannot record to {target}: {why}") from error
        return cls(folder, lock, note)

    def close(self) -> None:
        """Let go of the folder, which stays."""
        if self._lock in _locks:
            _let_go(self._lock)

    def remove(self) -> None:
        """Let go of the folder and remove it."""
        # Renamed first: nobody is to find half of it.
        gone = self.path.with_name(f"{self.path.name}.{os.getpid()}.old")
        with contextlib.suppress(OSError):
            self.path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        self.close()


def _install(new: Path, folder: Path, target: Path) -> str:
    """Give a new folder its name: an exclusive step, since a folder that is not empty stays."""
    note = ""
    for _ in range(100):
        try:
            new.rename(folder)
            return note
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        note = _moved_aside(folder, target) or note
    raise RecordingError(f"cannot record to {target}: others begin to at the same time")


def _moved_aside(folder: Path, target: Path) -> str:
    """Keep what a dead process left, and say so; an error when it is not dead."""
    if not is_live_folder(folder) and not (folder / LOCK).exists():
        raise RecordingError(f"cannot record to {target}: {folder} is in the way")
    try:
        with _opened(folder / LOCK) as lock:
            owner = _owner(os.read(lock, 4096))
            if _is_taken(lock, owner):
                raise RecordingError(
                    f"{target} is being recorded by {owner}: give another path ('pyenergy attach "
                    f"{target}' watches that one)"
                )
            # Whoever else moves it holds this lock: what lies there now is what was looked at.
            if os.stat(folder / LOCK).st_ino != os.fstat(lock).st_ino:
                return ""
            aside = _free_name(folder)
            folder.rename(aside)
    except FileNotFoundError:
        return ""  # moved or finished meanwhile
    return (
        f"{owner} died while it recorded {target}; what it left is now {aside}: "
        f"'pyenergy recover {aside}' makes a recording of it"
    )


def _is_taken(lock: int, owner: _Known) -> bool:
    """Whether somebody records; the lock is ours where nobody does."""
    for _ in range(10):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            time.sleep(0.005)  # who only looks holds it for a moment
        except OSError:
            return _is_running(owner)
    return True


def _free_name(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return aside


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    # Without locks on this file system the pid must do.
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    facts = {"pid": os.getpid(), "host": os.uname().nodename, "started": _started(os.getpid())}
    os.write(lock, json.dumps(facts).encode())
    _locks.add(lock)
    return lock


def _let_go(lock: int) -> None:
    _locks.discard(lock)
    os.close(lock)


@contextlib.contextmanager
def _opened(path: Path):  # type: ignore[no-untyped-def]
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield lock
    finally:
        os.close(lock)


@dataclass(frozen=True)
class _Known(Owner):
    started: int = 0  # as /proc tells it: pids are used again


def _owner(text: bytes) -> _Known:
    try:
        facts = json.loads(text)
        return _Known(int(facts["pid"]), str(facts["host"]), int(facts["started"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return _Known(0, os.uname().nodename)


def _is_running(owner: _Known) -> bool:
    elsewhere = owner.host != os.uname().nodename
    return elsewhere or (owner.pid > 0 and _started(owner.pid) == owner.started)


def _started(pid: int) -> int:
    """When a process began, in ticks since boot; -1: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    return int(stat.rpartition(")")[2].split()[19])


def _after_fork_in_child() -> None:
    for lock in list(_locks):
        _let_go(lock)


os.register_at_fork(after_in_child=_after_fork_in_child)
