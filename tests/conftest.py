# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# Threads of the linear algebra would spin beside the samplers that the tests watch; matrices are
# small. Before NumPy loads.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent))

from pyenergy.testing import SimulatedWorld, simulated

# A machine that is busy may take its time over any example.
hypothesis.settings.register_profile("pyenergy", deadline=None)
hypothesis.settings.load_profile("pyenergy")

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew")


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[SimulatedWorld]:
    """One simulated card, ``ideal`` unless the test is parametrised indirectly with presets."""
    presets = getattr(request, "param", "ideal")
    with simulated(*([presets] if isinstance(presets, str) else presets)) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_inherited_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's own environment says of devices must not decide a test."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "PYENERGY_NVML_LIBRARY"):
        if name in os.environ:
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYENERGY_DCGM", "off")  # tests of DCGM delete it
    # Nor may the sensors that its CPU happens to have: those tests name a tree of their own.
    for root in ("PYENERGY_SYSFS_ROOT", "PYENERGY_DEV_ROOT"):
        monkeypatch.setenv(root, "/nowhere")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; tests that need it are skipped without."""
    root = Path(os.environ.get("PYENERGY_DATA", DATA))
    if not root.is_dir():
        pytest.skip(f"no data folder {root}: set PYENERGY_DATA to run this test")
    return root
