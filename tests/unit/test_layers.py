# SPDX-License-Identifier: Apache-2.0
"""Layers of a profile's events: real traces, and small ones made by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyenergy.attribution.kineto_json import read_kineto
from pyenergy.attribution.layers import How, LayerMap, layers_from_events
from pyenergy.attribution.profiler_events import Category, ProfilerEvents
from pyenergy.errors import OptionError

BASE = 1_700_000_000_000_000_000


def span(cat: str, name: str, start: float, length: float, tid: int = 1, **args: Any) -> dict:
    return {
        "ph": "X", "cat": cat, "name": name, "ts": start, "dur": length, "pid": 9, "tid": tid,
        "args": args,
    }  # fmt: skip


def module(name: str, start: float, length: float, tid: int = 1) -> dict:
    return span("python_function", f"nn.Module: {name}", start, length, tid)


def launch(at: float, number: int, tid: int = 1, name: str = "cudaLaunchKernel") -> dict:
    return span("cuda_runtime", name, at, 1, tid, correlation=number)


def kernel(number: int, length: float = 10, at: float = 500, **args: Any) -> dict:
    args = {"device": 0, "stream": 7, "correlation": number, **args}
    return span("kernel", f"k{number}", at + number, length, 7, **args)


def read(folder: Path, *entries: dict) -> ProfilerEvents:
    path = folder / "trace.json"
    path.write_text(json.dumps({"baseTimeNanoseconds": BASE, "traceEvents": list(entries)}))
    return read_kineto(path)


def named(events: ProfilerEvents, layers: LayerMap, name: str) -> list[str | None]:
    rows = np.flatnonzero(events.name == events.names.index(name))
    return [layers.names[layers.layer[row]] if layers.layer[row] >= 0 else None for row in rows]


def test_kernels_belong_to_where_they_were_launched(tmp_path: Path) -> None:
    events = read(
        tmp_path,
        module("Net_0", 0, 100), module("Linear_0", 10, 20), module("Linear_1", 40, 20),
        module("Net_0", 200, 100), module("Linear_0", 210, 20),
        launch(12, 1), launch(45, 2), launch(70, 3), launch(150, 4), launch(215, 5),
        span("cpu_op", "aten::addmm", 11, 5),
        *(kernel(number) for number in range(1, 7)),
    )  # fmt: skip
    layers = layers_from_events(events)
    found = [named(events, layers, f"k{number}")[0] for number in range(1, 7)]
    assert found == ["Net_0/Linear_0", "Net_0/Linear_1", "Net_0", None, "Net_0/Linear_0", None]
    assert named(events, layers, "aten::addmm") == ["Net_0/Linear_0"]
    assert layers.classes[layers.names.index("Net_0/Linear_1")] == "Linear"
    assert layers.coverage(events) == pytest.approx(4 / 6)
    assert layers.notes == (
        "1 GPU operations (17 % of the time) have neither a launch nor an operator in the profile",
        "1 GPU operations (17 % of the time) ran outside of every module and range",
    )
    gpu = events.on_gpu()
    sums, left = layers.sums(gpu, (events.end_ns - events.start_ns)[gpu] / 1e3)
    assert dict(zip(layers.names, sums, strict=True)) == {
        "Net_0": 10, "Net_0/Linear_0": 20, "Net_0/Linear_1": 10,
    }  # fmt: skip
    assert left == 20
    assert layers.tree(sums)["total"].to_list() == [40, 40, 20, 10]


def test_the_operator_stands_in_for_a_launch(tmp_path: Path) -> None:
    events = read(
        tmp_path,
        module("Linear_0", 0, 50), span("cpu_op", "aten::mm", 5, 10, **{"External id": 77}),
        kernel(1, **{"External id": 77}), kernel(2, **{"External id": 78}),
        # a call whose thread is numbered otherwise
        span("cuda_runtime", "cudaLaunchKernel", 8, 1, -5, correlation=3, **{"External id": 77}),
        kernel(3),
    )  # fmt: skip
    layers = layers_from_events(events)
    assert [named(events, layers, f"k{i}")[0] for i in (1, 2, 3)] == ["Linear_0", None, "Linear_0"]


def test_threads_are_told_apart(tmp_path: Path) -> None:
    events = read(
        tmp_path,
        module("A_0", 0, 100, tid=1), module("B_0", 0, 100, tid=2),
        launch(50, 1, tid=1), launch(50, 2, tid=2), launch(50, 3, tid=3),
        kernel(1), kernel(2), kernel(3),
    )  # fmt: skip
    layers = layers_from_events(events)
    assert [named(events, layers, f"k{i}")[0] for i in (1, 2, 3)] == ["A_0", "B_0", None]


def test_one_id_of_several_launches_is_followed_where_they_agree(tmp_path: Path) -> None:
    events = read(
        tmp_path,
        module("A_0", 0, 50), module("B_0", 100, 50),
        launch(5, 1), launch(10, 1), launch(6, 2), launch(110, 2), launch(7, 3), launch(111, 3),
        span("cpu_op", "aten::mm", 105, 30, **{"External id": 5}),
        kernel(1), kernel(2), kernel(3, **{"External id": 5}),
    )  # fmt: skip
    layers = layers_from_events(events)
    assert [named(events, layers, f"k{i}")[0] for i in (1, 2, 3)] == ["A_0", None, "B_0"]
    assert layers.notes == (
        "1 GPU operations (33 % of the time) share their id with launches in several layers",
    )


def test_ranges_stand_in_where_no_module_is(tmp_path: Path) -> None:
    events = read(
        tmp_path,
        span("user_annotation", "ProfilerStep#3", 0, 400), span("user_annotation", "fwd", 0, 200),
        span("user_annotation", "attention", 10, 50), module("A_0", 100, 50),
        span("user_annotation", "inside", 110, 20),
        launch(20, 1), launch(80, 2), launch(115, 3), launch(300, 4),
        *(kernel(number) for number in range(1, 5)),
    )  # fmt: skip
    layers = layers_from_events(events)
    found = [named(events, layers, f"k{number}")[0] for number in range(1, 5)]
    assert found == ["fwd/attention", "fwd", "A_0", None]
    shares = layers.shares(events)
    assert shares == {
        "tree": 0.0, "launch": 0.25, "range": 0.5, "hidden": 0.0, "unattributed": 0.25,
    }  # fmt: skip


def test_cuda_graphs_hide_layers(tmp_path: Path) -> None:
    events = read(
        tmp_path,
        module("Net_0", 0, 100), launch(20, 1), launch(50, 2, name="cudaGraphLaunch"),
        launch(150, 3, name="cudaGraphLaunch"),
        kernel(1), kernel(2), kernel(2), kernel(2), kernel(3),
    )  # fmt: skip
    layers = layers_from_events(events)
    assert named(events, layers, "k2") == ["Net_0/(CUDA graph)"] * 3
    assert named(events, layers, "k3") == [None]
    assert layers.coverage(events) == pytest.approx(0.2)
    assert layers.notes == (
        "4 GPU operations (80 % of the time) were replayed by CUDA graphs, which hide the layers "
        "of what they hold",
    )


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("user_annotation", "Torch-Compiled Region: 0/0"),
        ("user_annotation", "## Call CompiledFxGraph fabc ##"),
        ("cpu_op", "CompiledFunction"),
        ("python_function", "nn.Module: GraphModule_0"),
    ],
)
def test_compiled_regions_hide_layers(tmp_path: Path, category: str, name: str) -> None:
    events = read(
        tmp_path,
        module("Net_0", 0, 100), span(category, name, 10, 50), module("Linear_0", 30, 10),
        launch(5, 1), launch(20, 2), launch(35, 3), launch(80, 4),
        *(kernel(number) for number in range(1, 5)),
    )  # fmt: skip
    layers = layers_from_events(events)
    found = [str(named(events, layers, f"k{number}")[0]) for number in range(1, 5)]
    assert found[0] == found[3] == "Net_0"
    assert found[1].endswith("/(compiled)")
    assert found[2].endswith("/Linear_0")  # called by name where the graph breaks
    assert layers.coverage(events) == pytest.approx(0.75)
    assert any("1 GPU operations (25 % of the time) are in compiled" in n for n in layers.notes)


def test_modules_in_themselves_and_across_one_another(tmp_path: Path) -> None:
    events = read(
        tmp_path,
        module("Tree_0", 0, 100), module("Tree_0", 10, 50), module("Tree_0", 20, 10),
        module("X_0", 200, 50), module("Y_0", 230, 50),
        *(launch(at, number) for number, at in enumerate((5, 15, 25, 40, 240, 260), start=1)),
        *(kernel(number) for number in range(1, 7)),
    )  # fmt: skip
    layers = layers_from_events(events)
    found = [named(events, layers, f"k{number}")[0] for number in range(1, 7)]
    own = "Tree_0"
    assert found == [own, f"{own}/{own}", f"{own}/{own}/{own}", f"{own}/{own}", *["X_0/Y_0"] * 2]
    assert any("1 modules or ranges end inside one another" in note for note in layers.notes)


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "baseTimeNanoseconds": BASE,
            "traceEvents": [module("Lin@_0", 0, 50), launch(5, 1), kernel(1)],
        }
    )
    path = tmp_path / "trace.json"
    path.write_bytes(text.encode().replace(b"@", b"\xff"))
    events = read_kineto(path)
    layers = layers_from_events(events)
    assert layers.names == ("Lin\ufffd_0",)
    assert layers.coverage(events) == 1.0


def test_operators_where_there_is_no_gpu(tmp_path: Path) -> None:
    events = read(
        tmp_path,
        module("A_0", 0, 50), span("cpu_op", "outer", 10, 30), span("cpu_op", "inner", 15, 20),
        span("cpu_op", "alone", 60, 10),
    )  # fmt: skip
    layers = layers_from_events(events)
    assert layers.coverage(events) == pytest.approx(0.75)  # inner is in outer's time
    assert "1 operators (25 % of the time) ran outside of every module and range" in layers.notes


def test_nothing_to_share_has_no_coverage(tmp_path: Path) -> None:
    events = read(tmp_path)
    layers = layers_from_events(events)
    assert layers.coverage(events) is None
    assert layers.names == ()
    assert layers.sums([], []) == (pytest.approx([]), 0.0)
    assert any("with_stack=True" in note for note in layers.notes)


def test_ranges_alone_are_named_so(tmp_path: Path) -> None:
    said = "no modules are in the profile"
    nothing = layers_from_events(read(tmp_path, launch(15, 1), kernel(1)))
    assert nothing.notes[0] == f"{said}: take it with with_stack=True to have layers"
    assert not nothing.of_ranges
    unworked = layers_from_events(read(tmp_path, span("user_annotation", "fwd", 0, 20)))
    assert unworked.notes == (f"{said} (with_stack=True has them): user ranges stand for layers",)
    events = read(
        tmp_path, span("user_annotation", "fwd", 0, 20), launch(15, 1), launch(30, 2),
        kernel(1), kernel(2),
    )  # fmt: skip
    layers = layers_from_events(events)
    assert layers.notes == (
        f"{said} (with_stack=True has them): 50.0% of the GPU time lies in user ranges, which "
        "stand for layers",
        "1 GPU operations (50 % of the time) ran outside of every user range",
    )
    assert layers.of_ranges
    assert layers.coverage(events) is None


def test_other_events_are_refused(tmp_path: Path) -> None:
    layers = layers_from_events(read(tmp_path, module("A_0", 0, 50)))
    with pytest.raises(OptionError, match="layers of 1 events do not fit 0"):
        layers.coverage(read(tmp_path))
    with pytest.raises(OptionError, match="do not fit together"):
        layers.sums([0], [1.0, 2.0])


# (share with a layer, share with a module's name, GPU operations that nothing says the origin of)
SEEN = {
    "h100_bert_small": (1.0, 1.0, 0),
    "h100_qwen1.5_0.5b": (0.69896, 0.69896, 509),
    "vllm_cuda_graph_decode": (0.03072, 0.02582, 421),
    "a100_four_streams_overlap": (0.64377, 0.0, 6108),
    "v100_training_float_us": (0.33037, 0.0, 3720),
    "cpu_only": (0.99542, 0.0, 0),
}


@pytest.mark.parametrize("name", SEEN)
def test_real_traces(shared_data: Path, name: str) -> None:
    events = read_kineto(shared_data / "kineto" / f"{name}.json.gz")
    layers = layers_from_events(events)
    shares = layers.shares(events)
    assert shares is not None
    covered, launched, lost = SEEN[name]
    assert shares["launch"] + shares["range"] == pytest.approx(covered, abs=1e-5)
    assert layers.of_ranges == (launched == 0)
    if layers.of_ranges:  # these hold no modules, and what ranges hold is not covered by any
        assert layers.coverage(events) is None
    else:
        assert layers.coverage(events) == pytest.approx(covered, abs=1e-5)
    assert shares["launch"] == pytest.approx(launched, abs=1e-5)
    assert sum(shares.values()) == pytest.approx(1)
    gpu = events.on_gpu()
    out = (layers.layer[gpu] < 0) | layers.hidden[gpu]
    assert np.count_nonzero(out) == lost
    time_ns = (events.end_ns - events.start_ns)[gpu]
    sums, left = layers.sums(gpu, time_ns)
    assert sums.sum() + left == time_ns.sum()
    assert layers.tree(sums)["total"][0] == sums.sum()


@pytest.mark.parametrize("name", ["h100_bert_small", "h100_qwen1.5_0.5b"])
def test_real_traces_one_kernel_at_a_time(shared_data: Path, name: str) -> None:
    """Against a plain search: the launch of the id, and the shortest module around its start."""
    path = shared_data / "kineto" / f"{name}.json.gz"
    entries = [
        e for e in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"] if "cat" in e
    ]
    modules = [e for e in entries if e["name"].startswith("nn.Module: ")]
    calls = {
        e["args"]["correlation"]: e
        for e in entries
        if e["cat"] in ("cuda_runtime", "cuda_driver") and e["ph"] == "X"
    }
    events = read_kineto(path)
    layers = layers_from_events(events)
    for row in events.on_gpu()[::7]:
        call = calls.get(int(events.correlation[row]))
        around = [
            m
            for m in (modules if call else ())
            if m["tid"] == call["tid"] and m["ts"] <= call["ts"] < m["ts"] + m["dur"]
        ]
        around.sort(key=lambda m: -m["dur"])
        path_ = "/".join(m["name"].removeprefix("nn.Module: ") for m in around)
        assert (layers.names[layers.layer[row]] if layers.layer[row] >= 0 else "") == path_


def test_kinds_of_a_real_trace(shared_data: Path) -> None:
    events = read_kineto(shared_data / "kineto" / "h100_bert_small.json.gz")
    layers = layers_from_events(events)
    gpu = events.on_gpu()
    sums, _ = layers.sums(gpu, (events.end_ns - events.start_ns)[gpu] / 1e3)
    by_kind: dict[str, float] = {}
    for kind, value in zip(layers.types, sums, strict=True):
        by_kind[kind] = by_kind.get(kind, 0.0) + value
    assert by_kind["Attention"] > by_kind["FFN"] > by_kind["LMHead/Classifier"] > by_kind["Norm"]
    assert by_kind["Other"] < 0.03 * sums.sum()
    assert set(layers.how[events.rows(Category.KERNEL)].tolist()) == {How.LAUNCH}
