# SPDX-License-Identifier: Apache-2.0
"""Names that tell which sensor was read, and what to say of one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["ARCHITECTURES", "FIELDS", "unknown_architecture", "unknown_name"]

# As the sampler calls them. GA100 (A100, A30) has another power sensor than the other Amperes.
ARCHITECTURES = (
    "kepler", "maxwell", "pascal", "volta", "turing", "ga100", "ampere", "ada", "hopper",
    "blackwell",
)  # fmt: skip
FIELDS = ("instant", "average", "default")  # what the driver was asked for


def unknown_name(what: str, given: object, known: Iterable[str]) -> str:
    """Why a name is refused, with those that there are and the one that was probably meant.

    >>> unknown_name("field", "instan", FIELDS)
    "no field 'instan'; there are instant, average, default: did you mean 'instant'?"
    """
    names = list(known)
    close = difflib.get_close_matches(str(given).lower(), names, n=1)
    hint = f": did you mean {close[0]!r}?" if close else ""
    return f"no {what} {given!r}; there are {', '.join(names)}{hint}"


def unknown_architecture(given: str) -> str:
    """Why an architecture is refused; a GPU of one that is not listed goes without."""
    return f"{unknown_name('architecture', given, ARCHITECTURES)} (of any other GPU: leave it out)"
