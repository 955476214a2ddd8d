# SPDX-License-Identifier: Apache-2.0
"""Functions of a script in a process of their own, for what a process can load only once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_child(script: Path, env: dict[str, str], function: str, **arguments: Any) -> Any:
    """What the function returned, through JSON."""
    done = subprocess.run(
        [sys.executable, str(script), json.dumps([function, arguments])],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
