# SPDX-License-Identifier: Apache-2.0
"""`pyenergy.layers`: energies in the model and alone, and what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from layered import (
    WATTS,
    Cache,
    Cnn,
    Passes,
    Tells,
    Twice,
    Waits,
    X,
    bert,
    measured,
    nn,
    said,
    torch,
)

import pyenergy
from pyenergy import testing
from pyenergy._compare import Comparison
from pyenergy.errors import OptionError

pytestmark = pytest.mark.models


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
    assert "(without 1 that could not run alone)" in str(found)
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
def test_a_compiled_forward_hides_its_layers_and_says_so() -> None:
    model = Cnn().eval()
    model.stem.forward = torch.compile(model.stem.forward, backend="eager")
    found = measured(model, torch.randn(1, 3, 8, 8))
    assert "stem" in found.table()["layer"].to_list()
    assert "stem.forward is compiled: the modules in it are not told apart" in said(found)


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
        (
            Twice(),
            X,
            {"budget_s": 0.02, "in_situ": False},
            OptionError,
            "is too short .* give at least 0.4",
        ),
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
