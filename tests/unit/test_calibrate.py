# SPDX-License-Identifier: Apache-2.0
"""Sensors found from a load: in simulated time, against what the simulated card was told to be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from simulate import START_NS, recorded

from pyenergy import _core, testing
from pyenergy._load import plan
from pyenergy.errors import NoReadingsError, OptionError
from pyenergy.recording.series import DeviceData
from pyenergy.sensor.calibrate import calibrate
from pyenergy.sensor.channel_fit import sensor_prior
from pyenergy.sensor.estimate import Spans
from pyenergy.sensor.meter import MeterLog, read_meter
from pyenergy.sensor.profile import Profile
from pyenergy.sensor.response import Response
from pyenergy.testing import SimulatedCard
from pyenergy.units import NS_PER_S

BUSY = 0.8  # of the card's limit


@dataclass
class Run:
    """A simulated calibration run, and the truth."""

    data: DeviceData
    spans: Spans
    card: SimulatedCard
    end_ns: int


def _run(
    card: SimulatedCard, architecture: str | None = None, seconds: float = 40.0, seed: int = 1,
    busy_w: float | None = None,
) -> Run:  # fmt: skip
    """Load the card by turns and sample it, in simulated time."""
    architecture = card.info.architecture if architecture is None else architecture
    prior = sensor_prior(architecture, "sim.power.instant")
    idle_w = card.info.idle_w
    high_w = BUSY * card.info.limit_w if busy_w is None else busy_w
    t, spans, steps = START_NS, [], [(START_NS - NS_PER_S, idle_w)]
    for phase in plan(seconds, prior.update_ns / NS_PER_S, prior.window_ns / NS_PER_S, seed):
        end = t + round(phase.seconds * NS_PER_S)
        if phase.busy:
            spans.append(("load", t, end))
            steps += [(t, high_w), (end, idle_w)]
        t = end
    card.script(steps)
    info = _core.enumerate("sim", "").devices[card.info.index]
    clock = _core.ManualClock(START_NS)
    stream = _core.Stream(info, period_ns=1_000_000, clock=clock)
    while clock.now_ns() < t + NS_PER_S:
        stream.run_inline(1000)
    data = recorded(stream, (START_NS, t)).devices["gpu:0"]
    meta = replace(data.meta, architecture=architecture)
    return Run(replace(data, meta=meta), Spans.of(spans), card, t)


@pytest.mark.parametrize("known", [True, False], ids=["catalogued", "unknown"])
@pytest.mark.parametrize(
    ("preset", "family", "window_s"),
    [
        ("a100", "boxcar", 0.025),
        ("a100", "rc", 0.012),
        ("v100", "boxcar", 0.010),
        ("h100", "boxcar", 0.025),
    ],
)
def test_the_sensor_is_found_without_a_meter(
    preset: str, family: str, window_s: float, known: bool
) -> None:
    rng = np.random.default_rng([len(preset), round(window_s * 1e3), known])
    with testing.simulated(preset) as world:
        card = world[0]
        nominal_s = 0.02 if preset == "v100" else 0.1
        update_s = round(nominal_s * rng.uniform(0.98, 1.02), 7)
        window_s *= rng.uniform(0.8, 1.2)
        delay_s = rng.uniform(0.0, 0.02)
        card.configure(
            update_s=update_s, phase_s=rng.uniform(0, update_s), window_s=window_s,
            response=family, delay_s=delay_s, noise_w=1.0, gain=1.04, offset_w=4.0,
        )  # fmt: skip
        run = _run(card, None if known else "of tomorrow")
        result = calibrate(run.data, run.spans, now_unix_s=1.8e9)
        idle_w, load_w = card.info.idle_w, BUSY * card.info.limit_w
    fit = result.fits["power"]
    response = result.profile.response
    assert response is not None
    assert response.family == family
    assert fit.clock.period_s == pytest.approx(update_s, rel=1e-3)
    assert fit.clock.violations == 0
    assert response.window_s == pytest.approx(window_s, rel=0.05)
    assert response.delay_s == pytest.approx(delay_s, abs=0.002)
    # What it states is believable, and worth stating.
    assert abs(response.window_s - window_s) < 3 * response.window_u_s < 0.06 * window_s
    assert abs(response.delay_s - delay_s) < 3 * response.delay_u_s < 0.001
    assert abs(fit.idle_w - (1.04 * idle_w + 4)) < 4 * fit.idle_u_w < 1
    assert abs(fit.load_w - (1.04 * load_w + 4)) < 4 * fit.load_u_w < 1.5
    assert fit.noise_w == pytest.approx(1.0, rel=0.3)
    assert fit.families[0].response.family == family
    assert fit.families[0].held_out_w < 1.3 < fit.families[1].held_out_w
    assert result.profile.channel == "sim.power.instant"
    assert result.profile.uuid == run.data.meta.uuid
    assert not result.profile.by_meter
    assert result.profile.details["driver"] == "simulated"
    assert not result.notes


def test_both_readings_of_a_card_are_looked_at_and_the_integrated_one_is_kept() -> None:
    with testing.simulated("h100") as world:
        run = _run(world[0])
        result = calibrate(run.data, run.spans)
    assert list(result.fits) == ["power", "power_average"]
    average = result.fits["power_average"].response
    assert average is not None
    assert average.window_s == pytest.approx(1.0, rel=0.01)
    assert result.channel == "power"


def test_a_slow_sensor_that_nobody_knows() -> None:
    with testing.simulated("k40m") as world:
        world[0].configure(window_s=0.76, delay_s=0.016, noise_w=1.0)
        run = _run(world[0], seed=2)
        result = calibrate(run.data, run.spans)
    response = result.profile.response
    assert response is not None
    assert response.family == "rc"
    assert response.window_s == pytest.approx(0.76, rel=0.05)


def test_a_sensor_unlike_its_catalogue_is_taken_as_it_is_and_said() -> None:
    with testing.simulated("h100") as world:
        world[0].configure(window_s=0.04, response="rc", delay_s=0.005, noise_w=1.0)
        run = _run(world[0])
        result = calibrate(run.data, run.spans)
    response = result.profile.response
    assert response is not None
    assert response.family == "rc"
    assert response.window_s == pytest.approx(0.04, rel=0.05)
    assert any("not what the catalogue expects" in note for note in result.notes)


@pytest.mark.parametrize("busy_w", [None, 55.2])
def test_a_load_that_does_not_show_keeps_the_catalogue(busy_w: float | None) -> None:
    with testing.simulated("a100") as world:
        world[0].configure(noise_w=1.0)
        idle_w = world[0].info.idle_w
        run = _run(world[0], busy_w=idle_w if busy_w is None else busy_w, seconds=15)
        result = calibrate(run.data, run.spans)
    assert result.profile.response is None
    assert any("catalogue" in note for note in result.notes)
    assert result.profile.update_s == pytest.approx(0.1012, rel=1e-3)


def test_what_has_no_clock_or_no_spans_cannot_be_calibrated() -> None:
    with testing.simulated("ideal") as world:
        world[0].configure(noise_w=1.0)
        run = _run(world[0], seconds=8)
        with pytest.raises(NoReadingsError, match="update clock"):
            calibrate(run.data, run.spans)
        with pytest.raises(NoReadingsError, match="no spans"):
            calibrate(run.data, Spans.of([]))
        bare = replace(run.data, channels={}, runs={})
        with pytest.raises(NoReadingsError, match="no power reading"):
            calibrate(bare, run.spans)
    with testing.simulated("a100") as world:
        run = _run(world[0], seconds=8)
        power = run.data.runs["power"].between(START_NS, START_NS + 2 * NS_PER_S)
        short = replace(run.data, runs={**run.data.runs, "power": power})
        with pytest.raises(NoReadingsError, match=r"too few|update clock"):
            calibrate(short, run.spans)


# With a meter ---------------------------------------------------------------------------------


def _meter(
    run: Run, start_ns: int = START_NS, end_ns: int | None = None, seed: int = 0
) -> MeterLog:
    """The truth every 10 ms, with 0.2 % of noise."""
    t = np.arange(start_ns, run.end_ns if end_ns is None else end_ns, 10_000_000)
    noise = np.random.default_rng(seed).normal(1.0, 0.002, len(t))
    return MeterLog(t, run.card.true_powers_w(t) * noise)


@pytest.fixture(scope="module")
def metered() -> Run:
    with testing.simulated("a100") as world:
        world[0].configure(gain=1.04, offset_w=4.0, noise_w=1.0, delay_s=0.005)
        return _run(world[0], seconds=20)


@pytest.mark.parametrize("seed", range(2))
def test_a_meter_gives_gain_and_offset(metered: Run, seed: int) -> None:
    result = calibrate(metered.data, metered.spans, meter=_meter(metered, seed=seed))
    profile = result.profile
    assert profile.by_meter
    assert abs(profile.gain - 1.04) < profile.gain_u < 0.007  # the meter's own 0.5 % among it
    assert abs(profile.offset_w - 4.0) < 2 * profile.offset_u_w < 1.5
    assert result.meter is not None
    assert result.meter.levels == 2
    assert not result.notes


def _plateau(run: Run) -> tuple[int, int]:
    lengths = run.spans.ends_ns - run.spans.starts_ns
    longest = int(np.argmax(lengths))
    return int(run.spans.starts_ns[longest]), int(run.spans.ends_ns[longest])


def test_a_meter_that_saw_one_plateau_leaves_the_offset_open(metered: Run) -> None:
    result = calibrate(metered.data, metered.spans, meter=_meter(metered, *_plateau(metered)))
    assert any("one plateau only" in note for note in result.notes)
    profile = result.profile
    assert profile.offset_u_w > 3
    assert abs(profile.gain - 1.04) < 2 * profile.gain_u
    assert profile.gain_u < 0.025


def test_a_meter_elsewhere_in_time_is_refused(metered: Run) -> None:
    log = _meter(metered).shifted(3600 * NS_PER_S)
    with pytest.raises(OptionError, match="covers no plateau"):
        calibrate(metered.data, metered.spans, meter=log)
    short = _meter(metered, *[t + 10 * NS_PER_S for t in _plateau(metered)])
    with pytest.raises(OptionError, match="covers no plateau"):
        calibrate(metered.data, metered.spans, meter=short)


@pytest.mark.parametrize("meter_u", [-0.1, 0.5, float("nan")])
def test_a_meters_uncertainty_is_checked(metered: Run, meter_u: float) -> None:
    with pytest.raises(OptionError, match="uncertainty"):
        calibrate(metered.data, metered.spans, meter=_meter(metered), meter_u=meter_u)


def test_a_meter_of_something_else_is_refused(metered: Run) -> None:
    log = _meter(metered)
    with pytest.raises(OptionError, match="cannot be compared"):
        calibrate(metered.data, metered.spans, meter=replace(log, watts=100 * log.watts))


def test_gain_and_offset_outlive_a_run_without_a_meter(metered: Run) -> None:
    before = Profile(
        1.03, 0.006, 2.0, 0.2, uuid=metered.data.meta.uuid, channel="sim.power.instant",
        calibrated_unix_s=1.7e9, details={"meter_unix_s": 1.7e9},
    )  # fmt: skip
    result = calibrate(metered.data, metered.spans, previous=before, now_unix_s=1.8e9)
    profile = result.profile
    assert (profile.gain, profile.gain_u, profile.offset_w) == (1.03, 0.006, 2.0)
    assert profile.details["meter_unix_s"] == 1.7e9
    assert profile.calibrated_unix_s == 1.8e9
    assert isinstance(profile.response, Response)
    assert any("kept" in note for note in result.notes)
    other = replace(before, channel="nvml.GetPowerUsage")  # speaks of another reading
    assert calibrate(metered.data, metered.spans, previous=other).profile.gain == 1.0


# The meter's file -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "time,watts\n1.5,100\n1.6,101\n1.7,102\n",
        "watts;t_ms\n100;1500\n101;1600\n102;1700\n",
        "\ufeffTimestamp (ns)\tPower (W)\tnote\n1500000000\t100\t\n1600000000\t101\t\n"
        "1700000000\t102\tx\n",
        "t,w\n\n1970-01-01T00:00:01.5Z,100\n1970-01-01T02:00:01.6+02:00,101\n"
        "1970-01-01 00:00:01.7+00:00,102\n",
    ],
)
def test_a_meters_file_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    log = read_meter(path)
    assert log.t_ns.tolist() == [1_500_000_000, 1_600_000_000, 1_700_000_000]
    assert log.watts.tolist() == [100.0, 101.0, 102.0]


def test_nanoseconds_of_unix_time_keep_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("time_ns,power\n" + "".join(f"17999999990000000{i:02d},5\n" for i in range(4)))
    assert read_meter(path).t_ns[3] - read_meter(path).t_ns[0] == 3


_HEAD = "time,watts\n1,100\n2,101\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("1,100\n2,100\n3,100\n", "needs a header"),
        ("time,amps\n1,1\n2,1\n3,1\n", "needs a header"),
        ("time,t,watts\n1,1,1\n", "needs a header"),
        ("time,watts\n1,1\n2,1\n", "2 readings"),
        (_HEAD + "2,102\n", "line 4: times must increase"),
        (_HEAD + "1.5,102\n", "line 4: times must increase"),
        (_HEAD + "3,nan\n", "line 4: a power cannot be nan"),
        (_HEAD + "3,inf\n", "a power cannot be"),
        (_HEAD + "3,-5\n", "a power cannot be -5"),
        (_HEAD + "3,\n", "no power is ''"),
        (_HEAD + "3\n", "columns are missing"),
        (_HEAD + "nan,100\n", "no time is 'nan'"),
        (_HEAD + "1e300,100\n", "no time is"),
        (_HEAD + "noon,100\n", "no time is 'noon'"),
        (_HEAD + "2026-01-01T00:00:00,100\n", "has no zone"),
        ("t_ms,w\n2026-01-01T00:00:00Z,1\n", "is a date"),
    ],
)
def test_a_meters_file_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(OptionError, match=message) as caught:
        read_meter(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_and_clocks_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    with pytest.raises(OptionError, match="cannot read"):
        read_meter(path)
    with pytest.raises(OptionError, match="cannot read"):
        read_meter(tmp_path)
    path.write_bytes(b"\xff\x00\x80")
    with pytest.raises(OptionError, match="not a text file"):
        read_meter(path)
    path.write_text(_HEAD + "3,1\n")
    with pytest.raises(OptionError, match="unix or monotonic"):
        read_meter(path, "utc")
    path.write_text("t,w\n2026-01-01T00:00:00Z,1\n")
    with pytest.raises(OptionError, match="is a date"):
        read_meter(path, "monotonic")


def test_a_command_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyenergy import _load

    monkeypatch.setattr(_load, "_LONGEST_RUN_S", 0.2)
    with pytest.raises(OptionError, match=r"still ran after 0\.2 s and was stopped"):
        _load.CommandLoad("sleep 30").run(0, "wave")
