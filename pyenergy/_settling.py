# SPDX-License-Identifier: Apache-2.0
"""The thread that settles what traces with ``keep`` need not hold any more, and lets it go."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING

from . import _hub

if TYPE_CHECKING:
    from ._session import Session

__all__ = ["hold", "let_go", "watch"]

_PERIOD_S = 60.0
_SHORTEST_S = 1.0


class _Settler:
    """One thread for the process, while anybody needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._holds = 0  # samplers that run without a trace
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._over = False

    def add(self, session: Session | None) -> None:
        with self._lock:
            if session is None:
                self._holds += 1
            else:
                self._sessions.add(session)
            if self._thread is None and not self._over:
                thread = threading.Thread(target=self._run, name="pyenergy-settle", daemon=True)
                thread.start()
                self._thread = thread
        self._wake.set()  # its period may be a shorter one

    def remove(self) -> None:
        with self._lock:
            self._holds -= 1

    def shut(self) -> None:
        self._over = True
        self._wake.set()
        thread = self._thread
        if thread is not None:
            thread.join(1.0)

    def _run(self) -> None:
        while not self._may_end():
            self._wake.wait(self._period_s())
            self._wake.clear()
            for session in self._open():
                if not self._over:
                    session.settle()
            if not self._over:
                _hub.forget()

    def _open(self) -> list[Session]:
        with self._lock:
            return [s for s in self._sessions if s.is_open and not s.is_foreign]

    def _period_s(self) -> float:
        periods = [s.settle_period_s for s in self._open()]
        return max(_SHORTEST_S, min([_PERIOD_S, *periods]))

    def _may_end(self) -> bool:
        open_ = self._open()
        with self._lock:
            if self._over or not (open_ or self._holds):
                self._thread = None
                return True
            return False


_settler = _Settler()


def watch(session: Session) -> None:
    """Settle what a session that has opened need not keep, from now until it closes."""
    _settler.add(session)


def hold() -> None:
    """Samplers run without a trace: what they read is forgotten as it grows old."""
    _settler.add(None)


def let_go() -> None:
    """The end of one `hold`."""
    _settler.remove()


def _after_fork_in_child() -> None:
    """The thread did not survive, its lock may be held, and what it settled is the parent's."""
    global _settler
    _settler = _Settler()


def _shutdown() -> None:
    _settler.shut()


atexit.register(_shutdown)
os.register_at_fork(after_in_child=_after_fork_in_child)
