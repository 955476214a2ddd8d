# SPDX-License-Identifier: Apache-2.0
"""Range exports of Prometheus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from printed_logs import (
    A100,
    LABELS,
    export,
    power_series,
    read,
)

from pyenergy.errors import OptionError, RecordingError
from pyenergy.units import NS_PER_S


def test_prometheus_keeps_every_digit_of_time(tmp_path: Path) -> None:
    log = read(tmp_path, export(power_series()))
    assert log.kind == "prometheus"
    t, watts = log.readings["gpu:0/power"]
    assert t.tolist() == [1795183402123000000 + k * 15 * NS_PER_S for k in range(3)]
    assert np.array_equal(watts, [61.272, np.nan, 62.0], equal_nan=True)
    assert log.devices == {"gpu:0": {"name": A100, "uuid": "GPU-5b3b"}}
    assert log.columns == {"gpu:0/power": "DCGM_FI_DEV_POWER_USAGE [W]"}


@pytest.mark.parametrize(
    ("metric", "channel", "factor"),
    [
        ("DCGM_FI_DEV_POWER_USAGE_INSTANT", "power", 1.0),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "energy", 1e-3),
        ("nvidia_smi_power_draw_watts", "power", 1.0),
        ("nvidia_gpu_power_usage_milliwatts", "power", 1e-3),
        ("my_board_joules_total", "energy", 1.0),
    ],
)
def test_prometheus_units(tmp_path: Path, metric: str, channel: str, factor: float) -> None:
    log = read(tmp_path, export(power_series(metric)))
    assert log.readings[f"gpu:0/{channel}"][1][0] == pytest.approx(61.272 * factor, rel=1e-15)


def test_prometheus_prefers_the_instant_reading_and_reads_limits(tmp_path: Path) -> None:
    text = export(
        power_series("nvidia_smi_power_draw_watts"),
        power_series("nvidia_smi_power_draw_instant_watts"),
        power_series("nvidia_smi_power_draw_average_watts"),
        ({"__name__": "nvidia_smi_power_limit_watts", **LABELS}, [[1795183402.123, "300"]]),
    )
    log = read(tmp_path, text)
    assert sorted(log.readings) == ["gpu:0/power", "gpu:0/power_average"]
    assert log.columns["gpu:0/power"] == "nvidia_smi_power_draw_instant_watts [W]"
    assert log.devices["gpu:0"]["power_max_w"] == 300.0


def test_prometheus_of_two_hosts_numbers_the_gpus(tmp_path: Path) -> None:
    text = export(
        power_series(Hostname="node2", UUID="GPU-c"), power_series(UUID="GPU-a"),
        power_series(UUID="GPU-b", gpu="1"),
    )  # fmt: skip
    log = read(tmp_path, text)
    assert [log.devices[f"gpu:{i}"]["uuid"] for i in range(3)] == ["GPU-a", "GPU-b", "GPU-c"]
    assert "gpu:2 is node2 GPU-c" in log.notes


def test_prometheus_joins_series_whose_labels_changed(tmp_path: Path) -> None:
    labels, values = power_series(pod="a")
    later = [[t + 45, text] for t, text in values]
    text = export(({**labels, "pod": "b"}, later), (labels, values), (labels, values))
    log = read(tmp_path, text)
    t, _ = log.readings["gpu:0/power"]
    assert np.diff(t).tolist() == [15 * NS_PER_S] * 5
    assert any("3 series with different labels were joined" in note for note in log.notes)


def test_prometheus_units_can_be_stated(tmp_path: Path) -> None:
    text = export(power_series("board_power"), power_series("rack_energy"))
    with pytest.raises(OptionError, match=r"board_power, rack_energy.*--metric NAME=UNIT"):
        read(tmp_path, text)
    log = read(tmp_path, text, metrics={"board_power": "mW", "rack_energy": "Wh"})
    assert log.readings["gpu:0/power"][1][0] == pytest.approx(0.061272)
    assert log.readings["gpu:0/energy"][1][0] == pytest.approx(61.272 * 3600)
    with pytest.raises(OptionError, match="no unit 'hp'"):
        read(tmp_path, text, metrics={"board_power": "hp"})
    with pytest.raises(OptionError, match="no metric 'x' in the export"):
        read(tmp_path, export(power_series()), metrics={"x": "W"})


OTHER = power_series()[0], [[1795183402.123, "99"]]
BAD_EXPORT = {
    "truncated": (export(power_series())[:-20], "truncated or no JSON"),
    "error": ('{"status": "error", "error": "parse error"}', "parse error"),
    "vector": ('{"data": {"resultType": "vector", "result": [1]}}', "export /query_range"),
    "nothing": (export(), "found nothing"),
    "foreign": ('{"a": 1}', "no range export"),
    "list": ("[1, 2]", "no range export"),
    "labels": ('[{"values": [[1, "2"]]}]', "no labels"),
    "no values": (export((power_series()[0], [])), "no readings of power"),
    "no pairs": (export((power_series()[0], [[1]])), "no pairs"),
    "no time": (export((power_series()[0], [["x", "1"]])), "no pairs"),
    "late": (export((power_series()[0], [[1e30, "1"]])), "no pairs"),
    "no number": (export((power_series()[0], [[1, "x"]])), "'x' is no reading in W"),
    "disagree": (export(power_series(), OTHER), "series disagree"),
}


@pytest.mark.parametrize("case", BAD_EXPORT)
def test_a_bad_export_is_refused(tmp_path: Path, case: str) -> None:
    text, message = BAD_EXPORT[case]
    with pytest.raises(RecordingError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
