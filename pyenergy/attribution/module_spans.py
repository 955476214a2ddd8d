# SPDX-License-Identifier: Apache-2.0
"""When each module of a model ran, without a profiler: by hooks around every call of it."""

from __future__ import annotations

import re
import threading
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import _core
from ..errors import OptionError, StateError
from .device_marks import CudaEvents, DeviceMarks
from .layer_names import module_names
from .layer_spans import LayerSpans, Log, spans_of
from .partition import CONTAINERS, compiled_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .device_marks import Events

__all__ = ["ModuleSpans"]


class ModuleSpans:
    """Context manager that records when each module of a model was called.

    On the CPU a call's edges are readings of CLOCK_MONOTONIC. Where the model's parameters are on
    a CUDA device they are events in its queue: a module's span then is what the device did
    between the work before it and the end of its own, and nothing waits for the device but
    entering and leaving the ``with`` block. A module may be called many times, from several
    threads, and in itself; calls that end in an exception end there.

    Parameters
    ----------
    model : torch.nn.Module or mapping of str to torch.nn.Module
        The model; or several, whose names get the key and a dot in front.
    depth : int, optional
        Deepest modules that are looked at, by the parts of their name: 0 is the model itself.
        All by default, but containers that are never called.
    match : str or callable, optional
        Only modules whose name this regular expression is found in, or for which
        ``match(name, module)`` is true.
    clock : {"auto", "host", "cuda"}
        ``"host"`` reads the host's clock also where the model is on a GPU: when a module was
        called, not when its work ran.
    pool : int
        CUDA events made beforehand; each call takes two.
    notes : sequence of str
        What results should say besides.
    events : Events, optional
        Another device than CUDA.
    now_ns : callable, optional
        CLOCK_MONOTONIC in ns.

    Attributes
    ----------
    device_id : str
        Where the model's work runs, as recordings name it: ``cpu:0`` or ``gpu:0``.
    compiled : bool
        Some of the modules that were asked for are in what ``torch.compile`` made, as far as can be
        seen from them; no hook runs there.

    Raises
    ------
    OptionError
        No module is left, although none is compiled; or they are on several CUDA devices, which
        need one object for each.

    Examples
    --------
    >>> with ModuleSpans(model) as modules:  # doctest: +SKIP
    ...     model(**inputs)
    >>> modules.spans().own_ns               # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        *,
        depth: int | None = None,
        match: str | Callable[[str, Any], bool] | None = None,
        clock: str = "auto",
        pool: int = 4096,
        notes: Sequence[str] = (),
        events: Events | None = None,
        now_ns: Callable[[], int] = _core.now_ns,
    ) -> None:
        if clock not in ("auto", "host", "cuda"):
            raise OptionError(f"clock is {clock!r}; it must be 'auto', 'host' or 'cuda'")
        self._models = dict(model) if isinstance(model, Mapping) else {"": model}
        self._now_ns = now_ns
        self._notes = list(notes)
        self._aliases: dict[str, tuple[str, ...]] = {}
        self.compiled = False
        self._modules = self._choose(depth, match)
        if not self._modules and not self.compiled:
            raise OptionError("no module of the model is left: look at depth and match")
        device = self._cuda_device(needed=clock == "cuda") if events is None else None
        if device is not None and clock != "host":
            events = CudaEvents(device)
        self.device_id = "cpu:0" if device is None else f"gpu:{device.index or 0}"
        self._marks = None if events is None else DeviceMarks(events, pool, now_ns)
        self._handles: list[Any] = []
        self._logs: list[Log] = []
        self._local = threading.local()
        self._done: LayerSpans | None = None
        self._lost = ""

    def __enter__(self) -> ModuleSpans:
        if self._handles:
            raise StateError("these modules are being recorded already: make another ModuleSpans")
        self._logs, self._done, self._lost = [], None, ""
        self._start_ns = self._now_ns()
        self._local = threading.local()
        if self._marks is not None:
            self._marks.anchor()
        try:
            for layer, (_, module) in enumerate(self._modules):
                before, after = self._hooks(layer)
                self._handles.append(module.register_forward_pre_hook(before, prepend=True))
                self._handles.append(module.register_forward_hook(after, always_call=True))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._remove()
        self._end_ns = self._now_ns()
        if self._marks is None:
            return
        try:
            self._end_ns = self._marks.anchor()
        except Exception as error:
            self._lost = f"the device failed ({error}): when its modules ran is not known"
            if kind is None:
                raise

    def reanchor(self) -> None:
        """Wait for the device and tie its clock to the host's again: narrower bounds, fewer events.

        Between windows of a long run, while no module runs. Does nothing on the host's clock.
        """
        if not self._handles:
            raise StateError("nothing is being recorded: call it inside the with block")
        if self._marks is not None:
            self._marks.anchor()

    def spans(self) -> LayerSpans:
        """What was recorded, after the ``with`` block.

        Raises
        ------
        StateError
            Inside the block or before it; or if the device failed.
        """
        if self._handles:
            raise StateError("the modules are still being recorded: leave the with block first")
        if not hasattr(self, "_end_ns"):
            raise StateError("nothing was recorded: run the model in `with ModuleSpans(model):`")
        if self._lost:
            raise StateError(self._lost)
        if self._done is None:
            self._done = self._read()
        return self._done

    @property
    def bounds_ns(self) -> tuple[int, int]:
        """When the ``with`` block was entered and left, CLOCK_MONOTONIC."""
        if not hasattr(self, "_end_ns"):
            raise StateError("nothing was recorded: run the model in `with ModuleSpans(model):`")
        return self._start_ns, self._end_ns

    def _read(self) -> LayerSpans:
        notes = list(self._notes)
        times = None if self._marks is None else self._marks.times()
        if self._marks is not None and self._marks.grown:
            notes.append(
                f"{self._marks.grown} events were made while modules ran, which takes time: pass a "
                f"pool of {2 * len(self._modules)} for each run of the model"
            )
        return spans_of(
            self._logs,
            tuple(name for name, _ in self._modules),
            tuple(type(module).__name__ for _, module in self._modules),
            self._aliases,
            notes,
            times,
            self._end_ns,
        )

    def _hooks(self, layer: int) -> tuple[Callable[..., None], Callable[..., None]]:
        """What runs before and after a call: as little as can be."""
        from torch.compiler import is_compiling

        local, new_log = self._local, self._new_log
        stamp = self._now_ns if self._marks is None else self._marks.mark
        ended = ~layer

        def before(module: Any, args: Any) -> None:
            if is_compiling():
                return
            try:
                log = local.log
            except AttributeError:
                log = new_log(local)
            log.extend((layer, stamp()))

        def after(module: Any, args: Any, result: Any) -> None:
            if is_compiling():
                return
            at = stamp()
            try:
                log = local.log
            except AttributeError:
                log = new_log(local)
            log.extend((ended, at))

        return before, after

    def _new_log(self, local: threading.local) -> array[int]:
        log: array[int] = array("q")
        local.log = log
        self._logs.append(Log(threading.get_ident(), log))
        return log

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _choose(
        self, depth: int | None, match: str | Callable[[str, Any], bool] | None
    ) -> list[tuple[str, Any]]:
        """(name, module) of those to hook, each object once."""
        wanted = _matcher(match)
        chosen: dict[int, tuple[str, Any]] = {}
        for key, model in self._models.items():
            names = module_names(model)
            hidden, compiled = compiled_modules(model, names, key)
            self._notes += compiled.values()
            for module in model.modules():
                every = tuple(".".join(filter(None, (key, name))) for name in names[id(module)])
                if id(module) in chosen:
                    continue
                if type(module).__name__ in CONTAINERS or not wanted(every[0], module):
                    continue
                parts = len(names[id(module)][0].split(".")) if names[id(module)][0] else 0
                if depth is not None and parts > depth:
                    continue
                if id(module) in hidden:
                    self.compiled = True
                    continue
                chosen[id(module)] = (every[0], module)
                if len(every) > 1:
                    self._aliases[every[0]] = every
        if self._aliases:
            said = "; ".join(" = ".join(every) for every in list(self._aliases.values())[:3])
            self._notes.append(f"modules of several names are listed by the first: {said}")
        return list(chosen.values())

    def _cuda_device(self, needed: bool) -> Any:
        """Where the parameters are, if on CUDA."""
        devices = {
            tensor.device
            for model in self._models.values()
            for tensor in (*model.parameters(), *model.buffers())
            if tensor.device.type == "cuda"
        }
        if len(devices) > 1:
            said = ", ".join(sorted(str(device) for device in devices))
            raise OptionError(
                f"the model is on {said}: make one ModuleSpans for the modules of each device"
            )
        if needed and not devices:
            raise OptionError("clock is 'cuda', but no parameter of the model is on a CUDA device")
        return next(iter(devices), None)


def _matcher(match: str | Callable[[str, Any], bool] | None) -> Callable[[str, Any], bool]:
    if match is None:
        return lambda name, module: True
    if callable(match):
        return match
    pattern = re.compile(match)
    return lambda name, module: pattern.search(name) is not None
