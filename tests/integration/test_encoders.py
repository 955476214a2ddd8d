# SPDX-License-Identifier: Apache-2.0
"""Joules by sequence of an encoder and by second of audio: tiny models from configurations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from tiny_models import MODELS, SIM, torch, transformers

from pyenergy.errors import OptionError, StateError
from pyenergy.integrations._edges import Edges
from pyenergy.integrations._generated import count_outputs
from pyenergy.integrations.encoders import encode, transcribe
from pyenergy.integrations.transformers import TokenClock

pytestmark = MODELS


@pytest.fixture(scope="module")
def bert() -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=16,
    )  # fmt: skip
    return transformers.BertModel(config).eval()


@pytest.fixture(scope="module")
def whisper() -> Any:
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=64, num_mel_bins=8, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, max_source_positions=20, max_target_positions=16, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return transformers.WhisperForConditionalGeneration(config).eval()


def batch(*tokens: int, width: int = 8) -> dict[str, Any]:
    mask = torch.tensor([[1] * n + [0] * (width - n) for n in tokens])
    return {"input_ids": torch.ones_like(mask), "attention_mask": mask}


def test_sequences_share_their_batch_by_tokens(bert: Any) -> None:
    made = encode(bert, [batch(8, 4), batch(2)], trace_options=SIM)
    whole = made.energy.joules
    assert made.tokens == (8, 4, 2)
    assert made.joules_per_sequence.joules == pytest.approx(whole / 3)
    assert made.joules_per_token is not None
    assert made.joules_per_token.joules == pytest.approx(whole / 14)
    assert made.sequences_per_s == pytest.approx(3 / made.trace.duration_s)
    table, steps = made.sequences(), made.trace.tokens()
    assert table["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
    assert steps["phase"].to_list() == ["prefill", "prefill", "(outside of steps)"]
    assert table["energy_j"][0] == pytest.approx(steps["energy_j"][0] * 8 / 12, rel=1e-9)
    assert table["energy_j"][2] == pytest.approx(steps["energy_j"][1], rel=1e-9)
    assert [len(out.last_hidden_state) for out in made.outputs] == [2, 1]
    assert not made.outputs[0].last_hidden_state.requires_grad


def test_one_batch_and_one_without_a_mask(bert: Any) -> None:
    ids = {"input_ids": torch.ones((3, 5), dtype=torch.long)}
    made = encode(bert, ids, trace_options=SIM)
    assert made.tokens == (5, 5, 5)
    shares = made.sequences()["energy_j"][:3].to_list()
    assert shares == pytest.approx([made.trace.tokens()["energy_j"][0] / 3] * 3)


def test_sequences_that_are_no_tokens_share_alike(bert: Any) -> None:
    made = encode(bert, {"inputs_embeds": torch.zeros(2, 4, 16)}, trace_options=SIM)
    assert made.tokens == (0, 0)
    assert made.joules_per_token is None
    first, second, _ = made.sequences()["energy_j"]
    assert first == pytest.approx(second)


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ([], "no batch was given"),
        ([1], "a batch is a mapping such as a tokenizer gives, got int"),
        ([{}], "no tensor with sequences in a batch of nothing"),
        ([{"output_attentions": True}], "in a batch of output_attentions"),
    ],
)
def test_batches_that_are_none_are_refused(bert: Any, batches: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        encode(bert, batches, trace_options=SIM)


def test_joules_are_over_the_seconds_of_audio(whisper: Any) -> None:
    features = torch.randn(2, 8, 40)
    made = transcribe(
        whisper, features, audio_s=[0.4, 0.25], trace_options=SIM, max_new_tokens=5,
        do_sample=False,
    )  # fmt: skip
    whole = made.energy.joules
    assert made.joules_per_audio_second.joules == pytest.approx(whole / 0.65)
    assert made.joules_per_audio_second.u == pytest.approx(made.energy.u / 0.65)
    took_s = made.generation.trace.duration_s
    assert made.audio_seconds_per_second == pytest.approx(0.65 / took_s)
    assert len(made.generation.output_tokens) == 2
    assert made.generation.prompt_tokens == (0, 0)


@pytest.mark.parametrize("audio_s", [2, [torch.tensor(2.0)], np.array([2.0]), np.float32(2)])
def test_one_clip(whisper: Any, audio_s: Any) -> None:
    made = transcribe(
        whisper, torch.randn(1, 8, 40), audio_s=audio_s, trace_options=SIM, max_new_tokens=3
    )
    assert made.audio_s == (2.0,)
    assert made.joules_per_audio_second.joules == pytest.approx(made.energy.joules / 2)


class Ends(transformers.LogitsProcessor):
    """Row i ends with its token number ``at[i]``; until then there is the token 9."""

    def __init__(self, shown: int, *at: int) -> None:
        self.shown, self.at = shown, at

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        made = input_ids.shape[1] - self.shown + 1
        forced = torch.full_like(scores, -1e9)
        for row in range(len(forced)):
            forced[row, 2 if made == self.at[row * len(self.at) // len(forced)] else 9] = 0.0
        return forced


@pytest.mark.parametrize("start", [[1], [1, 5, 6, 7]], ids=["one", "as multilingual"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"return_dict_in_generate": True}])
@pytest.mark.parametrize(
    ("at", "counts"), [((99, 99), (8, 8)), ((99, 3), (8, 3)), ((6, 3), (6, 3)), ((1, 1), (1, 1))]
)
def test_speech_without_its_start_tokens_is_counted_whole(
    whisper: Any, start: list[int], options: dict[str, Any], at: tuple[int, ...], counts: Any
) -> None:
    made = transcribe(
        whisper, torch.randn(2, 8, 40), audio_s=[0.4, 0.25], trace_options=SIM, max_new_tokens=8,
        do_sample=False, decoder_input_ids=torch.tensor([start] * 2),
        logits_processor=[Ends(len(start), *at)], **options,
    ).generation  # fmt: skip
    assert made.output_tokens == counts
    assert made.joules_per_output_token.joules == pytest.approx(made.energy.joules / sum(counts))
    steps = made.tokens().filter(pl.col("phase") != "(outside of steps)")
    assert steps["output_tokens"].sum() == sum(counts)
    if "num_beams" not in options:  # beams go on while one may get better
        assert steps["output_tokens"].min() > 0


def test_of_several_passes_what_they_returned_counts() -> None:
    clock = TokenClock()
    clock.lengths, clock.sequences = [3, 4, 3, 4], torch.tensor([[1, 5, 9, 9]])
    returned = torch.tensor([[9, 9, 9, 9, 2], [9, 9, 0, 0, 0]])
    own = transformers.GenerationConfig(eos_token_id=2, pad_token_id=0)
    model = SimpleNamespace(generation_config=own)
    assert count_outputs(model, {}, returned, 2, clock) == (4, 2)


@pytest.mark.parametrize(
    ("audio_s", "says"),
    [
        (None, "one number for each clip.* got None"),
        (["4"], r"one number for each clip.* got \['4'\]"),
        ("4", "one number for each clip"),
        (0.0, "positive seconds"),
        ([1.0, float("nan")], "positive seconds"),
        ([1.0, 2.0], "2 lengths in audio_s, but 1 clips"),
        ([], "0 lengths in audio_s"),
    ],
)
def test_lengths_of_other_clips_are_refused(whisper: Any, audio_s: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        transcribe(whisper, torch.randn(1, 8, 40), audio_s=audio_s, trace_options=SIM)


class Device:
    """Events of a device that is 3 ms behind the host."""

    def __init__(self, can_record: bool = True) -> None:
        self.now_ms, self.can = 0.0, can_record

    def make(self) -> list[float]:
        return [0.0]

    def record(self, event: list[float]) -> None:
        self.now_ms += 1.0
        event[0] = self.now_ms

    def can_record(self) -> bool:
        return self.can

    def drain(self) -> None:
        pass

    def wait(self, event: list[float]) -> None:
        pass

    def elapsed_ms(self, first: list[float], second: list[float]) -> float:
        return second[0] - first[0]


def test_edges_on_a_device_are_its_events_between_two_anchors() -> None:
    edges = Edges(events=Device())
    with edges:
        for _ in range(3):
            edges.mark()
    times = edges.times_ns
    assert len(times) == 3
    assert times == sorted(times)


def test_edges_inside_a_graphs_capture_are_refused() -> None:
    edges = Edges(events=Device(can_record=False))
    with edges, pytest.raises(StateError, match="CUDA graph is being captured"):
        edges.mark()
