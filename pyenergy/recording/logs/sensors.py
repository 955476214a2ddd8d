# SPDX-License-Identifier: Apache-2.0
"""Which sensor a log's readings come from: the GPU's architecture by its name, and the field."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...errors import OptionError
from ..names import ARCHITECTURES, FIELDS, unknown_architecture, unknown_name

if TYPE_CHECKING:
    from .log import Log

__all__ = ["ARCHITECTURES", "FIELDS", "SOURCES", "architecture_of", "with_sensors"]

# What the driver was asked for, as the sampler names its source.
SOURCES = {
    "instant": "nvml.field.186",
    "average": "nvml.field.185",
    "default": "nvml.GetPowerUsage",
}

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


def with_sensors(
    log: Log,
    architecture: str | None = None,
    field: str | None = None,
) -> dict[str, dict[str, Any]]:
    """What is known of a log's devices, with the architecture and the field of each GPU.

    Parameters
    ----------
    log : Log
        A GPU's name tells its architecture, what was logged the field.
    architecture, field : str, optional
        What the user says, of all GPUs: it goes before what the log does.

    Raises
    ------
    OptionError
        For an architecture or a field that does not exist.
    """
    if architecture is not None and architecture not in ARCHITECTURES:
        raise OptionError(unknown_architecture(architecture))
    if field is not None and field not in FIELDS:
        raise OptionError(unknown_name("field", field, FIELDS))
    told: dict[str, dict[str, Any]] = {}
    for device_id in dict.fromkeys(name.partition("/")[0] for name in log.readings):
        facts = dict(log.devices.get(device_id, {}))
        if device_id.startswith("gpu:"):
            found = architecture or architecture_of(str(facts.get("name", "")))
            which = field or log.fields.get(device_id, "")
            facts |= {key: v for key, v in (("architecture", found), ("field", which)) if v}
        told[device_id] = facts
    return told
