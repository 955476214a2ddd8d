# SPDX-License-Identifier: Apache-2.0
"""The model beside a power meter; ``python -m bench.meter`` has the whole table."""

from __future__ import annotations

import numpy as np
import pytest
from metered import METER, Scored

pytestmark = pytest.mark.skipif(
    not (METER / "rtx3090_square_wave.npz").exists(),
    reason=f"no meter data in {METER} (PYENERGY_METER_DATA names the folder)",
)


@pytest.fixture(scope="module")
def instant() -> Scored:
    return Scored("smi_power_draw_instant", "instant")


@pytest.fixture(scope="module")
def average() -> Scored:
    return Scored("smi_power_draw_average", "average")


@pytest.mark.parametrize("length_s", [0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0])
def test_windows_of_the_square_wave(instant: Scored, length_s: float) -> None:
    errors, coverage, width = instant.errors(length_s)
    assert np.median(np.abs(errors)) < 0.006
    assert np.quantile(np.abs(errors), 0.75) < 0.012  # the first quarter second draws less
    assert coverage >= 0.90
    assert width < 0.04


def test_single_kernels_of_50_ms(instant: Scored) -> None:
    errors, coverage, width = instant.errors(None)
    assert np.median(np.abs(errors)) < 0.025
    assert np.quantile(np.abs(errors), 0.95) < 0.035
    assert coverage >= 0.90
    assert width < 0.05


@pytest.mark.parametrize("length_s", [0.1, 1.0, 4.0, None])
def test_a_one_second_average_says_how_little_it_knows(
    average: Scored, instant: Scored, length_s: float | None
) -> None:
    _, coverage, width = average.errors(length_s)
    assert coverage >= 0.90
    assert width > 1.2 * instant.errors(length_s)[2]
