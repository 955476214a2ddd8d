# SPDX-License-Identifier: Apache-2.0
"""The C interface: its figures are Python's to the last bit, and its devices Python's devices."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from c_interface import CHECKOUT, TRAPEZOID, WARNINGS, C, CError, compiled

import pyenergy
from pyenergy import _devices
from pyenergy.testing import SimulatedWorld, nvml_environment, nvml_library, simulated

METHODS = {"0": "trapezoid", "1": "trapezoid", "2": "counter"}


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(CHECKOUT / "tests/capi/probe.c", tmp_path_factory.mktemp("c") / "probe")


@pytest.mark.parametrize("devices", ["sim:a100", "auto", "gpu:0+sim:v100"])
def test_c_and_python_agree_to_the_last_bit(probe: Path, tmp_path: Path, devices: str) -> None:
    """A program without Python samples and prints; Python evaluates what it saved."""
    file = tmp_path / "run.pyenergy"
    with simulated("a100", "v100", path=tmp_path / "world") as world:
        for card in world:
            card.square_wave(60, 300, 0.05, at_ns=0)
        environment = nvml_environment(world)
        command = [os.fspath(probe), devices, os.fspath(file), "0.25"]
        printed = subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout
    trace = pyenergy.load(file)
    lines = [line.split() for line in printed.splitlines()]
    assert len(lines) == 3 * 64
    for method, start, end, *figures in lines:
        joules, u = trace.windows([int(start)], [int(end)], method=METHODS[method])
        told = [float.fromhex(figure) for figure in figures]
        assert told == [joules[0], u[0], joules[0], u[0]], (method, start, end)
    assert [mark.name for mark in trace.marks] == ['a "loop"']
    assert trace.energy.u > 0  # the model's, of the same file


def test_a_replay_in_the_process_that_python_runs_in(tmp_path: Path) -> None:
    """By the capsule: what Python has registered is known there."""
    with simulated("ideal") as world:
        world[0].square_wave(50, 200, 0.02, at_ns=0)
        with pyenergy.trace(devices="sim") as trace:
            _spin(0.05)
        recorded = trace.save(tmp_path / "first.pyenergy")
    (device,) = _devices.resolve(f"replay:{recorded}")
    c = C()
    session = c.open(f"replay:{device.info.argument}")
    c.check(c.api.start(session))
    _spin(0.1)
    c.check(c.api.stop(session))
    start, end = c.bounds(session)
    starts = np.linspace(start, end, 50).astype(np.int64)[:-1]
    ends = np.minimum(starts + 7_000_000, end)
    joules, u = c.windows(session, starts, ends, TRAPEZOID)
    again = tmp_path / "again.pyenergy"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert c.api.save(session, os.fsencode(pipe)) != 0
    assert pipe.is_fifo()
    c.check(c.api.save(session, os.fsencode(again)))
    c.check(c.api.close(session))
    theirs = pyenergy.load(again).windows(starts, ends, method="trapezoid")
    assert np.array_equal(joules, theirs[0])
    assert np.array_equal(u, theirs[1])
    assert joules.sum() > 0


def test_a_c_session_knows_the_truth_within_its_interval() -> None:
    with simulated("ideal") as world:
        world[0].set_power(150.0, at_ns=0)
        c = C()
        session = c.open("sim")
        c.check(c.api.start(session))
        _spin(0.05)
        c.check(c.api.stop(session))
        start, end = c.bounds(session)
        joules, u = c.windows(session, np.array([start]), np.array([end]))
        truth = world[0].true_energy_j(start, end)
        c.check(c.api.close(session))
    assert abs(joules[0] - truth) < 2 * u[0]
    assert u[0] > 0


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedWorld]:
    """Three GPUs behind NVML, the last one split."""
    with simulated("a100", "h100", "v100", path=tmp_path / "world") as world:
        world[2].set_mig(2)
        monkeypatch.setenv("PYENERGY_NVML_LIBRARY", os.fspath(nvml_library()))
        _devices.forget()
        yield world


VISIBLE = [
    None, "", "0", "1,0", "2,,1", "0,0", "5", "1,-1,0", "0x1", " 1 , 2 ", "NoDevFiles", "1,", "a",
    "GPU-", "{0}", "{0},{1}", "{0},{0}", "{1},2", "{2}", "MIG-", "{mig}", "MIG-{2}/0/0",
    "99999999999999999999", "+1", ",",
]  # fmt: skip


@pytest.mark.parametrize("visible", VISIBLE)
def test_c_sees_the_devices_that_python_sees(
    cards: SimulatedWorld, monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    """Every way of naming GPUs, in each order: the same devices, or refused in the same words."""
    c = C()
    uuids = [card.info.uuid for card in cards]
    migs = pyenergy._core.enumerate("nvml").devices[2].mig_uuids
    for order in (None, "PCI_BUS_ID", "odd"):
        for name, value in (("CUDA_DEVICE_ORDER", order), ("CUDA_VISIBLE_DEVICES", visible)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value.format(*uuids, mig=migs[0]))
        for request in ("auto", "gpu", "gpu:1", uuids[1], uuids[0][:8], "gpu:0+sim:a100"):
            assert _by_c(c, request) == _by_python(request), (order, request)


@pytest.mark.parametrize(
    "request_", ["cpu", "estimate", "sim:a100*2", "sim:nothing", "rapl", "dram", "warp", "hwmon:x"]
)
def test_c_resolves_what_python_resolves(request_: str) -> None:
    found = _by_c(C(), request_)
    assert found == _by_python(request_)
    assert (
        found
        if request_ in ("cpu", "estimate", "sim:a100*2")
        else found.startswith(("cannot", "no device", "unknown"))
    )


def test_everything_that_may_be_measured_is_listed() -> None:
    assert [d.id.decode() for d in C().find(None)] == [d.id for d in pyenergy.devices()]


def test_programs_of_the_documentation(tmp_path: Path) -> None:
    """The C example by pkg-config's own words, the C++ one by find_package."""
    examples = CHECKOUT / "docs/examples"
    environment = {**os.environ, "PKG_CONFIG_PATH": pyenergy.get_pkgconfig_dir()}
    flags = _pkg_config(environment)
    source = examples / "c_energy/energy.c"
    subprocess.run(
        ["cc", "-std=c99", *WARNINGS, source, "-o", tmp_path / "energy", *flags], check=True
    )
    with simulated("ideal") as world:
        world[0].set_power(100.0, at_ns=0)
        file = tmp_path / "run.pyenergy"
        out = _run([tmp_path / "energy", "sim", file])
        _, start, end, joules, u = out.splitlines()[-1].split()
        exact = pyenergy.load(file).windows([int(start)], [int(end)], method="trapezoid")
        assert (float.fromhex(joules), float.fromhex(u)) == (exact[0][0], exact[1][0])
        _build(examples / "cpp_profiler", tmp_path / "build")
        rows = [line.split() for line in _run([tmp_path / "build/profiled", "sim"]).splitlines()]
    assert [row[0] for row in rows] == ["region", "all", "long", "short"]
    table = {row[0]: [float(x) for x in row[1:]] for row in rows[1:]}
    assert table["all"][0] == 1
    assert table["long"][0] == table["short"][0] == 5
    for _, seconds, energy, u in table.values():
        assert energy == pytest.approx(100.0 * seconds, rel=0.02, abs=0.2)
        assert u > 0


def test_a_forked_child_is_told_and_may_measure_itself(tmp_path: Path) -> None:
    program = compiled(CHECKOUT / "tests/capi/forked.c", tmp_path / "forked")
    out = _run([program])
    assert "opened before fork()" in out
    assert out.splitlines()[-1] == "child 0, parent 0"


def test_an_extension_takes_the_capsule(tmp_path: Path) -> None:
    module = tmp_path / "extension.so"
    include = [f"-I{sysconfig.get_path('include')}", f"-I{pyenergy.get_include()}"]
    command = ["cc", "-std=c99", *WARNINGS[1:], "-shared", "-fPIC", *include]
    subprocess.run([*command, CHECKOUT / "tests/capi/extension.c", "-o", module], check=True)
    spec = importlib.util.spec_from_file_location("extension", module)
    assert spec is not None
    extension = importlib.util.module_from_spec(spec)
    assert extension.devices("sim:a100*3") == 3
    with pytest.raises(ValueError, match="unknown device 'warp'"):
        extension.devices("warp")


def test_an_installation_without_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyenergy._core, "__file__", os.fspath(tmp_path / "_core.so"))
    with pytest.raises(pyenergy.PyEnergyError, match="lacks the C interface; install pyenergy"):
        pyenergy.get_include()


def test_the_header_is_fine_in_c_and_cpp(tmp_path: Path) -> None:
    for compiler, standard, name in (("cc", "c99", "a.c"), ("c++", "c++11", "a.cpp")):
        (tmp_path / name).write_text("#include <pyenergy.h>\nint main(void) { return 0; }\n")
        include = f"-I{pyenergy.get_include()}"
        command = [compiler, f"-std={standard}", *WARNINGS, include, "-c", name, "-o", "a.o"]
        subprocess.run(command, cwd=tmp_path, check=True)


def test_only_the_interface_is_exported() -> None:
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", pyenergy.get_library()],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    names = {line.split()[-1] for line in listed.splitlines()}
    assert "pyenergy_open" in names
    assert all(name.startswith("pyenergy_") for name in names)
    assert all(hasattr(ctypes.CDLL(pyenergy.get_library()), name) for name in names)


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
def test_valgrind_finds_nothing(probe: Path, tmp_path: Path) -> None:
    command = ["valgrind", "--error-exitcode=9", "--leak-check=full",
               "--errors-for-leak-kinds=definite", "-q"]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYENERGY_COLUMN_MIB", "8")  # valgrind has little address space to give
        _run([*command, probe, "sim:ideal", tmp_path / "run.pyenergy", "0.1"])


def _by_c(c: C, request: str) -> object:
    try:
        return [
            (d.id.decode(), d.uuid.decode(), d.source.decode(), d.notes.decode().split("\n"))
            for d in c.find(request)
        ]
    except CError as error:
        return error.args[1].partition(" Also: ")[0]


def _by_python(request: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pyenergy.errors.EstimateWarning)
            found = _devices.resolve(request)
    except pyenergy.errors.DeviceError as error:
        return str(error).partition(" Also: ")[0]
    return [(d.id, d.meta.uuid, d.meta.source, "\n".join(d.meta.notes).split("\n")) for d in found]


def _pkg_config(environment: dict[str, str]) -> list[str]:
    """What pkg-config prints; where it is not installed, by its file."""
    if shutil.which("pkg-config"):
        command = ["pkg-config", "--cflags", "--libs", "pyenergy"]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.split()
    folder = Path(environment["PKG_CONFIG_PATH"])
    text = (folder / "pyenergy.pc").read_text()
    for name, value in (
        ("pcfiledir", folder),
        ("prefix", folder / "../.."),
        ("libdir", folder / ".."),
    ):
        text = text.replace(f"${{{name}}}", os.fspath(value))
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return [*lines["Cflags"].split(), *lines["Libs"].split()]


def _build(source: Path, build: Path) -> None:
    configure = ["cmake", "-S", source, "-B", build, f"-Dpyenergy_DIR={pyenergy.get_cmake_dir()}"]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)


def _run(command: list[object]) -> str:
    done = subprocess.run([os.fspath(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _spin(seconds: float) -> None:
    until = pyenergy.now_ns() + int(seconds * 1e9)
    while pyenergy.now_ns() < until:
        pass
