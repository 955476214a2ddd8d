# SPDX-License-Identifier: Apache-2.0
"""``pyenergy import``, run as a user runs it, against loads whose energy is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyenergy
from pyenergy.units import NS_PER_S

START = datetime(2026, 11, 20, 13, 3, 22, tzinfo=timezone.utc)
START_NS = round(START.timestamp()) * NS_PER_S
HEADER = "timestamp, index, uuid, name, power.draw.instant [W], enforced.power.limit [W]"


def pyenergy_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyenergy", *arguments]
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def watts(seconds: float, gpu: int) -> float:
    """A square wave: 5 s at 80 W, 5 s at 320 W, the second GPU the other way round."""
    return 320.0 if (int(seconds // 5) + gpu) % 2 else 80.0


def query_log(seconds: int = 60, step_ms: int = 100) -> str:
    """Two GPUs, logged in Berlin in November."""
    lines = [HEADER]
    for k in range(seconds * 1000 // step_ms):
        for gpu in (0, 1):
            then = START + timedelta(hours=1, milliseconds=k * step_ms + gpu)
            stamp = f"{then:%Y/%m/%d %H:%M:%S}.{then.microsecond // 1000:03d}"
            value = watts(k * step_ms / 1000, gpu)
            lines.append(f"{stamp}, {gpu}, GPU-{gpu}, NVIDIA A100, {value:.2f} W, 400.00 W")
    return "\n".join(lines) + "\n"


def test_a_query_log_becomes_a_recording_with_the_true_energy(tmp_path: Path) -> None:
    (tmp_path / "smi.csv").write_text(query_log())
    done = pyenergy_command(
        "import", "smi.csv", "-o", "r.pyenergy", "--timezone", "Europe/Berlin",
        "--span", "low and high=2026-11-20T13:03:32Z,2026-11-20T13:03:42Z", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for text in (
        "nvidia-smi, times: Europe/Berlin to within 1 ms",
        "power.draw.instant [W], 600 readings every 100 ms, 0 missing, 0 gaps",
        "2026-11-20T13:03:22.000Z to 2026-11-20T13:04:21.900Z",
        "wrote r.pyenergy",
    ):
        assert text in done.stdout
    trace = pyenergy.load(tmp_path / "r.pyenergy")
    for energy in trace.energies.values():
        assert abs(energy.joules - 59.9 * 200) < 2 * energy.u
        assert energy.u < 0.1 * energy.joules
    row = trace.spans().row(0, named=True)
    assert row["name"] == "low and high"
    assert row["start_ns"] == START_NS + 10 * NS_PER_S
    assert abs(row["energy_j"] - 2 * 10 * 200) < 2 * row["u_j"]
    (anchor,) = trace.recorded.anchors
    assert (anchor.mono_ns, anchor.real_ns, anchor.width_ns) == (START_NS, START_NS, 1_000_000)
    assert trace.recorded.devices["gpu:0"].meta.power_max_w == 400.0
    assert trace.recorded.provenance["imported_from"] == "smi.csv"
    shown = pyenergy_command("show", "r.pyenergy", cwd=tmp_path)
    assert shown.returncode == 0
    assert "imported from smi.csv (nvidia-smi), times Europe/Berlin" in shown.stdout


@pytest.mark.parametrize("step_ms", [20, 500, 1000])
def test_windows_of_a_log_hold_the_truth(tmp_path: Path, step_ms: int) -> None:
    (tmp_path / "smi.csv").write_text(query_log(step_ms=step_ms))
    done = pyenergy_command("import", "smi.csv", "--timezone", "+01:00", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trace = pyenergy.load(tmp_path / "smi.csv.pyenergy")
    rng = np.random.default_rng(step_ms)
    starts = rng.uniform(0, 40, 500)
    ends = starts + rng.uniform(0.2, 18, 500)
    grid = np.arange(0, 60, 1e-3)
    total = np.concatenate([[0], np.cumsum([watts(s, 0) * 1e-3 for s in grid])])
    truth = np.interp(ends, np.append(grid, 60), total)
    truth -= np.interp(starts, np.append(grid, 60), total)
    joules, u = trace.windows(
        START_NS + (starts * 1e9).astype(np.int64),
        START_NS + (ends * 1e9).astype(np.int64),
        "gpu:0",
    )
    assert np.mean(np.abs(joules - truth) <= 2 * u) >= 0.95


def test_a_log_with_holes_says_so_and_widens(tmp_path: Path) -> None:
    lines = query_log().splitlines()
    lines = [line for line in lines if not line[:19].endswith(("14:03:41", "14:03:42"))]
    lines[1] = lines[1].replace("80.00 W", "[Unknown Error]")
    (tmp_path / "smi.csv").write_text("\n".join(lines) + "\n")
    done = pyenergy_command("import", "smi.csv", "--timezone", "+01:00", cwd=tmp_path)
    assert "580 readings every 100 ms, 1 missing, 1 gaps" in done.stdout
    assert "580 readings every 100 ms, 0 missing, 1 gaps" in done.stdout
    assert "[Unknown Error] (1 times)" in done.stdout
    trace = pyenergy.load(tmp_path / "smi.csv.pyenergy")
    energy = trace.window(START_NS + 18 * NS_PER_S, START_NS + 22 * NS_PER_S, "gpu:0")
    assert any("nothing was read for 2" in note for note in energy.notes)


def test_prometheus_with_spans_of_a_file(tmp_path: Path) -> None:
    start = START_NS // NS_PER_S
    values = [[start + 15 * k + 0.123, f"{watts(15 * k, 0)}"] for k in range(40)]
    labels = {"__name__": "DCGM_FI_DEV_POWER_USAGE", "gpu": "0", "modelName": "NVIDIA A100"}
    counter = [[t, str(round(1e6 * k))] for k, (t, _) in enumerate(values)]
    other = {**labels, "__name__": "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"}
    result = [{"metric": labels, "values": values}, {"metric": other, "values": counter}]
    export = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    (tmp_path / "p.json").write_text(json.dumps(export))
    (tmp_path / "spans.csv").write_text(
        f"name,start,end\nprefill,{start + 1}.5,{start + 9}\ndecode,{start + 9},{start + 100}\n"
    )
    done = pyenergy_command(
        "import", "p.json", "--spans", "spans.csv", "--spans-unit", "s", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION [mJ], 40 readings every 15 s" in done.stdout
    trace = pyenergy.load(tmp_path / "p.json.pyenergy")
    assert [m.name for m in trace.marks] == ["prefill", "decode"]
    assert trace.marks[0].start_ns == START_NS + 1_500_000_000
    energy = trace.recorded.devices["gpu:0"].runs["energy"].value
    assert (energy[0], energy[-1]) == (0.0, 39_000.0)


def test_dcgmi_is_told_its_times(tmp_path: Path) -> None:
    rows = [f"GPU 0     {watts(k / 10, 0):.3f}" for k in range(600)]
    (tmp_path / "d.txt").write_text("\n".join(["#Entity   POWER", "ID        W", *rows]) + "\n")
    done = pyenergy_command(
        "import", "d.txt", "--start", START.isoformat(), "--interval", "0.1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    energy = pyenergy.load(tmp_path / "d.txt.pyenergy").energy
    assert abs(energy.joules - 59.9 * 200) < 2 * energy.u


def sensor_log(every_ms: int, name: str = "NVIDIA A100", field: str = "power.draw.instant") -> str:
    """A steady load, read with noise."""
    rng = np.random.default_rng(every_ms)
    lines = [f"timestamp, index, name, {field} [W]"]
    for k in range(80):
        then = START + timedelta(milliseconds=k * every_ms)
        stamp = f"{then:%Y/%m/%d %H:%M:%S}.{then.microsecond // 1000:03d}"
        lines.append(f"{stamp}, 0, {name}, {200 + rng.normal():.2f} W")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("every_ms", "name", "field", "options", "source", "architecture"),
    [
        (50, "NVIDIA A100", "power.draw.instant", [], "nvml.field.186", "ga100"),
        (50, "NVIDIA A100", "power.draw", [], "nvml.GetPowerUsage", "ga100"),
        (50, "NVIDIA H100 PCIe", "power.draw.average", [], "nvml.field.185", "hopper"),
        # nvidia-smi -lms 100 comes a little later than every 100 ms.
        (104, "NVIDIA H100 PCIe", "power.draw.instant", [], "nvml.field.186", "hopper"),
        (50, "X", "power.draw", ["--architecture", "ada"], "nvml.GetPowerUsage", "ada"),
        (50, "X", "power.draw", ["--field", "instant"], "nvml.field.186", ""),
        # Far fewer readings than updates: no sensor of the catalogue.
        (130, "NVIDIA H100 PCIe", "power.draw.instant", [], "readings", "hopper"),
        (50, "Tesla V100-SXM2-16GB", "power.draw.instant", [], "readings", "volta"),
    ],
)
def test_an_import_knows_the_sensor(
    tmp_path: Path,
    every_ms: int,
    name: str,
    field: str,
    options: list[str],
    source: str,
    architecture: str,
) -> None:
    (tmp_path / "smi.csv").write_text(sensor_log(every_ms, name, field))
    done = pyenergy_command("import", "smi.csv", "--timezone", "UTC", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    device = pyenergy.load(tmp_path / "smi.csv.pyenergy").recorded.devices["gpu:0"]
    assert device.meta.architecture == architecture
    power = device.channels["power"]
    assert power.source == source
    assert (power.update_ns == -1) == (every_ms < 110)
    slow = "what ran when tells little of such a log" in done.stdout
    assert slow == (source == "readings")


SMI = ["smi.csv", "--timezone", "Europe/Berlin"]
BAD: dict[str, tuple[list[str], str]] = {
    "no zone": (["smi.csv"], "--timezone"),
    "no such zone": (["smi.csv", "--timezone", "Nowhere"], "no time zone 'Nowhere'"),
    "no such file": (["[absent].csv"], "cannot read [absent].csv"),
    "kind": ([*SMI, "--kind", "csv"], "no kind of log 'csv'"),
    "architecture": ([*SMI, "--architecture", "a100"], "no architecture 'a100'; there are kepler"),
    "nearly": ([*SMI, "--architecture", "hoper"], "did you mean 'hopper'?"),
    "field": ([*SMI, "--field", "155"], "no field '155'; there are instant, average, default"),
    "wrong kind": ([*SMI, "--kind", "nvidia-smi-dmon"], "no readings"),
    "no log": (["spans.csv"], "no log that is known"),
    "metric": ([*SMI, "--metric", "x"], "--metric NAME=UNIT"),
    "span": ([*SMI, "--span", "x"], "--span NAME=START,END"),
    "span of one time": ([*SMI, "--span", "x=5"], "--span NAME=START,END"),
    "span without unit": ([*SMI, "--span", "x=1795183402,1795183403"], "say in which unit"),
    "span without zone": (
        [*SMI, "--span", "x=2026-11-20T13:03:32,2026-11-20T13:03:33"],
        "has no zone",
    ),
    "span elsewhere": (
        [*SMI, "--span", "x=2026-11-20T14:03:32Z,2026-11-20T14:03:33Z"],
        "is the time zone right?",
    ),
    "reversed span": (
        [*SMI, "--span", "x=2026-11-20T13:03:33Z,2026-11-20T13:03:32Z"],
        "ends before it starts",
    ),
    "nameless span": (
        [*SMI, "--span", "=2026-11-20T13:03:32Z,2026-11-20T13:03:33Z"],
        "name of printable characters",
    ),
    "unit": ([*SMI, "--span", "x=1,2", "--spans-unit", "h"], "no unit of time 'h'"),
    "unit of no spans": ([*SMI, "--spans-unit", "s"], "is of spans: give them, --span or --spans"),
    "spans": ([*SMI, "--spans", "absent.csv"], "cannot read spans of absent.csv"),
    "columns": ([*SMI, "--spans", "smi.csv"], "columns name, start, end"),
    "short line": ([*SMI, "--spans", "spans.csv"], "fewer than three columns"),
    "target": ([*SMI, "-o", "absent/r.pyenergy"], "cannot write absent/r.pyenergy"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(tmp_path: Path, case: str) -> None:
    arguments, message = BAD[case]
    (tmp_path / "smi.csv").write_text(query_log(seconds=20, step_ms=500))
    (tmp_path / "spans.csv").write_text("name,start,end\nx,5\n")
    before = sorted(tmp_path.iterdir())
    done = pyenergy_command("import", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error:")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


def test_an_import_says_what_it_takes(tmp_path: Path) -> None:
    done: Any = pyenergy_command("import", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for option in (
        "--timezone", "--start", "--interval", "--metric", "--architecture", "--field", "--span",
        "--spans-unit",
    ):  # fmt: skip
        assert option in done.stdout
