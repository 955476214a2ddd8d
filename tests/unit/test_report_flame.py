# SPDX-License-Identifier: Apache-2.0
"""Flame graphs weighted by joules: what is in them is the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from attached import S, around, rows, taken

from pyenergy import Trace
from pyenergy.errors import NoReadingsError, OptionError, RecordingError, StateError
from pyenergy.recording.series import Runs
from pyenergy.report import flame
from pyenergy.report.flame import Stack, stacks, write_folded, write_speedscope


def weights_of(folded: Path) -> dict[str, int]:
    lines = folded.read_text().splitlines()
    return {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}


def unreadable(trace: Trace, device: str) -> Trace:
    lost = trace.recorded.devices[device]
    nothing = {
        name: Runs(**{column: getattr(runs, column)[:0] for column in Runs.names()})
        for name, runs in lost.runs.items()
    }
    devices = {**trace.recorded.devices, device: replace(lost, runs=nothing)}
    return Trace(replace(trace.recorded, devices=devices))


def test_frames_are_modules_kernels_gaps_and_what_nobody_knows(tmp_path: Path) -> None:
    trace = taken()
    trace.attach(rows(layer=["h.0.mlp", "h.0.attn", None]))
    folded = weights_of(write_folded(trace, tmp_path / "f.txt"))
    assert set(folded) == {
        "gpu:0;(model);h;h.0;h.0.mlp;gemm",
        "gpu:0;(model);h;h.0;h.0.attn;softmax",
        "gpu:0;(unattributed);gemm",
        "gpu:0;(nothing ran)",
    }
    kernels = trace.kernels(("layer", "name"))
    row = kernels.row(by_predicate=pl.col("layer") == "h.0.mlp", named=True)
    expected = round((row["energy_j"] + row["static_j"]) * 1e6)
    assert folded["gpu:0;(model);h;h.0;h.0.mlp;gemm"] == pytest.approx(expected, abs=1)
    assert sum(folded.values()) == round(trace.energy.joules * 1e6)


@pytest.mark.parametrize(
    "name", ["h100_bert_small", "vllm_cuda_graph_decode", "cpu_only", "a100_four_streams_overlap"]
)
def test_the_weights_of_a_real_profile_add_up_to_the_whole(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    trace = around(shared_data / "kineto" / f"{name}.json.gz")
    found = json.loads(trace.speedscope(tmp_path / "p.speedscope.json").read_text())
    (profile,) = found["profiles"]
    whole = round(sum(energy.joules for energy in trace.energies.values()) * 1e6)
    assert (profile["type"], profile["name"], profile["unit"]) == ("sampled", "energy (uJ)", "none")
    assert all(isinstance(weight, int) and weight >= 0 for weight in profile["weights"])
    assert sum(profile["weights"]) == profile["endValue"] == whole
    assert len(profile["samples"]) == len(profile["weights"])
    frames = found["shared"]["frames"]
    assert {i for sample in profile["samples"] for i in sample} == set(range(len(frames)))
    names = [frame["name"] for frame in frames]
    assert len(set(names)) == len(names)
    assert "(nothing ran)" in names
    assert str(next(iter(trace.energies.values()))) in found["name"]
    folded = weights_of(trace.folded(tmp_path / "p.folded"))
    assert sum(folded.values()) == whole


def test_devices_are_frames_with_one_that_ran_nothing_and_one_that_was_not_read(
    tmp_path: Path,
) -> None:
    trace = taken(("gpu:0", "gpu:1", "gpu:2"))
    trace.attach(rows(device=[0, 2, 0]))
    trace = unreadable(trace, "gpu:2")
    folded = weights_of(write_folded(trace, tmp_path / "f.txt"))
    assert set(folded) == {
        "gpu:0;gemm",
        "gpu:0;(nothing ran)",
        "gpu:1;(no operations attached)",
    }
    assert sum(folded.values()) == round(sum(e.joules for e in trace.energies.values()) * 1e6)
    document = json.loads(write_speedscope(trace, tmp_path / "s.json").read_text())
    assert document["name"].endswith("; gpu:2 not readable")


def test_names_with_semicolons_and_line_breaks_stay_one_frame(tmp_path: Path) -> None:
    trace = taken()
    trace.attach(rows(name=["a;b\nc 7", "softmax", "softmax"]))
    folded = weights_of(write_folded(trace, tmp_path / "f.txt"))
    assert "gpu:0;a b c 7" in folded
    assert len(folded) == 3


def test_what_is_below_zero_is_one_frame_with_its_neighbour_and_the_whole_stays() -> None:
    found = flame._settled(
        [
            Stack(("gpu:0", "h", "h.0", "gemm"), 5.0),
            Stack(("gpu:0", "h", "h.0", "tiny"), -0.5),
            Stack(("gpu:0", "h", "h.1", "gemm"), 9.0),
            Stack(("gpu:0", "(nothing ran)"), -2.0),
        ]
    )
    assert sum(stack.joules for stack in found) == 11.5
    assert all(stack.joules >= 0 for stack in found)
    assert (
        Stack(("gpu:0", "h", "h.0", "(2 together, some below zero: gemm, tiny)"), 4.5) in found
    )  # not with the larger one of another layer
    assert len(found) == 2
    deep = flame._settled([Stack(("a", f"k{i}"), -1.0) for i in range(5)] + [Stack(("b", "x"), 6)])
    assert [stack.joules for stack in deep] == [1.0]
    assert deep[0].frames[0].startswith("(6 together")


def test_rounding_never_loses_a_microjoule() -> None:
    rng = np.random.default_rng(5)
    found = [Stack(("a",), float(joules)) for joules in rng.exponential(1e-6, 1000)]
    weights = flame._microjoules(found)
    assert sum(weights) == round(sum(stack.joules for stack in found) * 1e6)
    assert all(abs(w - stack.joules * 1e6) < 1 for w, stack in zip(weights, found, strict=True))


def test_a_trace_without_operations_or_readings_says_so(tmp_path: Path) -> None:
    trace = taken()
    with pytest.raises(StateError, match="no operations are attached"):
        write_folded(trace, tmp_path / "f.txt")
    trace.attach(rows())
    with pytest.raises(NoReadingsError, match="no power reading"):
        stacks(unreadable(trace, "gpu:0"))
    with pytest.raises(RecordingError, match="cannot write"):
        write_folded(trace, tmp_path / "absent" / "f.txt")
    t = np.arange(0, 10 * S, 10_000_000)
    idle = Trace.from_readings({"gpu:0/power": (t, np.zeros(len(t)))}, bounds_ns=(S, 9 * S))
    idle.attach(rows())
    with pytest.raises(OptionError, match="not above zero"):
        stacks(idle)
    assert list(tmp_path.iterdir()) == []
