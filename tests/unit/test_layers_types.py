# SPDX-License-Identifier: Apache-2.0
"""Kinds of layers, on the modules of models as they are built."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from pyenergy.attribution.layer_types import LAYER_TYPES, layer_type

SMALL = {
    "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 16,
    "vocab_size": 32,
}  # fmt: skip
LAST = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
HEAD = "LMHead/Classifier"


def gpt2(t: Any) -> Any:
    return t.GPT2LMHeadModel(t.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=32, **LAST))


def bert(t: Any) -> Any:
    return t.BertForMaskedLM(t.BertConfig(**SMALL))


def roberta(t: Any) -> Any:
    return t.RobertaForSequenceClassification(t.RobertaConfig(**SMALL))


def distilbert(t: Any) -> Any:
    config = t.DistilBertConfig(n_layers=1, n_heads=2, dim=8, hidden_dim=16, vocab_size=32)
    return t.DistilBertForSequenceClassification(config)


def llama(t: Any) -> Any:
    return t.LlamaForCausalLM(t.LlamaConfig(**SMALL, **LAST))


def qwen(t: Any) -> Any:
    return t.Qwen2ForCausalLM(t.Qwen2Config(**SMALL, **LAST, num_key_value_heads=2))


def vit(t: Any) -> Any:
    config = {key: value for key, value in SMALL.items() if key != "vocab_size"}
    return t.ViTForImageClassification(t.ViTConfig(**config, image_size=8, patch_size=4))


def whisper(t: Any) -> Any:
    config = t.WhisperConfig(
        d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=60,
        num_mel_bins=4, max_source_positions=8, max_target_positions=8,
        decoder_start_token_id=1, **LAST,
    )  # fmt: skip
    return t.WhisperForConditionalGeneration(config)


def t5(t: Any) -> Any:
    config = t.T5Config(d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=32)
    return t.T5ForConditionalGeneration(config)


def resnet(t: Any) -> Any:
    config = t.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"
    )
    return t.ResNetForImageClassification(config)


def unet(d: Any) -> Any:
    return d.UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, norm_num_groups=4,
        attention_head_dim=4, cross_attention_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip


def flux(d: Any) -> Any:
    return d.FluxTransformer2DModel(
        num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(2, 2, 4), in_channels=4,
    )  # fmt: skip


def sd3(d: Any) -> Any:
    return d.SD3Transformer2DModel(
        sample_size=8, num_layers=2, attention_head_dim=4, num_attention_heads=2,
        joint_attention_dim=8, caption_projection_dim=8, pooled_projection_dim=8,
        pos_embed_max_size=8,
    )  # fmt: skip


# What must come out, of modules as they are called in these models.
EXPECTED: dict[Callable[[Any], Any], dict[str, str]] = {
    gpt2: {
        "": "Other", "transformer.h.0": "Other", "lm_head": HEAD,
        "Embedding": "transformer.wte transformer.wpe",
        "Attention": "transformer.h.0.attn transformer.h.0.attn.c_attn transformer.h.0.attn.c_proj",
        "FFN": "transformer.h.0.mlp.c_fc transformer.h.0.mlp.c_proj transformer.h.0.mlp.act",
        "Norm": "transformer.h.0.ln_1 transformer.h.0.ln_2 transformer.ln_f",
    },
    bert: {
        "Embedding": "bert.embeddings bert.embeddings.word_embeddings",
        "Attention": "bert.encoder.layer.0.attention.self.query "
        "bert.encoder.layer.0.attention.output.dense bert.encoder.layer.0.attention.output",
        "FFN": "bert.encoder.layer.0.intermediate.dense bert.encoder.layer.0.output.dense "
        "bert.encoder.layer.0.output",
        "Norm": "bert.embeddings.LayerNorm bert.encoder.layer.0.attention.output.LayerNorm",
        HEAD: "cls.predictions.decoder cls.predictions.transform.dense",
        "Other": "bert bert.encoder bert.encoder.layer.0",
    },
    roberta: {
        "Attention": "roberta.encoder.layer.0.attention.output.dense",
        "FFN": "roberta.encoder.layer.0.output.dense",
        HEAD: "classifier classifier.dense classifier.out_proj",
    },
    distilbert: {
        "Attention": "distilbert.transformer.layer.0.attention.out_lin",
        "FFN": "distilbert.transformer.layer.0.ffn.lin1 distilbert.transformer.layer.0.ffn.lin2",
        "Norm": "distilbert.transformer.layer.0.sa_layer_norm",
        HEAD: "pre_classifier classifier",
        "Other": "distilbert.transformer.layer.0",
    },
    llama: {
        "Embedding": "model.embed_tokens model.rotary_emb",
        "Attention": "model.layers.0.self_attn model.layers.0.self_attn.q_proj "
        "model.layers.0.self_attn.o_proj",
        "FFN": "model.layers.0.mlp model.layers.0.mlp.gate_proj model.layers.0.mlp.down_proj",
        "Norm": "model.norm model.layers.0.input_layernorm model.layers.0.post_attention_layernorm",
        HEAD: "lm_head", "Other": "model model.layers.0",
    },
    qwen: {"Attention": "model.layers.0.self_attn.k_proj", "FFN": "model.layers.0.mlp.up_proj"},
    vit: {
        "Embedding": "vit.embeddings.patch_embeddings.projection", HEAD: "classifier",
        "Norm": "vit.layernorm",
    },
    whisper: {
        "Convolution": "model.encoder.conv1 model.encoder.conv2",
        "Embedding": "model.encoder.embed_positions model.decoder.embed_tokens",
        "Attention": "model.decoder.layers.0.encoder_attn.q_proj "
        "model.encoder.layers.0.self_attn.out_proj",
        "FFN": "model.encoder.layers.0.fc1 model.decoder.layers.0.fc2 "
        "model.encoder.layers.0.activation_fn",
        "Norm": "model.decoder.layers.0.encoder_attn_layer_norm "
        "model.encoder.layers.0.self_attn_layer_norm",
        HEAD: "proj_out", "Other": "model.encoder.layers.0",
    },
    t5: {
        "Embedding": "shared",
        "Attention": "encoder.block.0.layer.0.SelfAttention.q "
        "decoder.block.0.layer.1.EncDecAttention.o",
        "FFN": "encoder.block.0.layer.1.DenseReluDense.wi "
        "decoder.block.0.layer.2.DenseReluDense.wo",
        "Norm": "encoder.block.0.layer.0.layer_norm encoder.final_layer_norm", HEAD: "lm_head",
    },
    resnet: {
        "Convolution": "resnet.embedder.embedder.convolution "
        "resnet.encoder.stages.0.layers.0.layer.0.convolution",
        "Norm": "resnet.embedder.embedder.normalization "
        "resnet.encoder.stages.0.layers.0.layer.0.normalization",
        HEAD: "classifier.1", "Other": "resnet resnet.encoder.stages.0.layers.0",
    },
    unet: {
        "Convolution": "conv_in conv_out down_blocks.0.resnets.0.conv1 "
        "down_blocks.0.downsamplers.0.conv",
        "Embedding": "time_proj time_embedding.linear_1",
        "Attention": "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q "
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
        "FFN": "up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
        "Norm": "conv_norm_out down_blocks.0.resnets.0.norm1 "
        "down_blocks.0.attentions.0.transformer_blocks.0.norm1",
        "Other": "down_blocks.0 mid_block conv_act",
    },
    flux: {
        "Embedding": "x_embedder context_embedder time_text_embed.timestep_embedder.linear_1",
        "Attention": "transformer_blocks.0.attn.to_q transformer_blocks.0.attn.add_k_proj "
        "single_transformer_blocks.0.attn.to_v",
        "FFN": "transformer_blocks.0.ff.net.0.proj transformer_blocks.0.ff_context.net.2 "
        "single_transformer_blocks.0.proj_mlp single_transformer_blocks.0.proj_out",
        "Norm": "transformer_blocks.0.norm1.linear transformer_blocks.0.attn.norm_q norm_out",
        "Other": "transformer_blocks.0 single_transformer_blocks.0",
    },
    sd3: {
        "Embedding": "pos_embed.proj context_embedder",
        "Attention": "transformer_blocks.0.attn.to_add_out", "FFN": "transformer_blocks.0.ff",
    },
}  # fmt: skip


def expected(build: Callable[[Any], Any]) -> dict[str, str]:
    found = {}
    for key, value in EXPECTED[build].items():
        names = value.split() if key in LAYER_TYPES else [key]
        found.update(dict.fromkeys(names, key if key in LAYER_TYPES else value))
    return found


@pytest.mark.models
@pytest.mark.parametrize("build", EXPECTED, ids=lambda build: build.__name__)
def test_modules_of_real_models(build: Callable[[Any], Any]) -> None:
    library = pytest.importorskip("diffusers" if build in (unet, flux, sd3) else "transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries' own
        modules = dict(build(library).named_modules())
    wanted = expected(build)
    assert {name: layer_type(name, type(modules[name])) for name in wanted} == wanted
    by_name = {name: layer_type(name) for name in wanted}  # in a profile the class may be missing
    assert by_name == wanted
    # all that has weights is of a kind
    other = [
        name
        for name, module in modules.items()
        if next(module.parameters(recurse=False), None) is not None
        and layer_type(name, type(module)) == "Other"
    ]
    assert other == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BertLMHeadModel_0", "Other"),
        ("BertLMHeadModel_0/BertModel_0/BertEncoder_0/BertLayer_3", "Other"),
        ("BertLayer_3/BertAttention_3/BertSelfOutput_3/Linear_11", "Attention"),
        ("BertLayer_3/BertOutput_3/Linear_12", "FFN"),
        ("BertLayer_3/BertOutput_3/LayerNorm_4", "Norm"),
        ("BertLMHeadModel_0/BertOnlyMLMHead_0/BertLMPredictionHead_0/Linear_25", HEAD),
        ("Qwen2Model_0/Qwen2DecoderLayer_1/Qwen2MLP_1/Linear_5", "FFN"),
        ("Qwen2Model_0/Qwen2DecoderLayer_1/Qwen2Attention_1", "Attention"),
        ("Qwen2Model_0/Qwen2RotaryEmbedding_0", "Embedding"),
        ("Qwen3MoeDecoderLayer_0/Qwen3MoeSparseMoeBlock_0/Qwen3MoeTopKRouter_0", "FFN"),
        ("UNet2DConditionModel_0/CrossAttnDownBlock2D_0/ResnetBlock2D_0", "Convolution"),
        ("UNet2DConditionModel_0/CrossAttnDownBlock2D_0", "Other"),
        ("layer1.0.downsample.0", "Convolution"),
        ("fc", HEAD),
        ("Net_0/Linear_0", "Other"),
        ("h.0.attn.(compiled)", "Attention"),
        ("h.0.(CUDA graph)", "Other"),
        ("my step/decode", "Other"),
        ("", "Other"),
    ],
)
def test_names_of_profiles(name: str, kind: str) -> None:
    assert layer_type(name) == kind


def test_what_conv1d_is_depends_on_who_wrote_it() -> None:
    assert layer_type("block.x", "Conv1d") == "Convolution"
    assert layer_type("h.0.mlp.c_fc", "Conv1D") == "FFN"
    assert layer_type("block.x", "Conv1D") == "Other"
