# SPDX-License-Identifier: Apache-2.0
"""`mark`: labels a span inside every open trace."""

from __future__ import annotations

import functools
import os
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _core
from ._entries import Entries, caller
from .errors import OptionError
from .recording.marks import Mark, longest_wait_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._session import Session

__all__ = ["mark"]


@dataclass(eq=False)
class _Entry:
    """A mark that has not ended."""

    name: str
    start_ns: int
    depth: int
    edges: dict[Session, int]  # numbers of the first edge, in the sessions that open it on a GPU
    waits: tuple[int, int]  # of the thread, before the start


_depth: ContextVar[int] = ContextVar("pyenergy_mark_depth", default=0)
_lock = threading.RLock()
_open: tuple[Session, ...] = ()  # replaced as a whole: readers need no lock
_running: dict[int, _Entry] = {}


def register(session: Session) -> None:
    """Marks go to ``session`` from now on."""
    global _open
    with _lock:
        _open = (*_open, session)


def unregister(session: Session) -> None:
    """No more marks for ``session``; those that are still running are not spans of it."""
    global _open
    with _lock:
        if session in _open:
            still = [e.name for e in list(_running.values()) if e.start_ns >= session.start_ns]
            session.notes += [
                f"the mark {name!r} had not ended when the trace did: it is no span of it"
                for name in dict.fromkeys(still)
            ]
        _open = tuple(s for s in _open if s is not session)


def running() -> list[tuple[str, int]]:
    """(name, start_ns) of the marks that have not ended."""
    return [(entry.name, entry.start_ns) for entry in list(_running.values())]


def _after_fork_in_child() -> None:
    """The open sessions are the parent's, and another thread may have held the lock."""
    global _lock, _open
    _lock = threading.RLock()
    _open = ()
    _running.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


class mark:
    """Label what happens inside; context manager and decorator.

    The span is added to every trace that was open when it began; outside a trace it does nothing.

    Its edges do not wait for a GPU. Where torch had CUDA running when the trace began, they are
    events in the queue of the GPU that was current then: the span is when that GPU worked on what
    was launched inside, whenever that was; ``host_start_ns`` and ``host_end_ns`` in `Trace.marks`
    say when the host did. Elsewhere, and in a trace with ``sync=False``, edges are host time: work
    that was queued but has not run yet falls after them, and how long the thread waited for a
    processor is how late they may be (`Trace.marks`, ``bound_ns``).

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
        if not isinstance(name, str) or not name or not name.isprintable():
            raise OptionError(f"a mark needs a name of printable characters, got {name!r}")
        self.name = name
        self._entries: Entries[_Entry] = Entries()

    def __enter__(self) -> mark:
        depth = _depth.get()
        _depth.set(depth + 1)
        waits = _core.run_delay() if _open else (-1, -1)
        entry = _Entry(self.name, _core.now_ns(), depth, {}, waits)
        _running[id(entry)] = entry
        self._entries.push(caller(), entry)
        # The edges last: a first call after a sleep takes 0.1 ms, and that is not the user's work.
        entry.edges = {s: s.edges.edge() for s in _open if s.edges is not None}
        entry.start_ns = _core.now_ns()
        return self

    def __exit__(self, *exc: object) -> None:
        end_ns = _core.now_ns()
        entry = self._entries.pop(caller())
        _running.pop(id(entry), None)
        _depth.set(entry.depth)
        waited_ns = longest_wait_ns(entry.waits, _core.run_delay()) if _open else 0
        span = Mark(
            self.name,
            entry.start_ns,
            end_ns,
            entry.depth,
            threading.get_ident(),
            bound_ns=waited_ns,
        )
        for session in _open:
            first = entry.edges.get(session, -1)
            last = -1 if first < 0 or session.edges is None else session.edges.edge()
            session.add_mark(span, (first, last))

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise OptionError(
                f"{function.__qualname__} is a generator: a decorator would mark its creation, not "
                "its run; put `with pyenergy.mark(...)` around the loop over it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)
        else:

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

        return wrapper
