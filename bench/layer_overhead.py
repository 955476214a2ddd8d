# SPDX-License-Identifier: Apache-2.0
"""``python -m bench.layer_overhead``: what the hooks of `ModuleSpans` cost a forward pass.

Each forward with hooks is timed beside one without, on the CPU: a model of small layers, where a
hook is long against a layer, and one of larger layers.
"""

from __future__ import annotations

import copy

from pyenergy.attribution import ModuleSpans

from .harness import Result, interleaved

GOAL_SMALL, GOAL_LARGE = 2.0, 1.05


def run(rounds: int = 200) -> list[Result]:
    """Overhead for small and for larger layers."""
    import torch

    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for each other, and be timed waiting
    try:
        return [
            _overhead("small: 24 linear layers of 16, batch 1", 16, 1, rounds * 5, GOAL_SMALL),
            _overhead("larger: 24 linear layers of 512, batch 32", 512, 32, rounds, GOAL_LARGE),
        ]
    finally:
        torch.set_num_threads(threads)


def _overhead(name: str, width: int, batch: int, rounds: int, goal: float) -> Result:
    import torch

    layers = [torch.nn.Linear(width, width) for _ in range(24)]
    model, x = torch.nn.Sequential(*layers).eval(), torch.randn(batch, width)

    # A twin with the very same weights has the hooks, so that caches treat both alike.
    twin = copy.deepcopy(model)
    for mine, its in zip(twin.parameters(), model.parameters(), strict=True):
        mine.data = its.data
    with torch.inference_mode(), ModuleSpans(twin):
        interleaved(lambda: twin(x), lambda: model(x), 20)  # warm-up
        hooked, alone = interleaved(lambda: twin(x), lambda: model(x), rounds)
    per_call = (hooked - alone) / (len(layers) + 1) * 1e9
    return Result(
        f"forward with hooks around 25 modules, {name} ({per_call:.0f} ns a call)",
        f"{hooked * 1e6:.1f} us", f"{alone * 1e6:.1f} us", hooked / alone,
        f"<= {goal:g}", hooked / alone <= goal,
    )  # fmt: skip


def main() -> None:
    """Print the figures."""
    for result in run():
        print(f"{result.name}: {result.ours} against {result.theirs}, {result.ratio:.3f}")


if __name__ == "__main__":
    main()
