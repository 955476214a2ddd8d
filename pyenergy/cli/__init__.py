# SPDX-License-Identifier: Apache-2.0
"""The ``pyenergy`` command: one file a verb."""

from __future__ import annotations

import sys
import warnings

__all__ = ["main"]


def _show(message: Warning | str, category: type[Warning], *where: object, **_: object) -> None:
    """A warning as a line, without the code that it came from."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold yellow]warning:[/] {escape(str(message))}")


def main() -> None:
    """Entry point of the ``pyenergy`` command."""
    from rich.console import Console
    from rich.markup import escape

    from ..errors import EstimateWarning, PyEnergyError
    from .app import app

    # Every table and note of ours says that it is an estimate; the warning is for programs.
    warnings.simplefilter("ignore", EstimateWarning)
    warnings.showwarning = _show
    try:
        app()
    except PyEnergyError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(1)
