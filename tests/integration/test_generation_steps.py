# SPDX-License-Identifier: Apache-2.0
"""Steps of a generation: padding, ends, drafts, beams and chunks, and sums that are whole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tiny_models import MODELS, SIM, torch, transformers

import pyenergy
from pyenergy.attribution.steps import OUTSIDE, Steps, Weights
from pyenergy.errors import StateError
from pyenergy.integrations.transformers import Generation, TokenClock, generate

pytestmark = MODELS
EOS = 7


@pytest.fixture(scope="module")
def gpt2() -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=1, n_head=2, n_embd=16, vocab_size=64, n_positions=128,
        eos_token_id=EOS, bos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).eval()


def ids(*rows: list[int]) -> Any:
    return torch.tensor(rows)


def run(model: Any, *args: Any, **kwargs: Any) -> Generation:
    options = {"trace_options": SIM, "do_sample": False, "max_new_tokens": 6, **kwargs}
    return generate(model, *args, **options)


def steps(made: Generation) -> Steps:
    return Steps.from_json(made.trace.recorded.extra["steps"])


def parts(made: Generation) -> list[list[tuple[str, int, int]]]:
    """(request, prompt tokens, output tokens) by step."""
    return [
        [(p.request, p.prompt_tokens, p.output_tokens) for p in s.parts] for s in steps(made).steps
    ]


def check(made: Generation) -> None:
    """What holds for every generation."""
    whole = made.energy.joules
    tokens, requests = made.tokens(), made.requests()
    assert tokens["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
    assert requests["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
    assert tokens["time_s"].sum() == pytest.approx(made.trace.duration_s, rel=1e-9)
    assert tokens["output_tokens"].sum() == sum(made.output_tokens)
    assert tokens["prompt_tokens"].sum() == requests["prompt_tokens"].sum()
    assert requests["output_tokens"].sum() == sum(made.output_tokens)
    assert (tokens["u_j"] > 0).all()
    first = tokens.filter(phase="prefill")
    assert first["energy_j"].sum() == pytest.approx(made.prefill.joules, rel=1e-9)
    rest = whole - first["energy_j"].sum()
    assert rest == pytest.approx(made.decode.joules, rel=1e-9)
    edges = [(step.start_ns, step.end_ns) for step in steps(made).steps]
    assert edges[0][0] == made.start_ns
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    assert made.first_token_ns in [end for _, end in edges]


def test_one_request_token_by_token(gpt2: Any) -> None:
    made = run(gpt2, ids([3, 4, 5]), eos_token_id=None)
    check(made)
    assert parts(made) == [[("0", 3, 1)], *[[("0", 0, 1)]] * 5]
    assert made.tokens()["phase"].to_list() == ["prefill", *["decode"] * 5, OUTSIDE]
    row = made.requests().row(0, named=True)
    assert row["ttft_s"] == pytest.approx(made.ttft_s)
    assert row["j_per_output_token"] == pytest.approx(row["energy_j"] / 6)
    assert row["prefill_j"] == pytest.approx(made.prefill.joules, rel=1e-9)


class Scripted(transformers.LogitsProcessor):
    """Each row ends with the token of its number."""

    def __init__(self, shown: int, *ends: int) -> None:
        self.shown, self.ends = shown, ends

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        made = input_ids.shape[1] - self.shown + 1
        forced = torch.full_like(scores, -1e9)
        for row in range(len(scores)):
            end = self.ends[row * len(self.ends) // len(scores)]
            forced[row, EOS if made == end else 9 + row % 3] = 0.0
        return forced


def scripted(shown: int, *ends: int) -> dict[str, Any]:
    return {
        "logits_processor": transformers.LogitsProcessorList([Scripted(shown, *ends)]),
        "max_new_tokens": max(ends),
    }


def test_padding_never_counts_and_a_row_that_ended_is_at_work_no_more(gpt2: Any) -> None:
    made = run(
        gpt2,
        ids([0, 0, 3, 4, 5], [1, 2, 3, 4, 5], [0, 0, 0, 0, 5]),
        attention_mask=ids([0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]),
        **scripted(5, 2, 5, 1),
    )
    check(made)
    assert parts(made) == [
        [("0", 3, 1), ("1", 5, 1), ("2", 1, 1)],
        [("0", 0, 1), ("1", 0, 1)],
        [("1", 0, 1)],
        [("1", 0, 1)],
        [("1", 0, 1)],
    ]
    energies = made.tokens()["energy_j"]
    by_request = made.requests().rows_by_key("request", named=True, unique=True)
    assert by_request["0"]["prefill_j"] == pytest.approx(energies[0] * 3 / 9, rel=1e-9)
    assert by_request["0"]["decode_j"] == pytest.approx(energies[1] / 2, rel=1e-9)
    last = energies[1] / 2 + energies[2] + energies[3] + energies[4]
    assert by_request["1"]["decode_j"] == pytest.approx(last, rel=1e-9)
    assert by_request["2"]["decode_j"] == 0.0
    assert by_request["2"]["tpot_s"] is None
    assert [by_request[r]["output_tokens"] for r in "012"] == [2, 5, 1]


def test_beams_count_what_was_returned(gpt2: Any) -> None:
    made = run(gpt2, ids([3, 4, 5], [6, 3, 2]), num_beams=3, eos_token_id=None)
    check(made)
    assert parts(made)[0] == [("0", 3, 1), ("1", 3, 1)]
    assert parts(made)[-1] == [("0", 0, 1), ("1", 0, 1)]
    several = run(
        gpt2, ids([3, 4, 5], [6, 3, 2]), num_beams=3, num_return_sequences=2, eos_token_id=None
    )
    check(several)
    assert several.output_tokens == (6,) * 4
    assert parts(several)[-1] == [("0", 0, 2), ("1", 0, 2)]


def test_a_beam_that_ends_early_is_shorter_than_its_search(gpt2: Any) -> None:
    made = run(gpt2, ids([3, 4, 5]), num_beams=2, **{**scripted(3, 2, 9), "max_new_tokens": 8})
    tokens = made.tokens()
    assert tokens["output_tokens"].sum() == sum(made.output_tokens)
    # Steps of the search that gave nothing are the request's all the same.
    assert all(row and row[0][0] == "0" for row in parts(made))
    energy = made.requests().filter(request="0")["energy_j"][0]
    assert energy == pytest.approx(tokens["energy_j"][:-1].sum(), rel=1e-9)


def test_several_samples_of_a_prompt_are_one_request(gpt2: Any) -> None:
    made = run(gpt2, ids([3, 4, 5]), do_sample=True, num_return_sequences=3, eos_token_id=None)
    check(made)
    assert made.requests()["output_tokens"].to_list() == [18, None]
    assert parts(made)[1] == [("0", 0, 3)]


def test_drafts_count_when_they_are_accepted(gpt2: Any) -> None:
    """The model is its own assistant: all drafts are accepted."""
    made = run(gpt2, ids([3, 4, 5]), assistant_model=gpt2, max_new_tokens=20, eos_token_id=None)
    alone = run(gpt2, ids([3, 4, 5]), max_new_tokens=20, eos_token_id=None)
    assert made.output.tolist() == alone.output.tolist()
    found = parts(made)
    assert sum(n for step in found for _, _, n in step) == 20 == sum(made.output_tokens)
    assert len(found) < 20
    assert max(n for step in found for _, _, n in step) > 1
    assert found[0][0][1] == 3
    whole = made.energy.joules
    assert made.tokens()["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
    row = made.requests().row(0, named=True)
    assert row["output_tokens"] == 20
    assert row["energy_j"] == pytest.approx(made.tokens()["energy_j"][:-1].sum(), rel=1e-9)


def test_a_prompt_in_chunks_is_several_steps_of_prefill(gpt2: Any) -> None:
    prompt = ids([0, 0, 0, 0, 3, 4, 5], [1, 2, 3, 4, 5, 6, 2])
    mask = ids([0, 0, 0, 0, 1, 1, 1], [1] * 7)
    made = run(
        gpt2, prompt, attention_mask=mask, prefill_chunk_size=3, eos_token_id=None,
        max_new_tokens=3,
    )  # fmt: skip
    check(made)
    assert parts(made) == [
        [("1", 3, 0)],
        [("0", 2, 0), ("1", 3, 0)],
        [("0", 1, 1), ("1", 1, 1)],
        [("0", 0, 1), ("1", 0, 1)],
        [("0", 0, 1), ("1", 0, 1)],
    ]
    assert made.tokens()["phase"].to_list()[:4] == ["prefill"] * 3 + ["decode"]
    assert not gpt2._forward_hooks


def test_what_a_cache_had_is_not_computed(gpt2: Any) -> None:
    prompt = ids([3, 4, 5, 6, 2, 9])
    with torch.no_grad():
        cache = gpt2(prompt[:, :4], use_cache=True).past_key_values
    made = run(
        gpt2, prompt, past_key_values=cache, attention_mask=torch.ones_like(prompt),
        eos_token_id=None,
    )  # fmt: skip
    check(made)
    assert made.prompt_tokens == (6,)
    assert parts(made)[0] == [("0", 2, 1)]


def test_embeddings_for_a_prompt(gpt2: Any) -> None:
    embeds = gpt2.get_input_embeddings()(ids([3, 4, 5])).detach()
    made = run(gpt2, inputs_embeds=embeds, eos_token_id=None)
    check(made)
    assert made.output_tokens == (6,)
    assert parts(made)[0] == [("0", 3, 1)]


def test_no_prompt_at_all(gpt2: Any) -> None:
    made = run(gpt2, eos_token_id=None)
    assert made.prompt_tokens == (0,)
    assert made.output_tokens == (6,)
    assert made.tokens()["output_tokens"].sum() == 6


def test_an_encoder_and_its_decoder() -> None:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config).eval()
    mask = ids([1, 1, 1], [1, 1, 0])
    prompt = ids([3, 4, 5], [6, 2, 0])
    made = run(model, prompt, attention_mask=mask, eos_token_id=None)
    check(made)
    assert parts(made)[:2] == [[("0", 3, 1), ("1", 2, 1)], [("0", 0, 1), ("1", 0, 1)]]


def test_steps_stay_with_a_saved_recording_and_weights_can_change(
    gpt2: Any, tmp_path: Path
) -> None:
    made = run(gpt2, ids([3, 4, 5], [3, 4, 5]), eos_token_id=None)
    again = pyenergy.load(made.trace.save(tmp_path / "run.npz"))
    assert again.tokens().equals(made.tokens())
    # Both rows are at the same in every step: the weights cancel.
    assert again.requests(Weights(5, 1))["energy_j"].to_list() == pytest.approx(
        made.requests()["energy_j"].to_list()
    )


def test_a_model_that_generates_in_passes_says_that_no_steps_are_known(gpt2: Any) -> None:
    class Passes:
        """Calls generate twice, as long-form speech does."""

        config, generation_config = gpt2.config, gpt2.generation_config

        def generate(self, *args: Any, **kwargs: Any) -> Any:
            gpt2.generate(*args, **kwargs)
            return gpt2.generate(*args, **kwargs)

    made = run(Passes(), ids([3, 4, 5]), eos_token_id=None)
    assert made.output_tokens == (6,)
    with pytest.raises(StateError, match="no steps are kept"):
        made.tokens()


def test_a_clock_counts_the_drafts_that_a_streamer_is_shown(gpt2: Any) -> None:
    clock = TokenClock()
    gpt2.generate(
        ids([3, 4]), max_new_tokens=9, eos_token_id=None, streamer=clock, do_sample=False,
        assistant_model=gpt2,
    )  # fmt: skip
    assert clock.lengths[-1] == 9
    assert len(clock.lengths) == len(clock.times_ns) < 9
