# SPDX-License-Identifier: Apache-2.0
"""The same windows through pyenergy and other tools: ``python -m bench.accuracy [--quick]``.

Each tool runs in a process and a virtual environment of its own and reads its own copy of one
simulated GPU through NVML; all copies draw the same power, a few milliseconds apart. The truth is
exact, and is taken over the windows as each tool really opened and closed them: a late wake-up is
no error.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .harness import machine
from .peers import Peer, chosen, drive, report, scenarios, venvs, worlds
from .peers.score import Record
from .peers.worlds import SENSORS, Config

QUICK_SENSORS = ("a100", "h100")
WIDTH = 180  # of the tables where the output has none


@dataclass
class Outcome:
    """All that a run found."""

    records: list[Record] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # tool: why


def main() -> None:
    """Measure (or read what was measured), print, perhaps save and draw."""
    arguments = _arguments()
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=WIDTH)
    if arguments.read:
        records, about = report.load(arguments.read)
        outcome = Outcome(records, about["versions"], about["missing"])
        _print(console, outcome, about["machine"])
    else:
        outcome = _measure(console, arguments)
        _print(console, outcome, machine())
    if arguments.save:
        about = {"versions": outcome.versions, "missing": outcome.missing, "seed": arguments.seed}
        report.save(outcome.records, about, arguments.save)
    if arguments.chart:
        report.chart(outcome.records, arguments.chart)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sensors, shorter scenarios")
    parser.add_argument("--tools", nargs="+", help="only these (zeus: all of its ways)")
    parser.add_argument("--sensors", nargs="+", choices=SENSORS, help="only these")
    parser.add_argument("--seed", default="1", help="of phases, noise and pauses")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="write the results as JSON")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="error against length")
    parser.add_argument(
        "--read", type=Path, metavar="FILE.json", help="saved ones; measure nothing"
    )
    arguments = parser.parse_args()
    try:
        arguments.tools = chosen(arguments.tools)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def _measure(console: Console, arguments: argparse.Namespace) -> Outcome:
    """Every configuration in turn, all tools at once."""
    outcome = Outcome()
    sensors = arguments.sensors or list(QUICK_SENSORS if arguments.quick else SENSORS)
    size = scenarios.QUICK if arguments.quick else scenarios.FULL
    configs = _possible(console, worlds.configs(sensors, arguments.quick))
    peers = _installed(console, arguments.tools, outcome)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(configs) * len(scenarios.BUILDERS))
        for config in configs:
            _configuration(config, peers, size, arguments.seed, outcome, progress, task)
    return outcome


def _possible(console: Console, configs: list[Config]) -> list[Config]:
    if worlds.can_integrate_sensor():
        return configs
    left_out = [c.name for c in configs if c.counter == "sensor"]
    if left_out:
        console.print("Left out, for simulated counters cannot integrate readings here:", left_out)
    return [c for c in configs if c.counter != "sensor"]


def _installed(console: Console, peers: list[Peer], outcome: Outcome) -> dict[Peer, Path]:
    """Interpreters of the tools that are to be had."""
    found = {}
    with console.status("virtual environments"):
        for peer in peers:
            try:
                found[peer] = venvs.interpreter(peer)
            except venvs.Missing as error:
                outcome.missing[peer.name] = str(error)
    return found


def _configuration(
    config: Config,
    peers: dict[Peer, Path],
    size: scenarios.Size,
    seed: str,
    outcome: Outcome,
    progress: Progress,
    task: int,
) -> None:
    """One kind of card through all scenarios."""
    progress.update(task, description=f"{config.name}: starting")
    with tempfile.TemporaryDirectory(prefix="pyenergy-accuracy-") as folder:
        runners, failed = drive.launch(peers, Path(folder), config, seed)
        outcome.missing = {**failed, **outcome.missing}
        outcome.versions.update({r.peer.name: r.version for r in runners})
        try:
            for name in scenarios.BUILDERS:
                progress.update(task, description=f"{config.name}: {name}")
                records, failed = drive.measure(runners, name, size, seed)
                for record in records:
                    record.config = config.name
                outcome.records += records
                outcome.missing = {**failed, **outcome.missing}
                progress.advance(task)
        finally:
            for runner in runners:
                runner.close()


def _print(console: Console, outcome: Outcome, where: dict[str, str]) -> None:
    console.print(", ".join(f"{k}: {v}" for k, v in where.items()))
    for table in report.error_tables(outcome.records):
        console.print(table)
    console.print(report.coverage_table(outcome.records))
    console.print(report.cost_table(outcome.records, outcome.versions))
    for tool, why in outcome.missing.items():
        console.print(f"missing: {tool}: {why}", style="red", markup=False, highlight=False)


if __name__ == "__main__":
    main()
