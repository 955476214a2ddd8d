# SPDX-License-Identifier: Apache-2.0
"""Draws docs/demo.svg, the README's picture, from a recording: ``make demo`` writes one.

``python docs/make_picture.py demo-out/demo.pyenergy``
"""

import io
import sys
from pathlib import Path

from rich.console import Console

import pyenergy
from pyenergy.report.text import print_trace


def main(recording: str) -> None:
    """Render the recording's table as the terminal shows it."""
    console = Console(record=True, width=88, highlight=False, file=io.StringIO())
    console.print("[bold green]$[/] make demo")
    print_trace(pyenergy.load(recording), console)
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="pyenergy demo")


if __name__ == "__main__":
    main(sys.argv[1])
