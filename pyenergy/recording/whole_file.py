# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from ..errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["whole_file"]


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write to; it takes its place when all went well.

    Raises
    ------
    RecordingError
        When the file cannot be written, and where something else than a file has its name.
    """
    # One for each thread: the last to end has its whole file there.
    part = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_native_id()}.part")
    # A device or a pipe would be gone; that a folder is none, the system says.
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise RecordingError(f"cannot write {str(target)!r}: it is not a file")
    try:
        try:
            _made(part)
            yield part
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RecordingError(f"cannot write {target}: {error.strerror or error}") from error


def _made(part: Path) -> None:
    """A new file: in a folder that others may write to, its name may be somebody's link by now."""
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
