# SPDX-License-Identifier: Apache-2.0
"""Logs of other tools, read as they print them: nvidia-smi, dcgmi dmon, Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OptionError, RecordingError
from .log import Log, decoded
from .sensors import ARCHITECTURES, FIELDS, SOURCES, with_sensors

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["ARCHITECTURES", "FIELDS", "KINDS", "SOURCES", "Log", "read_log", "with_sensors"]

KINDS = ("nvidia-smi", "nvidia-smi-dmon", "dcgmi", "prometheus")

_HEAD = 4096  # characters that show what a log is


def read_log(
    path: str | os.PathLike[str],
    *,
    kind: str | None = None,
    timezone: str | None = None,
    start: str | None = None,
    interval_s: float | None = None,
    metrics: Mapping[str, str] | None = None,
) -> Log:
    """Read the power and energy of a log of another tool.

    Parameters
    ----------
    path : path-like
        The log; UTF-8, or UTF-16 with a byte order mark.
    kind : str, optional
        One of `KINDS`; None tells it from the content.
    timezone : str, optional
        For nvidia-smi, whose times say no zone: an IANA name, ``"UTC"``, ``"+02:00"``, or
        ``"local"`` for this machine's.
    start : str, optional
        For dcgmi, which prints no times: when its first line was printed, ISO 8601 with a zone.
    interval_s : float, optional
        For dcgmi: seconds from line to line.
    metrics : mapping of str to str, optional
        For Prometheus: units of metrics whose names do not tell, ``{"board_power": "W"}``.

    Returns
    -------
    Log
        Readings in W and J at Unix times, ns.

    Raises
    ------
    OptionError
        When something must be said that was not, or was said and cannot be.
    RecordingError
        When the file cannot be read, or is no such log.
    """
    if kind is not None and kind not in KINDS:
        raise OptionError(f"no kind of log {kind!r}; there are {', '.join(KINDS)}")
    try:
        text = decoded(Path(path).read_bytes())
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from None
    kind = kind or _kind(text[:_HEAD])
    if kind is None:
        raise RecordingError(f"{path} is no log that is known; there are {', '.join(KINDS)}")
    options = {
        "timezone": timezone, "start": start, "interval_s": interval_s, "metrics": metrics or None,
    }  # fmt: skip
    _check_options(kind, {name for name, value in options.items() if value is not None})
    try:
        return _read(kind, text, timezone, start, interval_s, metrics)
    except RecordingError as error:
        raise RecordingError(f"{path} ({kind}): {error}") from None
    except UnicodeEncodeError as error:  # JSON can name half of a surrogate pair
        raise RecordingError(f"{path} ({kind}): {error.object[:40]!a} is no text") from None


def _kind(head: str) -> str | None:
    from .dcgmi import is_dcgmi
    from .nvidia_smi import is_dmon, is_query
    from .prometheus import is_prometheus

    tests = {
        "prometheus": is_prometheus,
        "dcgmi": is_dcgmi,
        "nvidia-smi-dmon": is_dmon,
        "nvidia-smi": is_query,
    }
    return next((kind for kind, test in tests.items() if test(head)), None)


def _check_options(kind: str, given: set[str]) -> None:
    takes = {"dcgmi": {"start", "interval_s"}, "prometheus": {"metrics"}}.get(kind, {"timezone"})
    if unused := sorted(given - takes):
        raise OptionError(f"a log of {kind} takes no {', '.join(unused)}")


def _read(
    kind: str,
    text: str,
    timezone: str | None,
    start: str | None,
    interval_s: float | None,
    metrics: Mapping[str, str] | None,
) -> Log:
    if kind == "dcgmi":
        from .dcgmi import read_dcgmi

        return read_dcgmi(text, start, interval_s)
    if kind == "prometheus":
        from .prometheus import read_prometheus

        return read_prometheus(text, metrics)
    from .nvidia_smi import read_dmon, read_query

    return (read_query if kind == "nvidia-smi" else read_dmon)(text, timezone)
