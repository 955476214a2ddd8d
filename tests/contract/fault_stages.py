# SPDX-License-Identifier: Apache-2.0
"""Sensors that are files, played with a fault in simulated time: what is true is known exactly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tree import HostTree, host_tree
from simulate import START_NS, recorded

from pyenergy import _core
from pyenergy._trace import Trace
from pyenergy.units import NS_PER_S

STEP_NS = 20_000_000
LENGTH_NS = 4 * NS_PER_S
FAULT_NS = START_NS + 2 * NS_PER_S  # when what happens in the middle of a trace happens
MSR_UNIT_J = 2.0**-14
LOW_W, HIGH_W = 100.0, 160.0  # until a second after the start, and from then on
_CPUINFO = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\nmodel name\t: Test CPU 1\n"


def true_j(start_ns: int, end_ns: int) -> float:
    """Energy of a window of the load that every stage plays."""
    edge = min(max(START_NS + NS_PER_S, start_ns), end_ns)
    return (LOW_W * (edge - start_ns) + HIGH_W * (end_ns - edge)) / NS_PER_S


def power_w(t_ns: int) -> float:
    """Power of that load."""
    return LOW_W if t_ns < START_NS + NS_PER_S else HIGH_W


@dataclass
class Stage:
    """One sensor in a tree of files.

    ``write`` shows energy (J since the start) or power (W) as the kernel would; ``turn_j`` is the
    energy after which a counter wraps, None for a sensor of power.
    """

    source: str
    path: Path
    write: Callable[[float], None]
    turn_j: float | None = None
    closed: tuple[Path, ...] = ()  # without permission

    def report(self) -> _core.SourceReport:
        """What looking for the source says."""
        return _core.enumerate(self.source, "")

    def show(self, t_ns: int, base_j: float = 0.0) -> None:
        """What the sensor truly reads."""
        self.write(power_w(t_ns) if self.turn_j is None else base_j + true_j(START_NS, t_ns))

    def played(self, fault: str = "", gap_ns: int = 0) -> Trace:
        """A trace of four seconds with ``fault`` in its middle."""
        base_j = self.turn_j - 150.0 if fault == "wraps" and self.turn_j else 0.0
        self.show(START_NS - STEP_NS, base_j)
        clock = _core.ManualClock(START_NS - STEP_NS)
        (info,) = self.report().devices
        stream = _core.Stream(info, period_ns=STEP_NS, clock=clock, gap_ns=gap_ns)
        while (now := clock.now_ns()) < START_NS + LENGTH_NS + STEP_NS:
            base_j = self._faulty(fault, now, clock, base_j)
            stream.run_inline(1)
        return Trace(recorded(stream, (START_NS, START_NS + LENGTH_NS)))

    def _faulty(self, fault: str, now: int, clock: _core.ManualClock, base_j: float) -> float:
        """Show what a poll at ``now`` finds; what the counter stands at beside the truth."""
        since = now - FAULT_NS
        if fault == "slow" and 0 <= since < STEP_NS:
            clock.advance(NS_PER_S)  # nothing is read for so long
            now = clock.now_ns()
        if fault == "resets" and 0 <= since < STEP_NS:
            base_j = -true_j(START_NS, now)
        self.show(now, base_j)
        if fault == "vanishes" and since >= 0:
            os.truncate(self.path, 0)
        elif fault == "garbage" and (now // STEP_NS) % 10 == 9:
            self.path.write_text("garbage\n")
        return base_j


def _powercap(tree: HostTree) -> Stage:
    counter = tree.zone("intel-rapl:0", "package-0", 0)
    turn = int((tree.root / "class/powercap/intel-rapl:0/max_energy_range_uj").read_text())

    def write(joules: float) -> None:
        counter.write_text(f"{round(joules * 1e6) % turn}\n")

    return Stage("rapl", counter, write, turn * 1e-6, (counter,))


def _registers(tree: HostTree) -> Stage:
    tree.write("devices/system/cpu/cpu0/topology/physical_package_id", 0)
    path = tree.write("dev/cpu/0/msr", "")

    def write(joules: float) -> None:
        file = os.open(path, os.O_RDWR)
        os.pwrite(file, (0xA0E03).to_bytes(8, "little"), 0x606)
        counts = round(joules / MSR_UNIT_J) % 2**32
        os.pwrite(file, (counts | 1 << 40).to_bytes(8, "little"), 0x611)
        os.close(file)

    return Stage("rapl", path, write, 2**32 * MSR_UNIT_J, (path,))


def _hwmon(tree: HostTree) -> Stage:
    power = tree.amdgpu(LOW_W)
    return Stage("hwmon", power, lambda w: _put(power, w * 1e6), None, (power,))


def _iio(tree: HostTree) -> Stage:
    folder = "bus/iio/devices/iio:device0"
    tree.write(f"{folder}/name", "ina3221x")
    tree.write(f"{folder}/rail_name_0", "VDD_IN")
    power = tree.write(f"{folder}/in_power0_input", round(LOW_W * 1e3))
    return Stage("hwmon", power, lambda w: _put(power, w * 1e3), None, (power,))


def _put(path: Path, value: float) -> None:
    path.write_text(f"{round(value)}\n")


STAGES: dict[str, Callable[[HostTree], Stage]] = {
    "RAPL powercap": _powercap,
    "RAPL registers": _registers,
    "hwmon": _hwmon,
    "IIO": _iio,
}


@contextmanager
def stage_of(sensor: str, monkeypatch: Any) -> Iterator[Stage]:
    """The stage of a sensor, its tree being the machine's."""
    with empty_machine(monkeypatch) as tree:
        yield STAGES[sensor](tree)


@contextmanager
def empty_machine(monkeypatch: Any) -> Iterator[HostTree]:
    """A machine without any sensor."""
    with host_tree() as tree:
        monkeypatch.setenv("PYENERGY_SYSFS_ROOT", str(tree.root))
        monkeypatch.setenv("PYENERGY_DEV_ROOT", str(tree.root / "dev"))
        monkeypatch.setenv("PYENERGY_PROC_ROOT", str(tree.root / "proc"))
        tree.write("proc/cpuinfo", _CPUINFO)
        yield tree
