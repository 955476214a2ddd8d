# SPDX-License-Identifier: Apache-2.0
"""Logs of other tools, as they print them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyenergy.errors import OptionError, RecordingError
from pyenergy.recording.logs import Log, read_log
from pyenergy.recording.logs.times import civil_to_unix_ns, instant_ns, iso_utc, zone
from pyenergy.units import NS_PER_MS, NS_PER_S

NAMES = "timestamp, index, uuid, name, power.draw.instant [W], power.limit [W]"
A100 = "NVIDIA A100-SXM4-40GB"
QUERY = f"""{NAMES}
2026/11/20 14:03:22.123, 0, GPU-5b3b, {A100}, 61.27 W, 400.00 W
2026/11/20 14:03:22.125, 1, GPU-77ac, {A100}, 350.01 W, 300.00 W
2026/11/20 14:03:22.223, 0, GPU-5b3b, {A100}, [N/A], 400.00 W
2026/11/20 14:03:22.226, 1, GPU-77ac, {A100}, 351.00 W, 300.00 W
2026/11/20 14:03:22.323, 0, GPU-5b3b, {A100}, 63.00 W, 400.00 W
"""
FIRST = instant_ns("2026-11-20T13:03:22.123Z")
DMON = """#Date       Time        gpu    pwr  gtemp  mtemp     sm
#YYYYMMDD   HH:MM:SS    Idx      W      C      C      %
 20261120   14:03:22      0     61     34      -      0
 20261120   14:03:22      1    350     60      -    100
 20261120   14:03:23      0      -     34      -      0
 20261120   14:03:23      1    351     60      -    100
#Date       Time        gpu    pwr  gtemp  mtemp     sm
#YYYYMMDD   HH:MM:SS    Idx      W      C      C      %
 20261120   14:03:24      0     62     34      -      0
 20261120   14:03:24      1    352     60      -    100
"""
DCGMI = """#Entity   POWER             TOTEC
ID        W                 mJ
GPU 0     87.123            123456789
GPU 1     88.000            5000
GPU 0     N/A               123465502
GPU 1     89.500            5009
#Entity   POWER             TOTEC
ID        W                 mJ
GPU 0     90.000            123474001
GPU 1     90.500            5018


dmon was stopped do to receiving a signal
"""
DCGMI_TIMES = {"start": "2026-11-20T13:03:22Z", "interval_s": 0.1}
LABELS = {"gpu": "0", "UUID": "GPU-5b3b", "modelName": A100, "Hostname": "node1"}


def read(tmp_path: Path, text: str | bytes, **options: Any) -> Log:
    path = tmp_path / "log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_log(path, **options)


def export(*series: tuple[dict[str, str], list[list[Any]]]) -> str:
    result = [{"metric": labels, "values": values} for labels, values in series]
    data = {"resultType": "matrix", "result": result}
    return json.dumps({"status": "success", "data": data})


def power_series(metric: str = "DCGM_FI_DEV_POWER_USAGE", **labels: str) -> Any:
    values = [[1795183402.123, "61.272"], [1795183417.123, "NaN"], [1795183432.123, "62"]]
    return {"__name__": metric, **LABELS, **labels}, values


# nvidia-smi --query-gpu ---------------------------------------------------------------------


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


# nvidia-smi dmon ----------------------------------------------------------------------------


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


# dcgmi dmon ---------------------------------------------------------------------------------


def test_dcgmi(tmp_path: Path) -> None:
    log = read(tmp_path, DCGMI, **DCGMI_TIMES)
    assert log.kind == "dcgmi"
    start = instant_ns("2026-11-20T13:03:22Z")
    t, watts = log.readings["gpu:0/power"]
    assert t.tolist() == [start + k * 100 * NS_PER_MS for k in range(3)]
    assert np.array_equal(watts, [87.123, np.nan, 90.0], equal_nan=True)
    assert log.readings["gpu:1/energy"][1].tolist() == [5.0, 5.009, 5.018]
    assert log.readings["gpu:0/energy"][1][0] == pytest.approx(123456.789)
    assert any(
        "1 lines are no readings" in note and "dmon was stopped" in note for note in log.notes
    )
    assert any("reckoned from the start" in note for note in log.notes)


def test_dcgmi_with_texts_mig_and_the_instant_field(tmp_path: Path) -> None:
    text = (
        "#Entity   DVNAM                   POWER             POWINST\n"
        "ID                                W                 W\n"
        f"GPU 0     {A100}   87.123            90.000\n"
        "GPU-I 0   N/A                     N/A               N/A\n"
        f"GPU 0     {A100}   87.123            91.000\n"
        "GPU-I 0   N/A                     N/A               N/A\n"
    )
    log = read(tmp_path, text, **DCGMI_TIMES)
    t, watts = log.readings["gpu:0/power"]
    assert watts.tolist() == [90.0, 91.0]
    assert np.diff(t).tolist() == [100 * NS_PER_MS]
    assert list(log.readings) == ["gpu:0/power"]
    assert any("POWER was left out" in note for note in log.notes)
    assert any("lines of GPU-I were left out" in note for note in log.notes)


def test_a_gpu_that_is_silent_for_a_round_leaves_a_gap(tmp_path: Path) -> None:
    text = (
        "#Entity   POWER\nID        W\nGPU 0     1.0\nGPU 1     2.0\nGPU 1     3.0\n"
        "GPU 0     4.0\nGPU 1     5.0\n"
    )
    log = read(tmp_path, text, **DCGMI_TIMES)
    assert np.diff(log.readings["gpu:1/power"][0]).tolist() == [100 * NS_PER_MS] * 2
    start = instant_ns("2026-11-20T13:03:22Z")
    # Rounds: (0, 1), (1, 0), (1): a GPU that is left out cannot be told from one that comes late.
    assert log.readings["gpu:0/power"][0].tolist() == [start, start + 100 * NS_PER_MS]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has no times"),
        ({"start": "2026-11-20T13:03:22Z"}, "--interval"),
        ({"start": "2026-11-20T13:03:22", "interval_s": 1.0}, "has no zone"),
        ({"start": "1795183402", "interval_s": 1.0}, "say in which unit"),
        ({"start": "yesterday", "interval_s": 1.0}, "is no time"),
        ({"start": "2026-11-20T13:03:22Z", "interval_s": 0.0}, "interval must be"),
        ({"start": "2026-11-20T13:03:22Z", "interval_s": float("nan")}, "interval must be"),
        ({"start": "2026-13-20T13:03:22Z", "interval_s": 1.0}, "is no time"),
    ],
)
def test_dcgmi_must_be_told_its_times(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read(tmp_path, DCGMI, **options)


def test_dcgmi_without_power_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="dcgmi dmon -e 155,156"):
        read(tmp_path, "#Entity   SMCLK\nID        MHz\nGPU 0     1410\n", **DCGMI_TIMES)


# Prometheus ---------------------------------------------------------------------------------


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


# All ----------------------------------------------------------------------------------------


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


# Times --------------------------------------------------------------------------------------


def civil(*texts: str) -> np.ndarray:
    return np.array([f"2026-{text}" for text in texts], "datetime64[ns]").astype(np.int64)


def test_autumn_is_told_by_the_order_of_the_log() -> None:
    t, notes = civil_to_unix_ns(
        civil("10-25T01:59:59", "10-25T02:30:00", "10-25T02:59:59", "10-25T02:00:00",
              "10-25T02:30:00", "10-25T03:00:00"), "Europe/Berlin",
    )  # fmt: skip
    assert (np.diff(t) // NS_PER_S).tolist() == [1801, 1799, 1, 1800, 1800]
    assert "told by their order" in notes[0]


def test_autumn_without_a_step_back_is_refused() -> None:
    with pytest.raises(RecordingError, match=r"exists twice.*\+02:00 or \+01:00"):
        civil_to_unix_ns(civil("10-25T02:10:00", "10-25T02:20:00"), "Europe/Berlin")
    t, _ = civil_to_unix_ns(civil("10-25T02:10:00"), "+01:00")
    assert iso_utc(int(t[0])) == "2026-10-25T01:10:00.000Z"


def test_spring_has_an_hour_that_is_not() -> None:
    with pytest.raises(RecordingError, match="02:30:00 does not exist in the zone Europe/Berlin"):
        civil_to_unix_ns(civil("03-29T02:30:00"), "Europe/Berlin")


@given(seconds=st.integers(0, 4_000_000_000), name=st.sampled_from(["+05:30", "-0930", "UTC"]))
def test_fixed_offsets_agree_with_datetime(seconds: int, name: str) -> None:
    then = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    expected = round(then.replace(tzinfo=zone(name)).timestamp())
    t, _ = civil_to_unix_ns(np.array([seconds * NS_PER_S]), name)
    assert t.tolist() == [expected * NS_PER_S]


def test_local_is_the_zone_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        t, _ = civil_to_unix_ns(civil("07-01T08:00:00", "12-01T08:00:00"), "local")
        assert [iso_utc(int(x))[11:13] for x in t] == ["12", "13"]
        with pytest.raises(RecordingError, match="does not exist"):
            civil_to_unix_ns(civil("03-08T02:30:00"), "local")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("2026-11-20T13:03:22.123456789Z", None, 1795179802123456789),
        ("2026-11-20 14:03:22,5+01:00", None, 1795179802500000000),
        ("2026-11-20T14:03+0100", None, 1795179780000000000),
        ("1969-12-31T23:59:59.25Z", None, -750_000_000),
        ("1795179802.123456789", "s", 1795179802123456789),
        ("1795179802123", "ms", 1795179802123000000),
        ("1795179802123456789", "ns", 1795179802123456789),
    ],
)
def test_moments_keep_their_digits(text: str, unit: str | None, expected: int) -> None:
    assert instant_ns(text, unit) == expected


@pytest.mark.parametrize("text", ["", "now", "nan", "inf", "2026-11-20", "2026-11-20T25:00Z"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        instant_ns(text, "s")


@pytest.mark.parametrize("name", ["+25:00", "", "../etc/passwd", "CEST?"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="no time zone"):
        zone(name)
