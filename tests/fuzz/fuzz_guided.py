# SPDX-License-Identifier: Apache-2.0
"""libFuzzer over the Python readers, by atheris: the changes are those of `fuzz_readers`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any


def run(
    atheris: Any,
    name: str,
    asked: Any,
    watched: Callable[[Any, bytes, Path], bool],
    instrumented: Sequence[str],
    memory: str | None,
) -> int:
    """Does not return: libFuzzer ends the process, with a code other than 0 for a finding."""
    with atheris.instrument_imports(include=list(instrumented), enable_loader_override=False):
        import fuzz_readers
    reader = fuzz_readers.READERS[name]
    folder = Path(tempfile.mkdtemp(dir=memory, prefix="fuzz-"))
    found = folder / "corpus"
    found.mkdir()

    def once(data: bytes) -> None:
        if os.getpid() == owner:
            watched(reader, bytes(data), folder)

    def change(data: bytes, size: int, seed: int) -> bytes:
        rng = Random(seed)
        return reader.change(bytes(data), rng)[:size]

    owner = os.getpid()
    corpus = [str(found), str(fuzz_readers.CORPUS / name)]
    arguments = [
        f"-max_total_time={max(1, round(asked.seconds))}", "-rss_limit_mb=1536", "-timeout=20",
        "-max_len=200000", f"-artifact_prefix={asked.findings}/{name}-", f"-seed={asked.seed}",
        "-print_final_stats=1", "-len_control=0",
    ]  # fmt: skip
    atheris.Setup([name, *arguments, *corpus], once, custom_mutator=change)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0
