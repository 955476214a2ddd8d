# SPDX-License-Identifier: Apache-2.0
"""Makes the ordinary file of a recording whose process died."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ..errors import RecordingError
from .live_folder import SUFFIX, is_live_folder, live_folder, owner_of
from .live_read import LiveReader
from .recorded import Recorded
from .store import save

__all__ = ["folder_of", "recover", "target_of"]


def folder_of(path: Path) -> Path:
    """The live folder that is meant by its own name, or by that of its recording.

    Raises
    ------
    RecordingError
        When there is none.
    """
    for folder in (path, live_folder(path)):
        if is_live_folder(folder):
            return folder
    if path.is_file():
        raise RecordingError(f"{path} is a complete recording: nothing of it is unfinished")
    raise RecordingError(f"no unfinished recording: neither {live_folder(path)} nor {path} is one")


def target_of(folder: Path) -> Path:
    """The file that a folder is to become: of ``run.pyenergy.live-1`` it is ``run-1.pyenergy``."""
    name, _, number = folder.name.rpartition(SUFFIX)
    if not name:
        return folder.with_name(f"{folder.name}.pyenergy")
    plain = Path(name)
    return folder.with_name(f"{plain.stem}{number}{plain.suffix}")


def recover(
    path: Path, out: Path | None = None, *, replace: bool = False, keep: bool = False
) -> tuple[Path, Recorded]:
    """Write the file of an unfinished recording, then remove its folder unless it is kept.

    Raises
    ------
    RecordingError
        When there is none, its process still runs, it is damaged, or the file exists or cannot be
        written.
    """
    folder = folder_of(path)
    owner = owner_of(folder)
    if owner is not None:
        raise RecordingError(
            f"{folder} is still being recorded by {owner}: 'pyenergy attach {path}' watches it"
        )
    target = target_of(folder) if out is None else out
    if target.exists() and not replace:
        raise RecordingError(f"{target} exists: give another file with -o, or --replace")
    reader = LiveReader(folder)
    recorded = reader.read()
    save(recorded, target)
    if not keep:
        for tail in reader.tails():
            with contextlib.suppress(OSError):
                tail.unlink()
        shutil.rmtree(folder, ignore_errors=True)
    return target, recorded
