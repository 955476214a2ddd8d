# SPDX-License-Identifier: Apache-2.0
"""Names that tell which sensor was read, and what to say of one that does not exist."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = [
    "ARCHITECTURES",
    "FIELDS",
    "architecture_by",
    "architecture_of",
    "unknown_architecture",
    "unknown_name",
]

# As the sampler calls them. GA100 (A100, A30) has another power sensor than the other Amperes.
ARCHITECTURES = (
    "kepler", "maxwell", "pascal", "volta", "turing", "ga100", "ampere", "ada", "hopper",
    "blackwell",
)  # fmt: skip
FIELDS = ("instant", "average", "default")  # what the driver was asked for
_WITHIN = {"ga100": "ampere"}  # a chip that NVIDIA counts to an architecture of another sensor

# The first that is found in a name decides: a "Quadro RTX 6000" is no "RTX 6000 Ada".
_NAMES = tuple(
    (re.compile(rf"(?<![A-Z0-9])(?:{pattern})(?![A-Z0-9])", re.IGNORECASE), architecture)
    for pattern, architecture in (
        (r"Blackwell|G?B[123]00|GeForce RTX 50\d0", "blackwell"),
        (r"Ada|GeForce RTX 40\d0|L2|L4|L20|L40[GS]?", "ada"),
        (r"G?H[128]00|H20", "hopper"),
        (r"A100X?|A800|A30X?", "ga100"),
        (r"A2|A10[GM]?|A16|A40|RTX A\d{3,4}M?|GeForce RTX 30\d0", "ampere"),
        (r"T4G?|Quadro RTX [34568]000|TITAN RTX|GeForce RTX 20\d0|GeForce GTX 16\d0", "turing"),
        (r"V100S?|TITAN V|Quadro GV100", "volta"),
        (r"P100|P40|P4|TITAN Xp|GeForce GTX 10\d0|Quadro GP100", "pascal"),
        (r"M4|M40|M60|GeForce GTX 9\d0", "maxwell"),
        (r"K20[cmsX]*|K40[cmst]*|K80", "kepler"),
    )
)


def architecture_of(name: str) -> str:
    """The architecture of a GPU that the driver calls so; empty where the name does not tell."""
    return next((found for pattern, found in _NAMES if pattern.search(name)), "")


def architecture_by(name: str, given: str) -> tuple[str, str]:
    """(the architecture of a GPU, what to say of it): of what was given and what its name tells.

    What was given goes before the name, which may be made up; but where the name tells a chip of
    that very architecture, it is the chip that decides which sensor there is.

    >>> architecture_by("NVIDIA A100-SXM4-40GB", "ampere")[0]
    'ga100'
    """
    told = architecture_of(name)
    if not given or not told or told == given:
        return given or told, ""
    if _WITHIN.get(told) == given:
        return told, f"{name} is taken as {told}, whose power sensor is not that of other {given}s"
    return given, (
        f"{name} is {told} by its name, but {given} was given, and it is taken as that: if that is "
        "wrong, so is the sensor's model"
    )


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
