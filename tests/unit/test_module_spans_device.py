# SPDX-License-Identifier: Apache-2.0
"""Marks of a device that is simulated: it works behind the host, on a clock that drifts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from queued import Device

from pyenergy.attribution.device_marks import DeviceMarks
from pyenergy.attribution.module_spans import ModuleSpans
from pyenergy.errors import OptionError, StateError
from pyenergy.recording.marks import Mark


@pytest.mark.parametrize(
    ("ppm", "jump_ns"),
    [(0.0, 0), (80.0, 0), (-300.0, 0), (0.0, 60_000), (80.0, 60_000), (-300.0, -60_000)],
)
@pytest.mark.parametrize("windows", [1, 3])
def test_times_are_within_their_bounds(ppm: float, jump_ns: int, windows: int) -> None:
    device = Device(ppm, jump_ns)
    marks = DeviceMarks(device, pool=8, now_ns=device.now_ns)
    rng = np.random.default_rng(3)
    truth, numbers = [], []
    marks.anchor()
    for _ in range(windows):
        for _ in range(50):
            device.work(int(rng.integers(1_000, 4_000_000)))
            device.host_ns += int(rng.integers(0, 3_000_000))
            numbers.append(marks.mark())
            truth.append(max(device.busy_until_ns, device.host_ns))
        marks.anchor()
    times = marks.times()
    assert numbers == list(range(50 * windows))
    off = np.abs(times.t_ns - np.array(truth))
    assert (off <= times.bound_ns).all()
    run_off_ns = abs(ppm) * 1e-6 * (device.host_ns - 5e9) / windows
    assert times.bound_ns.max() < 4_000 + 1.5 * run_off_ns + abs(jump_ns)
    assert marks.grown > 0


def test_without_a_last_anchor_nothing_is_guessed() -> None:
    device = Device()
    marks = DeviceMarks(device, pool=2, now_ns=device.now_ns)
    marks.anchor()
    marks.mark()
    assert len(marks.times().t_ns) == 0
    marks.anchor()
    assert len(marks.times().t_ns) == 1
    early = DeviceMarks(device, pool=2, now_ns=device.now_ns)
    early.mark()
    with pytest.raises(StateError, match="before the first anchor"):
        early.anchor()
    with pytest.raises(OptionError, match="a pool of 0 events"):
        DeviceMarks(device, pool=0)


def test_events_are_used_again_after_an_anchor() -> None:
    device = Device()
    marks = DeviceMarks(device, pool=100, now_ns=device.now_ns)
    for _ in range(5):
        marks.anchor()
        before = device.made
        for _ in range(100):
            marks.mark()
        assert device.made == before
    marks.anchor()
    assert marks.grown == 0
    assert (np.diff(marks.times().t_ns) > 0).all()


torch = pytest.importorskip("torch")


class Works(torch.nn.Module):
    """Launches work before and after what is in it."""

    def __init__(self, device: Device, ns: int, inner: Any = None) -> None:
        super().__init__()
        self.device, self.ns, self.inner = device, ns, inner

    def forward(self, x: Any) -> Any:
        self.device.work(self.ns)
        return self.inner(x) if self.inner else x


def model(device: Device) -> Any:
    return torch.nn.Sequential(
        Works(device, 400_000, Works(device, 100_000)), Works(device, 200_000)
    )


def test_spans_are_the_devices_not_the_hosts() -> None:
    device = Device(ppm=50)
    net = model(device)
    with ModuleSpans(net, events=device, now_ns=device.now_ns) as modules:
        begun = device.host_ns
        net(0)
        net(0)
        launched = device.host_ns
    assert device.host_ns - begun > 1_400_000 > 50 * (launched - begun) / 2  # nothing waited
    spans = modules.spans()
    names = [spans.names[layer] for layer in spans.layer]
    assert names == ["", "0", "0.inner", "1"] * 2
    own = dict(zip(names[4:], spans.own_ns[4:].tolist(), strict=True))
    truth = {"": 0, "0": 400_000, "0.inner": 100_000, "1": 200_000}
    for name, ns in truth.items():
        assert own[name] == pytest.approx(ns, abs=2_000)
    assert spans.own_ns.sum() == (spans.end_ns - spans.start_ns)[spans.depth == 0].sum()
    assert 500 <= spans.bound_ns.min() <= spans.bound_ns.max() < 5_000
    assert spans.start_ns.min() > begun
    assert spans.end_ns.max() < device.host_ns
    assert spans.notes == ()


def test_windows_and_a_pool_that_is_too_small() -> None:
    device = Device()
    net = model(device)
    with ModuleSpans(net, events=device, now_ns=device.now_ns, pool=3) as modules:
        for _ in range(3):
            net(0)
            modules.reanchor()
    spans = modules.spans()
    assert len(spans) == 12
    assert spans.complete.all()
    assert "events were made while modules ran" in spans.notes[0]
    with modules:  # recorded anew
        net(0)
    assert len(modules.spans()) == 4


def test_a_captured_graph_has_no_times() -> None:
    device = Device()
    net = model(device)
    with ModuleSpans(net, events=device, now_ns=device.now_ns) as modules:
        device.capturing = True
        net(0)
        device.capturing = False
        net(0)
    spans = modules.spans()
    assert len(spans) == 4
    assert "8 edges of modules were not timed: a CUDA graph was being captured" in spans.notes[0]


def test_a_device_that_failed_says_so_and_hides_no_error() -> None:
    device = Device()
    net = model(device)
    modules = ModuleSpans(net, events=device, now_ns=device.now_ns)

    def breaks() -> None:
        with modules:
            net(0)
            device.fails = True
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with pytest.raises(StateError, match="the device failed"):
        modules.spans()
    device.fails = False
    with pytest.raises(RuntimeError, match="illegal memory"), modules:
        device.fails = True
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


class Elsewhere(torch.nn.Module):
    """Says that its parameters are on these devices."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.devices = [torch.device(name) for name in names]

    def parameters(self, recurse: bool = True) -> Any:
        return iter([SimpleNamespace(device=device) for device in self.devices])

    def forward(self, x: Any) -> Any:
        return x


def test_a_model_on_cuda_is_timed_by_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.at = device.make()

        def record(self, stream: str) -> None:
            assert stream == "stream of cuda:1"
            device.record(self.at)

        def synchronize(self) -> None:
            device.wait(self.at)

        def elapsed_time(self, later: Event) -> float:
            return device.elapsed_ms(self.at, later.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: device.drain())
    model = Elsewhere("cuda:1", "cpu")
    with ModuleSpans(model, now_ns=device.now_ns, pool=4) as modules:
        model(0)
    spans = modules.spans()
    assert len(spans) == 1
    assert 0 < spans.own_ns[0] < 10_000
    assert spans.bound_ns[0] > 500
    with ModuleSpans(model, clock="host", now_ns=device.now_ns) as modules:
        model(0)
    assert modules.spans().bound_ns.tolist() == [0]


def test_a_model_on_several_devices_needs_one_for_each() -> None:
    with pytest.raises(OptionError, match="is on cuda:0, cuda:1: make one ModuleSpans for"):
        ModuleSpans(Elsewhere("cuda:1", "cuda:0"))


def test_a_driver_is_asked_for_so_many_events_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyenergy import _device_edges

    monkeypatch.setattr(_device_edges, "_MOST_EVENTS", 4)
    edges = _device_edges.DeviceEdges(Device(), "gpu:0")
    marks = [Mark(f"m{i}", 10 * i, 10 * i + 5) for i in range(3)]
    numbers = {id(mark): (edges.edge(), edges.edge()) for mark in marks}
    resolved, notes = edges.resolved(marks, numbers, (0, 2**62))
    assert [mark.host_start_ns for mark in resolved] == [0, 10, None]
    assert notes == [
        "gpu:0: 2 edges of marks have the host's time (a CUDA graph was being captured, or there "
        "were more than 4): work that was still queued falls after them"
    ]
