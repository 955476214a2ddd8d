# SPDX-License-Identifier: Apache-2.0
"""A virtual environment for each tool, of pinned versions, under ``build/peers``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from ..harness import ROOT
from . import Peer

FOLDER = ROOT / "build" / "peers"


class Missing(Exception):
    """A tool that cannot be installed here; the message says why."""


def interpreter(peer: Peer) -> Path:
    """The Python that has the tool; makes its environment if it is not there or has changed.

    Raises
    ------
    Missing
        When it cannot be made, as without a network.
    """
    if peer.venv is None:
        return Path(sys.executable)
    home = FOLDER / peer.venv
    python, stamp = home / "bin" / "python", home / "requirements.txt"
    wanted = "\n".join(peer.requirements) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)])
    _run([str(python), "-m", "pip", "install", "--quiet", *peer.requirements])
    stamp.write_text(wanted)  # last: a half-made one is made again
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Missing(lines[-1])
