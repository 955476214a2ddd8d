# SPDX-License-Identifier: Apache-2.0
"""Logs of nvidia-smi, as it prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from printed_logs import (
    A100,
    DMON,
    FIRST,
    NAMES,
    QUERY,
    read,
)

from pyenergy.errors import OptionError, RecordingError
from pyenergy.recording.logs.times import instant_ns
from pyenergy.units import NS_PER_MS, NS_PER_S


def test_query_of_two_gpus(tmp_path: Path) -> None:
    log = read(tmp_path, QUERY, timezone="Europe/Berlin")
    assert log.kind == "nvidia-smi"
    t, watts = log.readings["gpu:0/power"]
    assert t.tolist() == [FIRST + k * 100 * NS_PER_MS for k in range(3)]
    assert np.array_equal(watts, [61.27, np.nan, 63.0], equal_nan=True)
    t, watts = log.readings["gpu:1/power"]
    assert (t - FIRST).tolist() == [2 * NS_PER_MS, 103 * NS_PER_MS]
    assert watts.tolist() == [350.01, 351.0]
    assert log.devices["gpu:0"] == {"name": A100, "uuid": "GPU-5b3b", "power_max_w": 400.0}
    assert log.columns["gpu:1/power"] == "power.draw.instant [W]"
    assert any("[N/A] (1 times)" in note for note in log.notes)
    assert log.resolution_ns == NS_PER_MS


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(" W,", ",").replace(" W\n", "\n"),  # --format=csv,nounits
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r\n").encode("utf-16"),  # a redirect in PowerShell
        lambda text: b"\xef\xbb\xbf" + text.encode(),
    ],
)
def test_query_in_other_dress(tmp_path: Path, change: Any) -> None:
    plain = read(tmp_path, QUERY, timezone="Europe/Berlin")
    other = read(tmp_path, change(QUERY), timezone="Europe/Berlin")
    assert other.devices == plain.devices
    for name, (t, values) in plain.readings.items():
        assert np.array_equal(other.readings[name][0], t)
        assert np.array_equal(other.readings[name][1], values, equal_nan=True)


@pytest.mark.parametrize(
    "word", ["[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "ERR!", "[GPU requires reset]"]
)
def test_words_for_no_reading(tmp_path: Path, word: str) -> None:
    log = read(tmp_path, QUERY.replace("[N/A]", word), timezone="UTC")
    assert np.isnan(log.readings["gpu:0/power"][1][1])
    assert any(f"{word} (1 times)" in note for note in log.notes)


def test_the_instant_reading_serves_and_the_average_is_kept(tmp_path: Path) -> None:
    text = (
        "timestamp, index, power.draw [W], power.draw.average [W], power.draw.instant [W]\n"
        "2026/11/20 14:03:22.123, 0, 1.00 W, 2.00 W, 3.00 W\n"
    )
    log = read(tmp_path, text, timezone="UTC")
    assert {name: values.tolist() for name, (_, values) in log.readings.items()} == {
        "gpu:0/power": [3.0],
        "gpu:0/power_average": [2.0],
    }
    assert "power.draw.instant serves as power; power.draw was left out" in log.notes


def test_an_average_serves_where_nothing_else_was_logged(tmp_path: Path) -> None:
    text = "timestamp, index, power.draw.average [W]\n2026/11/20 14:03:22.123, 0, 2.00 W\n"
    log = read(tmp_path, text, timezone="UTC")
    assert list(log.readings) == ["gpu:0/power"]
    assert any("average over 1 s" in note for note in log.notes)


def test_an_energy_column_in_millijoules(tmp_path: Path) -> None:
    text = (
        "timestamp, index, total_energy_consumption [mJ]\n2026/11/20 14:03:22.123, 0, 123456 mJ\n"
    )
    log = read(tmp_path, text, timezone="UTC")
    assert log.readings["gpu:0/energy"][1].tolist() == [123.456]


def test_without_index_gpus_are_numbered_by_uuid_as_they_come(tmp_path: Path) -> None:
    text = (
        "timestamp, uuid, power.draw [W]\n"
        "2026/11/20 14:03:22.123, GPU-b, 1.00 W\n2026/11/20 14:03:22.125, GPU-a, 2.00 W\n"
    )
    log = read(tmp_path, text, timezone="UTC")
    assert [log.devices[d]["uuid"] for d in ("gpu:0", "gpu:1")] == ["GPU-b", "GPU-a"]
    assert any("numbered as they come, by uuid" in note for note in log.notes)


def test_a_log_of_one_nameless_gpu(tmp_path: Path) -> None:
    text = "timestamp, power.draw [W]\n2026/11/20 14:03:22.123, 1.00 W\n"
    log = read(tmp_path, text, timezone="UTC")
    assert list(log.readings) == ["gpu:0/power"]
    assert any("taken as one GPU's" in note for note in log.notes)


def test_lines_that_are_no_readings_are_counted(tmp_path: Path) -> None:
    lines = QUERY.splitlines()
    lines.insert(3, "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error")
    lines.insert(5, NAMES)  # the logger was started again
    lines.append("2026/11/20 14:03:22.423, 0, GPU-5b3b, NVIDIA A100-SXM4-40GB, 6")  # and killed
    log = read(tmp_path, "\n".join(lines), timezone="UTC")
    assert [len(t) for t, _ in log.readings.values()] == [3, 2]
    assert "the last line has no end and was left out" in log.notes
    assert any("1 lines are no readings" in note and "Unable" in note for note in log.notes)
    assert any("the header stands again 1 times" in note for note in log.notes)


BAD_QUERY = {
    "noheader": ("\n".join(QUERY.splitlines()[1:]), "without 'noheader'"),
    "no timestamp": ("index, power.draw [W]\n0, 1.0 W\n", "add timestamp"),
    "no rows": (NAMES + "\n", "no readings"),
    "junk": (NAMES + "\nfoo\nbar\n", "2 of 2 lines are no readings"),
    "word": (QUERY.replace("61.27", "sixty"), "'sixty W' is no reading in W"),
    "unit of a value": (QUERY.replace("61.27 W", "61270 mW"), "'61270 mW' is no reading in W"),
    "unit": (QUERY.replace("instant [W]", "instant [A]"), "is in 'A'"),
    "back": (QUERY.replace("22.323", "21.323"), "times go back by 0.900 s at reading 2"),
    "columns change": (QUERY + NAMES + ", pstate\n", "two logs in one"),
    "index": (QUERY.replace(".123, 0", ".123, x"), "index is no number"),
    "two cards": (QUERY.replace("22.323, 0, GPU-5b3b", "22.323, 0, GPU-9"), "two of uuid"),
}


@pytest.mark.parametrize("case", BAD_QUERY)
def test_a_bad_query_log_is_refused(tmp_path: Path, case: str) -> None:
    text, message = BAD_QUERY[case]
    with pytest.raises(RecordingError) as caught:
        read(tmp_path, text, timezone="UTC")
    assert message in str(caught.value)


@pytest.mark.parametrize("text", [QUERY, DMON])
def test_local_time_needs_its_zone(tmp_path: Path, text: str) -> None:
    with pytest.raises(OptionError, match=r"--timezone.*Europe/Berlin.*local"):
        read(tmp_path, text)
    with pytest.raises(OptionError, match="no time zone 'Mars/Olympus'"):
        read(tmp_path, text, timezone="Mars/Olympus")


def test_dmon(tmp_path: Path) -> None:
    log = read(tmp_path, DMON, timezone="+01:00")
    assert log.kind == "nvidia-smi-dmon"
    start = instant_ns("2026-11-20T13:03:22Z")
    for device, watts in (("gpu:0", [61, np.nan, 62]), ("gpu:1", [350, 351, 352])):
        t, values = log.readings[f"{device}/power"]
        assert t.tolist() == [start + k * NS_PER_S for k in range(3)]
        assert np.array_equal(values, watts, equal_nan=True)
    assert log.resolution_ns == NS_PER_S


def test_dmon_with_time_before_date(tmp_path: Path) -> None:
    text = (
        "#Time        Date       gpu    pwr\n#HH:MM:SS    YYYYMMDD   Idx      W\n"
        " 14:03:22    20261120     0     61\n"
    )
    assert read(tmp_path, text, timezone="UTC").readings["gpu:0/power"][1].tolist() == [61.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# gpu    pwr  gtemp\n# Idx      W      C\n    0     61     34\n", "-o DT"),
        (DMON.replace("20261120", "20261340"), "is no date and time"),
        (DMON.splitlines()[0] + "\n", "no readings"),
    ],
)
def test_a_bad_dmon_log_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read(tmp_path, text, timezone="UTC")


def test_a_log_that_a_spreadsheet_saved_is_refused(tmp_path: Path) -> None:
    text = "timestamp; index; power.draw [W]\n2026/11/20 14:03:22.123; 0; 70,5\n"
    with pytest.raises(RecordingError, match="separated by semicolons"):
        read(tmp_path, text, timezone="UTC")
