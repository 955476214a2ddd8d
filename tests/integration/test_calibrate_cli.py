# SPDX-License-Identifier: Apache-2.0
"""``pyenergy calibrate``, run as a user runs it, on a simulated card; and its loads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pyenergy
from pyenergy import _load, testing
from pyenergy._devices import resolve
from pyenergy._load import CommandLoad, Phase, SimulatedLoad, TorchLoad, drive, periods, plan
from pyenergy.errors import DeviceError, OptionError
from pyenergy.sensor.profile import Profile
from pyenergy.testing import SimulatedWorld

DELAY_S, WINDOW_S, UPDATE_S = 0.012, 0.028, 0.0991


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYENERGY_PROFILES", str(tmp_path / "profiles"))
    return tmp_path / "profiles"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100"}
    command = [sys.executable, "-m", "pyenergy", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("world", ["a100"], indirect=True)
def test_a_card_is_calibrated_then_compared_with_a_meter(
    world: SimulatedWorld, tmp_path: Path, profiles: Path
) -> None:
    card = world[0]
    card.configure(
        update_s=UPDATE_S, window_s=WINDOW_S, delay_s=DELAY_S, noise_w=0.5, gain=1.04, offset_w=4.0
    )
    start_ns = time.monotonic_ns()
    done = run(
        "calibrate", "--device", "sim", "--seconds", "8", "--keep", "r.pyenergy",
        "--plot", "p.png", cwd=tmp_path,
    )  # fmt: skip
    end_ns = time.monotonic_ns()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    (file,) = profiles.iterdir()
    assert file.stem == card.info.uuid
    assert str(file) in done.stdout
    profile = Profile.load(file)
    assert profile.update_s == pytest.approx(UPDATE_S, rel=1e-3)
    assert profile.response is not None
    assert profile.response.family == "boxcar"
    # Eight seconds on a busy machine; forty in simulated time are held to 5 % elsewhere.
    assert profile.response.window_s == pytest.approx(WINDOW_S, rel=0.1)
    assert profile.response.delay_s == pytest.approx(DELAY_S, abs=0.003)
    assert not profile.by_meter

    t = np.arange(start_ns, end_ns, 10_000_000)
    watts = card.true_powers_w(t) * np.random.default_rng(0).normal(1.0, 0.002, len(t))
    rows = "".join(f"{a},{b:.4f}\n" for a, b in zip(t, watts, strict=True))
    (tmp_path / "m.csv").write_text("time_ns,watts\n" + rows)
    metered = run(
        "calibrate", "--recording", "r.pyenergy", "--meter", "m.csv", "--meter-clock", "monotonic",
        "-o", "q.json", cwd=tmp_path,
    )  # fmt: skip
    assert metered.returncode == 0, metered.stderr
    assert "by meter: gain 1.0" in metered.stdout
    compared = Profile.load(tmp_path / "q.json")
    assert abs(compared.gain - 1.04) < 2 * compared.gain_u < 0.02
    # In real time: a host that stalls has longer tails. Coverage is held in simulated time.
    assert abs(compared.offset_w - 4.0) < 4 * compared.offset_u_w
    assert not Profile.load(file).by_meter  # -o leaves the card's own alone

    offset_ns = time.time_ns() - time.monotonic_ns()
    rows = "".join(f"{a + offset_ns},{b:.4f}\n" for a, b in zip(t, watts, strict=True))
    (tmp_path / "u.csv").write_text("time_ns,watts\n" + rows)
    by_unix = run("calibrate", "--recording", "r.pyenergy", "--meter", "u.csv", cwd=tmp_path)
    assert by_unix.returncode == 0, by_unix.stderr
    assert Profile.load(file).gain == pytest.approx(compared.gain, abs=1e-3)
    wrong = run(
        "calibrate", "--recording", "r.pyenergy", "--meter", "u.csv",
        "--meter-clock", "monotonic", cwd=tmp_path,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert "covers no plateau" in wrong.stderr

    examined = run("doctor", "--devices", "sim", "--seconds", "0.5", cwd=tmp_path)
    assert "response calibrated today: boxcar of" in examined.stdout
    assert "gain by meter today" in examined.stdout


def test_a_dry_run_of_a_command_stores_nothing(tmp_path: Path, profiles: Path) -> None:
    done = run(
        "calibrate", "--device", "sim:a100", "--seconds", "5", "--command", "sleep 0.05",
        "--dry-run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr  # the card never hears of the load
    assert "Traceback" not in done.stderr
    assert "blurs the edges" in done.stdout
    if done.returncode == 0:
        assert "hardly shows" in done.stdout
        assert "dry run" in done.stdout
    assert not profiles.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "gpu:77"], "no device 'gpu:77'"),
        (["--device", "GPU-0123"], "matches no visible GPU"),
        (["--device", "cpu"], "no power sensor"),
        (["--device", "sim:a100,h100"], "one device at a time"),
        (["--device", "sim:a100", "--seconds", "2"], "from 5 to 3600"),
        (["--device", "sim:a100", "--seconds", "nan"], "from 5 to 3600"),
        (["--device", "sim:a100", "--meter", "absent.csv"], "cannot read 'absent.csv'"),
        (["--device", "sim:a100", "--meter", "b.csv"], "a power cannot be -1"),
        (["--device", "sim:a100", "--meter", "b.csv", "--meter-clock", "utc"], "unix or monotonic"),
        (["--meter-u", "0.01"], "--meter-u says how a meter's log is read: give the log, --meter"),
        (["--meter-u", "0"], "give the log, --meter FILE"),
        (["--meter-clock", "unix"], "--meter-clock says how a meter's log is read: give the log"),
        (["--recording", "two.pyenergy", "--meter-clock", "monotonic"], "--meter FILE"),
        (["--recording", "two.pyenergy", "--command", "true"], "--command is of a load, which"),
        (["--recording", "two.pyenergy", "--seconds", "9"], "which --recording takes the place"),
        (["--recording", "two.pyenergy", "--keep", "k.pyenergy"], "--keep is of a load, which"),
        (["--device", "sim:a100", "--command", ""], "command is empty"),
        (["--device", "sim:a100", "--command", "'"], "cannot read the command"),
        (["--device", "sim:a100", "--command", "no-such-program"], "cannot run"),
        (["--device", "sim:a100", "--command", "false"], "exit code 1"),
        (["--recording", "absent.pyenergy"], "no such recording"),
        (["--recording", "bare.pyenergy"], "no marks"),
        (["--recording", "two.pyenergy", "--device", "gpu:9"], "no device 'gpu:9' in the rec"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    tmp_path: Path, profiles: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "b.csv").write_text("time,watts\n1,100\n2,-1\n3,100\n")
    for name, devices in (("bare", "sim:a100"), ("two", "sim:a100,h100")):
        if f"{name}.pyenergy" in arguments:
            with pyenergy.trace(devices=devices) as trace:
                time.sleep(0.02)
            trace.save(tmp_path / f"{name}.pyenergy")
    done = run("calibrate", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in " ".join(done.stderr.split())
    assert done.stderr.startswith("error:")
    assert "Traceback" not in done.stderr
    assert not profiles.exists()


def test_ctrl_c_stores_nothing_and_leaves_the_card_idle(tmp_path: Path, profiles: Path) -> None:
    with testing.simulated("a100") as world:
        command = [sys.executable, "-m", "pyenergy", "calibrate", "--device", "sim"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        deadline = time.monotonic() + 20
        while world[0].true_power_w(time.monotonic_ns()) < 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        power_w = world[0].true_power_w(time.monotonic_ns())
        assert power_w == pytest.approx(world[0].info.idle_w)
    assert process.returncode == 130
    assert "nothing is stored" in errors
    assert "Traceback" not in errors
    assert not profiles.exists()


# The load -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("update_s", "window_s"), [(0.1, 0.025), (0.1, 0.1), (0.02, 0.01), (0.1, 1.0), (-1, -1)]
)
def test_the_plan_is_never_in_step(update_s: float, window_s: float) -> None:
    found = periods(update_s, window_s)
    assert len(found) >= 4
    if update_s > 0:
        ratios = np.array(found)[:, None] / (update_s * np.array([1 / 3, 0.5, 1, 2, 3]))
        assert (np.abs(ratios[np.array(found) < 3 * update_s] - 1) > 0.1).all()
        assert (np.abs(np.array(found) / window_s - 1) > 0.15).all()
    phases = plan(40.0, update_s, window_s, seed=3)
    assert sum(p.seconds for p in phases) == pytest.approx(40.0, abs=1.0)
    assert not phases[0].busy
    assert phases[0].seconds >= 1
    assert phases[1] == Phase(True, phases[1].seconds, "plateau")
    assert phases[1].seconds >= max(3, 3 * window_s)
    assert not phases[-1].busy
    assert phases[-1].seconds >= 1
    lengths = [p.seconds for p in phases if p.stage == "wave"]
    assert len(set(lengths)) == len(lengths) > 50
    assert plan(40.0, update_s, window_s, seed=3) == phases


def test_a_command_is_run_again_on_a_plateau_and_once_in_a_wave() -> None:
    load = CommandLoad("true")
    now = time.monotonic_ns()
    assert len(load.run(now + 50_000_000, "plateau")) > 1
    ((start, end),) = load.run(now, "wave")
    assert now <= start <= end <= time.monotonic_ns()


def test_a_slow_command_leaves_out_waves_but_not_the_idle_end() -> None:
    load = CommandLoad("sleep 0.1")
    wave = [Phase(True, 0.01, "wave"), Phase(False, 0.01, "wave")]
    seen: list[str] = []
    spans = drive(
        [*wave * 10, Phase(False, 0.2, "idle")], load, lambda at, stage: seen.append(stage)
    )
    assert 2 <= len(spans) <= 3
    assert seen[-1] == "idle"
    assert time.monotonic_ns() - spans[-1][1] >= 0.2e9


def test_the_simulated_load_says_when_it_ran() -> None:
    with testing.simulated("a100") as world:
        card = world[0]
        load = SimulatedLoad(card)
        ((start, end),) = load.run(time.monotonic_ns() + 5_000_000, "wave")
        load.close()
        busy_w = 0.8 * card.info.limit_w
        assert card.true_energy_j(start, end) == pytest.approx(busy_w * (end - start) * 1e-9)
        assert card.true_power_w(end) == card.info.idle_w


def test_torch_without_cuda_is_an_error() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("torch sees a GPU here")
    (device,) = resolve("sim:a100")
    with pytest.raises(DeviceError, match="--command"):
        TorchLoad(device)


def test_torchs_device_is_found_by_uuid_or_by_number() -> None:
    (device,) = resolve("sim:a100")

    def cuda(*uuids: str) -> SimpleNamespace:
        facts = [SimpleNamespace(uuid=u) if u else SimpleNamespace() for u in uuids]
        return SimpleNamespace(
            device_count=lambda: len(facts), get_device_properties=facts.__getitem__
        )

    own = device.meta.uuid.removeprefix("GPU-")
    assert _load._torch_index(cuda("11112222-0", own), device) == 1
    assert _load._torch_index(cuda(""), device) == 0  # a torch that tells no UUIDs
    for missing in (cuda("11112222-0"), cuda()):
        with pytest.raises(DeviceError, match="torch does not see"):
            _load._torch_index(missing, device)


def test_a_command_that_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match="empty"):
        CommandLoad("   ")
