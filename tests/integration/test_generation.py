# SPDX-License-Identifier: Apache-2.0
"""Energy and tokens of text generation with transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyenergy.workloads.causal_lm import load_causal_lm
from pyenergy.workloads.stories import load_stories
from tiny_models import MODELS, SIM, torch, transformers

import pyenergy
from pyenergy.integrations.simple import EnergyEfficientInference, EnergyMonitor
from pyenergy.integrations.transformers import TokenClock, generate

pytestmark = MODELS


@pytest.fixture(scope="module")
def gpt2() -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=32, vocab_size=64, n_positions=128,
        eos_token_id=7, bos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


def ids(*rows: list[int]) -> Any:
    return torch.tensor(rows)


def test_phases_add_up_and_tokens_are_counted(gpt2: Any) -> None:
    prompt = ids([3, 4, 5, 6])
    result = generate(
        gpt2, prompt, trace_options=SIM, max_new_tokens=12, eos_token_id=None, do_sample=False
    )
    assert result.prompt_tokens == (4,)
    assert result.output_tokens == (12,)
    whole = result.energy.joules
    assert result.prefill.joules + result.decode.joules == pytest.approx(whole, rel=1e-9)
    assert result.joules_per_output_token.joules == pytest.approx(whole / 12)
    assert result.joules_per_prefill_token.joules == pytest.approx(result.prefill.joules / 4)
    assert result.joules_per_decode_token.joules == pytest.approx(result.decode.joules / 11)
    assert 0 < result.ttft_s < (result.end_ns - result.start_ns) / 1e9
    assert result.tpot_s * 11 + result.ttft_s == pytest.approx(result.trace.duration_s)
    assert result.trace.spans()["name"].to_list() == ["prefill", "decode"]
    for energy in (result.energy, result.prefill, result.decode):
        assert energy.u > 0


@pytest.mark.filterwarnings("ignore::pyenergy.errors.EstimateWarning")
def test_layers_of_a_generation_add_up_to_its_trace(gpt2: Any) -> None:
    made = generate(
        gpt2,
        input_ids=ids([1, 2, 3]),
        max_new_tokens=8,
        layers=True,
        trace_options={"devices": "cpu"},
    )
    layers = made.trace.layers()
    parts = layers["energy_j"].sum() + layers["static_j"].sum()
    assert parts == pytest.approx(made.trace.energy.joules, rel=1e-9)
    assert {"Attention", "FFN", "Norm", "Embedding"} <= set(layers["layer_type"].to_list())
    heads = layers.filter(layer="lm_head")
    assert heads["count"].to_list() == [8]
    tree = made.trace.tree()
    assert tree["own_j"].sum() == pytest.approx(made.trace.energy.joules, rel=1e-9)
    assert tree["path"][0] == ""
    assert not any(module._forward_hooks for module in gpt2.modules())


def fresh() -> Any:
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=64, n_positions=32)
    ).eval()


def compiled_in_place() -> Any:
    model = fresh()
    model.compile(backend="eager")
    return model


def compiled_forward() -> Any:
    model = fresh()
    model.forward = torch.compile(model.forward, backend="eager")
    return model


@pytest.mark.filterwarnings("ignore::pyenergy.errors.EstimateWarning")
@pytest.mark.parametrize(
    ("compiled", "layers", "says"),
    [
        (compiled_in_place, {"(unattributed)"}, "GPT2LMHeadModel is compiled in place: hooks do"),
        (compiled_forward, {""}, "GPT2LMHeadModel.forward is compiled: the modules in it are not"),
        # Its generate calls the model inside, as it is.
        (
            lambda: torch.compile(fresh(), backend="eager"),
            {"", "lm_head", "transformer.h.0.attn"},
            "calls GPT2LMHeadModel itself, so that nothing was compiled",
        ),
    ],
    ids=["in place", "forward", "wrapped"],
)
def test_what_compile_hides_costs_no_result(compiled: Any, layers: set[str], says: str) -> None:
    made = generate(
        compiled(), ids([1, 2, 3]), max_new_tokens=3, eos_token_id=None, pad_token_id=0,
        do_sample=False, layers=True, trace_options={"devices": "cpu"},
    )  # fmt: skip
    assert made.output_tokens == (3,)
    table = made.trace.layers().filter(pl.col("kind") == "operation")
    found = set(table["layer"].to_list())
    assert layers == found if len(layers) == 1 else layers < found
    assert any(says in note for note in made.trace.notes)
    if layers == {"(unattributed)"}:
        assert table["share"].sum() > 0.5


MASK = {"attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])}
LENGTH = {"max_new_tokens": 8, "do_sample": False}


@pytest.mark.parametrize(
    "passed",
    [
        {**MASK, **LENGTH},
        LENGTH,  # the mask then is known from the padding's token
        {**LENGTH, "eos_token_id": torch.tensor([7, 8])},
        # What a configuration leaves open, the model's own says: end-of-sequence and padding.
        {**MASK, "generation_config": transformers.GenerationConfig(**LENGTH)},
        {"generation_config": transformers.GenerationConfig(**LENGTH)},
    ],
    ids=["mask", "no mask", "several ends", "own configuration", "own configuration, no mask"],
)
def test_padding_and_what_follows_the_end_never_count(gpt2: Any, passed: dict[str, Any]) -> None:
    class Scripted(transformers.LogitsProcessor):
        """Row 0 ends with its third token, row 1 goes on."""

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            step = input_ids.shape[1] - 5
            forced = torch.full_like(scores, -1e9)
            forced[0, 7 if step == 2 else 9] = 0.0
            forced[1, 9] = 0.0
            return forced

    padded = ids([0, 0, 3, 4, 5], [1, 2, 3, 4, 5])
    result = generate(gpt2, padded, trace_options=SIM, logits_processor=[Scripted()], **passed)
    assert result.prompt_tokens == (3, 5)
    assert result.output_tokens == (3, 8)
    assert result.joules_per_decode_token.joules == pytest.approx(result.decode.joules / (2 + 7))


def test_padding_that_may_be_an_end_counts_without_a_mask(gpt2: Any) -> None:
    """The model then is given all of it: so does transformers."""
    seen: list[Any] = []

    def watch(model: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs.get("attention_mask"))

    hook = gpt2.register_forward_pre_hook(watch, with_kwargs=True)
    padded = ids([7, 7, 3, 4, 5], [1, 2, 3, 4, 5])
    result = generate(gpt2, padded, trace_options=SIM, pad_token_id=7, **LENGTH)
    hook.remove()
    assert seen[0] is None or bool(seen[0].all())
    assert result.prompt_tokens == (5, 5)


def test_token_clock_as_streamer_skips_the_prompt(gpt2: Any) -> None:
    clock = TokenClock()
    gpt2.generate(ids([3, 4]), max_new_tokens=5, eos_token_id=None, streamer=clock, do_sample=False)
    assert len(clock.times_ns) == 5
    assert clock.times_ns == sorted(clock.times_ns)


def test_beams_and_dictionary_output(gpt2: Any) -> None:
    result = generate(
        gpt2, ids([3, 4, 5]), trace_options=SIM, max_new_tokens=6, num_beams=2, eos_token_id=None,
        return_dict_in_generate=True, do_sample=False,
    )  # fmt: skip
    assert result.output_tokens == (6,)


def test_encoder_decoder_counts_what_the_decoder_made() -> None:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config).eval()
    result = generate(
        model,
        ids([3, 4, 5]),
        trace_options=SIM,
        max_new_tokens=6,
        min_new_tokens=6,
        do_sample=False,
    )
    assert result.prompt_tokens == (3,)
    assert result.output_tokens == (6,)


def test_a_model_that_cannot_generate_is_a_clear_error() -> None:
    with pytest.raises(pyenergy.errors.OptionError, match="no generate"):
        generate(torch.nn.Linear(2, 2))


def test_trained_weights_load_and_tell_a_story(shared_data: Path) -> None:
    model, tokenizer = load_stories(shared_data / "stories260K")
    start = tokenizer.encode("Once upon a time")
    out = model.generate(torch.tensor([start]), max_new_tokens=24, do_sample=False)
    text = tokenizer.decode(out[0].tolist())
    # What llama2.c's own program prints at temperature 0 begins with these words.
    assert text.startswith("Once upon a time, there was a little girl named Lily.")
    assert tokenizer.decode(tokenizer.encode("The cat sat on a mat.")) == "The cat sat on a mat."


def test_a_local_folder_is_loaded_by_from_pretrained(gpt2: Any, tmp_path: Path) -> None:
    gpt2.save_pretrained(tmp_path)
    vocabulary = {f"t{i}": i for i in range(64)}
    backend = transformers.PreTrainedTokenizerFast(tokenizer_object=_word_level(vocabulary))
    backend.save_pretrained(tmp_path)
    lm = load_causal_lm(tmp_path, device="cpu")
    assert lm.encode("t3 t4").tolist() == [[3, 4]]
    with pytest.raises(FileNotFoundError, match="no model folder"):
        load_causal_lm(tmp_path / "absent")


def test_plain_energy_monitor() -> None:
    monitor = EnergyMonitor(devices="sim:a100", sampling_interval=0.01).start()
    power = monitor.get_current_power()
    result = monitor.stop()
    assert power > 0
    assert result["avg_power_watts"] == pytest.approx(
        result["energy_joules"] / result["duration_seconds"]
    )
    assert result["energy_uncertainty_joules"] > 0
    assert 0 < monitor.get_temperature() < 120
    with pytest.raises(pyenergy.errors.NoReadingsError, match="memory_used"):
        monitor.get_memory_info()


def test_efficient_inference(gpt2: Any) -> None:
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_word_level({f"t{i}": i for i in range(64)})
    )
    inference = EnergyEfficientInference(gpt2, tokenizer, devices="sim:a100")
    result = inference.generate_with_energy_tracking("t3 t4", max_tokens=5, eos_token_id=None)
    assert result["tokens_generated"] == 5
    assert result["joules_per_token"] == pytest.approx(result["energy_joules"] / 5)
    assert result["output"].startswith("t3 t4")


def _word_level(vocabulary: dict[str, int]) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="t0"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return made
