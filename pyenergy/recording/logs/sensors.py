# SPDX-License-Identifier: Apache-2.0
"""Which sensor a log's readings come from: the GPU's architecture by its name, and the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import OptionError
from ..names import (
    ARCHITECTURES,
    FIELDS,
    architecture_of,
    unknown_architecture,
    unknown_name,
)

if TYPE_CHECKING:
    from .log import Log

__all__ = ["ARCHITECTURES", "FIELDS", "SOURCES", "architecture_of", "with_sensors"]

# What the driver was asked for, as the sampler names its source.
SOURCES = {
    "instant": "nvml.field.186",
    "average": "nvml.field.185",
    "default": "nvml.GetPowerUsage",
}


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
