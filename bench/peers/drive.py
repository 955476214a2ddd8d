# SPDX-License-Identifier: Apache-2.0
"""Runs the tools beside each other: a process and a world for each.

The power is the same in all worlds, a few milliseconds apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout  # another one before Python 3.11
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyenergy import testing

from . import Peer, worlds
from .scenarios import Scenario, Size, build
from .score import Record
from .worlds import Config

START_S = 60.0  # some look for hardware for long
AHEAD_S = 1.0  # plans come so early: a sampler has settled, a late reader has read
ANSWER_S = 60.0
APART_NS = 7_000_000  # between the tools: they spin at their edges, and the cores are few


class Failed(Exception):
    """A tool's process did not answer."""


@dataclass
class Runner:
    """A tool at work on its own world."""

    peer: Peer
    world: testing.SimulatedWorld
    process: subprocess.Popen[str]
    log: Path
    version: str = ""

    @classmethod
    def launch(cls, peer: Peer, python: Path, folder: Path, config: Config, seed: str) -> Runner:
        """Start it; `await_ready` says when it can measure."""
        stem = peer.name.replace(" ", "-")
        world = worlds.make(folder / f"{stem}.world", config, seed)
        log = folder / f"{stem}.log"
        environment = testing.nvml_environment(world)
        environment["PATH"] = f"{_driver_tools(folder)}{os.pathsep}{environment['PATH']}"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [str(python), str(peer.script), *peer.arguments],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=folder,  # some leave files where they run
            )
        return cls(peer, world, process, log)

    def await_ready(self) -> None:
        """Raises `Failed` when its tool cannot be set up."""
        self.version = self._hear(START_S)["version"]

    def measure(self, scenario: Scenario, t0_ns: int) -> Record:
        """One scenario; returns when the tool has answered."""
        end_ns = t0_ns + round(scenario.end_s * 1e9)
        windows = [
            (label, t0_ns + round(start * 1e9), t0_ns + round(end * 1e9))
            for label, start, end in scenario.windows
        ]
        card = self.world[0]
        calls = worlds.calls(card)
        self._tell({"windows": windows, "end_ns": end_ns})
        heard = self._hear(AHEAD_S + scenario.end_s + ANSWER_S)
        calls = worlds.calls(card) - calls
        truth = [card.true_energy_j(start, end) for start, end in heard["stamps"]]
        return Record.of(self.peer.name, scenario.name, heard, truth, calls)

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _tell(self, what: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise Failed(self._last_words()) from None

    def _hear(self, timeout_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        with ThreadPoolExecutor(1) as pool:
            line = pool.submit(self.process.stdout.readline)
            try:
                text = line.result(timeout_s)
            except FutureTimeout:
                self.process.kill()  # ends the wait for its line, too
                raise Failed(f"no answer in {timeout_s:.0f} s") from None
        if not text:
            raise Failed(self._last_words())
        heard: dict[str, Any] = json.loads(text)
        return heard

    def _last_words(self) -> str:
        lines = self.log.read_text().strip().splitlines()
        return lines[-1] if lines else "its process has ended"


def _driver_tools(folder: Path) -> Path:
    """A folder with an ``nvidia-smi``: drivers bring one, and some look for it, not for a GPU."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    program = tools / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    return tools


def launch(
    peers: dict[Peer, Path], folder: Path, config: Config, seed: str
) -> tuple[list[Runner], dict[str, str]]:
    """Every tool's process, ready, and those that failed with the reason."""
    started = [Runner.launch(p, python, folder, config, seed) for p, python in peers.items()]
    ready, failed = [], {}
    for runner in started:
        try:
            runner.await_ready()
        except Failed as error:
            failed[runner.peer.name] = str(error)
            runner.close()
        else:
            ready.append(runner)
    return ready, failed


def measure(
    runners: list[Runner], name: str, size: Size, seed: str
) -> tuple[list[Record], dict[str, str]]:
    """One scenario through every tool at once, and those that failed with the reason."""
    if not runners:
        return [], {}
    info = runners[0].world[0].info
    scenario = build(name, size, info.idle_w, info.limit_w, seed)
    t0_ns = time.monotonic_ns() + round(AHEAD_S * 1e9)
    starts_ns = [t0_ns + k * APART_NS for k in range(len(runners))]
    for runner, start_ns in zip(runners, starts_ns, strict=True):
        worlds.play(runner.world[0], scenario, start_ns)
    records, failed = [], {}
    with ThreadPoolExecutor(len(runners)) as pool:
        answers = [
            (runner, pool.submit(runner.measure, scenario, start_ns))
            for runner, start_ns in zip(runners, starts_ns, strict=True)
        ]
    for runner, answer in answers:
        try:
            records.append(answer.result())
        except Failed as error:
            failed[runner.peer.name] = str(error)
    return records, failed
