# SPDX-License-Identifier: Apache-2.0
"""A JSON file of any size, a block at a time: its bytes, its single values, its list of events.

Where a block may end is guessed at a ``}, {`` and proved by decoding: text up to there that
decodes as a list ends between two of its items, not inside a string or a deeper list.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from ..errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["Cursor", "MalformedError", "chunks_of"]

_WHITE = b" \t\r\n"
_NOT_WHITE = re.compile(rb"[^ \t\r\n]")
_SCALAR_END = re.compile(rb"[ \t\r\n,\]}:]")
_OUTSIDE = re.compile(rb'[{}\[\]"]')
_INSIDE = re.compile(rb'\\.|"', re.DOTALL)
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]"]', re.DOTALL)
_BETWEEN = re.compile(rb"\}\s*,\s*(?=\{)")
_TAIL = 1 << 14  # where a block's end is looked for; events are shorter as a rule


class MalformedError(RecordingError):
    """The text is not JSON from this byte on, or ends too early."""

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(f"{problem} at byte {offset}")
        self.offset = offset
        self.problem = problem


def chunks_of(file: BinaryIO, chunk: int) -> Iterator[bytes]:
    """What a file holds, unzipped where it is gzip, in pieces of at most ``chunk`` bytes.

    Raises
    ------
    MalformedError
        At the byte of the unzipped text where a gzip stream breaks off or is damaged; all before
        it was handed out.
    """
    head = file.read(max(chunk, 2))
    if head[:2] != b"\x1f\x8b":
        while head:
            yield head
            head = file.read(chunk)
        return
    done = 0
    for piece in _unzipped(file, head, chunk):
        if isinstance(piece, str):
            raise MalformedError(done, piece)
        done += len(piece)
        yield piece


def _unzipped(file: BinaryIO, data: bytes, chunk: int) -> Iterator[bytes | str]:
    """Pieces of text, and last the problem if there is one."""
    stream = zlib.decompressobj(wbits=31)
    while True:
        try:
            text = stream.decompress(data, chunk)
        except zlib.error as error:
            yield f"the gzip stream is damaged ({error})"
            return
        if text:
            yield text
        data = stream.unused_data if stream.eof else stream.unconsumed_tail
        if stream.eof:
            data = data.lstrip(b"\0") or file.read(chunk).lstrip(b"\0")
            if not data:
                return
            stream = zlib.decompressobj(wbits=31)  # files are concatenated
        elif not data and not (data := file.read(chunk)):
            yield "the gzip stream breaks off"
            return


class Cursor:
    """A place in text that arrives in chunks; holds no more than what it is asked to look at."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.buffer = b""
        self.at = 0  # in the buffer
        self._before = 0  # bytes before the buffer
        self.exhausted = False  # all that comes is in the buffer
        self.broken: MalformedError | None = None  # why no more comes, if not for the end

    @property
    def offset(self) -> int:
        """Byte of the text."""
        return self._before + self.at

    def length(self) -> int:
        """Bytes of the whole text; it is read to its end, and none of it is left to look at."""
        count = self._before + len(self.buffer)
        while chunk := self._next():
            count += len(chunk)
        return count

    def _next(self) -> bytes:
        """Another chunk, empty at the end."""
        try:
            chunk = next(self._chunks, b"")
        except MalformedError as error:
            self.broken, chunk = error, b""
        self.exhausted = not chunk
        return chunk

    def more(self) -> bool:
        """Take in another chunk, letting go of what lies behind; whether there was one."""
        chunk = self._next()
        if not chunk:
            return False
        self._before += self.at
        self.buffer = self.buffer[self.at :] + chunk
        self.at = 0
        return True

    def ahead(self, count: int) -> None:
        """Take in until ``count`` bytes lie ahead, or the end."""
        if len(self.buffer) - self.at >= count:
            return
        pieces = [self.buffer[self.at :]]
        have = len(pieces[0])
        while have < count and (chunk := self._next()):
            pieces.append(chunk)
            have += len(chunk)
        self._before += self.at
        self.buffer, self.at = b"".join(pieces), 0

    def peek(self) -> bytes:
        """Go to the next character that is not white; that character, empty at the end."""
        while True:
            match = _NOT_WHITE.search(self.buffer, self.at)
            if match:
                self.at = match.start()
                return match.group()
            self.at = len(self.buffer)
            if not self.more():
                return b""

    def ended(self, inside: str) -> MalformedError:
        """The text ends where it must not."""
        if self.broken:
            return MalformedError(self.broken.offset, self.broken.problem)
        return MalformedError(self._before + len(self.buffer), f"the text ends inside {inside},")

    def take(self, characters: bytes, inside: str) -> bytes:
        """Step over the next character, which must be one of these."""
        found = self.peek()
        if not found:
            raise self.ended(inside)
        if found not in [characters[i : i + 1] for i in range(len(characters))]:
            wanted = " or ".join(repr(chr(each)) for each in characters)
            raise MalformedError(self.offset, f"{found!r} where {wanted} must stand in {inside},")
        self.at += 1
        return found

    def value(self, inside: str, limit: int) -> bytes | None:
        """Step over one JSON value; its text, or None if it is longer than ``limit`` bytes."""
        first = self.peek()
        if not first:
            raise self.ended(inside)
        kept: list[bytes] = []
        size = 0
        depth, quoted = 0, False
        while True:
            begin = self.at
            done, depth, quoted = self._scan(depth, quoted, first not in b'{["')
            size += self.at - begin
            if size <= limit:
                kept.append(self.buffer[begin : self.at])
            if done:
                return b"".join(kept) if size <= limit else None
            if not self.more():
                raise self.ended(inside)

    def _scan(self, depth: int, quoted: bool, scalar: bool) -> tuple[bool, int, bool]:
        """To the end of a value or of the buffer: (whether the value ends, depth, in a string)."""
        if scalar:
            match = _SCALAR_END.search(self.buffer, self.at)
            self.at = match.start() if match else len(self.buffer)
            return match is not None, 0, False
        while match := (_INSIDE if quoted else _OUTSIDE).search(self.buffer, self.at):
            self.at = match.end()
            token = match.group()
            if token == b'"':
                quoted = not quoted
            elif not quoted:
                depth += 1 if token in b"{[" else -1
            if not quoted and not depth:
                return True, 0, False
        # The first half of an escape waits for its second.
        self.at = len(self.buffer) - (quoted and self.buffer.endswith(b"\\", self.at))
        return False, depth, quoted

    def likely_end(self) -> tuple[int, int] | None:
        """(end of an item of a list of objects, begin of the next) as late as can be guessed."""
        low = max(self.at, len(self.buffer) - _TAIL)
        found = list(_BETWEEN.finditer(self.buffer, low))
        return (found[-1].start() + 1, found[-1].end()) if found else None

    def objects(self) -> tuple[list[tuple[int, int]], int, bool]:
        """Whole objects of a list from here on in the buffer.

        Returns
        -------
        ([(begin, end)], where what follows them begins, whether a comma stands before it)
        """
        found: list[tuple[int, int]] = []
        at, comma = self._white(self.at), False
        while self.buffer[at : at + 1] == b"{" and (end := self._object_end(at)):
            found.append((at, end))
            at = self._white(end)
            comma = self.buffer[at : at + 1] == b","
            if not comma:
                break
            at = self._white(at + 1)
        return found, at, comma

    def _white(self, at: int) -> int:
        match = _NOT_WHITE.search(self.buffer, at)
        return match.start() if match else len(self.buffer)

    def _object_end(self, at: int) -> int | None:
        depth = 0
        for match in _TOKEN.finditer(self.buffer, at):
            token = match.group()
            if token in (b"{", b"["):
                depth += 1
            elif token in (b"}", b"]"):
                depth -= 1
                if not depth:
                    return match.end()
            elif token == b'"':
                return None  # a string without an end
        return None
