# SPDX-License-Identifier: Apache-2.0
"""Other tools beside pyenergy: how each is installed, and the runner that lets it measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS = "pyenergy"


@dataclass(frozen=True)
class Peer:
    """One way to measure. ``venv`` None: this interpreter, which has pyenergy."""

    name: str
    runner: str
    arguments: tuple[str, ...] = ()
    venv: str | None = None
    requirements: tuple[str, ...] = ()

    @property
    def script(self) -> Path:
        """The runner. Its name must not be that of a package: its folder is on the path."""
        return HERE / f"{self.runner}.py"


def _zeus(how: str) -> Peer:
    return Peer(f"zeus {how}", "run_zeus", (how,), "zeus", ("zeus==0.16.0",))


PEERS = (
    Peer(OURS, "run_pyenergy"),
    _zeus("counter"),
    _zeus("approx"),
    _zeus("power"),
    Peer("codecarbon", "run_codecarbon", (), "codecarbon", ("codecarbon==3.3.2",)),
    Peer("pyjoules", "run_pyjoules", (), "pyjoules", ("pyJoules[nvidia]==0.5.1", "pynvml==13.0.1")),
    Peer("nvitop", "run_nvitop", (), "nvitop", ("nvitop==1.7.2",)),
    Peer("polling", "run_polling", (), "polling", ("nvidia-ml-py==13.615.71",)),
)


def chosen(names: list[str] | None) -> list[Peer]:
    """The peers of these names; ``zeus`` means all of its ways. None: all.

    Raises
    ------
    ValueError
        Naming those that there are.
    """
    if names is None:
        return list(PEERS)
    known = {p.name for p in PEERS} | {p.name.split()[0] for p in PEERS}
    if unknown := [n for n in names if n not in known]:
        there_are = ", ".join(p.name for p in PEERS)
        raise ValueError(f"no tool is called {', '.join(unknown)}; there are: {there_are}")
    return [p for p in PEERS if p.name in names or p.name.split()[0] in names]
