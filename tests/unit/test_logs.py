# SPDX-License-Identifier: Apache-2.0
"""What holds for logs of every tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from printed_logs import (
    DCGMI,
    DCGMI_TIMES,
    DMON,
    QUERY,
    export,
    power_series,
    read,
)

from pyenergy.errors import OptionError, RecordingError
from pyenergy.recording.logs import read_log, with_sensors
from pyenergy.recording.logs.sensors import architecture_of

GPUS = ("gpu:0", "gpu:1")


def test_what_is_no_log_or_no_file_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"hello", bytes(range(256)) * 40):
        with pytest.raises(RecordingError, match="no log that is known"):
            read(tmp_path, content)
    with pytest.raises(RecordingError, match="cannot read"):
        read_log(tmp_path / "absent")
    with pytest.raises(OptionError, match="no kind of log 'csv'"):
        read(tmp_path, QUERY, kind="csv")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (DCGMI, {**DCGMI_TIMES, "timezone": "UTC"}, "dcgmi takes no timezone"),
        (QUERY, {"timezone": "UTC", "start": "x"}, "nvidia-smi takes no start"),
        (export(power_series()), {"timezone": "UTC"}, "prometheus takes no timezone"),
        (DMON, {"timezone": "UTC", "metrics": {"a": "W"}}, "takes no metrics"),
    ],
)
def test_an_option_that_would_be_ignored_is_an_error(
    tmp_path: Path, text: str, options: Any, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        read(tmp_path, text, **options)


@settings(deadline=None)  # the first read imports polars
@given(data=st.data())
def test_a_damaged_log_is_read_or_refused_but_never_a_surprise(data: st.DataObject) -> None:
    import tempfile

    text = data.draw(st.sampled_from([QUERY, DMON, DCGMI, export(power_series())]))
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 40))
    damaged = text[:start] + data.draw(st.text(max_size=8)) + text[start + length :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(damaged.encode(errors="replace"))
        for options in ({"timezone": "UTC"}, DCGMI_TIMES, {}):
            try:
                log = read_log(path, **options)  # type: ignore[arg-type]
            except (OptionError, RecordingError):
                continue
            assert all(len(t) == len(values) for t, values in log.readings.values())


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("NVIDIA A100-SXM4-40GB", "ga100"),
        ("NVIDIA A30", "ga100"),
        ("NVIDIA A10G", "ampere"),
        ("NVIDIA RTX A6000", "ampere"),
        ("NVIDIA GeForce RTX 3070 Ti", "ampere"),
        ("NVIDIA RTX 6000 Ada Generation", "ada"),
        ("Quadro RTX 6000", "turing"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "ada"),
        ("NVIDIA L4", "ada"),
        ("Tesla T4", "turing"),
        ("NVIDIA GeForce GTX 1650", "turing"),
        ("NVIDIA GeForce GTX 1080 Ti", "pascal"),
        ("Tesla V100-SXM2-16GB", "volta"),
        ("NVIDIA H100 80GB HBM3", "hopper"),
        ("NVIDIA GH200 480GB", "hopper"),
        ("NVIDIA RTX PRO 6000 Blackwell", "blackwell"),
        ("NVIDIA GB200", "blackwell"),
        ("Tesla K40m", "kepler"),
        ("Tesla M40", "maxwell"),
        ("NVIDIA T400", ""),
        ("AMD Instinct MI300X", ""),
        ("", ""),
    ],
)
def test_a_name_tells_the_architecture_or_nothing(name: str, architecture: str) -> None:
    assert architecture_of(name) == architecture


@pytest.mark.parametrize(
    ("text", "options", "fields"),
    [
        (QUERY, {"timezone": "UTC"}, dict.fromkeys(GPUS, "instant")),
        (
            QUERY.replace("draw.instant", "draw"),
            {"timezone": "UTC"},
            dict.fromkeys(GPUS, "default"),
        ),
        (QUERY.replace("instant", "average"), {"timezone": "UTC"}, dict.fromkeys(GPUS, "average")),
        (DMON, {"timezone": "UTC"}, {}),
        (DCGMI, DCGMI_TIMES, dict.fromkeys(GPUS, "default")),
        (DCGMI.replace("POWER  ", "POWINST"), DCGMI_TIMES, dict.fromkeys(GPUS, "instant")),
        (export(power_series()), {}, {"gpu:0": "default"}),
        (export(power_series("DCGM_FI_DEV_POWER_USAGE_INSTANT")), {}, {"gpu:0": "instant"}),
        (export(power_series("nvidia_smi_power_draw_watts")), {}, {}),
    ],
)
def test_what_was_read_is_known_where_the_log_says_so(
    tmp_path: Path, text: str, options: Any, fields: dict[str, str]
) -> None:
    assert read(tmp_path, text, **options).fields == fields


def test_what_the_user_says_goes_before_what_the_log_does(tmp_path: Path) -> None:
    log = read(tmp_path, QUERY, timezone="UTC")
    told = with_sensors(log)["gpu:0"]
    assert (told["architecture"], told["field"]) == ("ga100", "instant")
    assert told["power_max_w"] == 400.0
    told = with_sensors(log, "hopper", "average")["gpu:1"]
    assert (told["architecture"], told["field"]) == ("hopper", "average")
    nameless = read(tmp_path, DCGMI, **DCGMI_TIMES)
    assert with_sensors(nameless)["gpu:0"] == {"field": "default"}
    assert with_sensors(nameless, "ada")["gpu:1"] == {"architecture": "ada", "field": "default"}


def test_an_architecture_or_a_field_that_is_none(tmp_path: Path) -> None:
    log = read(tmp_path, QUERY, timezone="UTC")
    with pytest.raises(OptionError, match=r"no architecture 'a100'; there are .*ga100.*hopper"):
        with_sensors(log, "a100")
    with pytest.raises(OptionError, match="no field '155'; there are instant, average, default"):
        with_sensors(log, field="155")
