# SPDX-License-Identifier: Apache-2.0
"""A progress bar where somebody watches."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["measuring"]


@contextmanager
def measuring(budget_s: float) -> Iterator[Callable[[float, str], None]]:
    """Give a function that takes (seconds gone, state); it shows them on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda seconds, state: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("idle", total=budget_s)
        yield lambda seconds, state: bar.update(task, completed=seconds, description=state)
