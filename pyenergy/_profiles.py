# SPDX-License-Identifier: Apache-2.0
"""Which calibration belongs to which device of a recording."""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from .errors import OptionError, RecordingError
from .sensor.profile import Profile, find_profile
from .sensor.response import Response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .recording.recorded import Recorded
    from .recording.series import DeviceData, DeviceMeta

__all__ = ["of_recorded", "require_profile", "stored", "without_profiles"]


def stored(devices: Iterable[DeviceMeta]) -> dict[str, dict[str, Any]]:
    """Calibrations that this machine has of real devices, by UUID, as JSON values."""
    found = {}
    for meta in devices:
        if meta.source in ("sim", "replay", "readings", "estimate"):
            continue
        try:
            profile = find_profile(meta.uuid)
        except RecordingError as error:
            warnings.warn(f"calibration not used: {error}", stacklevel=2)
            continue
        if profile is not None:
            found[meta.uuid] = asdict(profile)
    return found


def of_recorded(recorded: Recorded, device: DeviceData) -> Profile | None:
    """The calibration that was in force when the recording was made; None: none was.

    Raises
    ------
    RecordingError
        When what the recording says of it cannot be.
    """
    profiles = recorded.provenance.get("profiles")
    values = profiles.get(device.meta.uuid) if isinstance(profiles, dict) else None
    if values is None:
        return None
    try:
        values = dict(values)
        response = values.pop("response", None)
        return Profile(**values, response=Response(**response) if response else None)
    except (TypeError, ValueError, OptionError) as error:
        raise RecordingError(
            f"the calibration of {device.meta.uuid} is damaged: {error}"
        ) from error


def without_profiles(recorded: Recorded) -> Recorded:
    """The recording as if no calibration had been in force."""
    provenance = {k: v for k, v in recorded.provenance.items() if k != "profiles"}
    return replace(recorded, provenance=provenance)


def require_profile(profile: object) -> None:
    """Refuse what is neither a calibration nor None."""
    if profile is not None and not isinstance(profile, Profile):
        raise OptionError(
            f"profile must be a pyenergy.sensor.Profile (see Profile.load), got {profile!r}"
        )
