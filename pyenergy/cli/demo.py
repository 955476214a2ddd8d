# SPDX-License-Identifier: Apache-2.0
"""``pyenergy demo``: the joules of a real text generation on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..report.text import print_trace

if TYPE_CHECKING:
    from ..integrations.transformers import Generation

__all__ = ["command"]

_INSTALL = escape("pip install '.[models]' in a clone of pyenergy")


def command(
    model: Annotated[
        Path | None, typer.Option(help="Folder of a local causal LM (from_pretrained).")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What to continue.")] = "Once upon a time",
    tokens: Annotated[int, typer.Option(help="Tokens to generate in all.", min=2)] = 2000,
    devices: Annotated[str, typer.Option(help="What to measure.")] = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path(
        "demo-out"
    ),
) -> None:
    """Generate text with a causal language model and print what it cost.

    Uses the model in --model; else the tiny trained Llama where its file is present; else a
    GPT-2-sized model built from its config. Writes the recording and a plot of the power.
    """
    console = Console(highlight=False)
    generation, text = _generate(model, prompt, tokens, devices, console)
    out.mkdir(parents=True, exist_ok=True)
    console.print(f"[dim]{escape(text[:400])}{' …' if len(text) > 400 else ''}[/]\n")
    print_trace(generation.trace, console)
    recording = generation.trace.save(out / "demo.pyenergy")
    from ..report.plots import power_plot

    picture = power_plot(generation.trace, out / "power.png")
    text = f"\nwrote {recording} ('pyenergy show {recording}') and {picture}"
    console.print(text, markup=False)


def _generate(
    path: Path | None, prompt: str, tokens: int, devices: str, console: Console
) -> tuple[Generation, str]:
    try:
        from transformers.utils import logging

        from pyenergy.workloads.causal_lm import load_causal_lm
    except ImportError as error:
        console.print(f"[bold red]error:[/] {error}; install: " + _INSTALL)
        raise typer.Exit(1) from None
    from ..integrations.transformers import generate

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    with console.status("loading the model"):
        lm = load_causal_lm(path)
        ids = lm.encode(prompt)
        longest = int(getattr(lm.model.config, "max_position_embeddings", 1024))
        new = min(tokens, longest - ids.shape[1])
        batch = -(-tokens // new)  # requests enough for the tokens asked for
        ids = ids.repeat(batch, 1)
        lm.model.generate(ids, max_new_tokens=2, attention_mask=ids.new_ones(ids.shape))  # warm up
    console.print(f"[bold]{escape(lm.description)}[/], {batch} request(s), up to {new} tokens each")
    with console.status("generating"):
        result = generate(
            lm.model,
            ids,
            trace_options={"devices": devices},
            max_new_tokens=new,
            do_sample=True,
            attention_mask=ids.new_ones(ids.shape),
        )
    result.trace.annotate(generation=result.summary())
    return result, lm.decode(getattr(result.output, "sequences", result.output)[0])
