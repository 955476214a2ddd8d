# SPDX-License-Identifier: Apache-2.0
"""Options and device names that cannot be are refused at once, by name and with the value."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyenergy
from pyenergy import _hub
from pyenergy.config import MAX_RATE_HZ, Sampling
from pyenergy.errors import DeviceError, OptionError
from pyenergy.testing import simulated

OPENERS: list[Callable[..., Any]] = [pyenergy.trace, pyenergy.Monitor]
BAD_RATES = [0, -1, -0.0, 1e9, 20_000.1, math.nan, math.inf, -math.inf, True, "x", "1000", [1], 1j]


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("rate", BAD_RATES, ids=repr)
def test_a_rate_that_cannot_be_is_refused_when_written_down(
    opener: Callable[..., Any], rate: Any
) -> None:
    with pytest.raises(OptionError, match="rate_hz must be") as caught:
        opener(devices="sim:ideal", rate_hz=rate)
    assert repr(rate) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("period", [0, -0.1, math.nan, math.inf, True, "0.1", 1e9], ids=repr)
def test_an_update_period_that_cannot_be_is_refused(period: Any) -> None:
    with pytest.raises(OptionError, match="update_period_s must be"):
        pyenergy.trace(update_period_s=period)


@pytest.mark.parametrize("pacing", ["", "Edge", "burst", None, 1], ids=repr)
def test_an_unknown_pacing_names_those_that_exist(pacing: Any) -> None:
    with pytest.raises(OptionError, match="auto, fixed, edge"):
        pyenergy.trace(pacing=pacing)


@given(st.floats(min_value=1e-3, max_value=MAX_RATE_HZ))
def test_every_possible_rate_has_its_period(rate: float) -> None:
    period = Sampling(rate).period_ns
    assert period >= 1
    assert period * rate == pytest.approx(1e9, abs=rate / 2 + 1)


@given(st.one_of(st.floats(max_value=0.0), st.floats(min_value=MAX_RATE_HZ, exclude_min=True)))
def test_no_other_number_is_a_rate(rate: float) -> None:
    with pytest.raises(OptionError):
        Sampling(rate)


def test_edge_pacing_needs_a_period() -> None:
    with (
        pytest.raises(OptionError, match="update_period_s"),
        pyenergy.trace(devices="sim:ideal", pacing="edge"),
    ):
        pytest.fail("entered")


@pytest.mark.parametrize(
    "name",
    [
        "tpu",
        "gpu:99",
        "gpu:-1",
        "gpu:x",
        "gpu:0:1",
        "cuda:0",
        "GPU-none",
        "MIG-none",
        "cpu:99",
        "²",
    ],
)
def test_an_unknown_device_is_named_beside_those_that_exist(name: str) -> None:
    with (
        pytest.raises(DeviceError, match="This machine has") as caught,
        pyenergy.trace(devices=name),
    ):
        pytest.fail("entered")
    assert name in str(caught.value)


@pytest.mark.parametrize("request_", ["", "+", "auto+", [], [""], None, True, 1.5, {}], ids=repr)
def test_a_request_that_names_nothing_is_refused(request_: Any) -> None:
    with pytest.raises(DeviceError, match="devices"), pyenergy.trace(devices=request_):
        pytest.fail("entered")


@pytest.mark.parametrize("name", ["sim:nosuch", "sim:a100*x", "sim:a100*0", "sim:a100*1000"])
def test_an_unknown_simulated_card_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="cannot use"):
        pyenergy.Monitor(devices=name).start()


def test_a_card_that_the_world_lacks_is_refused() -> None:
    with simulated("a100"), pytest.raises(DeviceError, match="no card 'h100'"):
        pyenergy.Monitor(devices="sim:h100").start()


def test_a_replay_needs_a_recording(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="replay needs a file"):
        pyenergy.Monitor(devices="replay:").start()
    with pytest.raises(DeviceError, match="no such recording"):
        pyenergy.Monitor(devices=f"replay:{tmp_path / 'absent'}").start()
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DeviceError, match="not a pyenergy recording"):
        pyenergy.Monitor(devices=f"replay:{tmp_path / 'text'}").start()


def test_one_device_named_twice_counts_once() -> None:
    with simulated("a100", "h100"), pyenergy.trace(devices=["sim:a100", "sim", "sim:a100"]) as t:
        pass
    assert [d.meta.name for d in t.recorded.devices.values()] == [
        "Simulated A100",
        "Simulated H100",
    ]


@pytest.mark.parametrize("name", ["", None, 3, b"x"], ids=repr)
def test_a_mark_needs_a_name(name: Any) -> None:
    with pytest.raises(OptionError, match="a mark needs a name"):
        pyenergy.mark(name)


def test_a_device_that_cannot_be_opened_releases_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening fails at the second device: the first one's sampler must not stay held."""
    monkeypatch.setattr(_hub, "_LINGER_NS", -(1 << 40))  # what nobody holds ends at once
    path = tmp_path / "world"
    with simulated("ideal", "a100", path=path):
        requested = ["sim:a100", "sim:ideal"]
        with (
            pytest.raises(OptionError, match="update_period_s"),
            pyenergy.trace(devices=requested, pacing="edge"),
        ):
            pytest.fail("entered")
        shared = [s for s in _hub._streams.values() if s.device.info.argument == str(path)]
        assert [s.device.meta.name for s in shared] == ["Simulated A100"]
        deadline = time.monotonic() + 5
        while shared[0].stream.running and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not shared[0].stream.running


def test_a_device_that_has_gone_is_a_device_error(tmp_path: Path) -> None:
    with simulated("v100", path=tmp_path / "world"):
        pyenergy.devices()
        with pyenergy.trace(devices="sim:v100"):
            pass
        _hub._streams.clear()
        (tmp_path / "world").unlink()
        with pytest.raises(DeviceError, match="cannot be opened"):
            pyenergy.Monitor(devices="sim:v100").start()
