# SPDX-License-Identifier: Apache-2.0
"""Every sensor with every fault: a stated gap or a clear error, and the energy around it right
within its interval or refused. The cells that older tests show are in `fault_table`."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import fault_table
import numpy as np
import pytest
from fault_stages import FAULT_NS, STAGES, Stage, empty_machine, stage_of, true_j
from simulate import START_NS

import pyenergy
from pyenergy import _core, _devices
from pyenergy._trace import Trace
from pyenergy.errors import DeviceError
from pyenergy.units import NS_PER_S

README = Path(__file__).resolve().parent.parent / "README.md"
COUNTERS = [sensor for sensor in STAGES if sensor.startswith("RAPL")]
every_file = pytest.mark.parametrize("sensor", list(STAGES))
every_counter = pytest.mark.parametrize("sensor", COUNTERS)


@contextmanager
def as_nobody() -> Iterator[None]:
    """This thread's access to files as of a user without rights, also where root runs the tests."""
    libc = ctypes.CDLL(None)
    libc.setfsuid(65534)
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())


@pytest.fixture
def stage(sensor: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with stage_of(sensor, monkeypatch) as made:
        made.show(START_NS)
        yield made


def assert_covered(trace: Trace, rel: float | None = None) -> pyenergy.Energy:
    """The truth lies in the interval; also near the value where no reading is lost for long."""
    energy, truth = trace.energy, true_j(*trace.bounds_ns)
    low, high = energy.interval(0.95)
    assert low <= truth <= high
    if rel is not None:
        assert energy.joules == pytest.approx(truth, rel=rel)
    return energy


def said(energy: pyenergy.Energy, words: str) -> bool:
    return any(words in note for note in energy.notes)


# At the opening -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "argument", "why", "fix"),
    [
        ("rapl", "", "no RAPL zone in", "modprobe"),
        ("hwmon", "", "shows power or energy", ""),
        ("sim", "x100", "x100", ""),
    ],
    ids=["RAPL", "hwmon", "sim"],
)
def test_a_sensor_that_is_absent_says_so(
    source: str, argument: str, why: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with empty_machine(monkeypatch):
        report = _core.enumerate(source, argument)
    assert not report.available
    assert report.devices == []
    assert why in report.reason
    assert fix in report.fix


@every_file
def test_a_sensor_that_may_not_be_read_names_the_fix(stage: Stage, sensor: str) -> None:
    for path in stage.closed:
        path.chmod(0)
    with as_nobody():
        report = stage.report()
    assert not report.available
    assert "Permission denied" in report.reason or "may not be read" in report.reason
    assert "sudo" in report.fix


# While it is read -----------------------------------------------------------------------------


@every_file
def test_without_a_fault_nothing_is_said(stage: Stage, sensor: str) -> None:
    energy = assert_covered(stage.played(), rel=0.01)
    assert not any(said(energy, word) for word in ("failed", "impossible", "nothing was read"))


@every_file
def test_a_sensor_that_vanishes_is_a_gap_of_any_power(stage: Stage, sensor: str) -> None:
    sound, trace = stage.played().energy, stage.played("vanishes")
    energy = assert_covered(trace)
    assert said(energy, "reads failed")
    assert said(energy, "nothing was read for 2")
    assert energy.budget()["gaps"] > sound.u
    values = trace.series(f"gpu:0/{'energy' if stage.turn_j else 'power'}").values
    assert np.isnan(values[-1])  # what is missing became no number
    before = trace.window(START_NS, FAULT_NS - NS_PER_S // 5)
    assert before.joules == pytest.approx(true_j(START_NS, FAULT_NS - NS_PER_S // 5), rel=0.01)


@every_file
def test_garbage_is_counted_and_not_used(stage: Stage, sensor: str) -> None:
    energy = assert_covered(stage.played("garbage"), rel=0.02)
    words = "reads failed" if sensor == "RAPL registers" else "impossible and not used"
    assert said(energy, words)


@every_file
def test_a_read_that_hangs_is_a_gap_unless_a_counter_counts_on(stage: Stage, sensor: str) -> None:
    sound, energy = stage.played().energy, assert_covered(stage.played("slow"))
    if stage.turn_j is None:
        assert said(energy, "nothing was read for 1")
        assert energy.budget()["gaps"] > sound.budget()["gaps"] + 50.0
    else:
        # Its default gap counts for a sampler that polls often: its own unread turn is far away.
        counting = assert_covered(stage.played("slow", gap_ns=60 * NS_PER_S), rel=0.01)
        assert not said(counting, "nothing was read")


@every_counter
def test_a_wrap_costs_nothing(stage: Stage, sensor: str) -> None:
    trace = stage.played("wraps")
    energy = assert_covered(trace, rel=0.01)
    flags = trace.recorded.devices["gpu:0"].runs["energy"].flags
    assert np.count_nonzero(flags & _core.FLAG_WRAPPED) == 1
    assert not said(energy, "reset")


@every_counter
def test_a_reset_is_stated_and_covered(stage: Stage, sensor: str) -> None:
    energy = assert_covered(stage.played("resets"), rel=0.02)
    assert said(energy, "was reset or ran backwards")
    assert energy.budget()["gaps"] > 0


# The estimate ---------------------------------------------------------------------------------


def _jiffies(tree: Any, busy: int, idle: int) -> None:
    (tree.root / "proc/stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "/proc/stat"), ("cpu  x", "/proc/stat"), ("cpu  0 0 0 0 0 0 0", "counts no CPU time")],
    ids=["nothing", "garbage", "zeros"],
)
def test_an_estimate_without_a_load_is_refused(
    text: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with empty_machine(monkeypatch) as tree:
        tree.write("proc/stat", text)
        report = _core.enumerate("estimate", "")
    assert not report.available
    assert why in report.reason


@pytest.mark.parametrize("fault", ["vanishes", "garbage", "resets"])
def test_a_load_that_cannot_be_told_is_missing(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulate import recorded

    with empty_machine(monkeypatch) as tree:
        tree.write("proc/stat", "")
        _jiffies(tree, 1000, 1000)
        (info,) = _core.enumerate("estimate", "").devices
        clock = _core.ManualClock(START_NS - NS_PER_S)
        stream = _core.Stream(info, period_ns=NS_PER_S // 10, clock=clock)
        for step in range(40):
            _jiffies(tree, 1000 + 10 * step, 1000 + 10 * step)  # half busy
            if 20 <= step < 25:
                odd = {"vanishes": "", "garbage": "cpu  garbage", "resets": "cpu  1 0 0 1 0 0 0"}
                (tree.root / "proc/stat").write_text(odd[fault])
            stream.run_inline(1)
        trace = Trace(recorded(stream, (START_NS, START_NS + 2 * NS_PER_S)))
    values = trace.series("gpu:0/power").values
    assert np.isnan(values).any()
    tdp_w = info.power_max_w / 2
    assert values[~np.isnan(values)] == pytest.approx(0.65 * tdp_w)  # never a load that was not
    energy = trace.energy
    assert said(energy, "reads failed")
    low, high = energy.interval(0.95)
    assert low <= 0.65 * tdp_w * 2 <= high


# A replay -------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    t = np.arange(START_NS, START_NS + NS_PER_S, NS_PER_S // 50)
    trace = Trace.from_readings({"gpu:0/power": (t, 150.0 + np.arange(len(t)) % 2)})
    return trace.save(tmp_path / "run.pyenergy")


@pytest.mark.parametrize("fault", ["absent", "no permission", "garbage", "time steps"])
def test_a_recording_that_cannot_be_replayed_is_refused(kept: Path, fault: str) -> None:
    if fault == "absent":
        kept.unlink()
    elif fault == "no permission":
        kept.chmod(0)
    elif fault == "garbage":
        kept.write_bytes(kept.read_bytes()[:-100])
    else:
        with np.load(kept) as archive:
            members = {name: archive[name] for name in archive.files}
        members["gpu:0/power/t_first_ns"][3] -= NS_PER_S
        with kept.open("wb") as file:
            np.savez(file, **members)
    why = {
        "absent": "no such recording",
        "no permission": "cannot read .*: Permission denied",
        "garbage": "truncated",
        "time steps": "times decrease",
    }
    with (
        as_nobody() if fault == "no permission" else nullcontext(),
        pytest.raises(DeviceError, match=why[fault]),
    ):
        _devices.resolve(f"replay:{kept}")


# The table ------------------------------------------------------------------------------------


def test_every_cell_is_shown_by_a_test_that_exists() -> None:
    assert fault_table.missing() == []


def test_the_table_in_the_readme_is_this_one(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        fault_table.write(README)
    assert fault_table.shown() in README.read_text()
