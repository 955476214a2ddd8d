# SPDX-License-Identifier: Apache-2.0
"""What kind of layer a module is: by its class where that says it, else by where it stands.

A linear layer of an attention block is Attention, one of a feed-forward block FFN: a kind says what
a layer does in its model, not which routine runs. Names are those of Hugging Face transformers,
diffusers and torchvision.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LAYER_TYPES", "LayerType", "layer_type"]

LayerType = Literal[
    "Embedding", "Attention", "FFN", "Norm", "LMHead/Classifier", "Convolution", "Other"
]
LAYER_TYPES: tuple[LayerType, ...] = (
    "Embedding", "Attention", "FFN", "Norm", "LMHead/Classifier", "Convolution", "Other"
)  # fmt: skip

# Classes that are one kind wherever they stand. GPT-2's Conv1D is a linear layer.
_CLASSES: tuple[tuple[re.Pattern[str], LayerType], ...] = (
    (re.compile(r"(?i)\w*norm(alization)?(\d?d|32|single|zero\w*|continuous\w*)?$"), "Norm"),
    (re.compile(r"(Lazy)?Conv(Transpose)?[123]d$"), "Convolution"),
    (re.compile(r"ResNet(Embeddings|ConvLayer|ShortCut)$"), "Convolution"),
    (re.compile(r"(Adaptive)?(Avg|Max)Pool[123]d$"), "Other"),
    (re.compile(r"\w*Embed(dings?|der|s)?(2D)?$|EmbeddingBag$|Timesteps$"), "Embedding"),
)
# Whole models and repeated blocks: what they run themselves (residual sums) is of no kind, and
# what stands in them is not judged by what stands around them.
_OUTSIDE = re.compile(
    r"(layers?|h|blocks?|(single_)?transformer_blocks|decoder_layers?|encoder_layers?)$"
    r"|(?!\w*MoeBlock|Resnet)[A-Z]\w*(Layer|Block(2D)?|MidBlock2D\w*|Encoder|Decoder|Model"
    r"|For[A-Z]\w*|Stack)$"
)
# Parts of a path, the first pattern that matches a part decides; innermost part first.
_PARTS: tuple[tuple[re.Pattern[str], LayerType], ...] = (
    (re.compile(r"(?i).*norm|ln(_?\w{1,4}|\d*)$|bn\d*$"), "Norm"),
    (
        re.compile(
            r"(lm_head|embed_out|(pre_)?classifier|score|head|cls|qa_outputs|vocab_projector"
            r"|vocab_transform|pooler|.*(LM|Classification|Prediction)Head|LogitsProcessor)$|Bert\w*Pooler$"
        ),
        "LMHead/Classifier",
    ),
    (re.compile(r"(?i).*embed|wte$|wpe$|.*(^|_)emb(_|$)|time_proj$|shared$|.*rotary"), "Embedding"),
    (
        re.compile(r"(?i).*att(entio)?n|to_[qkv]$|to_out$|[qkv](_proj|_lin)?$|o_proj$|out_lin$"
                   r"|.*SelfOutput$"),
        "Attention",
    ),
    (
        re.compile(r"(?i).*mlp|ffn?(_\w+)?$|.*feed_?forward|.*layerff$|fc_?[12]$|lin[12]$|wi(_[01])?$"
                   r"|.*densereludense|.*dense(gated)?act|.*intermediate|.*experts?$|.*moe(block|layer|mlp)?$|activation_fn$"),
        "FFN",
    ),
    (
        re.compile(r"(?i)(?!.*conv1d$|conv_act$).*conv|resnets$|resnetblock2d|down_?samplers?$"
                   r"|up_?samplers?$|downsample(2d)?$|upsample(2d)?$"),
        "Convolution",
    ),
)  # fmt: skip
# The output half of a BERT block's feed-forward part has no name of its own.
_BERT_OUTPUT = re.compile(r"(.*\.)?layers?\.\d+\.output(\.|$)")
_BERT_OUTPUT_CLASS = re.compile(r"(?!.*SelfOutput)[A-Z]\w*Output$")
_WHOLE: tuple[tuple[re.Pattern[str], LayerType], ...] = (
    (re.compile(r"(.*\.)?single_transformer_blocks\.\d+\.proj_out$"), "FFN"),  # Flux: of both
    (re.compile(r"(.*\.)?embedder\.embedder(?!.*norm)"), "Convolution"),  # how ResNets begin
)
_PATCHES = re.compile(r"(?i)(patch|pos)_?embed")
_HEADS = frozenset({"fc", "proj_out", "classifier"})  # at the top of a model
_INSTANCE = re.compile(r"_\d+$")


def layer_type(name: str | Sequence[str], module_class: str | type | None = None) -> LayerType:
    """The kind of a layer.

    Parameters
    ----------
    name : str or sequence of str
        As in ``named_modules()`` or of a `LayerMap`; or its path.
    module_class : str or type, optional
        Class of the module, where it is known.

    Examples
    --------
    >>> layer_type("transformer.h.0.attn.c_proj"), layer_type("transformer.h.0.mlp.c_proj")
    ('Attention', 'FFN')
    >>> layer_type("conv_in", "Conv2d"), layer_type("BertLayer_3/BertOutput_3/Linear_9")
    ('Convolution', 'FFN')
    """
    parts = _parts(name)
    dotted = ".".join(parts)
    of = module_class.__name__ if isinstance(module_class, type) else module_class
    for pattern, kind in _CLASSES if of else ():
        if pattern.match(of or ""):
            if kind == "Convolution" and any(_PATCHES.match(part) for part in parts):
                return "Embedding"  # cuts an image into patches
            return kind
    if len(parts) == 1 and parts[0] in _HEADS:
        return "LMHead/Classifier"
    for whole, kind in _WHOLE:
        if whole.match(dotted):
            return kind
    for depth in range(len(parts), 0, -1):
        part = parts[depth - 1]
        found = _of_part(part)
        if found is not None:
            return found
        if part == "output" and _BERT_OUTPUT.match(dotted):
            return "FFN"
        if _OUTSIDE.match(part):
            break
    if of and of not in parts and not _OUTSIDE.match(of):
        return _of_part(of) or "Other"
    return "Other"


def _of_part(part: str) -> LayerType | None:
    if _OUTSIDE.match(part) and part[0].isupper():
        return None
    for pattern, kind in _PARTS:
        if pattern.match(part):
            return kind
    return "FFN" if _BERT_OUTPUT_CLASS.match(part) else None


def _parts(name: str | Sequence[str]) -> tuple[str, ...]:
    """Its path, without the running numbers of the profiler's names."""
    if isinstance(name, str):
        name = name.split("/") if "/" in name else name.split(".")
    return tuple(_INSTANCE.sub("", part) if part[:1].isupper() else part for part in name)
