# SPDX-License-Identifier: Apache-2.0
"""`pyenergy.layers`: which layers, on what inputs, and what is said of what cannot be measured."""

from __future__ import annotations

import doctest
import time
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

import pyenergy
from pyenergy import _layer_capture, testing
from pyenergy._compare import Comparison
from pyenergy._layer_alone import tried
from pyenergy._layer_capture import Captured, ModelInputs, capture
from pyenergy._layer_in_situ import OutermostSpans
from pyenergy.attribution.call_values import Arguments
from pyenergy.errors import OptionError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.models

nn = torch.nn
X = torch.ones(2, 4)
WATTS = 300.0


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def captured(model: Any, inputs: Any, depth: int | None = None, match: Any = None) -> Captured:
    return capture(model, ModelInputs(inputs), depth, match)


def counts(found: Captured) -> dict[str, list[int]]:
    return {name: [s.count for s in calls] for name, calls in found.calls.items()}


def measured(model: Any, inputs: Any, **options: Any) -> pyenergy.LayerEnergies:
    """On a card whose power is steady."""
    with testing.simulated("ideal") as world:
        world[0].set_power(WATTS)
        options = {"devices": "sim", "budget_s": 1.0, **options}
        return pyenergy.layers(model, inputs, **options)


def said(found: pyenergy.LayerEnergies | Captured) -> str:
    return "\n".join(found.notes)


class Cnn(nn.Module):
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.stem(x).mean((2, 3)))


class Twice(nn.Module):
    """One module of two names, in a loop over lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.norm = nn.LayerNorm(4)
        self.never = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        x = self.second(self.first(x))
        for length in (1, 2, 2):
            x[:length] = self.norm(x[:length])
        return x


class Told(nn.Module):
    """Runs only while its parent does."""

    state: Any = None

    def forward(self, x: Any) -> Any:
        if self.state is None:
            raise RuntimeError("nobody told me")
        return x + self.state


class Tells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.told, self.linear = Told(), nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        self.told.state = x
        try:
            return self.linear(self.told(x))
        finally:
            self.told.state = None


class Cache:
    """What a layer remembers of its calls."""

    def __init__(self) -> None:
        self.seen: list[Any] = []


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Any, cache: Cache) -> Any:
        cache.seen.append(x)
        return self.linear(torch.cat(cache.seen)) * self.weight


class Passes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = Remembers(), nn.Linear(4, 4)

    def forward(self, x: Any, cache: Cache) -> Any:
        return self.last(self.inner(x, cache=cache))


# Which modules are layers, and how often they are called.


def gpt2() -> tuple[Any, dict[str, Any]]:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=16, bos_token_id=0,
        eos_token_id=0, use_cache=False,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 8))
    return transformers.GPT2LMHeadModel(config).eval(), {"input_ids": ids}


def bert() -> tuple[Any, dict[str, Any]]:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        num_hidden_layers=2, hidden_size=16, num_attention_heads=2, intermediate_size=32,
        vocab_size=50,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 8))
    return transformers.BertForSequenceClassification(config).eval(), {"input_ids": ids}


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

    adds = tried(Adds(), Arguments((x,)))
    assert adds.fresh
    assert adds.is_used
    adds.renew()
    assert not adds.is_used
    assert torch.equal(adds.call(), kept + 1)
    assert torch.equal(adds.call(), kept + 1)  # each on a copy of its own
    assert torch.equal(x, kept)


# What is said of the energies.


def test_the_table_and_the_sum_check() -> None:
    model, inputs = bert()
    found = measured(model, inputs, depth=3, budget_s=2.0)
    table = found.table()
    assert table.columns == [
        "layer", "layer_type", "calls", "in_situ_j", "in_situ_u_j", "microbenchmark_j",
        "microbenchmark_u_j", "ratio", "time_s", "share",
    ]  # fmt: skip
    rows = {row["layer"]: row for row in table.iter_rows(named=True)}
    layers = table.filter(pl.col("calls").is_not_null())
    assert list(rows)[-1] == "(unattributed)"
    assert table["microbenchmark_j"].sum() == pytest.approx(found.model_energy.joules)
    assert table["share"].sum() == pytest.approx(1)
    # The power is the same throughout: energies are as times are.
    capture = found.capture
    assert isinstance(capture, Comparison)
    model_s = found.measurements["(model)"].time_s
    assert capture.ratio == pytest.approx(layers["time_s"].sum() / model_s, rel=0.02)
    assert capture.ratio == pytest.approx(
        layers["microbenchmark_j"].sum() / found.model_energy.joules
    )
    assert capture.u > 0
    power = layers["microbenchmark_j"] / layers["time_s"]
    assert power.to_list() == pytest.approx([WATTS] * len(power), rel=0.05)
    assert found.unattributed_j == rows["(unattributed)"]["microbenchmark_j"]
    assert found.unattributed.u_same_card > 0
    # In situ.
    assert found.coverage is not None
    assert 0 < found.coverage < 1
    assert found.trace is not None
    ran = found.trace.layers("layer").filter(pl.col("kind") == "operation")
    joules = ran["energy_j"] + ran["static_j"]
    assert joules.to_list() == pytest.approx((WATTS * ran["time_s"]).to_list(), rel=0.05)
    assert (layers["in_situ_j"] > 0).all()
    assert (layers["in_situ_u_j"] > 0).all()
    assert rows["(unattributed)"]["in_situ_j"] > 0
    ratio = layers["microbenchmark_j"] / layers["in_situ_j"]
    assert layers["ratio"].to_list() == pytest.approx(ratio.to_list())
    assert rows["(unattributed)"]["ratio"] is None
    text = str(found)
    assert "sum check: the layers alone add up to" in text
    assert "% of its energy is in these layers" in text
    assert "bert.pooler" in text
    assert "the energies are gpu:0's meanwhile" in text
    assert repr(found).startswith("<pyenergy.LayerEnergies of BertForSequenceClassification")


class Waits(nn.Module):
    """Takes a known time: its share of the energy, where the power is steady."""

    def __init__(self, seconds: float, *inner: Any) -> None:
        super().__init__()
        self.seconds, self.inner = seconds, nn.ModuleList(inner)

    def forward(self, x: Any) -> Any:
        time.sleep(self.seconds)
        for module in self.inner:
            x = module(x)
        return x


def test_what_runs_between_layers_is_unattributed() -> None:
    model = Waits(0.02, Waits(0.01), Waits(0.03))
    found = measured(model, X, budget_s=2.5)
    shares = found.table()["share"].to_list()
    assert shares == pytest.approx([1 / 6, 1 / 2, 1 / 3], abs=0.08)
    assert found.capture is not None
    assert found.capture.ratio == pytest.approx(2 / 3, abs=0.08)
    assert found.coverage == pytest.approx(2 / 3, abs=0.08)
    assert found.unattributed_j == pytest.approx(0.02 * WATTS, rel=0.3)


def test_shared_and_looped_modules_count_every_call() -> None:
    found = measured(Twice(), X, in_situ=False)
    rows = {row["layer"]: row for row in found.table().iter_rows(named=True)}
    assert {name: row["calls"] for name, row in rows.items()} == {
        "first": 2, "norm": 3, "(unattributed)": None
    }  # fmt: skip
    one = found.measurements
    assert set(one) == {"first", "norm #1", "norm #2", "(model)"}
    assert rows["first"]["microbenchmark_j"] == pytest.approx(2 * one["first"].energy.joules)
    norm = one["norm #1"].energy.joules + 2 * one["norm #2"].energy.joules
    assert rows["norm"]["microbenchmark_j"] == pytest.approx(norm)
    assert rows["norm"]["time_s"] == pytest.approx(
        one["norm #1"].time_s + 2 * one["norm #2"].time_s
    )
    assert "norm is called with 2 different shapes: 1 of 1×4 float32 cpu; 2 of 2×4" in said(found)
    assert found.coverage is None
    assert found.trace is None
    assert rows["first"]["in_situ_j"] is None
    with pytest.raises(OptionError, match="no layer 'second'; there are: first, norm"):
        found.alone("second")


def test_a_layer_that_cannot_run_alone_is_not_zero() -> None:
    found = measured(Tells(), X)
    rows = {row["layer"]: row for row in found.table().iter_rows(named=True)}
    told = rows["told"]
    assert told["microbenchmark_j"] is None
    assert told["microbenchmark_u_j"] is None
    assert told["ratio"] is told["share"] is told["time_s"] is None
    assert told["in_situ_j"] > 0
    assert "told: it cannot run alone: RuntimeError: nobody told me" in said(found)
    assert rows["linear"]["microbenchmark_j"] > 0
    assert found.alone("told") is None
    # It is in the model's energy still, and so in what is attributed to no layer.
    assert found.table()["microbenchmark_j"].sum() == pytest.approx(found.model_energy.joules)


def test_a_cache_is_copied_for_every_call() -> None:
    cache = Cache()
    found = measured(Passes(), {"x": X, "cache": cache}, budget_s=2.0)
    assert cache.seen == []
    rows = {row["layer"]: row for row in found.table().iter_rows(named=True)}
    assert rows["inner"]["microbenchmark_j"] > 0
    assert "inner, (model): changes its arguments: each call has a copy" in said(found)
    assert found.capture is not None
    assert found.capture.u > 0


def test_in_place_layers_say_so() -> None:
    found = measured(Cnn(inplace=True).eval(), torch.randn(1, 3, 8, 8), in_situ=False)
    assert "stem.2: changes its input in place" in said(found)
    assert found.table()["microbenchmark_j"].null_count() == 0


# What is hidden.


@pytest.fixture
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_fresh_dynamo")
def test_a_compiled_module_is_one_layer() -> None:
    model = Cnn().eval()
    model.stem = torch.compile(model.stem, backend="eager")
    found = measured(model, torch.randn(1, 3, 8, 8))
    assert found.table()["layer"].to_list() == ["stem", "head", "(unattributed)"]
    assert "stem is compiled: the modules in it are not told apart" in said(found)
    assert said(found).count("stem is compiled") == 1


@pytest.mark.usefixtures("_fresh_dynamo")
def test_a_compiled_model_has_no_layers() -> None:
    found = measured(torch.compile(Cnn().eval(), backend="eager"), torch.randn(1, 3, 8, 8))
    (row,) = found.table().iter_rows(named=True)
    assert row["layer"] == "(unattributed)"
    assert row["share"] == pytest.approx(1)
    assert found.coverage == 0
    assert found.capture is not None
    assert found.capture.ratio == 0
    assert "Cnn is compiled" in said(found) or "OptimizedModule is compiled" in said(found)


@pytest.mark.usefixtures("_fresh_dynamo")
def test_modules_compiled_in_place_are_unattributed() -> None:
    model = Cnn().eval()
    model.stem.compile(backend="eager")
    found = measured(model, torch.randn(1, 3, 8, 8), in_situ=False)
    assert found.table()["layer"].to_list() == ["head", "(unattributed)"]
    assert "stem is compiled in place" in said(found)
    whole = Cnn().eval()
    whole.compile(backend="eager")
    found = measured(whole, torch.randn(1, 3, 8, 8))
    assert found.trace is None
    assert "not measured in situ: hooks do not run on a model" in said(found)


def test_one_module_alone_is_its_own_layer() -> None:
    found = measured(nn.Linear(4, 4), X)
    assert found.table()["layer"].to_list() == ["", "(unattributed)"]
    assert set(found.measurements) == {"Linear", "(model)"}
    assert "Linear" in str(found)


# What cannot be.


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        return nn.functional.linear(x, self.linear.weight)


@pytest.mark.parametrize(
    ("model", "inputs", "options", "error", "match"),
    [
        (Functional(), X, {}, OptionError, "called none of its modules with these inputs"),
        (nn.Identity, X, {}, TypeError, "model must be a torch.nn.Module, got type"),
        (len, X, {}, TypeError, "torch.nn.Module"),
        (Twice(), [X], {}, TypeError, "inputs must be a dict .* got list"),
        (Twice(), None, {}, TypeError, "got NoneType"),
        (Twice(), {1: X}, {}, TypeError, "keyword arguments, got the key 1"),
        (Twice(), {"y": X}, {}, TypeError, "unexpected keyword argument 'y'"),
        (Twice(), torch.ones(2, 5), {}, RuntimeError, "shapes cannot be multiplied"),
        (Twice(), X, {"match": "nothing"}, OptionError, "no module that was called is left"),
        (Twice(), X, {"match": "never"}, OptionError, "no module that was called is left"),
        (Twice(), X, {"match": "("}, OptionError, "match is no regular expression"),
        (Twice(), X, {"match": 3}, TypeError, "match must be"),
        (Twice(), X, {"depth": -1}, OptionError, "depth must be 0"),
        (Twice(), X, {"depth": 1.5}, TypeError, "depth must be a number"),
        (Twice(), X, {"rel": 0}, OptionError, "rel"),
        (Twice(), X, {"budget_s": -1}, OptionError, "budget_s"),
        (Twice(), X, {"budget_s": 0.02, "in_situ": False}, OptionError, "is too short"),
        (Twice(), X, {"devices": "nothing"}, pyenergy.errors.DeviceError, "nothing"),
    ],
)
def test_what_cannot_be(
    model: Any, inputs: Any, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        pyenergy.layers(model, inputs, **{"devices": "sim:a100", "budget_s": 1.0, **options})
    if isinstance(model, nn.Module):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_several_devices_are_no_place_for_layers_in_situ() -> None:
    with testing.simulated("ideal", "ideal"):
        found = pyenergy.layers(nn.Sequential(nn.Linear(4, 4)), X, devices="sim", budget_s=0.7)
    assert "not measured in situ: 2 devices are measured" in said(found)
    assert found.coverage is None


@pytest.mark.filterwarnings("ignore::pyenergy.errors.EstimateWarning")
def test_an_estimate_says_so() -> None:
    found = pyenergy.layers(nn.Sequential(nn.Linear(64, 64)), torch.ones(8, 64), devices="cpu",
                            budget_s=1.0)  # fmt: skip
    assert found.is_estimate
    assert str(found).startswith("ESTIMATE, not a measurement")


@pytest.mark.parametrize("name", ["attribution.partition", "attribution.call_values"])
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(__import__(f"pyenergy.{name}", fromlist=["x"])).failed == 0
