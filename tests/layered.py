# SPDX-License-Identifier: Apache-2.0
"""Small models for the tests of layers, and a card of steady power to run them on."""

from __future__ import annotations

import time
from typing import Any

import pytest

import pyenergy
from pyenergy import testing
from pyenergy._layer_capture import Captured, ModelInputs, capture

torch = pytest.importorskip("torch")
nn = torch.nn
X = torch.ones(2, 4)
WATTS = 300.0


def captured(model: Any, inputs: Any, depth: int | None = None, match: Any = None) -> Captured:
    return capture(model, ModelInputs(inputs), depth, match)


def counts(found: Captured) -> dict[str, list[int]]:
    return {name: [s.count for s in calls] for name, calls in found.calls.items()}


def measured(model: Any, inputs: Any, **options: Any) -> pyenergy.LayerEnergies:
    """On a card whose power is steady."""
    with testing.simulated("ideal") as world:
        world[0].set_power(WATTS)
        options = {"devices": "sim", "budget_s": 1.0, **options}
        return pyenergy.layers(model, inputs, **options)


def said(found: pyenergy.LayerEnergies | Captured) -> str:
    return "\n".join(found.notes)


class Cnn(nn.Module):
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.stem(x).mean((2, 3)))


class Twice(nn.Module):
    """One module of two names, in a loop over lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.norm = nn.LayerNorm(4)
        self.never = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        x = self.second(self.first(x))
        for length in (1, 2, 2):
            x[:length] = self.norm(x[:length])
        return x


class Told(nn.Module):
    """Runs only while its parent does."""

    state: Any = None

    def forward(self, x: Any) -> Any:
        if self.state is None:
            raise RuntimeError("nobody told me")
        return x + self.state


class Tells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.told, self.linear = Told(), nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        self.told.state = x
        try:
            return self.linear(self.told(x))
        finally:
            self.told.state = None


class Cache:
    """What a layer remembers of its calls."""

    def __init__(self) -> None:
        self.seen: list[Any] = []


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Any, cache: Cache) -> Any:
        cache.seen.append(x)
        return self.linear(torch.cat(cache.seen)) * self.weight


class Passes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = Remembers(), nn.Linear(4, 4)

    def forward(self, x: Any, cache: Cache) -> Any:
        return self.last(self.inner(x, cache=cache))


class Waits(nn.Module):
    """Takes a known time: its share of the energy, where the power is steady."""

    def __init__(self, seconds: float, *inner: Any) -> None:
        super().__init__()
        self.seconds, self.inner = seconds, nn.ModuleList(inner)

    def forward(self, x: Any) -> Any:
        time.sleep(self.seconds)
        for module in self.inner:
            x = module(x)
        return x


def gpt2() -> tuple[Any, dict[str, Any]]:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=16, bos_token_id=0,
        eos_token_id=0, use_cache=False,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 8))
    return transformers.GPT2LMHeadModel(config).eval(), {"input_ids": ids}


def bert() -> tuple[Any, dict[str, Any]]:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        num_hidden_layers=2, hidden_size=16, num_attention_heads=2, intermediate_size=32,
        vocab_size=50,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 8))
    return transformers.BertForSequenceClassification(config).eval(), {"input_ids": ids}
