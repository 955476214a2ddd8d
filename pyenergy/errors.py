# SPDX-License-Identifier: Apache-2.0
"""Every exception that pyenergy raises on purpose.

::

    PyEnergyError
    ├── OptionError       a parameter that cannot be (also a ValueError)
    ├── DeviceError       an unknown, invisible or unreadable device (also a ValueError)
    ├── NoReadingsError   nothing was read where an energy was asked for
    ├── WindowError       a window that is reversed or outside the recording (also a ValueError)
    ├── RecordingError    a file that is truncated, foreign or from a newer version
    └── StateError        used before start, after stop, or in a forked child

Warnings: ``EstimateWarning`` when nothing real can be read and an estimate stands in;
``RecordingWarning`` when a recording is not, or not yet, where it was asked for.
"""

from __future__ import annotations

__all__ = [
    "DeviceError",
    "EstimateWarning",
    "NoReadingsError",
    "OptionError",
    "PyEnergyError",
    "RecordingError",
    "RecordingWarning",
    "StateError",
    "WindowError",
]


class PyEnergyError(Exception):
    """Base of all pyenergy errors."""


class OptionError(PyEnergyError, ValueError):
    """A parameter has a value that cannot be."""


class DeviceError(PyEnergyError, ValueError):
    """A device is unknown, not visible to this process, or cannot be read."""


class NoReadingsError(PyEnergyError):
    """No reading exists where an energy was asked for, so there is no number to give."""


class WindowError(PyEnergyError, ValueError):
    """A window is reversed or reaches outside what was recorded."""


class RecordingError(PyEnergyError):
    """A file is not a complete pyenergy recording that this version can read."""


class StateError(PyEnergyError, RuntimeError):
    """The object is not in a state for this: not started, still open, or in a forked child."""


class EstimateWarning(UserWarning):
    """No sensor can be read: the energy is estimated from load and a table."""


class RecordingWarning(UserWarning):
    """A recording could not be written, or another lies unfinished beside it; nothing is lost that
    is still in memory."""
