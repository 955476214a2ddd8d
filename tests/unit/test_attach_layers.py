# SPDX-License-Identifier: Apache-2.0
"""Energies of layers, from tables, from real profiles and from a model in process."""

from __future__ import annotations

from pathlib import Path

import pytest
from attached import S, around, rows, taken, whole

import pyenergy
from pyenergy.errors import OptionError


def test_layers_of_a_table() -> None:
    trace = taken()
    trace.attach(rows(layer=["h.0.attn", "h.0.mlp", None]))
    table = trace.layers()
    kinds = dict(table.select("layer", "layer_type").iter_rows())
    assert kinds["h.0.attn"] == "Attention"
    assert kinds["h.0.mlp"] == "FFN"
    assert kinds["(unattributed)"] == "(unattributed)"
    assert whole(table) == pytest.approx(trace.energy.joules, rel=1e-12)
    rolled = trace.tree()
    assert bool((rolled["u_j"] > 0).all())
    own = {row["path"]: row for row in rolled.iter_rows(named=True)}
    assert rolled["own_j"].sum() == pytest.approx(trace.energy.joules, rel=1e-12)
    both = trace.window(2 * S, 4 * S).joules
    assert own["h.0"]["total_j"] == pytest.approx(both)
    assert own["h.0"]["own_j"] == 0.0
    assert own["(unattributed)"]["own_j"] == pytest.approx(trace.window(5 * S, 7 * S).joules)


def test_without_layers_everything_is_unattributed() -> None:
    trace = taken()
    trace.attach(rows())
    table = trace.layers("layer_type")
    assert table["layer_type"].to_list() == ["(unattributed)", "(nothing ran)"]
    assert trace.tree()["own_j"].sum() == pytest.approx(trace.energy.joules, rel=1e-12)


def test_layers_of_a_real_profile_say_how_much_is_covered(shared_data: Path) -> None:
    trace = around(shared_data / "kineto" / "h100_qwen1.5_0.5b.json.gz")
    assert "69.9% of the GPU time belongs to a layer that is known" in "\n".join(trace.notes)
    table = trace.layers()
    assert whole(table) == pytest.approx(trace.energy.joules, rel=1e-9)
    assert "(unattributed)" in table["layer"].to_list()
    assert {"Attention", "FFN"} <= set(table["layer_type"].to_list())
    assert trace.tree()["own_j"].sum() == pytest.approx(trace.energy.joules, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "share", "time"),
    [
        ("a100_four_streams_overlap", "64.4%", "GPU time"),
        ("v100_training_float_us", "33.0%", "GPU time"),
        ("cpu_only", "99.5%", "operators' time"),
    ],
)
def test_user_ranges_are_not_called_known_layers(
    name: str, share: str, time: str, shared_data: Path
) -> None:
    notes = around(shared_data / "kineto" / f"{name}.json.gz").notes
    assert (
        f"no modules are in the profile (with_stack=True has them): {share} of the {time} lies in "
        "user ranges, which stand for layers" in notes
    )
    text = "\n".join(notes)
    assert text.count("no modules") == 1
    assert "belongs to a layer" not in text
    assert "outside of every module" not in text


@pytest.mark.models
@pytest.mark.filterwarnings("ignore::pyenergy.errors.EstimateWarning")
def test_layers_of_a_model_in_process() -> None:
    torch = pytest.importorskip("torch")
    from torch.profiler import ProfilerActivity, profile

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64))
    with (
        pyenergy.trace(devices="cpu") as trace,
        profile(activities=[ProfilerActivity.CPU], with_stack=True) as prof,
        torch.no_grad(),
    ):
        for _ in range(10):
            model(torch.ones(8, 64))
    with pytest.raises(OptionError, match="a model tells the layers of a profiler"):
        trace.attach({"name": []}, model=model)
    trace.attach(prof, model=model)
    table = trace.layers()
    kinds = dict(table.select("layer", "layer_type").iter_rows())
    assert {"0", "1"} <= set(kinds)
    assert kinds["1"] == "Norm"
    assert whole(table) == pytest.approx(trace.energy.joules, rel=1e-9)
