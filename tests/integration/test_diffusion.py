# SPDX-License-Identifier: Apache-2.0
"""Energy of a diffusion pipeline by step and by image: a tiny one, built from its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import MODELS, SIM, torch, transformers

import pyenergy
from pyenergy.errors import OptionError, StateError
from pyenergy.integrations.diffusers import Diffusion, generate

pytestmark = MODELS
diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "c", "t</w>", "a", "at</w>", "cat</w>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\na t</w>\nc at</w>\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8
    )
    torch.manual_seed(0)
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=16,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=8,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, layers_per_block=1,
        block_out_channels=(8, 8), cross_attention_dim=16, norm_num_groups=4,
        attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    made = diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def run(pipeline: Any, prompt: Any = "a cat", **kwargs: Any) -> Diffusion:
    options = {"num_inference_steps": 4, "height": 8, "width": 8, "output_type": "np", **kwargs}
    return generate(pipeline, prompt, trace_options=SIM, **options)


def test_steps_and_what_is_around_them_add_up(pipeline: Any) -> None:
    made = run(pipeline)
    table = made.steps()
    assert table["phase"].to_list() == ["prepare", *["denoise"] * 4, "decode"]
    assert table["step"].to_list() == [None, 0, 1, 2, 3, None]
    whole = made.energy.joules
    assert table["energy_j"].sum() == pytest.approx(whole, rel=1e-9)
    assert table["share"].sum() == pytest.approx(1.0)
    assert table["time_s"].sum() == pytest.approx(made.trace.duration_s, rel=1e-9)
    assert (table["u_j"] > 0).all()
    assert (table["u_j"] >= table["u_same_card_j"]).all()
    assert made.prepare is not None
    parts = made.prepare.joules + made.denoise.joules + made.decode.joules
    assert parts == pytest.approx(whole, rel=1e-9)
    for part in (made.prepare, made.denoise, made.decode):
        assert part.joules > 0
    assert made.joules_per_step.joules == pytest.approx(made.denoise.joules / 4)
    assert made.joules_per_image.joules == pytest.approx(whole)


def test_phases_of_the_trace_are_those_of_the_pipeline(pipeline: Any, tmp_path: Path) -> None:
    made = run(pipeline)
    again = pyenergy.load(made.trace.save(tmp_path / "run.npz"))
    rows = again.phases().rows_by_key("name", named=True, unique=True)
    assert rows["denoise"]["count"] == 4
    assert rows["denoise"]["energy_j"] == pytest.approx(made.denoise.joules, rel=1e-9)
    assert rows["(unmarked)"]["energy_j"] == 0.0


def test_images_of_a_batch_share_alike(pipeline: Any) -> None:
    made = run(pipeline, ["a cat", "a"], num_images_per_prompt=2)
    assert made.images == 4
    energy, each = made.energy, made.joules_per_image
    assert each.joules == pytest.approx(energy.joules / 4)
    assert each.u == pytest.approx(energy.u / 4)
    assert sum(u**2 for _, u in each.terms) == pytest.approx(each.u**2)
    assert made.steps()["j_per_image"].sum() == pytest.approx(each.joules, rel=1e-9)


def test_a_callback_of_ones_own_is_called_and_heard(pipeline: Any) -> None:
    seen: list[tuple[int, list[str]]] = []

    def mine(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append((step, sorted(tensors)))
        pipe._interrupt = step == 1  # what diffusers says of stopping early
        return {"latents": torch.zeros_like(tensors["latents"])}

    made = run(
        pipeline, callback_on_step_end=mine,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
    )  # fmt: skip
    assert seen == [(0, ["latents", "prompt_embeds"]), (1, ["latents", "prompt_embeds"])]
    assert len(made.steps_ns) == 2
    zeros = run(pipeline, latents=torch.zeros(1, 4, 8, 8), num_inference_steps=1)
    assert made.output.images.shape == zeros.output.images.shape


def test_a_callback_of_diffusers_gets_the_tensors_that_it_names(pipeline: Any) -> None:
    class Mine(diffusers.callbacks.PipelineCallback):
        names: list[str]

        @property
        def tensor_inputs(self) -> list[str]:
            return ["prompt_embeds"]

        def callback_fn(self, pipe: Any, step: int, timestep: Any, tensors: Any) -> Any:
            self.names = list(tensors)
            return tensors

    mine = Mine(cutoff_step_ratio=1.0)
    assert len(run(pipeline, callback_on_step_end=mine).steps_ns) == 4
    assert mine.names == ["prompt_embeds"]


def test_the_result_is_that_of_the_pipeline_itself(pipeline: Any) -> None:
    seed = {"generator": torch.Generator().manual_seed(1)}
    made = run(pipeline, **seed).output.images
    seed = {"generator": torch.Generator().manual_seed(1)}
    alone = pipeline(
        "a cat", num_inference_steps=4, height=8, width=8, output_type="np", **seed
    ).images
    assert (made == alone).all()
    assert not pipeline.unet._forward_pre_hooks


def test_a_tuple_and_latents_are_counted(pipeline: Any) -> None:
    assert run(pipeline, ["a", "cat"], return_dict=False).images == 2
    assert run(pipeline, ["a", "cat"], output_type="latent").images == 2
    assert run(pipeline, ["a", "cat"], images=1).images == 1


def test_a_loop_without_a_known_denoiser_begins_with_its_first_step(pipeline: Any) -> None:
    class Other:
        """A pipeline that names its network in its own way."""

        device = "cpu"

        def __call__(self, callback_on_step_end: Any) -> tuple[list[str]]:
            for step in range(3):
                callback_on_step_end(self, step, 0, {})
            return (["picture"],)

    made = generate(Other(), trace_options=SIM)
    assert made.prepare is None
    assert made.steps()["phase"].to_list() == ["denoise"] * 3 + ["decode"]
    assert made.steps()["energy_j"].sum() == pytest.approx(made.energy.joules, rel=1e-9)


def test_what_cannot_be_told_apart_is_said(pipeline: Any) -> None:
    unet = diffusers.UNet2DModel(
        sample_size=4, in_channels=3, out_channels=3, block_out_channels=(8, 8),
        layers_per_block=1, norm_num_groups=4, down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    plain = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler())
    with pytest.raises(OptionError, match=r"takes no callback_on_step_end.*pyenergy\.trace"):
        generate(plain, trace_options=SIM)
    with pytest.raises(OptionError, match="is no pipeline"):
        generate(3)

    class Nothing:
        device = "cpu"

        def __init__(self, steps: int) -> None:
            self.steps = steps

        def __call__(self, callback_on_step_end: Any) -> None:
            for step in range(self.steps):
                callback_on_step_end(self, step, 0, {})

    with pytest.raises(StateError, match="took no denoising step"):
        generate(Nothing(0), trace_options=SIM)
    with pytest.raises(OptionError, match="say so with images="):
        generate(Nothing(1), trace_options=SIM)
