# SPDX-License-Identifier: Apache-2.0
"""Changes that know the format: a random byte of a zip archive or of a sealed line only ever shows
that its check works."""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from random import Random
from typing import Any

import numpy as np

ODD: list[Any] = [
    None, True, "", "x", "a\0b", "\ud800", -1, 0, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63),
    2**64, 10**30, 0.5, -0.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), -float("inf"),
    [], {}, [[]], [None], {"": {}}, "../../etc/passwd", "gpu:0/power", "x" * 300,
]  # fmt: skip
_NUMBERS = [
    "0", "-1", "nan", "inf", "-inf", "1e999", "1e-999", "9" * 25, "-" + "9" * 400, "1.5", "0x10",
    "1_0", "٣", "1e5", str(2**63), "", "[N/A]", "2026-13-40", "99999999",
]  # fmt: skip


def damaged(data: bytes, rng: Random) -> bytes:
    """Bytes flipped, cut out, doubled, cut short or put in."""
    if not data:
        return rng.randbytes(rng.randint(0, 8))
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, length = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 8, 100))
        kind = rng.randrange(5)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at : at + length]
        elif kind == 2:
            out[at:at] = out[at : at + length]
        elif kind == 3:
            del out[at:]
        else:
            out[at : at + rng.choice((0, length))] = rng.randbytes(length)
    return bytes(out)


def odd_text(data: bytes, rng: Random) -> bytes:
    """A number that cannot be, a line or a word that is doubled, lost or moved."""
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind = rng.randrange(4)
        if kind == 0 and (found := list(re.finditer(r"\d[\d.:/]*", text))):
            match = rng.choice(found)
            text = text[: match.start()] + rng.choice(_NUMBERS) + text[match.end() :]
        elif kind == 1:
            lines = text.split("\n")
            at = rng.randrange(len(lines))
            lines[at : at + 1] = rng.choice(([], lines[at : at + 1] * 2, ["", lines[at]]))
            text = "\n".join(lines)
        elif kind == 2:
            words = re.split(r"(\W)", text)
            a, b = rng.randrange(len(words)), rng.randrange(len(words))
            words[a], words[b] = words[b], words[a]
            text = "".join(words)
        else:
            return damaged(text.encode("utf-8", "surrogateescape"), rng)
    return text.encode("utf-8", "surrogateescape")


def odd_value(value: Any, rng: Random, depth: int = 0) -> Any:
    """JSON in which something is of another type, beyond all bounds, missing or doubled."""
    if isinstance(value, dict) and value and (depth < 1 or rng.random() < 0.9):
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.06:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.1:
            return {(rng.choice(("", "x", "../x", key + "2")) if k == key else k): v
                    for k, v in value.items()}  # fmt: skip
        return {k: odd_value(v, rng, depth + 1) if k == key else v for k, v in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.1:
            return value[:at] + value[at + 1 :]
        if kind < 0.2:
            return [*value, value[at]]
        return [odd_value(v, rng, depth + 1) if i == at else v for i, v in enumerate(value)]
    if isinstance(value, int) and rng.random() < 0.4:
        return value + rng.choice((-1, 1, 10**6, -(10**9), 10**12))
    return rng.choice(ODD)


def odd_json(data: bytes, rng: Random) -> bytes:
    """`odd_value` of a JSON text."""
    try:
        value = json.loads(data)
    except ValueError:
        return odd_text(data, rng)
    for _ in range(rng.choice((1, 1, 2))):
        value = odd_value(value, rng)
    return json.dumps(value).encode("utf-8", "surrogateescape")


def odd_array(data: bytes, rng: Random) -> bytes:
    """An ``.npy`` file whose values, type or shape cannot be."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False).copy()
    except (ValueError, EOFError, MemoryError):
        return damaged(data, rng)
    if not array.ndim:
        return damaged(data, rng)
    kind = rng.randrange(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == 0 and array.size:
            array.flat[rng.randrange(array.size)] = _odd_element(array.dtype, rng)
        elif kind == 1:
            array = array[: rng.randrange(len(array) + 1)]
        elif kind == 2:
            array = np.concatenate([array, array])
        elif kind == 3 and array.dtype.kind in "iufb":
            array = array.astype(rng.choice(["<i4", ">i8", "<f4", "<u8", "?", "<c16", "<U3", "S5"]))
        elif kind == 4:
            array = rng.choice(
                (array.reshape(-1, 1), array[::-1], array[:0], array.ravel()[:1].reshape(()))
                if array.size
                else (array.reshape(-1, 1), array[:0])
            )
        else:
            count = b"'shape': (%d" % rng.choice((10**4, 10**9, 10**17))
            return re.sub(rb"'shape': \(\d*", count, data[:128]) + data[128:]
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _odd_element(dtype: Any, rng: Random) -> Any:
    if dtype.kind == "f":
        return rng.choice((float("nan"), float("inf"), -1.0, 1e308, 1e7, -0.0))
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.choice((info.min, info.max, 0, 1, info.max // 2, info.max // 2 + 7))
    return rng.choice((0, 1))


Members = list[tuple[str, bytes]]


def unzipped(data: bytes) -> Members | None:
    """Members of an archive in their order; None when it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # whatever damaged bytes make zipfile raise
        return None


def zipped(members: Members, deflated: bool = False) -> bytes:
    """An archive; members may share a name."""
    file = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there already
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def odd_members(members: Members, rng: Random) -> Members:
    """A member lost, doubled, renamed or in the place of another."""
    out = list(members)
    at, other = rng.randrange(len(out)), rng.randrange(len(out))
    kind = rng.randrange(4)
    if kind == 0:
        del out[at]
    elif kind == 1:
        out.insert(other, (out[at][0], out[other][1]))
    elif kind == 2:
        out[at] = (rng.choice(("../x", "/etc/passwd", "", "meta", out[at][0] + ".npy")), out[at][1])
    else:
        out[at], out[other] = (out[at][0], out[other][1]), (out[other][0], out[at][1])
    return out
