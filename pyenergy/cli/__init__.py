# SPDX-License-Identifier: Apache-2.0
"""The ``pyenergy`` command: one file a verb."""

from __future__ import annotations

import sys
import warnings

__all__ = ["main"]


def main() -> None:
    """Entry point of the ``pyenergy`` command."""
    from rich.console import Console
    from rich.markup import escape

    from ..errors import EstimateWarning, PyEnergyError
    from .app import app

    # Every table and note of ours says that it is an estimate; the warning is for programs.
    warnings.simplefilter("ignore", EstimateWarning)
    try:
        app()
    except PyEnergyError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(1)
