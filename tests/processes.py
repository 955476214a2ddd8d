# SPDX-License-Identifier: Apache-2.0
"""A /proc of a test's own: processes whose CPU time is exactly what the test says."""

from __future__ import annotations

from pathlib import Path


class ProcTree:
    """Below ``root`` what the kernel would show of processes and of the processors' time."""

    def __init__(self, root: Path, processors: int = 2) -> None:
        self.root, self._processors = root, processors

    def machine(self, busy: int, idle: int) -> None:
        """Ticks since boot, all processors together."""
        cpus = "".join(f"cpu{i} 0 0 0 0 0 0 0 0 0 0\n" for i in range(self._processors))
        self._write("stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\n{cpus}")

    def process(
        self,
        pid: int,
        own: int,
        ended: int = 0,
        children: tuple[int, ...] = (),
        name: str = "worker",
        started: int = 100,
    ) -> None:
        """One process and its ticks: its own, and what children left it."""
        fields = ["S", "1", *["0"] * 9, own, 0, ended, 0, *["0"] * 4, started, "0", "0"]
        self._write(f"{pid}/stat", f"{pid} ({name}) " + " ".join(map(str, fields)))
        self._write(f"{pid}/task/{pid}/children", " ".join(map(str, children)))

    def gone(self, pid: int) -> None:
        (self.root / str(pid) / "stat").unlink()

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
