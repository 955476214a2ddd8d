# SPDX-License-Identifier: Apache-2.0
"""Exact names of modules, of a profiler in this process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyenergy.attribution.layers import How, layers_from_events, layers_from_profiler
from pyenergy.attribution.profiler_events import Category
from pyenergy.errors import OptionError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.models


class Block(torch.nn.Module):
    """Calls one of its modules twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(8, 8)
        self.again = self.a
        self.norm = torch.nn.LayerNorm(8)

    def forward(self, x: Any) -> Any:
        return self.norm(self.again(self.a(x))) + x


def profiled(run: Any, with_stack: bool = True) -> Any:
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, with_stack=with_stack) as prof:
        run()
    return prof


def model() -> Any:
    return torch.nn.Sequential(Block(), Block(), torch.nn.Linear(8, 2))


def test_every_operator_has_the_name_of_its_module() -> None:
    net = model()
    data = torch.ones(2, 8)

    def run() -> None:
        for _ in range(3):
            net(data)
        torch.nn.functional.relu(data)

    prof = profiled(run)
    events, layers = layers_from_profiler(prof, net)
    kinds = events.rows(Category.CPU_OP)
    found: dict[str, list[str | None]] = {}
    for row in kinds:
        layer = layers.layer[row]
        found.setdefault(events.name_of(row), []).append(
            layers.names[layer] if layer >= 0 else None
        )
    one = ["0.a", "0.a", "1.a", "1.a", "2"]
    assert found["aten::linear"] == one * 3
    assert found["aten::layer_norm"] == ["0.norm", "1.norm"] * 3
    assert found["aten::add"] == ["0", "1"] * 3
    assert found["aten::relu"] == [None]
    assert layers.names[0] == ""
    assert layers.classes[layers.names.index("1.norm")] == "LayerNorm"
    assert layers.types[layers.names.index("1.norm")] == "Norm"
    assert layers.aliases == {"0.a": ("0.a", "0.again"), "1.a": ("1.a", "1.again")}
    assert layers.notes[0] == (
        "modules of several names are listed by the first: 0.a = 0.again; 1.a = 1.again"
    )
    assert set(layers.how[kinds].tolist()) == {How.TREE, How.NONE}
    # as the tree itself says, operator by operator
    walked = dict(operators(prof.profiler.kineto_results.experimental_event_tree(), net))
    ids = events.external_id[kinds].tolist()
    assert len(walked) > 30
    mapped = {
        number: layers.names[layers.layer[row]]
        for number, row in zip(ids, kinds, strict=True)
        if layers.layer[row] >= 0
    }
    assert mapped == walked


def operators(roots: Any, net: Any) -> Any:
    names: dict[int, str] = {}
    for name, module in net.named_modules():
        names.setdefault(id(module), name)
    stack = [(node, None) for node in roots]
    while stack:
        node, around = stack.pop()
        module = getattr(node.extra_fields, "module", None)
        around = names.get(module.self_ptr, around) if module is not None else around
        if node.tag.name == "TorchOp" and around is not None:
            yield node.correlation_id, around
        stack.extend((child, around) for child in node.children)


def test_the_trace_alone_tells_instances_apart() -> None:
    net = model()
    events, exact = layers_from_profiler(profiled(lambda: net(torch.ones(2, 8))), net)
    alone = layers_from_events(events)
    pairs = {
        (exact.names[exact.layer[row]], alone.names[alone.layer[row]])
        for row in events.rows(Category.CPU_OP)
    }
    assert pairs == {
        ("0", "Sequential_0/Block_0"), ("0.a", "Sequential_0/Block_0/Linear_0"),
        ("0.norm", "Sequential_0/Block_0/LayerNorm_0"),
        ("1", "Sequential_0/Block_1"), ("1.a", "Sequential_0/Block_1/Linear_1"),
        ("1.norm", "Sequential_0/Block_1/LayerNorm_1"), ("2", "Sequential_0/Linear_2"),
    }  # fmt: skip


def test_modules_that_are_not_the_models_keep_the_profilers_names() -> None:
    net, loss = model(), torch.nn.MSELoss()
    data = torch.ones(2, 8)
    prof = profiled(lambda: loss(net(data), torch.zeros(2, 2)))
    events, layers = layers_from_profiler(prof, net)
    row = int(np.flatnonzero(events.name == events.names.index("aten::mse_loss"))[0])
    assert layers.names[layers.layer[row]] == "MSELoss_0"
    assert layers.how[row] == How.LAUNCH


def test_another_model_is_noted() -> None:
    net = model()
    events, layers = layers_from_profiler(profiled(lambda: net(torch.ones(2, 8))), model())
    assert any("no call of a module of this model" in note for note in layers.notes)
    assert layers.coverage(events) == pytest.approx(
        layers_from_events(events).coverage(events)  # by the profiler's names
    )
    assert layers.separator == "/"


def test_without_stacks_there_are_no_modules() -> None:
    net = model()
    prof = profiled(lambda: net(torch.ones(2, 8)), with_stack=False)
    events, layers = layers_from_profiler(prof, net)
    assert layers.coverage(events) == 0.0
    assert any("with_stack=True" in note for note in layers.notes)


class Prof:
    """A profiler of another torch."""

    def __init__(self, prof: Any, tree: Any) -> None:
        found = SimpleNamespace(events=prof.profiler.kineto_results.events)
        if tree is not None:
            found.experimental_event_tree = tree
        self.profiler = SimpleNamespace(kineto_results=found)


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (None, "has no event tree"),
        (lambda: [SimpleNamespace(other=1)], "has another event tree"),
    ],
)
def test_a_torch_without_the_tree_falls_back(tree: Any, why: str) -> None:
    net, data = model(), torch.ones(2, 8)
    prof = profiled(lambda: net(data))
    events, layers = layers_from_profiler(Prof(prof, tree), net)
    assert layers.coverage(events) == 1.0
    assert "Sequential_0/Block_0/Linear_0" in layers.names
    assert any(why in note and "the profiler's names" in note for note in layers.notes)


def test_names_that_stand_for_several_modules_are_not_used() -> None:
    net = model()
    prof = profiled(lambda: net(torch.ones(2, 8)))

    def node(label: Any, address: int) -> Any:
        fields = SimpleNamespace(module=SimpleNamespace(self_ptr=address))
        return SimpleNamespace(name=label, extra_fields=fields, children=[])

    first, second, last = net[0], net[1], net[2]
    tree = [
        node("nn.Module: Block_0", id(first)), node("nn.Module: Block_0", id(second)),
        node("nn.Module: Linear_2", id(last)), node("nn.Module: LayerNorm_0", id(net[0].a)),
    ]  # fmt: skip
    _, layers = layers_from_profiler(Prof(prof, lambda: tree), net)
    assert "2" in layers.names
    assert any("Block_0" in name for name in layers.names)
    assert any("LayerNorm_0" in name for name in layers.names)  # an address used again
    assert layers.notes[0].startswith("1 of the profiler's names stand for several modules")


def test_compiled_regions_are_seen() -> None:
    net = model()
    compiled = torch.compile(net, backend="eager")
    compiled(torch.ones(2, 8))
    events, layers = layers_from_profiler(profiled(lambda: compiled(torch.ones(2, 8))), compiled)
    assert all("_orig_mod" not in name for name in layers.names)
    shares = layers.shares(events)
    assert shares is not None
    hidden = layers.hidden & (events.category == Category.CPU_OP)
    assert hidden.any()
    assert shares["hidden"] + shares["unattributed"] > 0.3
    assert any("compiled regions" in note for note in layers.notes)


def test_what_is_no_module_is_refused() -> None:
    prof = profiled(lambda: torch.ones(2) + 1)
    with pytest.raises(OptionError, match=r"a torch\.nn\.Module is needed, got str"):
        layers_from_profiler(prof, "model")
