# SPDX-License-Identifier: Apache-2.0
"""Where the C interface lies: header, library, and what finds them.

>>> import os, pyenergy
>>> os.path.isfile(os.path.join(pyenergy.get_include(), "pyenergy.h"))
True
"""

from __future__ import annotations

from pathlib import Path

from . import _core
from .errors import PyEnergyError

__all__ = ["get_cmake_dir", "get_include", "get_library", "get_pkgconfig_dir"]


def get_include() -> str:
    """The folder of ``pyenergy.h``, for a compiler's ``-I``.

    Raises
    ------
    PyEnergyError
        When this installation was made without the C interface.
    """
    return str(_installed("include/pyenergy.h").parent)


def get_library() -> str:
    """The file ``libpyenergy.so.1``, to link with or to load.

    Raises
    ------
    PyEnergyError
        As `get_include` does.
    """
    return str(_installed("lib/libpyenergy.so.1"))


def get_cmake_dir() -> str:
    """The folder for CMake's ``-Dpyenergy_DIR``; ``find_package(pyenergy)`` then gives the target
    ``pyenergy::pyenergy``.

    Raises
    ------
    PyEnergyError
        As `get_include` does.
    """
    return str(_installed("lib/cmake/pyenergy/pyenergy-config.cmake").parent)


def get_pkgconfig_dir() -> str:
    """The folder for ``PKG_CONFIG_PATH``; ``pkg-config --cflags --libs pyenergy`` then works.

    Raises
    ------
    PyEnergyError
        As `get_include` does.
    """
    return str(_installed("lib/pkgconfig/pyenergy.pc").parent)


def _installed(name: str) -> Path:
    # Beside the extension: in an editable installation the sources lie elsewhere.
    found = Path(_core.__file__).resolve().parent / name
    if not found.is_file():
        raise PyEnergyError(
            f"{found} is not there: this installation lacks the C interface; install pyenergy anew"
        )
    return found
