# SPDX-License-Identifier: Apache-2.0
"""Trees of /sys files that stand in for a machine's, and counters in them that count."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from pyenergy import now_ns
from pyenergy.units import NS_PER_S

RANGE_UJ = 262_143_328_850  # of most Intel packages
_WRITE_S = 0.0005


class HostTree:
    """What would be below /sys, with files written as the kernel shows them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: object) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
        return path

    def zone(
        self, key: str, name: str, energy_uj: int = 1_000_000, range_uj: int = RANGE_UJ
    ) -> Path:
        """One zone of powercap; returns the path of its counter."""
        folder = f"class/powercap/{key}"
        self.write(f"{folder}/name", name)
        self.write(f"{folder}/enabled", 1)
        self.write(f"{folder}/max_energy_range_uj", range_uj)
        return self.write(f"{folder}/energy_uj", energy_uj)

    def two_sockets(self) -> list[Path]:
        """A package and its DRAM on each of two sockets: package, DRAM, package, DRAM."""
        keys = ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1", "intel-rapl:1:0")
        names = ("package-0", "dram", "package-1", "dram")
        return [self.zone(key, name) for key, name in zip(keys, names, strict=True)]

    def grace(self) -> None:
        """The four power meters of one Grace Hopper module, 200 W and less."""
        for i, part in enumerate(("Module", "Grace", "CPU", "SysIO")):
            folder = f"class/hwmon/hwmon{i}"
            self.write(f"{folder}/name", "power_meter")
            self.write(f"{folder}/device/power1_average", (4 - i) * 50_000_000)
            self.write(f"{folder}/device/power1_average_interval", 50)
            self.write(f"{folder}/device/power1_oem_info", f"{part} Power Socket 0")

    def amdgpu(self, power_w: float) -> Path:
        """One AMD GPU; returns the path of its power."""
        self.write("class/hwmon/hwmon7/name", "amdgpu")
        self.write("class/hwmon/hwmon7/power1_cap", 300_000_000)
        return self.write("class/hwmon/hwmon7/power1_average", round(power_w * 1e6))


@contextmanager
def host_tree() -> Iterator[HostTree]:
    """An empty tree that other users may enter (pytest's own folders are closed to them)."""
    folder = Path(tempfile.mkdtemp(prefix="pyenergy-sys-"))
    folder.chmod(0o755)
    try:
        yield HostTree(folder)
    finally:
        rmtree(folder)


class Counting:
    """A counter that counts at a known power while the block lasts.

    ``energy_j(t_ns)`` is the truth; the file lags behind it by the thread's own period.
    """

    def __init__(
        self,
        path: Path,
        power_w: float = 100.0,
        start_uj: int = 1_000_000,
        range_uj: int = RANGE_UJ,
        write: Callable[[int], str] = lambda uj: f"{uj:<20d}\n",
    ) -> None:
        self._path, self._power_w = path, power_w
        self._start_uj, self._range_uj, self._write = start_uj, range_uj, write
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def energy_j(self, start_ns: int, end_ns: int) -> float:
        return self._power_w * (end_ns - start_ns) / NS_PER_S

    def __enter__(self) -> Counting:
        self._begin_ns = now_ns()
        # One length, written over what is there: a reader never sees half a number.
        self._fd = os.open(self._path, os.O_WRONLY | os.O_TRUNC)
        self._put()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._fd)

    def _put(self) -> None:
        used_uj = round(self.energy_j(self._begin_ns, now_ns()) * 1e6)
        os.pwrite(self._fd, self._write((self._start_uj + used_uj) % self._range_uj).encode(), 0)

    def _run(self) -> None:
        while not self._over.wait(_WRITE_S):
            self._put()
