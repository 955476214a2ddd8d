# SPDX-License-Identifier: Apache-2.0
"""`mark`: labels a span of host time inside every open trace."""

from __future__ import annotations

import os
import threading
from contextlib import ContextDecorator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import OptionError
from .recording.marks import Mark

if TYPE_CHECKING:
    from ._session import Session

__all__ = ["mark"]

_depth: ContextVar[int] = ContextVar("pyenergy_mark_depth", default=0)
_lock = threading.Lock()
_open: tuple[Session, ...] = ()  # replaced as a whole: readers need no lock


def register(session: Session) -> None:
    """Marks go to ``session`` from now on."""
    global _open
    with _lock:
        _open = (*_open, session)


def unregister(session: Session) -> None:
    """No more marks for ``session``."""
    global _open
    with _lock:
        _open = tuple(s for s in _open if s is not session)


def _after_fork_in_child() -> None:
    """The open sessions are the parent's, and another thread may have held the lock."""
    global _lock, _open
    _lock = threading.Lock()
    _open = ()


os.register_at_fork(after_in_child=_after_fork_in_child)


class mark(ContextDecorator):
    """Label what happens inside; context manager and decorator.

    The span is added to every trace that was open when it began; outside a trace it does nothing.
    Its edges are host time: GPU work that was queued but has not run yet falls after the edge.

    Parameters
    ----------
    name : str
        Label; spans with the same label are listed in order.

    Examples
    --------
    >>> import pyenergy
    >>> with pyenergy.trace(devices="sim:ideal") as t:
    ...     with pyenergy.mark("work"):
    ...         _ = sum(range(1000))
    >>> t.spans()["name"].to_list()
    ['work']
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise OptionError(f"a mark needs a name, got {name!r}")
        self.name = name
        self._starts: list[tuple[int, Any]] = []

    def __enter__(self) -> mark:
        token = _depth.set(_depth.get() + 1)
        self._starts.append((_core.now_ns(), token))
        return self

    def __exit__(self, *exc: object) -> None:
        end_ns = _core.now_ns()
        start_ns, token = self._starts.pop()
        depth = _depth.get() - 1
        _depth.reset(token)
        span = Mark(self.name, start_ns, end_ns, depth, threading.get_ident())
        for session in _open:
            session.add_mark(span)

    def _recreate_cm(self) -> mark:
        return mark(self.name)
