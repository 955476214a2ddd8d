# SPDX-License-Identifier: Apache-2.0
"""One entry of ``traceEvents``: which fields are looked at, and what is done with odd ones.

Fields and spellings are those of libkineto's ``output_json.cpp`` and of traces since 2021.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

__all__ = ["UNREADABLE", "Args", "Entry", "decode_block", "decode_one"]

# A DecodeError is a ValueError in newer msgspec only; text that is no UTF-8 is always one.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Small = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class Args(msgspec.Struct, gc=False):
    """What an operation says of itself."""

    device: _Small = -1
    stream: _Id = -1
    correlation: _Id = -1
    external_id: _Id = msgspec.field(name="External id", default=-1)
    legacy_id: _Id = msgspec.field(name="external id", default=-1)
    grid: Any = None
    block: Any = None


class Entry(msgspec.Struct, gc=False):
    """What is looked at; numbers of microseconds stay text."""

    ph: str | None = None
    cat: str | None = None
    name: str = ""
    ts: msgspec.Raw = msgspec.Raw(b"")
    dur: msgspec.Raw = msgspec.Raw(b"")
    pid: _Id | str | None = None
    tid: _Id | str | None = None
    args: Args | None = None


class _Loose(msgspec.Struct):
    ph: Any = None
    cat: Any = None
    name: Any = ""
    ts: msgspec.Raw = msgspec.Raw(b"")
    dur: msgspec.Raw = msgspec.Raw(b"")
    pid: Any = None
    tid: Any = None
    args: Any = None


_BLOCK = msgspec.json.Decoder(list[Entry])
_ONE = msgspec.json.Decoder(Entry)
_ODD = msgspec.json.Decoder(_Loose)

_STRING = re.compile(
    r'("(?:[^"\\]|\\.)*")|(?<![\w.+-])(?:[+-]?(?:nan|inf(?:inity)?))(?![\w.])',
    re.DOTALL | re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\(?:([\"\\/bfnrt])|u([0-9a-fA-F]{4})|)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_PAIR = re.compile(  # a whole surrogate pair, or half of one
    r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def decode_block(text: bytes) -> list[Entry]:
    """A list of entries, all as they should be; one of UNREADABLE otherwise."""
    return _BLOCK.decode(text)


def decode_one(text: bytes) -> tuple[Entry, list[str]]:
    """One entry, and what had to be repaired in it; one of UNREADABLE if it is no JSON even so."""
    try:
        return _ONE.decode(text), []
    except UNREADABLE:
        pass
    repaired, repairs = _repair(text)
    try:
        return _ONE.decode(repaired), repairs
    except msgspec.ValidationError:
        odd = _ODD.decode(repaired)
    return _sane(odd), [*repairs, "field of an unknown type"]


def _repair(text: bytes) -> tuple[bytes, list[str]]:
    """JSON as it was meant, and what was wrong."""
    repairs = []
    try:
        said = text.decode()
    except UnicodeDecodeError:
        said = text.decode(errors="replace")
        repairs.append("text that is not UTF-8")

    def mend(match: re.Match[str]) -> str:
        if match[1] is None:
            return "null"  # not a number, as old versions print bandwidths of copies of no time
        inner = _PAIR.sub(lambda pair: pair[1] or r"\ufffd", match[1])
        inner = _ESCAPE.sub(lambda part: part[0] if part[0] != "\\" else r"\\", inner)
        return _CONTROL.sub(lambda char: f"\\u{ord(char[0]):04x}", inner)

    mended = _STRING.sub(mend, said)
    if mended != said:
        repairs.append("text that is not strict JSON")
    return mended.encode(errors="replace"), repairs


def _sane(odd: _Loose) -> Entry:
    """What can be used of fields of any type."""
    args = odd.args if isinstance(odd.args, dict) else {}

    def number(key: str, bits: int = 63) -> int:
        value = args.get(key)
        return value if type(value) is int and -(2**bits) <= value < 2**bits else -1

    def text(value: Any) -> str | None:
        return value if isinstance(value, str) else None

    def place(value: Any) -> int | str | None:
        fits = type(value) is int and -(2**63) <= value < 2**63
        return value if fits or isinstance(value, str) else None

    return Entry(
        text(odd.ph), text(odd.cat), "" if odd.name is None else str(odd.name), odd.ts, odd.dur,
        place(odd.pid), place(odd.tid),
        Args(number("device", 31), number("stream"), number("correlation"),
             number("External id"), number("external id"), args.get("grid"), args.get("block")),
    )  # fmt: skip
