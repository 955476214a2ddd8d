# SPDX-License-Identifier: Apache-2.0
"""Writes a live recording: what a trace with a path keeps on disk while it runs."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _core
from ..errors import RecordingError
from .live_folder import LOG, META, LiveFolder
from .live_layout import FORMAT, VERSION, boot_id, sealed
from .live_log import LiveLog
from .store import save
from .whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .clock_anchor import ClockAnchor
    from .marks import Mark
    from .recorded import Recorded
    from .series import ChannelMeta, DeviceMeta

__all__ = ["LiveRecording", "LiveSource"]

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]*")
SHARED_MEMORY = Path("/dev/shm")
_NO_TAIL = (
    "no tail of this recording can be kept in memory ({why}): if its process is killed, up to the "
    "last 50 ms are lost"
)


@dataclass
class LiveSource:
    """One device: its stream and the recording that it fills."""

    meta: DeviceMeta
    channels: Mapping[str, ChannelMeta]
    stream: _core.Stream
    recording: _core.Recording

    def first_rows(self, since_ns: int) -> list[int]:
        """For each channel the row with which a recording that wants ``since_ns`` begins."""
        return [self.recording.row_since(i, since_ns) for i in range(len(self.channels))]


@dataclass
class _Followed:
    source: LiveSource
    files: _core.LiveFiles
    tail: _core.LiveTail | None
    tail_path: Path | None


class LiveRecording:
    """A folder that follows some samplers until `finish` or `leave`.

    What fails while it runs is told by `problem`; sampling goes on in memory, and what the disk
    refused is offered to it again.

    Raises
    ------
    RecordingError
        When the folder of ``target`` cannot be made, or another records to it.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self._folder = LiveFolder.claim(target)
        self.warning = self._folder.note
        self.notes = [self.warning] if self.warning else []
        self._id = secrets.token_hex(8)
        self._followed: list[_Followed] = []
        self._log: LiveLog | None = None

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder.path

    def follow(
        self,
        sources: list[LiveSource],
        since_ns: int,
        facts: Mapping[str, Any],
        host_marks: bool = False,
    ) -> None:
        """Keep what the sources have read since then, and all that they will read.

        ``host_marks``: the times of marks are the host's until the trace ends.

        Raises
        ------
        RecordingError
            When the files cannot be made.
        """
        try:
            devices = {source.meta.id: self._device(source, since_ns) for source in sources}
            meta = {
                "format": FORMAT,
                "version": VERSION,
                "id": self._id,
                "pid": os.getpid(),
                "boot_id": boot_id(),
                "devices": devices,
                "provenance": dict(facts),
                "host_marks": host_marks,
                "notes": self.notes,
            }
            self._log = LiveLog(self.path / LOG)
            # The last: a folder with a description is whole.
            with whole_file(self.path / META) as part:
                part.write_bytes(sealed(meta))
        except OSError as error:
            why = error.strerror or error
            raise RecordingError(f"cannot record to {self.target}: {why}") from error

    def start(self, start_ns: int) -> None:
        """The trace begins."""
        self._tell({"start_ns": start_ns})

    def mark(self, mark: Mark) -> None:
        """A mark has ended."""
        self._tell({"mark": mark.described()})

    def anchor(self, anchor: ClockAnchor) -> None:
        """A clock anchor was taken."""
        self._tell({"anchor": [anchor.mono_ns, anchor.real_ns, anchor.width_ns]})

    def annotate(self, values: Mapping[str, Any]) -> None:
        """JSON values to keep with the trace."""
        self._tell({"extra": dict(values)})

    @property
    def problem(self) -> str:
        """Why the folder lacks something that was read; empty when it does not."""
        codes = [followed.files.error for followed in self._followed]
        code = next((code for code in codes if code), 0)
        if not code and self._log is not None and self._log.error is not None:
            code = self._log.error.errno or errno.EIO
        if not code:
            return ""
        why = "it was removed" if code == errno.ENOENT else os.strerror(code)
        return (
            f"what was read is not all in {self.path}: {why}; it is in memory and will be lost if "
            "the process is killed"
        )

    def finish(self, recorded: Recorded) -> None:
        """Write the ordinary file, and remove the folder once that is complete.

        Of a trace that keeps only its latest readings, the file gets all of them from the folder.

        Raises
        ------
        RecordingError
            When the file cannot be written: the folder stays.
        """
        try:
            save(recorded if recorded.settled is None else self._whole(recorded), self.target)
        except RecordingError as error:
            self.leave()
            hint = f"; 'pyenergy recover {self.path}' makes it again" if self.path.is_dir() else ""
            raise RecordingError(f"{error}; the trace is still in memory{hint}") from error
        self._stop(remove_tails=True)
        self._folder.remove()

    def _whole(self, recorded: Recorded) -> Recorded:
        """With every reading and mark since the start, as they lie in the folder."""
        from .live_read import LiveReader

        self._catch_up()
        if problem := self.problem:
            raise RecordingError(problem)
        read = LiveReader(self.path, mapped=True).read()
        known = {(mark.name, mark.host_ns) for mark in recorded.marks}
        marks = [*recorded.marks, *(m for m in read.marks if (m.name, m.host_ns) not in known)]
        return replace(
            recorded,
            bounds_ns=recorded.whole_ns,
            devices={
                name: replace(device, stats=recorded.devices[name].stats)
                for name, device in read.devices.items()
            },
            marks=tuple(sorted(marks, key=lambda m: (m.start_ns, -m.end_ns))),
            anchors=read.anchors,
            settled=None,
        )

    def _catch_up(self) -> None:
        for followed in self._followed:
            with contextlib.suppress(RuntimeError):
                followed.source.stream.drain()
                _core.write_live(followed.source.recording)

    def leave(self) -> None:
        """Follow no more; what is there stays."""
        self._catch_up()
        # Without the folder nobody finds them.
        self._stop(remove_tails=not self.path.is_dir())
        self._folder.close()

    def discard(self) -> None:
        """Remove everything: the trace never began."""
        self._stop(remove_tails=True)
        self._folder.remove()

    def _tell(self, entry: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.append(entry)

    def _stop(self, remove_tails: bool) -> None:
        for followed in self._followed:
            _core.unfollow(followed.source.recording, followed.files)
            if followed.tail is not None:
                _core.remove_tail(followed.source.stream, followed.tail)
            if remove_tails and followed.tail_path is not None:
                with contextlib.suppress(OSError):
                    followed.tail_path.unlink()
        if remove_tails:
            self._followed.clear()
        if self._log is not None:
            self._log.close()

    def _device(self, source: LiveSource, since_ns: int) -> dict[str, Any]:
        """Begin to follow one device; its part of the description."""
        number = len(self._followed)
        name = _file_name(source.meta.id, number)
        (self.path / name).mkdir()
        tail, tail_path, tail_seed = self._tail(source, self.path / name / "tail.npy", number)
        # From here on the tail has all that comes: the rows what came before.
        source.stream.drain()
        firsts = source.first_rows(since_ns)
        described = {}
        for index, (channel, first) in enumerate(zip(source.stream.channels, firsts, strict=True)):
            described[channel.name] = {
                **_described(channel),
                "file": f"{name}/{_file_name(channel.name, index)}.npy",
                "seed": secrets.randbits(64),
                "first_row": first,
            }
        places = [
            (os.fspath(self.path / c["file"]), c["seed"], c["first_row"])
            for c in described.values()
        ]
        try:
            files = _core.follow(source.recording, places)
        except OSError:
            if tail is not None and tail_path is not None:
                _core.remove_tail(source.stream, tail)
                tail_path.unlink(missing_ok=True)
            raise
        # Their latest readings may be from before the tail.
        names = list(described)
        for index, *stood in _core.counters(source.recording):
            described[names[index]]["stood"] = stood
        self._followed.append(_Followed(source, files, tail, tail_path))
        inside = tail_path is not None and tail_path.is_relative_to(self.path)
        where = f"{name}/tail.npy" if inside else tail_path and os.fspath(tail_path)
        return {
            "meta": {k: _finite(v) for k, v in asdict(source.meta).items()},
            "channels": described,
            "gap_ns": source.stream.gap_ns,
            "slow_gap_ns": source.stream.slow_gap_ns,
            "tail": {"file": where, "seed": tail_seed} if tail_path is not None else None,
        }

    def _tail(
        self, source: LiveSource, inside: Path, number: int
    ) -> tuple[_core.LiveTail | None, Path | None, int]:
        """The sampler's latest second in a file in memory: here, or where the system keeps such."""
        seed = secrets.randbits(64)
        places = [inside, SHARED_MEMORY / f"pyenergy-{self._id}-{number}.npy"]
        if runtime := os.environ.get("XDG_RUNTIME_DIR"):
            places.append(Path(runtime) / f"pyenergy-{self._id}-{number}.npy")
        why = "nowhere"
        for path in places:
            try:
                tail = _core.LiveTail(os.fspath(path), source.stream.ring_capacity, seed)
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    why = f"{path.parent}: {error.strerror}"
                continue
            if _core.add_tail(source.stream, source.recording, tail):
                return tail, path, seed
            path.unlink(missing_ok=True)
            why = "its sampler has ended, or writes eight already"
            break
        self.notes.append(f"{source.meta.id}: {_NO_TAIL.format(why=why)}")
        return None, None, seed


def _file_name(name: str, number: int) -> str:
    """``name``, or a number for one that would be no file's name."""
    return name if _PLAIN.fullmatch(name) and name != "tail" else f"_{number}"


def _described(channel: _core.Channel) -> dict[str, Any]:
    """All that turns the sensor's readings into rows, and says what they are."""
    names = (
        "name", "unit", "kind", "group", "scale", "modulus", "valid_min", "valid_max", "source",
        "scope", "note", "update_ns", "window_ns", "delay_ns",
    )  # fmt: skip
    return {name: _finite(getattr(channel, name)) for name in names}


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity: a bound that does not exist is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
