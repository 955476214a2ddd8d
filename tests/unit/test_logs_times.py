# SPDX-License-Identifier: Apache-2.0
"""Times of logs: zones, and moments that keep their digits."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyenergy.errors import OptionError, RecordingError
from pyenergy.recording.logs.times import civil_to_unix_ns, instant_ns, iso_utc, zone
from pyenergy.units import NS_PER_S


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
