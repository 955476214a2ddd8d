# SPDX-License-Identifier: Apache-2.0
"""The sampler threads of this process."""

from __future__ import annotations

import contextlib
from pathlib import Path


def samplers() -> int:
    """How many there are (Linux names them); one that ends meanwhile is none."""
    names = []
    for task in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):
            names.append(task.read_text().strip())
    return names.count("pyenergy")
