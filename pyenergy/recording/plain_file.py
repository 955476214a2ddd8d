# SPDX-License-Identifier: Apache-2.0
"""Files that others may have made: opening one never waits, and none is without an end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ..errors import RecordingError

__all__ = ["opened"]


def opened(path: Path) -> BinaryIO:
    """An ordinary file, to be read. A pipe would be waited for, and a device has no end.

    Raises
    ------
    OSError
        When it cannot be opened.
    RecordingError
        When it is something else.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(number).st_mode):
            return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise
    os.close(number)
    raise RecordingError(f"{path} is no ordinary file")
