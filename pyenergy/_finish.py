# SPDX-License-Identifier: Apache-2.0
"""The ordinary file of a trace with a path: written when the trace ends, or else at exit."""

from __future__ import annotations

import atexit
import os
import warnings
from typing import TYPE_CHECKING

from . import _marks
from .errors import PyEnergyError, RecordingWarning

if TYPE_CHECKING:
    from ._session import Session
    from ._trace import Trace

__all__ = ["begun", "finish"]

_unfinished: dict[Session, Trace] = {}


def begun(session: Session, trace: Trace) -> None:
    """The trace of a session that has just opened."""
    if session.live is None:
        return
    _unfinished[session] = trace
    if session.live.warning:
        warnings.warn(session.live.warning, RecordingWarning, stacklevel=4)


def finish(session: Session) -> None:
    """Write the file of a session that has closed, and remove its live folder.

    Waits for the readings that cover the end. A file that cannot be written is a
    `RecordingWarning`, not an error: what was measured must not fail because it was, and the trace
    is still in memory.
    """
    trace = _unfinished.get(session)
    live = session.live
    if trace is None or live is None or session.is_foreign:
        return
    try:
        live.finish(trace.recorded)
    except PyEnergyError as error:
        session.add_note(str(error))
        warnings.warn(str(error), RecordingWarning, stacklevel=4)
    else:
        session.live = None
    del _unfinished[session]  # what interrupts us leaves it to the exit


def _shutdown() -> None:
    """At interpreter exit: what nobody stopped is stopped now."""
    for session in list(_unfinished):
        if session.is_open:
            _marks.unregister(session)
            session.close()
        finish(session)


atexit.register(_shutdown)
os.register_at_fork(after_in_child=_unfinished.clear)
