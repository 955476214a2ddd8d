# SPDX-License-Identifier: Apache-2.0
"""Causal language models to generate text with: a local one, the tiny trained Llama, or a GPT-2
built from its config (real shapes, random weights)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CausalLM", "load_causal_lm", "stories_folder"]


@dataclass
class CausalLM:
    """A model, its tokenizer (None: random token ids are as good), and what it is."""

    model: Any
    tokenizer: Any
    description: str

    def encode(self, prompt: str) -> Any:
        """Token ids of shape (1, n) on the model's device."""
        import torch

        if self.tokenizer is None:
            generator = torch.Generator().manual_seed(0)
            size = (1, max(len(prompt.split()), 8))
            ids = torch.randint(0, self.model.config.vocab_size, size, generator=generator)
        else:
            encoded = self.tokenizer.encode(prompt)
            ids = torch.tensor([encoded])
        return ids.to(self.model.device)

    def decode(self, ids: Any) -> str:
        """Text of one row of token ids."""
        if self.tokenizer is None:
            return f"({len(ids)} tokens of a randomly initialised model)"
        return str(self.tokenizer.decode(ids.tolist()))


def stories_folder() -> Path | None:
    """Where the tiny trained Llama lies: ``$PYENERGY_DATA/stories260K``, or ``shared/data`` beside
    the current folder or this checkout; None when it is nowhere."""
    roots = [os.environ.get("PYENERGY_DATA")]
    for base in (Path.cwd(), Path(__file__).resolve().parent.parent):
        roots.extend(str(base / up / "shared" / "data") for up in (".", ".."))
    for root in roots:
        if root and (folder := Path(root) / "stories260K").joinpath("stories260K.bin").is_file():
            return folder
    return None


def load_causal_lm(
    path: str | os.PathLike[str] | None = None, device: str | None = None
) -> CausalLM:
    """The model in the local folder ``path``; else the tiny Llama if it is here; else a GPT-2.

    Parameters
    ----------
    path : path, optional
        A folder that ``from_pretrained`` reads (config, weights, tokenizer).
    device : str, optional
        torch device; None: CUDA where there is one.

    Raises
    ------
    FileNotFoundError
        When ``path`` is no folder.
    """
    import torch

    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if path is not None:
        lm = _from_folder(Path(path))
    elif (folder := stories_folder()) is not None:
        from .stories import load_stories

        model, tokenizer = load_stories(folder)
        lm = CausalLM(model, tokenizer, "stories260K, a trained Llama of 260 thousand parameters")
    else:
        lm = _gpt2_from_config()
    lm.model = lm.model.to(target).eval()
    return lm


def _from_folder(path: Path) -> CausalLM:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not path.is_dir():
        raise FileNotFoundError(f"no model folder {path}")
    model = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    return CausalLM(model, tokenizer, str(path))


def _gpt2_from_config() -> CausalLM:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    # GPT-2 small is GPT2Config's default. Without end-of-sequence every run has the same length.
    config = GPT2Config(eos_token_id=None, bos_token_id=None, pad_token_id=0)
    model = GPT2LMHeadModel(config)
    return CausalLM(model, None, "GPT-2 small built from its config (124 M random weights)")
