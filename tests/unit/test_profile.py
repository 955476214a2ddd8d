# SPDX-License-Identifier: Apache-2.0
"""Profiles of cards: kept per UUID, and what the doctor says of them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyenergy.cli.doctor import calibration_lines
from pyenergy.errors import OptionError, RecordingError
from pyenergy.recording.series import DeviceMeta
from pyenergy.sensor.profile import Profile, find_profile, folder, profile_path
from pyenergy.sensor.response import Response

UUID = "GPU-4e81c7a2-0000-4000-8000-000000000001"
DAY_S = 86_400.0
NOW_S = 1_800_000_000.0


@pytest.fixture(autouse=True)
def _profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYENERGY_PROFILES", str(tmp_path / "profiles"))


def _profile(**changes: object) -> Profile:
    values = {
        "gain": 1.04,
        "gain_u": 0.006,
        "offset_w": 4.0,
        "offset_u_w": 0.3,
        "response": Response("boxcar", 0.025, 0.003, 1e-4, 2e-4),
        "update_s": 0.1012,
        "uuid": UUID,
        "name": "A100",
        "channel": "nvml.field.186",
        "calibrated_unix_s": NOW_S,
        "details": {"driver": "550.1", "meter_unix_s": NOW_S},
    }
    return Profile(**{**values, **changes})


def _meta(driver: str = "550.1") -> DeviceMeta:
    return DeviceMeta("gpu:0", "nvml", "gpu", "A100", uuid=UUID, driver=driver)


def test_what_is_saved_is_found_by_uuid() -> None:
    assert find_profile(UUID) is None
    saved = _profile()
    assert saved.save() == profile_path(UUID)
    assert profile_path(UUID).parent == folder()
    assert find_profile(UUID) == saved
    assert [p.name for p in folder().iterdir()] == [f"{UUID}.json"]  # no part is left


def test_one_without_a_response_comes_back_without() -> None:
    _profile(response=None, update_s=None).save()
    found = find_profile(UUID)
    assert found is not None
    assert found.response is None
    assert found.by_meter
    assert not Profile().by_meter


def test_a_later_one_takes_its_place() -> None:
    _profile().save()
    _profile(gain=1.01).save()
    found = find_profile(UUID)
    assert found is not None
    assert found.gain == 1.01


def test_the_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PYENERGY_PROFILES")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert folder() == tmp_path / "pyenergy" / "profiles"


@pytest.mark.parametrize("uuid", ["", "../../etc", "a/b", "GPU 1", "GPU-\0"])
def test_what_is_no_uuid_names_no_file(uuid: str) -> None:
    with pytest.raises(OptionError, match="UUID"):
        profile_path(uuid)
    assert find_profile(uuid) is None


def _written(text: str | bytes) -> Path:
    path = profile_path(UUID)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a profile"),
        ("{", "not a profile"),
        (b"\xff\xfe\x00", "not a profile"),
        ("[]", "not a pyenergy profile"),
        ("{}", "not a pyenergy profile"),
        ('{"format": "pyenergy-recording"}', "not a pyenergy profile"),
        ('{"format": "pyenergy-profile"}', "version None"),
        ('{"format": "pyenergy-profile", "version": 2}', "version 2; this reads 1"),
    ],
)
def test_foreign_damaged_and_newer_files_are_refused(content: str | bytes, message: str) -> None:
    _written(content)
    with pytest.raises(RecordingError, match=message):
        find_profile(UUID)


@pytest.mark.parametrize(
    "change",
    [
        {"gain": "x"},
        {"gain": None},
        {"gain": True},
        {"gain": 0.0},
        {"gain": float("nan")},
        {"gain_u": -1.0},
        {"gain_u": float("inf")},
        {"offset_u_w": 1e9},
        {"update_s": "x"},
        {"update_s": 0.0},
        {"response": 5},
        {"response": {"family": "triangle", "window_s": 0.1}},
        {"response": {"family": "boxcar", "window_s": "x"}},
        {"response": {"family": "boxcar", "window_s": -1}},
        {"response": {"width": 1}},
        {"details": []},
        {"calibrated_unix_s": "x"},
        {"calibrated_unix_s": float("nan")},
        {"uuid": 7},
        {"surplus": 1},
    ],
    ids=str,
)
def test_values_that_cannot_be_are_damage(change: dict[str, object]) -> None:
    payload = json.loads(_profile().save().read_text())
    _written(json.dumps({**payload, **change}))
    with pytest.raises(RecordingError, match="damaged"):
        find_profile(UUID)


def test_a_name_that_no_profile_has_is_told_beside_those_that_it_has() -> None:
    payload = json.loads(_profile().save().read_text())
    _written(json.dumps({**payload, "gian": 1}))
    with pytest.raises(RecordingError, match=r"no profile has 'gian'; there are: .*gain, gain_u"):
        find_profile(UUID)


NUMBERS = ("gain", "gain_u", "offset_w", "offset_u_w", "update_s", "calibrated_unix_s")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "number",
    [
        np.float32(0.5),
        np.float64(0.5),
        np.float16(0.5),
        np.int64(1),
        np.uint8(1),
        1,
        Fraction(1, 2),
    ],
    ids=lambda number: type(number).__name__,
)
def test_any_real_number_will_do_and_is_kept(name: str, number: Any) -> None:
    saved = _profile(**{name: number})
    assert getattr(saved, name) == float(number)
    assert type(getattr(saved, name)) is float
    saved.save()
    assert find_profile(UUID) == saved


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [True, np.True_, "0.1", "now", b"1", [1.0], 1j, np.array([0.5, 0.5])], ids=repr
)
def test_what_is_no_number_is_named(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name} must be a number, got"):
        Profile(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400], ids=str)
def test_what_is_not_finite_is_named(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name} must be finite"):
        Profile(**{name: value})


@pytest.mark.parametrize("name", [n for n in NUMBERS if n != "update_s"])
def test_only_the_period_may_be_left_to_each_recording(name: str) -> None:
    assert Profile(update_s=None).update_s is None
    with pytest.raises(OptionError, match=f"{name} must be a number, got None"):
        Profile(**{name: None})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offset_w": 4000.0}, "offset_w must lie from -1000 to 1000 W, got 4000.0"),
        ({"offset_w": -1001}, "offset_w must lie"),
        ({"offset_u_w": -0.1}, "offset_u_w from 0 to 1000 W, got 0.006 and -0.1"),
        ({"gain": 0.1}, "gain must lie from 0.2 to 5"),
        ({"gain_u": 3.5}, "gain_u must lie from 0 to 1"),
        ({"update_s": 101.2}, "update_s must lie from 1e-6 to 100 s, got 101.2"),
        ({"update_s": -0.1}, "update_s must lie"),
        ({"calibrated_unix_s": NOW_S * 1000}, "must be seconds since 1970"),
        ({"calibrated_unix_s": -1.0}, "must be seconds since 1970"),
        ({"uuid": None}, "must be text"),
        ({"details": None}, "details must be a dict"),
        ({"details": {"x": {1}}}, "details must be JSON values: Object of type set"),
        ({"details": {"x": np.float32(1)}}, "details must be JSON values"),
        ({"response": "boxcar"}, "response must be a Response or None, got 'boxcar'"),
        ({"response": Response("boxcar", 0.1, -0.06)}, "delay_s must not be negative, got -0.06"),
        ({"response": Response("boxcar", 0.1, 0.0, 0.0, 1.0)}, "uncertainties are too large"),
        ({"response": Response("boxcar", 90.0, 0.0, 6.0)}, "uncertainties are too large"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said(change: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        _profile(**change)
    assert said in str(caught.value)


def test_details_that_hold_themselves() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    with pytest.raises(OptionError, match="details must be JSON values"):
        Profile(details=circle)


def test_a_fit_s_response_may_end_a_little_below_zero_and_be_vague() -> None:
    """What an identification leaves open of a sensor of which nothing was known before."""
    for response in (
        Response("boxcar", 0.1, -0.003, 0.02, 0.002),
        Response("rc", 0.04, 0.1, 0.05, 0.12),
        Response("continuous", delay_s=0.01, delay_u_s=0.005),
    ):
        _profile(response=response).save()
        found = find_profile(UUID)
        assert found is not None
        assert found.response == response


def test_a_vague_response_can_be_evaluated_with() -> None:
    from pyenergy import Trace

    t = np.arange(0, 20_000_000_000, 5_000_000)
    seen = 100.0 + 200.0 * ((t // 101_000_000) % 7 > 3)
    spans = [("work", k * 707_000_000, k * 707_000_000 + 303_000_000) for k in range(1, 27)]
    card = {"gpu:0": {"architecture": "ga100", "field": "instant", "power_max_w": 400.0}}
    vague = Profile(response=Response("boxcar", 0.025, 0.0, 0.02, 0.2))
    trace = Trace.from_readings({"gpu:0/power": (t, seen)}, spans, devices=card, profile=vague)
    assert np.isfinite(trace.energy.joules)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="cannot write"):
        _profile().save(tmp_path / "file" / "p.json")
    with pytest.raises(RecordingError, match="cannot write"):
        _profile().save(tmp_path)
    with pytest.raises(RecordingError, match="cannot read"):
        Profile.load(tmp_path / "absent.json")


def test_the_doctor_knows_who_was_never_calibrated() -> None:
    assert calibration_lines(_meta(), NOW_S) == ["calibrated: never (pyenergy calibrate)"]


@pytest.mark.parametrize(
    ("days", "text"), [(0.5, "today"), (1.2, "1 day ago"), (3.0, "3 days ago"), (-1, "future")]
)
def test_the_doctor_tells_the_age(days: float, text: str) -> None:
    _profile().save()
    lines = calibration_lines(_meta(), NOW_S + days * DAY_S)
    assert len(lines) == 1
    assert lines[0].count(text) == 2  # response and gain
    assert "boxcar of 25 ms" in lines[0]


def test_the_doctor_warns_of_old_ones_and_other_drivers() -> None:
    _profile(calibrated_unix_s=NOW_S + 181 * DAY_S).save()  # the meter's part is older
    lines = calibration_lines(_meta("560.9"), NOW_S + 182 * DAY_S)
    assert "response calibrated 1 day ago" in lines[0]
    assert "gain by meter 182 days ago" in lines[0]
    assert "180 days" in lines[1]
    assert "driver 550.1, now it is 560.9" in lines[2]


def test_the_doctor_says_what_is_not_calibrated() -> None:
    bare = Profile(uuid=UUID, calibrated_unix_s=NOW_S)
    bare.save()
    (line,) = calibration_lines(_meta(), NOW_S)
    assert "did not tell the response" in line
    assert "not compared with a meter" in line
    _written("{")
    assert "cannot be told" in calibration_lines(_meta(), NOW_S)[0]


def test_a_file_nested_without_end_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(RecordingError, match="is not a profile"):
        Profile.load(tmp_path / "deep.json")
