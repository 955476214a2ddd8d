# SPDX-License-Identifier: Apache-2.0
"""Simulated GPUs whose true energy is exact, for testing whatever measures energy.

>>> from pyenergy.testing import simulated
>>> with simulated("ideal") as world:
...     world[0].set_power(250.0, at_ns=0)
...     world[0].true_energy_j(1_000_000_000, 3_000_000_000)
500.0

The cards live in a mapped file that ``PYENERGY_SIMGPU`` names, on ``CLOCK_MONOTONIC``: every
process that opens it sees the same cards. ``devices="sim"`` reads them in process; the simulated
``libnvidia-ml.so.1`` (:func:`nvml_library`) shows them to NVML's real callers.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import _core, _devices
from ._simulated import CardInfo, SimulatedCard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "CardInfo",
    "SimulatedCard",
    "SimulatedWorld",
    "dcgm_library",
    "nvml_environment",
    "nvml_library",
    "presets",
    "simulated",
]

Variant = Literal["current", "old", "broken"]

_BUILD_COMMAND = "cmake --preset default && cmake --build --preset default"


def presets() -> list[str]:
    """Names of the cards that can be simulated."""
    return list(_core.sim_presets())


class SimulatedWorld:
    """The cards of one world file. Open the same file anywhere: ``SimulatedWorld.open(path)``."""

    def __init__(self, core: _core.SimWorld) -> None:
        self._core = core

    @classmethod
    def create(cls, path: str | os.PathLike[str], cards: Iterable[str]) -> SimulatedWorld:
        """Make a new world file with cards of the given presets."""
        world = cls(_core.SimWorld.create(os.fspath(path)))
        for preset in cards:
            world.add(preset)
        return world

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SimulatedWorld:
        """Open a world file that exists."""
        return cls(_core.SimWorld.open(os.fspath(path)))

    @classmethod
    def current(cls) -> SimulatedWorld:
        """The world of ``PYENERGY_SIMGPU``, or else the one inside this process."""
        return cls(_core.SimWorld.current())

    @property
    def path(self) -> str:
        """The world's file; empty for the one inside this process."""
        return self._core.path

    def add(self, preset: str) -> SimulatedCard:
        """Add a card."""
        _devices.forget()
        return self.card(self._core.add(preset))

    def card(self, index: int) -> SimulatedCard:
        """The card of that index."""
        return SimulatedCard(self._core.card(index))

    def __getitem__(self, index: int) -> SimulatedCard:
        return self.card(index)

    def __iter__(self) -> Iterator[SimulatedCard]:
        return (self.card(index) for index in range(len(self)))

    def __len__(self) -> int:
        return len(self._core)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def simulated(
    *cards: str, path: str | os.PathLike[str] | None = None, as_nvml: bool = False
) -> Iterator[SimulatedWorld]:
    """Simulate GPUs for this process and its children until the block ends.

    Parameters
    ----------
    *cards : str
        Presets (see :func:`presets`); default: one ``"a100"``.
    path : path-like, optional
        Where to make the world's file, which then stays; default: a temporary one.
    as_nvml : bool
        Let pyenergy's NVML source load the simulated library too (see :func:`nvml_library`).

    Yields
    ------
    SimulatedWorld
    """
    with tempfile.TemporaryDirectory(prefix="pyenergy-sim-") as directory:
        file = Path(path) if path is not None else Path(directory) / "world"
        world = SimulatedWorld.create(file, cards or ("a100",))
        changes = {"PYENERGY_SIMGPU": world.path}
        if as_nvml:
            changes["PYENERGY_NVML_LIBRARY"] = str(nvml_library())
        with _environment(changes):
            yield world


def nvml_library(
    build_dir: str | os.PathLike[str] | None = None, variant: Variant = "current"
) -> Path:
    """The simulated ``libnvidia-ml.so.1`` that was built last.

    Parameters
    ----------
    build_dir : path-like, optional
        Build directory to look in; default: the file or directory in ``PYENERGY_SIM_NVML``, else
        every directory under the checkout's ``build/``.
    variant : {"current", "old", "broken"}
        ``old`` has no ``nvmlDeviceGetFieldValues``, ``broken`` no ``nvmlInit``.

    Raises
    ------
    FileNotFoundError
        With the command that builds it.
    """
    name = "libnvidia-ml.so.1" if variant == "current" else f"{variant}/libnvidia-ml.so.1"
    return _simulated_library(name, "PYENERGY_SIM_NVML", build_dir)


def dcgm_library(
    build_dir: str | os.PathLike[str] | None = None, variant: Literal["current", "old"] = "current"
) -> Path:
    """The simulated ``libdcgm.so.4`` that was built last; ``old``: DCGM 2's ``libdcgm.so.2``.

    It is looked for as :func:`nvml_library` does, the setting being ``PYENERGY_SIM_DCGM``.
    ``PYENERGY_SIM_DCGM_HOST`` is the one address at which its host engine can be connected to.

    Raises
    ------
    FileNotFoundError
        With the command that builds it.
    """
    name = "libdcgm.so.4" if variant == "current" else "old/libdcgm.so.2"
    return _simulated_library(name, "PYENERGY_SIM_DCGM", build_dir)


def _simulated_library(name: str, setting: str, build_dir: str | os.PathLike[str] | None) -> Path:
    chosen = os.environ.get(setting) if build_dir is None else os.fspath(build_dir)
    if chosen and Path(chosen).is_file():
        roots = [Path(chosen).parent]
    elif chosen:
        roots = [Path(chosen), Path(chosen) / "csrc/simgpu/faces"]
    else:
        checkout = Path(__file__).resolve().parent.parent
        roots = [root / "csrc/simgpu/faces" for root in checkout.glob("build/*") if _plain(root)]
    found = [root / name for root in roots if (root / name).is_file()]
    if not found:
        where = chosen or "build/ of the checkout"
        raise FileNotFoundError(f"no simulated {name} in {where}; build it with: {_BUILD_COMMAND}")
    return max(found, key=lambda file: file.stat().st_mtime)


def _plain(build: Path) -> bool:
    """A library with a sanitizer in it cannot be loaded into a program without."""
    cache = build / "CMakeCache.txt"
    return cache.is_file() and "\nPYENERGY_SANITIZE:STRING=\n" in cache.read_text()


def nvml_environment(
    world: SimulatedWorld,
    build_dir: str | os.PathLike[str] | None = None,
    variant: Variant = "current",
) -> dict[str, str]:
    """Environment in which a subprocess finds ``world`` behind NVML, whatever tool it runs."""
    library = nvml_library(build_dir, variant)
    paths = [str(library.parent), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(p for p in paths if p),
        "PYENERGY_SIMGPU": world.path,
        "PYENERGY_NVML_LIBRARY": str(library),
    }
