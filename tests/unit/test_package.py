# SPDX-License-Identifier: Apache-2.0
"""What the package promises about itself: names, lightness, stub, versions."""

from __future__ import annotations

import doctest
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path

import pytest
from stubs import STUB, generated

import pyenergy

ROOT = Path(__file__).resolve().parents[2]


def test_all_names_exist_and_nothing_else_is_public() -> None:
    for name in pyenergy.__all__:
        assert getattr(pyenergy, name) is not None
    public = {
        name
        for name, value in vars(pyenergy).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public - {"annotations", "TYPE_CHECKING"} <= set(pyenergy.__all__)


def test_import_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'polars', 'matplotlib', 'scipy', 'rich', 'typer', 'transformers'}"
    code = f"import sys, pyenergy; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_versions_agree() -> None:
    assert pyenergy.__version__ == version("pyenergy")


def test_stub_is_what_the_module_generates() -> None:
    assert STUB.read_text() == generated(), "run `make stubs` and commit pyenergy/_core.pyi"


def test_typed_marker_is_installed() -> None:
    assert (Path(pyenergy.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("suffix", ["*.py", "*.h", "*.cpp"])
def test_every_source_names_its_licence(suffix: str) -> None:
    folders = ("pyenergy", "csrc", "tests", "bench", "workloads")
    files = [f for folder in folders for f in (ROOT / folder).rglob(suffix)]
    assert files or suffix != "*.py"
    without = [f for f in files if "SPDX-License-Identifier" not in f.read_text()[:200]]
    assert not without


@pytest.mark.parametrize(
    "name", ["pyenergy", "pyenergy._api", "pyenergy._energy", "pyenergy._marks", "pyenergy.units"]
)
def test_docstring_examples(name: str) -> None:
    module = __import__(name, fromlist=["x"])
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0
