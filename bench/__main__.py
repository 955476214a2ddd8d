# SPDX-License-Identifier: Apache-2.0
"""``python -m bench [NAME ...] [--save F] [--attribution-events N]``: every bench, or the named."""

import argparse
import functools
import importlib
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import attribution
from .harness import machine, save

NAMES = ("ring", "sampling", "windows", "c_windows", "overhead", "endurance", "attribution")


def main() -> None:
    """Run, print, perhaps save."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}")
    parser.add_argument("--save", type=Path, help="write the results as JSON")
    parser.add_argument(
        "--attribution-events",
        type=_events,
        metavar="N",
        help="operations of the attribution bench, 1000 or more; by default ten million, for which "
        "it has goals and needs 3 GB",
    )
    arguments = parser.parse_args()
    events = arguments.attribution_events
    if events is not None and "attribution" not in arguments.names:
        parser.error("--attribution-events does nothing here: attribution is not run")
    sized = {} if events is None else {"attribution": functools.partial(attribution.run, events)}
    console = Console()
    console.print(", ".join(f"{k}: {v}" for k, v in machine().items()))
    table = Table("bench", "ours", "theirs", "ratio", "goal", "")
    results = []
    for name in arguments.names:
        with console.status(name):
            run = sized.get(name) or importlib.import_module(f"bench.{name}").run
            results.extend(run())
    for r in results:
        mark = "[green]met[/]" if r.met else "[red]not met[/]"
        mark = "" if r.goal == "none" else mark
        table.add_row(r.name, r.ours, r.theirs, f"{r.ratio:.2f}", r.goal, mark)
    console.print(table)
    if arguments.save:
        save(results, arguments.save)


def _events(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number is needed, got {text!r}") from None
    if number < 1000:
        raise argparse.ArgumentTypeError(f"at least 1000, got {number}")
    return number


if __name__ == "__main__":
    main()
