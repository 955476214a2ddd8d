# SPDX-License-Identifier: Apache-2.0
"""A card's calibration: gain, offset, response; kept in a file per card."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .._real import real
from ..errors import OptionError, RecordingError
from ..units import NS_PER_S
from .catalog import GAIN_U, OFFSET_U_W, SensorPrior
from .response import Response

__all__ = ["Profile", "find_profile", "folder", "profile_path"]

FORMAT = "pyenergy-profile"
VERSION = 1

_LARGEST_OFFSET_W = 1000.0  # 200 times the spread of cards: beyond it a unit is wrong
_LATEST_UNIX_S = 1e11  # the year 5138: Unix times beyond it are in ms, us or ns
_AHEAD_S = 0.05  # a reading may be stamped late by a poll, and a fit end a little below zero


@dataclass(frozen=True)
class Profile:
    """What is known of one card's power sensor.

    A reading is ``gain * power + offset_w`` behind ``response``. Any real number will do, NumPy's
    included; it is kept as a float.

    Parameters
    ----------
    gain, gain_u : float
        Gain, from 0.2 to 5, and its standard uncertainty. Without a meter: 1 +- 3.5 % (the spread
        of 21 cards against a meter, arXiv 2312.02741).
    offset_w, offset_u_w : float
        Offset and its standard uncertainty, W, up to 1000. Without a meter: 0 +- 5 W (same
        source).
    response : Response, optional
        What a reading averages; None: identified from each recording, or the catalogue's.
    update_s : float, optional
        Update period, s; None: measured in each recording.
    uuid, name, channel : str
        The card, and the reading that this speaks of (``Channel.source``).
    calibrated_unix_s : float
        When, seconds since 1970; 0: not by `pyenergy calibrate`.
    details : dict
        How it was found: JSON values.

    Raises
    ------
    OptionError
        For values that cannot be: no finite numbers, beyond these limits, no text, no JSON.
    """

    gain: float = 1.0
    gain_u: float = GAIN_U
    offset_w: float = 0.0
    offset_u_w: float = OFFSET_U_W
    response: Response | None = None
    update_s: float | None = None
    uuid: str = ""
    name: str = ""
    channel: str = ""
    calibrated_unix_s: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("gain", "gain_u", "offset_w", "offset_u_w", "update_s", "calibrated_unix_s"):
            if name != "update_s" or self.update_s is not None:
                object.__setattr__(self, name, real(name, getattr(self, name)))
        if not 0.2 <= self.gain <= 5.0:
            raise OptionError(f"gain must lie from 0.2 to 5, got {self.gain!r}")
        if not 0 <= self.gain_u <= 1 or not 0 <= self.offset_u_w <= _LARGEST_OFFSET_W:
            raise OptionError(
                "gain_u must lie from 0 to 1, offset_u_w from 0 to 1000 W, got "
                f"{self.gain_u!r} and {self.offset_u_w!r}"
            )
        if abs(self.offset_w) > _LARGEST_OFFSET_W:
            raise OptionError(f"offset_w must lie from -1000 to 1000 W, got {self.offset_w!r}")
        if self.update_s is not None and not 1e-6 <= self.update_s <= 100:
            raise OptionError(f"update_s must lie from 1e-6 to 100 s, got {self.update_s!r}")
        if not 0 <= self.calibrated_unix_s <= _LATEST_UNIX_S:
            raise OptionError(
                "calibrated_unix_s must be seconds since 1970 (time.time()), got "
                f"{self.calibrated_unix_s!r}"
            )
        if not all(isinstance(text, str) for text in (self.uuid, self.name, self.channel)):
            raise OptionError("uuid, name and channel must be text")
        _check_response(self.response)
        _check_details(self.details)

    @property
    def by_meter(self) -> bool:
        """Whether gain and offset were compared with a meter."""
        return (self.gain_u, self.offset_u_w) != (GAIN_U, OFFSET_U_W)

    def response_of(self, source: str) -> Response | None:
        """The response, if it is of the reading ``source`` (``Channel.source``) or of any."""
        return self.response if self.channel in ("", source) else None

    def narrowed(self, prior: SensorPrior, source: str) -> SensorPrior:
        """What the catalogue knows of a reading, with what this calibration measured of it."""
        if self.channel not in ("", source):
            return prior
        if self.update_s is not None and prior.update_ns < 0:
            prior = replace(prior, update_ns=round(self.update_s * NS_PER_S))
        return prior.lagged(self.response)

    def age_s(self, now_unix_s: float | None = None) -> float:
        """Seconds since it was made."""
        return (time.time() if now_unix_s is None else now_unix_s) - self.calibrated_unix_s

    def save(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write it to ``path``, or where later traces of the card look (`profile_path`)."""
        target = profile_path(self.uuid) if path is None else Path(path)
        payload = {"format": FORMAT, "version": VERSION, **asdict(self)}
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.{os.getpid()}.part")
            try:
                part.write_text(json.dumps(payload, indent=1) + "\n")
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise RecordingError(f"cannot write {str(target)!r}: {error.strerror}") from error
        except ValueError as error:  # no name at all, or a NUL in it
            raise RecordingError(f"cannot write {str(target)!r}: {error}") from error
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read what `save` wrote.

        Raises
        ------
        RecordingError
            When the file is absent, foreign, damaged or from a newer version.
        """
        try:
            payload = json.loads(Path(path).read_text())
        except OSError as error:
            raise RecordingError(f"cannot read {str(path)!r}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise RecordingError(f"{str(path)!r} is not a profile: {error}") from error
        if not isinstance(payload, dict) or payload.pop("format", None) != FORMAT:
            raise RecordingError(f"{str(path)!r} is not a pyenergy profile")
        if (version := payload.pop("version", None)) != VERSION:
            raise RecordingError(f"{str(path)!r} has version {version!r}; this reads {VERSION}")
        known = {each.name for each in fields(cls)}
        if unknown := [repr(name) for name in payload if name not in known]:
            raise RecordingError(
                f"{str(path)!r} is damaged: no profile has {', '.join(unknown)}; there are: "
                f"{', '.join(sorted(known))}"
            )
        try:
            response = payload.pop("response", None)
            profile = cls(**payload)
            return replace(profile, response=Response(**response) if response else None)
        except (TypeError, OptionError) as error:
            raise RecordingError(f"{str(path)!r} is damaged: {error}") from error


def _check_response(response: object) -> None:
    if response is None:
        return
    if not isinstance(response, Response):
        raise OptionError(f"response must be a Response or None, got {response!r}")
    if response.delay_s < -_AHEAD_S:
        raise OptionError(
            f"the response's delay_s must not be negative, got {response.delay_s!r}: a reading "
            "shows the past"
        )
    try:  # the models look up to two uncertainties to either side, at any window
        Response("continuous", delay_s=response.delay_s - 2 * response.delay_u_s)
        Response("continuous", delay_s=response.delay_s + 2 * response.delay_u_s)
        replace(response, window_s=response.window_s + 2 * response.window_u_s)
    except OptionError:
        raise OptionError(
            f"the response's uncertainties are too large to be of use: delay_u_s "
            f"{response.delay_u_s!r}, window_u_s {response.window_u_s!r}. With response=None it is "
            "identified from each recording"
        ) from None


def _check_details(details: object) -> None:
    if not isinstance(details, dict):
        raise OptionError(f"details must be a dict, got {details!r}")
    try:
        json.dumps(details)
    except (TypeError, ValueError) as error:  # no JSON, or a circle
        raise OptionError(f"details must be JSON values: {error}") from None


def folder() -> Path:
    """Where profiles are kept: ``$PYENERGY_PROFILES``, else ``~/.config/pyenergy/profiles``
    (``$XDG_CONFIG_HOME`` counts)."""
    if chosen := os.environ.get("PYENERGY_PROFILES"):
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "pyenergy" / "profiles"


def profile_path(uuid: str) -> Path:
    """The file of a card.

    Raises
    ------
    OptionError
        When the card has no UUID to name it by.
    """
    if not uuid or not all(c.isalnum() or c in "-_." for c in uuid):
        raise OptionError(f"no profile can be kept for a device with the UUID {uuid!r}")
    return folder() / f"{uuid}.json"


def find_profile(uuid: str) -> Profile | None:
    """The stored profile of a card; None where there is none.

    Raises
    ------
    RecordingError
        When there is one that cannot be read.
    """
    try:
        path = profile_path(uuid)
    except (OptionError, RuntimeError):  # no UUID, or no home folder
        return None
    return Profile.load(path) if path.exists() else None
