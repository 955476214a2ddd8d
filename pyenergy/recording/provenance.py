# SPDX-License-Identifier: Apache-2.0
"""Where, when and with what a recording was made."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timezone
from typing import Any

from .. import _core

__all__ = ["collect"]


def collect() -> dict[str, Any]:
    """Facts about this process and machine; plain JSON values. Command-line arguments are left
    out: they may hold secrets."""
    # Not from `platform`: it takes locks, which a forked child may find held for ever.
    system = os.uname()
    facts: dict[str, Any] = {
        "pyenergy": _core.__version__,
        "python": sys.version.split()[0],
        "system": f"{system.sysname} {system.release} {system.machine}",
        "host": system.nodename,
        "written_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    for package in ("torch", "transformers"):
        module = sys.modules.get(package)
        version = getattr(module, "__version__", None)
        if version is not None:
            facts[package] = str(version)
    return facts
