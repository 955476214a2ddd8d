# SPDX-License-Identifier: Apache-2.0
"""Who entered what: a context that may be entered by several tasks and threads at once."""

from __future__ import annotations

import sys
import threading
from typing import Generic, TypeVar

from .errors import StateError

__all__ = ["Entries", "caller"]

T = TypeVar("T")


def caller() -> object:
    """The running task, or else this thread."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            task: object = asyncio.current_task()
        except RuntimeError:  # no event loop runs in this thread
            task = None
        if task is not None:
            return task
    return threading.get_ident()


class Entries(Generic[T]):
    """A stack of entries for each caller; each leaves its own.

    Whoever entered nothing may leave another's if there is exactly one (a fixture that is set up
    in one task and torn down in another).
    """

    def __init__(self) -> None:
        self._stacks: dict[object, list[T]] = {}
        self._lock = threading.RLock()

    def push(self, who: object, entry: T) -> None:
        """``who`` has entered."""
        with self._lock:
            self._stacks.setdefault(who, []).append(entry)

    def pop(self, who: object) -> T:
        """``who`` leaves.

        Raises
        ------
        StateError
            When nobody has entered, or when it is not clear who leaves.
        """
        with self._lock:
            if who not in self._stacks:
                entered = sum(len(stack) for stack in self._stacks.values())
                if entered != 1:
                    problem = "it is open in several tasks or threads" if entered else "not entered"
                    raise StateError(f"cannot leave from here: {problem}")
                (who,) = self._stacks
            stack = self._stacks[who]
            entry = stack.pop()
            if not stack:
                del self._stacks[who]
            return entry
