# SPDX-License-Identifier: Apache-2.0
"""Every kept input and some changes of each: read, or refused with a message."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from fuzz_mutate import zipped
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


@pytest.mark.parametrize("link", [b"-> outside", b"-> here", b"-> zero", b"-> pipe"])
def test_an_input_writes_nothing_outside_its_folder(link: bytes, tmp_path: Path) -> None:
    """A link, and a member of the same name behind it: the harness itself runs as anybody."""
    (tmp_path / "run.live").mkdir()
    outside = tmp_path / "outside"
    outside.write_text("mine")
    inputs = [[("log.jsonl", link), ("log.jsonl", b"theirs")], [("a", link), ("a/b", b"theirs")]]
    for members in inputs:
        READERS["live"].refuses(zipped(members), tmp_path)
    assert outside.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "run.live"]


def test_the_corpus_stays_small() -> None:
    for folder in CORPUS.iterdir():
        assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000, folder.name
