# SPDX-License-Identifier: Apache-2.0
"""A card of constant power, and nothing left in memory by what was killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from recorders import POWER_W

from pyenergy.recording.live_read import LiveReader
from pyenergy.testing import SimulatedWorld


@pytest.fixture(autouse=True)
def _no_tails_stay(tmp_path: Path) -> Iterator[None]:
    """What a killed process left in memory goes with what it left on disk."""
    yield
    for folder in tmp_path.glob("*.live*"):
        for tail in LiveReader(folder).tails():
            tail.unlink(missing_ok=True)


@pytest.fixture
def card(world: SimulatedWorld) -> SimulatedWorld:
    world[0].set_power(POWER_W, at_ns=0)
    return world
