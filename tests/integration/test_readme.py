# SPDX-License-Identifier: Apache-2.0
"""The README's code runs as it is written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
SHORT = re.findall(r"```py\n(.*?)```", README.read_text(), re.DOTALL)  # found by what is in them

# What a reader of the generation example has already.
MODEL = """
import torch, transformers
torch.manual_seed(0)
config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=32, n_positions=256,
                                 eos_token_id=None, bos_token_id=None, pad_token_id=0)
model = transformers.GPT2LMHeadModel(config).eval()
inputs = {"input_ids": torch.tensor([[1, 2, 3]]), "attention_mask": torch.tensor([[1, 1, 1]])}
"""


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ten_lines(tmp_path: Path) -> None:
    printed = run(BLOCKS[0], tmp_path)
    assert "prepare" in printed
    assert "±" in printed
    assert (tmp_path / "run.pyenergy").is_file()


@pytest.mark.models
def test_generation(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    assert "±" in run(MODEL + BLOCKS[1], tmp_path)


def test_measure(tmp_path: Path) -> None:
    """With a smaller budget, and on a simulated GPU: what is said, not how well."""
    code = BLOCKS[2].replace("budget_s=10", "budget_s=2").replace('"auto"', '"sim:a100"')
    code = code.replace("max(data)}, ", 'max(data)}, devices="sim:a100", ')
    assert "±" in run("import pyenergy\ndata = [1, 2, 3] * 1000\n" + code, tmp_path)


@pytest.mark.models
def test_kernels_and_layers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    printed = run("import pyenergy\n" + MODEL + BLOCKS[3] + BLOCKS[4], tmp_path)
    assert "(nothing ran)" in printed
    assert "Attention" in printed
    assert "</html>" in (tmp_path / "run.html").read_text()


@pytest.mark.models
def test_layers_alone(tmp_path: Path) -> None:
    """With a smaller budget: what is said, not how well."""
    pytest.importorskip("transformers")
    code = BLOCKS[5].replace("budget_s=30", "budget_s=2")
    assert "attn" in run("import pyenergy\n" + MODEL + code, tmp_path)


def test_readings_taken_elsewhere(tmp_path: Path) -> None:
    assert "±" in run(BLOCKS[6], tmp_path)


def test_simulated_gpu(tmp_path: Path) -> None:
    run(BLOCKS[7], tmp_path)


def test_the_node(tmp_path: Path) -> None:
    (code,) = (block for block in SHORT if 'devices="node"' in block)
    assert "shared by CPU time" in run("import pyenergy\n" + code, tmp_path)


def test_every_block_is_tested() -> None:
    assert len(BLOCKS) == 8


def test_commands_it_names_exist() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"\$ make (\w+)", README.read_text()):
        assert f"\n{target}:" in makefile
