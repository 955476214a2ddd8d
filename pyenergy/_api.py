# SPDX-License-Identifier: Apache-2.0
"""`trace`, `Monitor`, `load`: how a program asks for energy."""

from __future__ import annotations

import functools
import os
import warnings
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _core, _devices, _marks
from ._entries import Entries, caller
from ._finish import begun, finish
from ._node_table import NOT_MEASURED
from ._retention import keep_ns_of
from ._session import Session
from ._source import Sourced
from .config import Sampling
from .errors import OptionError, RecordingWarning, StateError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from ._devices import DevicesLike
    from ._energy import Energy
    from ._trace import Trace

__all__ = ["Monitor", "load", "now_ns", "trace"]

now_ns = _core.now_ns

_KEPT_TRACES = 100  # of a decorated function


class _Scope:
    """Options of a session, checked when written down rather than when used."""

    def __init__(
        self,
        devices: DevicesLike,
        rate_hz: float | None,
        pacing: str,
        update_period_s: float | None,
        sync: bool,
        path: str | os.PathLike[str] | None,
        processes: bool,
        share: str | None,
        keep: str | float | None,
    ) -> None:
        if share not in (None, "node"):
            raise OptionError(f"share must be 'node' or None, got {share!r}")
        if share is not None and path is not None:
            raise OptionError(
                "share='node' and path do not go together: what another process reads cannot grow "
                "in a folder of this one; save() the trace when it has ended"
            )
        if share is not None and keep is not None:
            raise OptionError(
                "share='node' and keep do not go together: a follower keeps what the process that "
                "reads keeps; leave keep out, or share"
            )
        if path is not None and not isinstance(path, (str, os.PathLike)):
            raise OptionError(f"path must be a file's name, got {path!r}")
        self.devices = devices
        self.path = path
        self.sampling = Sampling(rate_hz, pacing, update_period_s)
        self.sync = sync
        self.processes = bool(processes)
        self.share = share is not None
        self.keep_ns = keep_ns_of(keep)

    def open(self) -> Session:
        # Absolute from here on: the program may go elsewhere.
        path = None if self.path is None else Path(os.path.abspath(self.path))
        found = _devices.resolve(self.devices)
        missing = _devices.not_measured(self.devices, found)
        facts = {NOT_MEASURED: list(missing)} if missing else {}
        session = Session(
            found,
            self.sampling,
            self.sync,
            path,
            facts=facts,
            processes=self.processes,
            share=self.share,
            keep_ns=self.keep_ns,
        )
        session.notes += [f"not measured: {each}" for each in missing]
        session.open()
        _marks.register(session)
        return session


class trace:
    """Measure the energy of what runs inside.

    Context manager, asynchronous context manager and decorator. Entering starts the samplers (or
    joins those that run); leaving never waits for the sensor.

    Parameters
    ----------
    devices : str, int or list of them
        ``"auto"`` (every visible GPU, without one the CPU; an estimate of it only if nothing real
        can be read, with an `EstimateWarning`), ``"node"`` (all that can be measured, nothing
        twice: `Trace.node`), ``"gpu"``, ``"gpu:0"``, a UUID, ``"cpu"``,
        ``"dram"``, ``"psys"``, ``"hwmon:NAME"``, ``"sim:a100"``, ``"replay:FILE"``,
        ``"estimate"``, or several.
    rate_hz : float, optional
        Polls per second, at most 20 000; None: 1000.
    pacing : str
        ``"auto"``, ``"fixed"`` or ``"edge"`` (see `pyenergy.config.Sampling`).
    update_period_s : float, optional
        Known update period of the power sensor, s; seeds ``"edge"``.
    sync : bool
        Wait at both edges for the work that torch has queued on the GPUs in scope, so that the
        energy belongs to the work inside. False leaves the edges at host time.
    path : path-like, optional
        Where to write the recording. While the trace runs it grows in the folder ``PATH.live``, so
        that it outlives whatever ends the process (``pyenergy recover PATH``); leaving waits for
        the readings that cover the end and writes the file. One that cannot be written then is a
        `RecordingWarning`: the trace is still in memory. Each call of a decorated function writes
        the file anew.
    processes : bool
        Watch who uses the devices, five times a second: this process and its descendants on the
        CPU, whoever NVML names on a GPU. `Trace.processes` then shares the energy among them. It
        is not in the folder of a recording that was not finished.
    share : {None, "node"}
        ``"node"``: all processes of this user that ask so share one sampler per device, such as the
        ranks of ``torchrun``; each has its own windows. When the one that reads ends, another takes
        over, and between them is a gap. Not together with ``path``.
    keep : str or float, optional
        Keep the readings of the latest ``"10min"``, ``"2h"``, ``"1d"`` or so many seconds (10 s and
        more) in memory, however long the trace runs; None: all of them. The energy of what came
        before is settled part by part and stays in `Trace.energy`; windows there are refused. With
        a path the file still gets every reading.

    Raises
    ------
    OptionError, DeviceError
        For options that cannot be and devices that do not exist.
    RecordingError
        When ``path`` cannot be written, or another trace records to it.

    Examples
    --------
    >>> import pyenergy
    >>> with pyenergy.trace(devices="sim:ideal") as t:
    ...     _ = sum(range(100_000))
    >>> t.energy.u > 0
    True

    As a decorator, the traces of the latest 100 calls are kept in ``function.traces``, the newest
    last.
    """

    def __init__(
        self,
        *,
        devices: DevicesLike = "auto",
        rate_hz: float | None = None,
        pacing: str = "auto",
        update_period_s: float | None = None,
        sync: bool = True,
        path: str | os.PathLike[str] | None = None,
        processes: bool = False,
        share: str | None = None,
        keep: str | float | None = None,
    ) -> None:
        self._scope = _Scope(
            devices, rate_hz, pacing, update_period_s, sync, path, processes, share, keep
        )
        self._open: Entries[Session] = Entries()

    def __enter__(self) -> Trace:
        return self._enter(caller())

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._exit(caller(), kind)

    async def __aenter__(self) -> Trace:
        import asyncio

        who = caller()
        opening = asyncio.ensure_future(asyncio.to_thread(self._enter, who))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread cannot be stopped: what it opens is closed as soon as it is.
            opening.add_done_callback(lambda done: self._abandon(who, done))
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        import asyncio

        await asyncio.shield(asyncio.to_thread(self._exit, caller(), kind))

    def _abandon(self, who: object, opening: asyncio.Future[Trace]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._exit(who, None)

    def _enter(self, who: object) -> Trace:
        from ._trace import Trace

        session = self._scope.open()
        self._open.push(who, session)
        trace = Trace(session)
        begun(session, trace)
        return trace

    def _exit(self, who: object, kind: type[BaseException] | None) -> None:
        session = self._open.pop(who)
        _marks.unregister(session)
        if kind is not None:
            session.notes.append(f"ended by {kind.__name__}")
        session.close()
        finish(session)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise OptionError(
                f"{function.__qualname__} is a generator: a decorator would measure its creation, "
                "not its run; put `with pyenergy.trace()` around the loop over it"
            )
        traces: deque[Trace] = deque(maxlen=_KEPT_TRACES)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                async with self._again() as result:
                    traces.append(result)
                    return await function(*args, **kwargs)
        else:

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._again() as result:
                    traces.append(result)
                    return function(*args, **kwargs)

        wrapper.traces = traces  # type: ignore[attr-defined]
        return wrapper

    def _again(self) -> trace:
        """A fresh context of the same scope: calls may nest and overlap."""
        again = object.__new__(type(self))
        again._scope, again._open = self._scope, Entries()
        return again


class Monitor(Sourced):
    """Samples from `start` to `stop`, and gives the energy of any window meanwhile.

    Takes the same parameters as `trace`; also a context manager. With a ``path``, `stop` writes the
    file, and so does the end of the process.
    """

    def __init__(
        self,
        *,
        devices: DevicesLike = "auto",
        rate_hz: float | None = None,
        pacing: str = "auto",
        update_period_s: float | None = None,
        sync: bool = True,
        path: str | os.PathLike[str] | None = None,
        processes: bool = False,
        share: str | None = None,
        keep: str | float | None = None,
    ) -> None:
        self._scope = _Scope(
            devices, rate_hz, pacing, update_period_s, sync, path, processes, share, keep
        )
        self._session: Session | None = None
        self._trace: Trace | None = None

    @property
    def devices(self) -> DevicesLike:
        """What was asked for."""
        return self._scope.devices

    def start(self) -> Monitor:
        """Start sampling.

        Raises
        ------
        StateError
            When it runs already.
        """
        from ._trace import Trace

        if self._session is not None and self._session.is_open and not self._session.is_foreign:
            raise StateError("this monitor runs already; stop() it first")
        self._session = self._scope.open()
        self._trace = Trace(self._session)
        begun(self._session, self._trace)
        return self

    def stop(self) -> Trace:
        """Stop sampling and return everything measured as a `Trace`. Never waits for the sensor.

        Raises
        ------
        StateError
            When it does not run.
        """
        if self._session is None or not self._session.is_open:
            raise StateError("this monitor does not run; start() it first")
        _marks.unregister(self._session)
        self._session.close()
        finish(self._session)
        return self.trace

    @property
    def trace(self) -> Trace:
        """What has been measured since `start`."""
        if self._trace is None:
            raise StateError("this monitor has not been started")
        return self._trace

    def _measured(self) -> Trace:
        return self.trace

    def energy(self, t0_ns: int | None = None, t1_ns: int | None = None) -> Energy:
        """Energy between two moments (`now_ns`); None: since the start, up to now or the stop.

        Raises
        ------
        StateError, WindowError, TypeError, NoReadingsError
            Before `start`; see `Trace.window`.
        """
        start, end = self.trace.bounds_ns
        return self.trace.window(start if t0_ns is None else t0_ns, end if t1_ns is None else t1_ns)

    def windows(
        self, starts_ns: ArrayLike, ends_ns: ArrayLike, device: str | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Energies and standard uncertainties (J) of many windows: see `Trace.windows`."""
        return self.trace.windows(starts_ns, ends_ns, device)

    def __del__(self) -> None:
        session = getattr(self, "_session", None)
        if session is not None and session.is_open:  # dropped while it runs
            _marks.unregister(session)
            session.close()  # its file is written at exit: that may wait, and this must not

    def __enter__(self) -> Monitor:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def load(path: str | os.PathLike[str]) -> Trace:
    """Open a recording that `Trace.save` or a trace with a path wrote.

    The folder ``PATH.live`` of one that is not finished is read too: what there is so far, or what
    a process that died had read.

    Raises
    ------
    RecordingError
        When the file is absent, truncated, foreign, or from a newer version.
    """
    from ._trace import Trace
    from .recording.store import beside
    from .recording.store import load as load_recorded

    recorded = load_recorded(path)
    if note := beside(Path(path)):
        warnings.warn(note, RecordingWarning, stacklevel=2)
    return Trace(recorded)
