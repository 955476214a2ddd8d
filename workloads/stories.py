# SPDX-License-Identifier: Apache-2.0
"""A tiny trained Llama in llama2.c's version-0 layout, as a transformers model.

Layout (llama2.c, ``export.py`` legacy_export): seven int32 (dim, hidden_dim, layers, heads,
kv_heads, vocabulary, sequence length; a negative vocabulary means a separate classifier), then
float32 weights layer-stacked in the order read below. llama2.c rotates neighbouring pairs of a
head, transformers its two halves: the rows of wq and wk are reordered accordingly.
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["StoriesTokenizer", "load_stories"]


class StoriesTokenizer:
    """Byte-pair tokenizer in llama2.c's layout: int32 longest piece, then per piece a float32
    score, an int32 length and the bytes."""

    bos_token_id = 1
    eos_token_id = 2

    def __init__(self, path: Path, size: int) -> None:
        data = path.read_bytes()
        offset = 4
        self.pieces: list[bytes] = []
        self.scores: list[float] = []
        for _ in range(size):
            score, length = struct.unpack_from("<fi", data, offset)
            offset += 8
            self.pieces.append(data[offset : offset + length])
            self.scores.append(score)
            offset += length
        self._index = {piece: token for token, piece in enumerate(self.pieces)}

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, the beginning-of-sequence token first."""
        tokens = [t for char in " " + text for t in self._characters(char)]
        while True:
            best = max(
                ((self.scores[t], -i) for i, t in enumerate(self._pairs(tokens)) if t >= 0),
                default=None,
            )
            if best is None:
                return [self.bos_token_id, *tokens]
            i = -best[1]
            tokens[i : i + 2] = [self._pairs(tokens[i : i + 2])[0]]

    def decode(self, tokens: list[int]) -> str:
        """Text of token ids; the special ones are left out."""
        data = b"".join(self._bytes(t) for t in tokens if t > self.eos_token_id)
        return data.decode(errors="replace").lstrip(" ")

    def _characters(self, char: str) -> list[int]:
        token = self._index.get(char.encode())
        # Bytes without a piece of their own follow the three special tokens.
        return [token] if token is not None else [byte + 3 for byte in char.encode()]

    def _pairs(self, tokens: list[int]) -> list[int]:
        pairs = itertools.pairwise(tokens)
        return [self._index.get(self.pieces[a] + self.pieces[b], -1) for a, b in pairs]

    def _bytes(self, token: int) -> bytes:
        piece = self.pieces[token]
        if len(piece) == 6 and piece.startswith(b"<0x"):
            return bytes([int(piece[3:5], 16)])
        return piece


def load_stories(folder: Path) -> tuple[Any, StoriesTokenizer]:
    """``LlamaForCausalLM`` and tokenizer from ``stories260K.bin`` and ``tok512.bin``.

    Raises
    ------
    ValueError
        When the file's length does not fit its header.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    data = (folder / "stories260K.bin").read_bytes()
    dim, hidden, layers, heads, kv_heads, vocabulary, length = struct.unpack_from("<7i", data)
    config = LlamaConfig(
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=abs(vocabulary),
        max_position_embeddings=length,
        tie_word_embeddings=vocabulary > 0,
        rms_norm_eps=1e-5,
        bos_token_id=StoriesTokenizer.bos_token_id,
        eos_token_id=StoriesTokenizer.eos_token_id,
        pad_token_id=StoriesTokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    weights = _weights(np.frombuffer(data, "<f4", offset=28), config, vocabulary < 0)
    _assign(model, weights)
    return model.eval(), StoriesTokenizer(folder / "tok512.bin", abs(vocabulary))


def _weights(flat: NDArray[np.float32], config: Any, own_head: bool) -> dict[str, Any]:
    dim, hidden, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    head_dim = dim // config.num_attention_heads
    kv_dim = head_dim * config.num_key_value_heads
    rotary = config.max_position_embeddings * head_dim // 2
    shapes = {
        "embed": (config.vocab_size, dim),
        "attention_norm": (layers, dim),
        "q": (layers, dim, dim),
        "k": (layers, kv_dim, dim),
        "v": (layers, kv_dim, dim),
        "o": (layers, dim, dim),
        "ffn_norm": (layers, dim),
        "gate": (layers, hidden, dim),
        "down": (layers, dim, hidden),
        "up": (layers, hidden, dim),
        "norm": (dim,),
        "rotary": (2 * rotary,),
    }
    if own_head:
        shapes["head"] = (config.vocab_size, dim)
    need = sum(int(np.prod(shape)) for shape in shapes.values())
    if need != flat.size:
        raise ValueError(f"the file holds {flat.size} weights, its header asks for {need}")
    weights, offset = {}, 0
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        weights[name] = flat[offset : offset + count].reshape(shape)
        offset += count
    weights["q"] = _halves(weights["q"], config.num_attention_heads)
    weights["k"] = _halves(weights["k"], config.num_key_value_heads)
    return weights


def _halves(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of each head from neighbouring pairs to two halves."""
    layers, rows, dim = weight.shape
    pairs = weight.reshape(layers, heads, rows // heads // 2, 2, dim)
    return np.ascontiguousarray(pairs.swapaxes(2, 3)).reshape(layers, rows, dim)


def _assign(model: Any, weights: dict[str, Any]) -> None:
    import torch

    def put(parameter: Any, values: NDArray[np.float32]) -> None:
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values.copy()))

    put(model.model.embed_tokens.weight, weights["embed"])
    put(model.model.norm.weight, weights["norm"])
    if "head" in weights:
        put(model.lm_head.weight, weights["head"])
    for i, layer in enumerate(model.model.layers):
        put(layer.input_layernorm.weight, weights["attention_norm"][i])
        put(layer.post_attention_layernorm.weight, weights["ffn_norm"][i])
        for name in ("q", "k", "v", "o"):
            put(getattr(layer.self_attn, f"{name}_proj").weight, weights[name][i])
        for name in ("gate", "up", "down"):
            put(getattr(layer.mlp, f"{name}_proj").weight, weights[name][i])
