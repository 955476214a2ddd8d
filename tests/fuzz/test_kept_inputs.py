# SPDX-License-Identifier: Apache-2.0
"""Every kept input and some changes of each: read, or refused with a message."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from fuzz_readers import CORPUS, READERS, seeds

CHANGES = 12


@pytest.mark.parametrize("name", list(READERS))
def test_no_input_is_a_surprise(name: str, tmp_path: Path) -> None:
    reader, rng = READERS[name], Random(7)
    kept = seeds(name)
    refused = [reader.refuses(data, tmp_path) for data in kept]
    assert not all(refused), "the readers' own inputs are good ones"
    for _ in range(CHANGES):
        reader.refuses(reader.change(rng.choice(kept), rng), tmp_path)


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("*/bad-*")), ids=lambda p: p.parent.name + p.name
)
def test_what_was_once_a_finding_is_refused(path: Path, tmp_path: Path) -> None:
    assert READERS[path.parent.name].refuses(path.read_bytes(), tmp_path)


def test_the_corpus_stays_small() -> None:
    for folder in CORPUS.iterdir():
        assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000, folder.name
