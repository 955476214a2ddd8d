# SPDX-License-Identifier: Apache-2.0
"""Hooks around calls of modules, on a clock that ticks with every reading."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyenergy
from pyenergy import _core
from pyenergy.attribution.layer_spans import LayerSpans
from pyenergy.attribution.module_spans import ModuleSpans
from pyenergy.errors import OptionError, StateError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.models
X = torch.ones(2, 4)


def ticks() -> Callable[[], int]:
    return itertools.count(-10, 10).__next__  # entering the block reads it once


class Tree(torch.nn.Module):
    """A module that calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.leaf = torch.nn.Linear(4, 4)

    def forward(self, x: Any, depth: int = 2) -> Any:
        return self.leaf(self(x, depth - 1) if depth else x)


class Picky(torch.nn.Module):
    """A module that raises what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.raises: type[BaseException] | None = None

    def forward(self, x: Any) -> Any:
        if self.raises:
            raise self.raises("no")
        return self.inner(x)


def net() -> Any:
    block = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
    return torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([block]), "head": Picky()})


def run(model: Any) -> None:
    for block in model["blocks"]:
        block(X)
    model["head"](X)


def calls(spans: LayerSpans) -> list[tuple[str, int, int, int, int]]:
    columns = (spans.start_ns, spans.end_ns, spans.own_ns, spans.depth)
    return [
        (spans.names[layer], *(int(column[row]) for column in columns))
        for row, layer in enumerate(spans.layer)
    ]


def hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def check(spans: LayerSpans) -> None:
    """Own times and pieces add up to the outermost calls."""
    outer = spans.depth == 0
    length = spans.end_ns - spans.start_ns
    pieces = spans.segments
    assert spans.own_ns.sum() == length[outer].sum()
    assert (pieces.end_ns - pieces.start_ns).sum() == length[outer].sum()
    for row in range(len(spans)):
        mine = pieces.span == row
        assert (pieces.end_ns - pieces.start_ns)[mine].sum() == spans.own_ns[row]
        assert (pieces.layer[mine] == spans.layer[row]).all()


def test_spans_and_the_time_of_each_module_alone() -> None:
    model = net()
    with ModuleSpans(model, now_ns=ticks()) as modules:
        run(model)
    assert hooks(model) == 0
    spans = modules.spans()
    assert calls(spans) == [
        ("blocks.0", 0, 50, 30, 0),
        ("blocks.0.0", 10, 20, 10, 1),
        ("blocks.0.1", 30, 40, 10, 1),
        ("head", 60, 90, 20, 0),
        ("head.inner", 70, 80, 10, 1),
    ]
    check(spans)
    assert spans.classes[spans.layer[1]] == "Linear"
    assert spans.segments.start_ns.tolist() == [0, 10, 20, 30, 40, 60, 70, 80]
    assert not spans.bound_ns.any()
    assert spans.complete.all()
    assert set(spans.thread) == {threading.get_ident()}
    assert spans.notes == ()


def test_the_hosts_clock() -> None:
    model = net()
    before = _core.now_ns()
    with ModuleSpans(model) as modules:
        run(model)
    spans = modules.spans()
    assert before <= spans.start_ns.min() < spans.end_ns.max() <= _core.now_ns()
    check(spans)


def test_modules_that_call_themselves_and_are_called_often() -> None:
    tree = Tree()
    with ModuleSpans(tree, now_ns=ticks()) as modules:
        tree(X)
        tree(X, depth=0)
    spans = modules.spans()
    assert [(name, depth) for name, *_, depth in calls(spans)] == [
        ("", 0), ("", 1), ("", 2), ("leaf", 3), ("leaf", 2), ("leaf", 1), ("", 0), ("leaf", 1),
    ]  # fmt: skip
    check(spans)


def test_modules_of_several_names() -> None:
    shared = torch.nn.Linear(4, 4)
    model = torch.nn.Sequential(shared, torch.nn.ReLU(), shared)
    with ModuleSpans(model, now_ns=ticks()) as modules:
        model(X)
    spans = modules.spans()
    assert [name for name, *_ in calls(spans)] == ["", "0", "1", "0"]
    assert spans.aliases == {"0": ("0", "2")}
    assert spans.notes == ("modules of several names are listed by the first: 0 = 2",)


def test_an_exception_ends_the_calls_it_leaves() -> None:
    model = torch.nn.Sequential(Picky())
    modules = ModuleSpans(model, now_ns=ticks())
    with modules:
        model[0].raises = ValueError
        with pytest.raises(ValueError, match="no"):
            model(X)
        model[0].raises = None
        model(X)
    spans = modules.spans()
    names = ["", "0", "", "0", "0.inner"]
    assert [(name, depth) for name, *_, depth in calls(spans)] == list(
        zip(names, [0, 1, 0, 1, 2], strict=True)
    )
    assert spans.complete.all()
    check(spans)


def test_an_exception_that_leaves_the_block_removes_the_hooks() -> None:
    model = torch.nn.Sequential(Picky())
    model[0].raises = KeyboardInterrupt  # of which modules do not tell their hooks
    modules = ModuleSpans(model, now_ns=ticks())
    with pytest.raises(KeyboardInterrupt), modules:
        model(X)
    assert hooks(model) == 0
    spans = modules.spans()
    assert calls(spans) == [("", 0, 20, 10, 0), ("0", 10, 20, 10, 1)]
    assert not spans.complete.any()
    assert "2 calls of modules were not seen to end" in spans.notes[0]


def test_an_interrupt_inside_ends_with_the_call_around() -> None:
    class Catches(torch.nn.Sequential):
        def forward(self, x: Any) -> Any:
            try:
                return super().forward(x)
            except KeyboardInterrupt:
                return x

    model = Catches(Picky())
    model[0].raises = KeyboardInterrupt
    with ModuleSpans(model, now_ns=ticks()) as modules:
        model(X)
    spans = modules.spans()
    assert calls(spans) == [("", 0, 20, 10, 0), ("0", 10, 20, 10, 1)]
    assert spans.complete.tolist() == [True, False]


def test_a_call_that_had_begun_before() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    modules = ModuleSpans(model, now_ns=ticks())
    handle = model[0].register_forward_pre_hook(lambda *_: modules.__enter__() and None)
    model(X)
    modules.__exit__(None)
    handle.remove()
    spans = modules.spans()
    assert calls(spans) == []
    assert any("had begun before: left out" in note for note in spans.notes)


def test_threads_and_two_models_at_once() -> None:
    first, second = net(), net()
    with ModuleSpans(first) as one, ModuleSpans(second) as other:
        threads = [threading.Thread(target=run, args=(model,)) for model in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        run(first)
    for modules, count in ((one, 10), (other, 5)):
        spans = modules.spans()
        assert len(spans) == count
        check(spans)
    assert len(set(one.spans().thread)) == 2
    both = {"a": first, "b": second}
    with ModuleSpans(both, match="inner", now_ns=ticks()) as modules:
        run(second)
        run(first)
    assert [name for name, *_ in calls(modules.spans())] == ["b.head.inner", "a.head.inner"]


def test_two_recordings_of_one_model() -> None:
    model = net()
    with ModuleSpans(model) as outer, ModuleSpans(model, depth=1) as inner:
        run(model)
    assert len(outer.spans()) == 5
    assert [name for name, *_ in calls(inner.spans())] == ["head"]
    with pytest.raises(StateError, match="make another ModuleSpans"), inner:
        inner.__enter__()
    assert hooks(model) == 0
    with inner:  # again, from the beginning
        run(model)
        run(model)
    assert len(inner.spans()) == 2


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"depth": 0}, [""]),
        ({"depth": 1}, ["", "0", "1"]),
        ({"match": r"\.1$"}, ["0.1", "1.1"]),
        ({"match": lambda name, module: type(module) is torch.nn.Linear}, ["0.0", "1.0"]),
    ],
)
def test_only_some_modules(options: dict[str, Any], names: list[str]) -> None:
    block = [torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()) for _ in range(2)]
    model = torch.nn.Sequential(*block)
    with ModuleSpans(model, now_ns=ticks(), **options) as modules:
        model(X)
    spans = modules.spans()
    assert [name for name, *_ in calls(spans)] == names
    check(spans)


def test_compiled_modules_are_whole() -> None:
    block = torch.compile(torch.nn.Sequential(torch.nn.Linear(4, 4)), backend="eager")
    model = torch.nn.Sequential(block, torch.nn.ReLU())
    for _ in range(2):  # compiled before and inside
        with ModuleSpans(model, now_ns=ticks()) as modules:
            model(X)
        spans = modules.spans()
        assert [name for name, *_ in calls(spans)] == ["", "0", "1"]
        assert spans.notes == ("0 is compiled: the modules in it are not told apart",)


def test_modules_compiled_in_place_are_their_parents() -> None:
    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(4, 4)), torch.nn.ReLU())
    model[0].compile(backend="eager")
    with ModuleSpans(model, now_ns=ticks()) as modules:
        model(X)
    spans = modules.spans()
    assert [name for name, *_ in calls(spans)] == ["", "1"]
    assert "0 is compiled in place" in spans.notes[0]


def block() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))


def in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def by_forward(model: Any) -> Any:
    model.forward = torch.compile(model.forward, backend="eager")
    return model


@torch.no_grad()
def attached(modules: ModuleSpans, call: Any) -> pyenergy.Trace:
    call(X)
    with pyenergy.trace(devices="cpu") as trace, modules:
        call(X)
    trace.attach(modules)
    return trace


@pytest.mark.filterwarnings("ignore::pyenergy.errors.EstimateWarning")
def test_a_model_compiled_in_place_is_unattributed() -> None:
    model = in_place(block())
    trace = attached(ModuleSpans(model), model)
    layers = trace.layers()
    assert layers.filter(kind="operation")["layer"].to_list() == ["(unattributed)"]
    whole = layers["energy_j"].sum() + layers["static_j"].sum()
    assert whole == pytest.approx(trace.energy.joules, rel=1e-9)
    assert "Sequential is compiled in place: hooks do not run" in trace.notes[0]
    assert "0 % of the time belongs to a layer that is known" in trace.notes
    with pytest.raises(OptionError, match="no module of the model is left"):
        ModuleSpans(model, match="nothing")


def test_a_compiled_forward_is_one_layer_and_says_so() -> None:
    model = torch.nn.Sequential(by_forward(block()), torch.nn.ReLU())
    for _ in range(2):
        with ModuleSpans(model, now_ns=ticks()) as modules:
            model(X)
        spans = modules.spans()
        assert [name for name, *_ in calls(spans)] == ["", "0", "1"]
        assert spans.notes == ("0.forward is compiled: the modules in it are not told apart",)
    apart = torch.nn.Sequential(torch.nn.Linear(4, 4))
    apart.forward = torch.compiler.disable(apart.forward)
    assert not ModuleSpans(apart).compiled


@pytest.mark.filterwarnings("ignore::pyenergy.errors.EstimateWarning")
def test_calls_that_no_hook_saw_are_refused_with_the_reason() -> None:
    model = block()
    whole = torch.compile(model, backend="eager")
    with pytest.raises(OptionError, match=r"torch\.compile made of it: give ModuleSpans that"):
        attached(ModuleSpans(model), whole)


def test_a_model_compiled_while_recorded_is_not_broken() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    with ModuleSpans(model, now_ns=ticks()) as modules:
        whole = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(whole(X), model[0](X))
    check(modules.spans())


def test_what_cannot_be_is_refused() -> None:
    model = net()
    with pytest.raises(OptionError, match="no module of the model is left"):
        ModuleSpans(model, match="nothing")
    with pytest.raises(OptionError, match=r"a torch\.nn\.Module is needed, got int"):
        ModuleSpans(3)
    with pytest.raises(OptionError, match="'auto', 'host' or 'cuda'"):
        ModuleSpans(model, clock="gpu")
    with pytest.raises(OptionError, match="no parameter of the model is on a CUDA device"):
        ModuleSpans(model, clock="cuda")
    modules = ModuleSpans(model)
    with pytest.raises(StateError, match="nothing was recorded"):
        modules.spans()
    with pytest.raises(StateError, match="inside the with block"):
        modules.reanchor()
    with modules:
        modules.reanchor()
        with pytest.raises(StateError, match="leave the with block first"):
            modules.spans()
    assert len(modules.spans()) == 0
    assert np.asarray(modules.spans().own_ns).sum() == 0
