# SPDX-License-Identifier: Apache-2.0
"""Which modules of a model are its layers, and the inputs that are kept of them."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from layered import Cnn, Twice, X, bert, captured, counts, gpt2, measured, nn, said, torch

from pyenergy import _layer_capture
from pyenergy._layer_alone import tried
from pyenergy._layer_in_situ import OutermostSpans
from pyenergy.attribution.call_values import Arguments

pytestmark = pytest.mark.models


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# Which modules are layers, and how often they are called.


def test_layers_of_gpt2_are_its_blocks_halves() -> None:
    model, inputs = gpt2()
    found = captured(model, inputs)
    halves = [
        f"transformer.h.{i}.{part}" for i in (0, 1) for part in ("ln_1", "attn", "ln_2", "mlp")
    ]
    ends = ["transformer.wte", "transformer.wpe", "transformer.drop", "transformer.ln_f", "lm_head"]
    assert counts(found) == {name: [1] for name in [*ends[:3], *halves, *ends[3:]]}
    assert "share" in said(found)
    assert "transformer.wte.weight = lm_head.weight" in said(found)
    assert list(captured(model, inputs, depth=2).calls) == [
        "transformer.wte", "transformer.wpe", "transformer.drop", "transformer.ln_f", "lm_head",
    ]  # fmt: skip
    assert list(captured(model, inputs, depth=1).calls) == ["transformer", "lm_head"]
    assert list(captured(model, inputs, depth=0).calls) == [""]
    only = captured(model, inputs, match=lambda name, _: name.endswith("mlp"))
    assert list(only.calls) == ["transformer.h.0.mlp", "transformer.h.1.mlp"]


def test_every_parameter_of_bert_is_in_one_layer() -> None:
    model, inputs = bert()
    found = captured(model, inputs)
    homes = [id(p) for module in found.modules.values() for p in module.parameters()]
    assert sorted(homes) == sorted(id(p) for p in model.parameters())
    assert "bert.encoder.layer.0.attention" in found.calls
    assert "bert.encoder.layer.1.output" in found.calls
    assert "bert.embeddings.word_embeddings" in found.calls


def test_shared_modules_and_calls_of_several_shapes() -> None:
    found = captured(Twice(), X)
    assert counts(found) == {"first": [2], "norm": [1, 2]}
    assert "modules of several names are listed by the first: first = second" in said(found)
    assert "never called with these inputs: never" in said(found)


def test_what_a_layer_calls_is_its_own() -> None:
    """Also a module that is a layer elsewhere."""

    class Attention(nn.Module):
        def __init__(self, shared: Any) -> None:
            super().__init__()
            self.q, self.shared = nn.Linear(4, 4), shared

        def forward(self, x: Any) -> Any:
            return self.shared(self.q(x))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(4, 4)
            self.attn = Attention(self.shared)

        def forward(self, x: Any) -> Any:
            return self.attn(self.shared(x))

    model = Model()
    found = captured(model, X)
    assert counts(found) == {"shared": [1], "attn": [1]}
    spans = OutermostSpans(model, found.modules)
    with spans:
        model(X)
    seen = spans.spans()
    shared, attn = (seen.names.index(name) for name in ("shared", "attn"))
    inner = [row for row in range(len(seen)) if seen.layer[row] == shared][1]
    pieces = seen.segments
    within = (pieces.start_ns >= seen.start_ns[inner]) & (pieces.end_ns <= seen.end_ns[inner])
    assert within.any()
    assert set(pieces.layer[within]) == {attn}
    assert set(pieces.layer.tolist()) == {shared, attn, seen.names.index("")}


def test_a_stage_of_both_kinds_of_blocks_is_no_layer() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
            self.mlp = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        def forward(self, x: Any) -> Any:
            return self.mlp(self.attn(x))

    model = nn.Sequential()
    model.attention_stage = Block()
    assert list(captured(model, X).calls) == ["attention_stage.attn", "attention_stage.mlp"]


def test_an_attention_of_torch_is_one_layer_and_says_that_it_is() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    found = captured(nn.Sequential(layer).eval(), torch.ones(2, 3, 4))
    assert list(found.calls) == ["0"]
    trained = captured(nn.Sequential(layer).train(), torch.ones(2, 3, 4))
    assert list(trained.calls)[:2] == ["0.self_attn", "0.dropout1"]
    assert "fused path of TransformerEncoderLayer only where no hooks are" in said(found)
    assert "fused" not in said(trained)
    alone = nn.ModuleDict({"a": nn.MultiheadAttention(4, 2)})

    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = alone

        def forward(self, x: Any) -> Any:
            return self.parts["a"](x, x, x)

    found = captured(Calls(), torch.ones(3, 2, 4))
    assert list(found.calls) == ["parts.a"]
    assert "called no module of those in them" in said(found)


# The inputs that are kept.


def test_inputs_are_those_that_the_layer_got() -> None:
    """Also where something changes them later: then they are copied, and only then."""
    model = Cnn(inplace=True).eval()
    x = torch.randn(1, 3, 8, 8)
    found = captured(model, x)
    with torch.no_grad():
        after_norm = model.stem[1](model.stem[0](x))
    kept = {name: calls[0].arguments.args[0] for name, calls in found.calls.items()}
    assert kept["stem.0"].data_ptr() == x.data_ptr()  # by reference
    assert torch.equal(kept["stem.2"], after_norm)
    assert (after_norm < 0).any()
    twice = captured(Twice(), X)
    lengths = [s.arguments.args[0].shape[0] for s in twice.calls["norm"]]
    assert lengths == [1, 2]


def test_a_layer_alone_gives_what_it_gives_in_the_model() -> None:
    model, inputs = gpt2()
    outputs: dict[str, Any] = {}
    found = captured(model, inputs)
    handles = [
        module.register_forward_hook(lambda m, a, out, name=name: outputs.__setitem__(name, out))
        for name, module in found.modules.items()
    ]
    with torch.inference_mode():
        model(**inputs)
    for handle in handles:
        handle.remove()
    for name, calls in found.calls.items():
        arguments = calls[0].arguments
        with torch.inference_mode():
            again = found.modules[name](*arguments.args, **arguments.kwargs)
        pairs = zip(again, outputs[name], strict=True) if isinstance(again, tuple) else [
            (again, outputs[name])
        ]  # fmt: skip
        for mine, its in pairs:
            if isinstance(its, torch.Tensor):
                assert torch.allclose(mine, its), name


def test_the_model_is_as_it_was() -> None:
    model = Cnn().train()
    model.head = nn.Sequential(nn.Dropout(0.5), model.head)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    random = torch.random.get_rng_state()
    found = measured(model, x, budget_s=0.7)
    assert model.training
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert "training mode, as it was given" in said(found)


def test_inputs_that_are_too_large_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_layer_capture, "_KEEP_SHARE", 0.0)
    found = captured(Cnn().eval(), torch.randn(1, 3, 8, 8))
    why = [s.why for calls in found.calls.values() for s in calls]
    assert all("its inputs are not kept" in each and "match=" in each for each in why)
    assert all(s.arguments is None for calls in found.calls.values() for s in calls)
    result = measured(Cnn().eval(), torch.randn(1, 3, 8, 8), budget_s=0.7)
    table = result.table().filter(pl.col("calls").is_not_null())
    assert table["microbenchmark_j"].null_count() == len(table)
    assert "stem.0: its inputs are not kept" in said(result)


def test_too_many_shapes_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_layer_capture, "_MOST_SIGNATURES", 1)
    found = captured(Twice(), X)
    assert [s.why for s in found.calls["norm"]] == ["", "called with more than 1 different shapes"]


def test_what_runs_again_on_the_same_arguments() -> None:
    x = torch.randn(3, 4)
    kept = x.clone()
    assert not tried(nn.Linear(4, 4), Arguments((x,))).note
    again = tried(nn.ReLU(inplace=True), Arguments((x,)))
    assert not again.fresh
    assert "changes its input in place" in again.note

    class Adds(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.add_(1)

    class Fills(nn.Module):
        """Its second call finds what it looks for: it is not the same work."""

        def forward(self, x: Any, cache: dict[str, Any]) -> Any:
            return cache["key"] if "key" in cache else cache.setdefault("key", x @ x.T)

    assert tried(Fills(), Arguments((x,), {"cache": {}})).fresh
    adds = tried(Adds(), Arguments((x,)))
    assert adds.fresh
    assert adds.is_used
    adds.renew()
    assert not adds.is_used
    assert torch.equal(adds.call(), kept + 1)
    assert torch.equal(adds.call(), kept + 1)  # each on a copy of its own
    assert torch.equal(x, kept)


@pytest.mark.parametrize("name", ["attribution.partition", "attribution.call_values"])
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(__import__(f"pyenergy.{name}", fromlist=["x"])).failed == 0
