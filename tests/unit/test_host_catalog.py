# SPDX-License-Identifier: Apache-2.0
"""What is known of the host's sensors before anything is measured."""

from __future__ import annotations

import pytest

from pyenergy.sensor.catalog import prior_for
from pyenergy.sensor.host_catalog import host_gain


@pytest.mark.parametrize(
    ("source", "maker", "gain_u", "offset_u_w"),
    [
        ("rapl.powercap.package", "intel", 0.05, 0.0),
        ("rapl.perf.package", "amd", 0.1, 0.0),
        ("rapl.powercap.dram", "intel", 0.2, 0.0),
        ("rapl.perf.psys", "intel", 0.2, 0.0),
        ("hwmon.amdgpu.average", "", 0.1, 5.0),
        ("hwmon.ina3221", "", 0.01, 0.2),
        ("iio.ina3221x", "", 0.01, 0.2),
        ("hwmon.amd_energy.energy", "", 0.1, 0.0),
    ],
)
def test_each_sensor_has_an_uncertainty(
    source: str, maker: str, gain_u: float, offset_u_w: float
) -> None:
    prior = prior_for(maker, source)
    assert (prior.gain_u, prior.offset_u_w) == (gain_u, offset_u_w)
    assert "type B" in prior.origin


def test_a_gpu_of_the_catalogue_is_none_of_the_host() -> None:
    assert host_gain("nvml.field.186", "hopper") is None
    assert host_gain("estimate.load", "") is None


def test_a_stated_window_is_kept() -> None:
    prior = prior_for("", "hwmon.ina3221", 4_000_000, 4_000_000, 0)
    assert (prior.update_ns, prior.window_ns, prior.coverage) == (4_000_000, 4_000_000, 1.0)
    assert not prior_for("", "hwmon.power_meter.average", -1, 50_000_000, -1).known
