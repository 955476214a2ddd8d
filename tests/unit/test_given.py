# SPDX-License-Identifier: Apache-2.0
"""Arrays, tables and names as people have them: they work, or the error says what would."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
import polars as pl
import pytest

from pyenergy import Trace, _core
from pyenergy.errors import OptionError
from pyenergy.recording.names import ARCHITECTURES
from pyenergy.recording.readings import recorded_from_readings
from pyenergy.recording.recorded import Recorded
from pyenergy.sensor import catalog
from pyenergy.units import NS_PER_MS, NS_PER_S

UNIX_NS = 1_795_183_402_123_456_000
T = UNIX_NS + 20 * NS_PER_MS * np.arange(200, dtype=np.int64)
WATTS = np.random.default_rng(8).normal(200, 20, 200)
UTC = datetime.timezone.utc


def taken(times: Any = T, watts: Any = WATTS, **options: Any) -> Recorded:
    return recorded_from_readings({"gpu:0/power": (times, watts)}, **options)


def refused(*given: Any, **options: Any) -> str:
    with pytest.raises((OptionError, TypeError)) as caught:
        taken(*given, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("times", "watts"),
    [
        (T.tolist(), WATTS.tolist()),
        (tuple(T.tolist()), tuple(WATTS.tolist())),
        (range(UNIX_NS, UNIX_NS + 200 * 20 * NS_PER_MS, 20 * NS_PER_MS), WATTS),
        (pl.Series(T), pl.Series(WATTS)),
        (pl.Series(T), pl.Series(WATTS).cast(pl.Decimal(30, 12))),
        (T.astype(np.uint64), WATTS),
        (T.astype(">i8"), WATTS.astype(">f8")),
        (T.astype(object), WATTS.astype(object)),
        (np.repeat(T, 2)[::2], np.repeat(WATTS, 2)[::2]),
        (memoryview(T), memoryview(WATTS)),
    ],
    ids=[
        "list",
        "tuple",
        "range",
        "polars",
        "decimal",
        "uint64",
        "big",
        "object",
        "step",
        "buffer",
    ],
)
def test_every_container_of_the_same_gives_the_same(times: Any, watts: Any) -> None:
    recorded = taken(times, watts)
    assert recorded.notes == ()
    energy, expected = Trace(recorded).energy, Trace(taken()).energy
    assert energy.joules == pytest.approx(expected.joules, rel=1e-9)
    assert energy.u == pytest.approx(expected.u, rel=1e-6)


def test_what_a_table_lacks_is_missing() -> None:
    holes = pl.Series([None, *WATTS[1:].tolist()])
    assert taken(pl.Series(T), holes).notes == ("gpu:0/power: 1 of 200 readings are missing",)


def test_pandas() -> None:
    pd = pytest.importorskip("pandas")
    assert taken(pd.Series(T, index=range(5, 205)), pd.Series(WATTS)).notes == ()
    zoned = pd.Series(T.astype("datetime64[ns]")).dt.tz_localize("UTC")
    assert "gives them (in UTC)" in refused(zoned)
    assert np.array_equal(np.asarray(zoned, "datetime64[ns]").astype(np.int64), T)
    table = pd.DataFrame({"name": ["x"], "start_ns": [int(T[10])], "end_ns": [int(T[90])]})
    assert "itertuples(index=False, name=None)" in refused(spans=table)
    assert taken(spans=table.itertuples(index=False, name=None)).marks[0].name == "x"


# Dates ----------------------------------------------------------------------------------------

DATES = "np.asarray(times, 'datetime64[ns]').astype(np.int64) gives them"
HALF_A_SECOND = datetime.timedelta(seconds=0.5)
ABOUT = datetime.datetime(2026, 11, 20, 14, 3, 22)


@pytest.mark.parametrize(
    "dates",
    [
        T.astype("datetime64[ns]"),
        T.astype("datetime64[ns]").astype("datetime64[ms]"),
        pl.Series(T).cast(pl.Datetime("ns")),
        pl.Series(T // 1000).cast(pl.Datetime("us", "UTC")),
        [ABOUT + k * HALF_A_SECOND for k in range(200)],
        [(ABOUT + k * HALF_A_SECOND).isoformat() for k in range(200)],
        [(ABOUT + k * HALF_A_SECOND).isoformat().encode() for k in range(200)],
    ],
    ids=["ns", "ms", "polars", "polars us", "datetime", "text", "bytes"],
)
def test_what_the_error_says_of_dates_works(dates: Any) -> None:
    assert DATES in refused(dates)
    plain = [d.decode() if isinstance(d, bytes) else d for d in dates] if isinstance(
        dates, list
    ) else dates  # fmt: skip
    made = np.asarray(plain, "datetime64[ns]").astype(np.int64)
    assert abs(int(made[0]) - UNIX_NS) < 200 * NS_PER_MS
    assert taken(made).notes == ()


def test_times_in_text_that_are_numbers() -> None:
    text = [str(t) for t in T]
    assert "np.array(times).astype(np.int64) reads them" in refused(text)
    assert np.array_equal(np.array(text).astype(np.int64), T)
    assert "np.array(times).astype(float) reads them, and then" in refused(["1795183402.5"] * 200)
    assert "got text ('100.5'): np.array(values, float) reads it" in refused(T, ["100.5"] * 200)


@pytest.mark.parametrize(
    "moment",
    [T[10].astype("datetime64[ns]"), datetime.datetime.fromtimestamp(int(T[10]) / 1e9, UTC)],
)
def test_spans_and_bounds_of_dates(moment: Any) -> None:
    cure = "int(np.datetime64(time, 'ns').astype(np.int64)) gives them"
    assert cure in refused(spans=[("x", moment, moment)])
    assert cure in refused(bounds_ns=(moment, moment))


# Times that are none, or not in order ---------------------------------------------------------


@pytest.mark.parametrize(
    "times",
    [
        np.where(np.arange(200) == 3, np.nan, T.astype(float)),
        [*T[:3].tolist(), None, *T[4:].tolist()],
        pl.Series([*T[:3].tolist(), None, *T[4:].tolist()]),
        np.where(np.arange(200) == 3, np.datetime64("NaT"), T.astype("datetime64[ns]")),
        np.where(np.arange(200) == 3, np.datetime64("NaT"), T.astype("datetime64[ns]")).astype(
            np.int64
        ),
    ],
    ids=["nan", "None", "null", "NaT", "NaT made an integer"],
)
def test_a_reading_without_a_time_is_named(times: Any) -> None:
    said = refused(times)
    assert "1 of 200 readings (the first is 3) have no time: leave them out" in said


def test_readings_out_of_order_are_counted_and_the_cure_works() -> None:
    order = np.random.default_rng(1).permutation(200)
    said = refused(T[order], WATTS[order])
    assert re.search(r"times decrease at reading \d+ \(\d+, \d+\) and \d+ times more: sort", said)
    again = np.argsort(T[order], kind="stable")
    assert taken(T[order][again], WATTS[order][again]).notes == ()
    twice = np.concatenate([T, T])
    assert "a change of the clock apart" in refused(twice, np.concatenate([WATTS, WATTS]))


LONG = 20 * NS_PER_MS * np.arange(500, dtype=np.int64)  # 10 s


@pytest.mark.parametrize(
    "times",
    [
        LONG.astype(np.int32),
        LONG.astype(np.uint32),
        (LONG + UNIX_NS).astype(np.int32),
        LONG.astype(np.int32).astype(np.int64),  # too late
        (5 * LONG).astype(np.int32),
    ],
)
def test_times_that_have_wrapped_are_told_as_such(times: np.ndarray) -> None:
    said = refused(times, np.full(500, 200.0))
    assert "as integers of 32 bits do, which hold 4.29 s of nanoseconds: make them int64" in said


def test_integers_that_may_have_wrapped_unseen_are_said() -> None:
    (note,) = taken(LONG[:100].astype(np.int32), WATTS[:100]).notes
    assert note == (
        "gpu:0/power: times are int32, which holds 4.29 s of nanoseconds and wraps beyond: make "
        "them int64 where they come from"
    )
    few = (5 * NS_PER_S * np.arange(4)).astype(np.int32)  # increases all the same
    assert any("times are int32" in text for text in taken(few, WATTS[:4]).notes)
    two = np.concatenate([LONG[:150], LONG[:150]])  # 3 s, twice: nothing of 32 bits
    assert "bits" not in refused(two, np.full(300, 200.0))


def test_an_infinite_reading_is_said_how_to_give() -> None:
    for wrong in (np.inf, -np.inf):
        watts = np.where(np.arange(200) == 3, wrong, WATTS)
        assert "reading 3 is infinite: NaN is what could not be read" in refused(T, watts)


# Spans, bounds, names -------------------------------------------------------------------------


def test_spans_in_a_table_are_told_how_to_give() -> None:
    table = pl.DataFrame({"name": ["x"], "start_ns": [int(T[10])], "end_ns": [int(T[90])]})
    assert "got a DataFrame: of polars, table.select('name', 'start_ns', 'end_ns').rows()" in (
        refused(spans=table)
    )
    assert taken(spans=table.select("name", "start_ns", "end_ns").rows()).marks[0].name == "x"


def test_bounds_may_be_any_pair() -> None:
    expected = (int(T[0]), int(T[-1]))
    for pair in (expected, list(expected), T[[0, -1]], pl.Series(T[[0, -1]])):
        assert taken(bounds_ns=pair).bounds_ns == expected
    assert "a pair (start_ns, end_ns)" in refused(bounds_ns=set(expected))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"architecture": "hoper"}, "no architecture 'hoper'; there are kepler, maxwell, pasc"),
        ({"architecture": "hoper"}, "hopper, blackwell: did you mean 'hopper'? (of any other GPU"),
        ({"architecture": "Ampere"}, "did you mean 'ampere'?"),
        ({"architecture": "A100", "field": "instant"}, "did you mean 'ga100'?"),
        ({"architecture": "sm_80"}, "blackwell (of any other GPU: leave it out)"),
        ({"field": "instan"}, "no field 'instan'; there are instant, average, default: did you m"),
        ({"power_max": 400.0}, "no fact 'power_max'; there are name, uuid, "),
        ({"power_max": 400.0}, "did you mean 'power_max_w'?"),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_that_are(
    facts: dict[str, Any], said: str
) -> None:
    assert said in refused(devices={"gpu:0": facts})


def test_every_architecture_of_the_catalogue_can_be_given() -> None:
    assert set(_core.sensor_architectures()) <= set(ARCHITECTURES)
    for architecture in (*ARCHITECTURES, "", None):
        assert taken(devices={"gpu:0": {"architecture": architecture}}).notes == ()
    cpu = {"cpu:0/power": (T, WATTS)}  # the catalogue is of GPUs: a CPU may be what it is
    recorded = recorded_from_readings(cpu, devices={"cpu:0": {"architecture": "zen4"}})
    assert recorded.devices["cpu:0"].meta.architecture == "zen4"


A100 = "NVIDIA A100-SXM4-40GB"


@pytest.mark.parametrize(
    ("facts", "architecture", "window_ms", "said"),
    [
        ({"name": A100}, "ga100", 25, None),
        ({"name": A100, "architecture": "ga100"}, "ga100", 25, None),
        ({"name": A100, "architecture": ""}, "ga100", 25, None),
        ({"name": A100, "architecture": "ampere"}, "ga100", 25, "is taken as ga100, whose power"),
        ({"name": "NVIDIA A10G", "architecture": "ampere"}, "ampere", 100, None),
        ({"name": "NVIDIA A10G", "architecture": "ga100"}, "ga100", 25, "is ampere by its name"),
        ({"name": A100, "architecture": "volta"}, "volta", 10, "but volta was given, and it is"),
        ({"name": "node 7", "architecture": "ampere"}, "ampere", 100, None),
        ({"name": "node 7"}, "", -1, None),
    ],
)
def test_a_name_tells_which_sensor_it_was(
    facts: dict[str, Any], architecture: str, window_ms: int, said: str | None
) -> None:
    recorded = taken(devices={"gpu:0": {**facts, "field": "instant"}})
    device = recorded.devices["gpu:0"]
    assert device.meta.architecture == architecture
    prior = catalog.prior_for(device.meta.architecture, device.channels["power"].source)
    assert prior.window_ns == (window_ms * 1_000_000 if window_ms > 0 else -1)
    if said is None:
        assert recorded.notes == ()
    else:
        (note,) = recorded.notes
        assert note.startswith(f"gpu:0: {facts['name']} is ")
        assert said in note


def test_a_name_says_nothing_of_what_is_no_gpu() -> None:
    cpu = {"cpu:0/power": (T, WATTS)}
    recorded = recorded_from_readings(cpu, devices={"cpu:0": {"name": A100}})
    assert recorded.devices["cpu:0"].meta.architecture == ""
