# SPDX-License-Identifier: Apache-2.0
"""``python -m bench [NAME ...] [--save FILE]``: every bench, or the named ones."""

import argparse
import importlib
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .harness import machine, save

NAMES = ("ring", "sampling", "windows", "overhead", "endurance", "attribution")


def main() -> None:
    """Run, print, perhaps save."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}")
    parser.add_argument("--save", type=Path, help="write the results as JSON")
    arguments = parser.parse_args()
    console = Console()
    console.print(", ".join(f"{k}: {v}" for k, v in machine().items()))
    table = Table("bench", "ours", "theirs", "ratio", "goal", "")
    results = []
    for name in arguments.names:
        with console.status(name):
            results.extend(importlib.import_module(f"bench.{name}").run())
    for r in results:
        mark = "[green]met[/]" if r.met else "[red]not met[/]"
        mark = "" if r.goal == "none" else mark
        table.add_row(r.name, r.ours, r.theirs, f"{r.ratio:.2f}", r.goal, mark)
    console.print(table)
    if arguments.save:
        save(results, arguments.save)


if __name__ == "__main__":
    main()
