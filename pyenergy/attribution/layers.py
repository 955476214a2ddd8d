# SPDX-License-Identifier: Apache-2.0
"""Which layer of a model each operation of a profile belongs to.

A GPU operation belongs to the module in whose call it was launched: its launch (by the correlation
id) or its operator (by the external id) lies in the module's span on the host. Such spans are in
profiles that were taken with ``with_stack=True``; elsewhere user ranges (``record_function``,
NVTX) stand in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .kineto_live import from_profiler
from .layer_launch import host_thread, on_host, origins
from .layer_map import How, LayerMap, measured
from .layer_names import MODULE, ExactNames, exact_names
from .nesting import Nesting, nest
from .profiler_events import Category

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .layer_launch import Origins
    from .profiler_events import ProfilerEvents

__all__ = ["How", "LayerMap", "layers_from_events", "layers_from_profiler"]

# Regions that torch.compile's wrappers, AOTAutograd and Inductor's cache open, and the modules
# that hold traced graphs: torch 2.0 to 2.13.
_COMPILED = re.compile(
    r"Torch-Compiled Region|.*CompiledFxGraph|CompiledFunction|nn\.Module: .*GraphModule"
)
_GRAPH = re.compile(r"\w*GraphLaunch")
_NO_LAYER = re.compile(r"ProfilerStep#\d+$|PyTorch Profiler")
_COUNTER = re.compile(r"_\d+$")
_COMPILED_ROW, _GRAPH_ROW = "(compiled)", "(CUDA graph)"


def layers_from_events(events: ProfilerEvents) -> LayerMap:
    """The layer of every event, from a profile alone.

    Layers are paths of modules as the profiler names them (``BertModel_0/BertLayer_3/...``: a
    class and a running number), or of ``record_function`` ranges where no module is around.

    Examples
    --------
    >>> layers = layers_from_events(read_kineto("trace.json.gz"))  # doctest: +SKIP
    >>> layers.coverage(events), layers.notes                      # doctest: +SKIP
    """
    return _Mapping(events, ExactNames()).layers()


def layers_from_profiler(prof: Any, model: Any) -> tuple[ProfilerEvents, LayerMap]:
    """Events of a profiler in this process, and the module of ``model`` that each belongs to.

    Parameters
    ----------
    prof : torch.profiler.profile
        Finished, taken with ``with_stack=True``: without, there are no modules in it.
    model : torch.nn.Module
        The same object that ran, still alive: modules are told by their address.

    Raises
    ------
    StateError, OptionError
        As `from_profiler` does.
    """
    events = from_profiler(prof)
    return events, _Mapping(events, exact_names(prof, model)).layers()


@dataclass(frozen=True)
class _Spans:
    """Spans of one kind: the row of each, and how they lie in one another."""

    rows: NDArray[np.int64]
    nesting: Nesting

    def at(self, thread: NDArray[np.int64], t_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of each moment the row of the innermost one; -1 where none."""
        found = self.nesting.innermost(thread, t_ns)
        return np.where(found >= 0, self.rows[found] if len(self.rows) else -1, -1)


class _Mapping:
    def __init__(self, events: ProfilerEvents, exact: ExactNames) -> None:
        self._events = events
        self._exact = exact
        self._ids: dict[tuple[str, ...], int] = {}
        self._classes: list[str | None] = []
        self._notes = list(exact.notes)
        count = len(events)
        self._layer = np.full(count, -1, np.int32)
        self._how = np.zeros(count, np.int8)
        self._hidden = np.zeros(count, bool)
        self._modules = False  # whether any is in the profile

    def layers(self) -> LayerMap:
        self._host()
        self._gpu()
        found = LayerMap(
            self._layer, self._how, self._hidden, tuple(self._ids),
            "." if self._exact.paths else "/", tuple(self._classes), self._exact.aliases,
        )  # fmt: skip
        said = () if self._modules else (_without_modules(found, self._events),)
        return replace(found, notes=(*said, *self._notes))

    def _spans(self, named: NDArray[np.bool_], *categories: Category) -> _Spans:
        rows = self._events.rows(*categories)
        rows = rows[named[self._events.name[rows]] & (self._events.thread[rows] != -1)]
        columns = self._events
        nesting = nest(columns.thread[rows], columns.start_ns[rows], columns.end_ns[rows])
        return _Spans(rows, nesting)

    def _host(self) -> None:
        """Layers of what ran on the host."""
        events, names = self._events, self._events.names
        module = np.array([MODULE.match(name) is not None for name in names], bool)
        compiled = np.array([_COMPILED.match(name) is not None for name in names], bool)
        other = np.array([_NO_LAYER.match(name) is not None for name in names], bool)
        modules = self._spans(module, Category.PYTHON)
        ranges = self._spans(~(compiled | other), Category.ANNOTATION)
        regions = self._spans(compiled, Category.PYTHON, Category.CPU_OP, Category.ANNOTATION)
        self._modules = len(modules.rows) > 0
        crossing = modules.nesting.crossing + ranges.nesting.crossing
        if crossing:
            self._notes.append(
                f"{crossing} modules or ranges end inside one another: what ran while both were "
                "open is taken for the one that started last"
            )
        thread = host_thread(events)
        rows = on_host(events)
        where = (thread[rows], events.start_ns[rows])
        in_module, in_range = modules.at(*where), ranges.at(*where)
        named, how = self._module_layers(modules)
        self._layer[rows] = np.where(in_module >= 0, named[in_module], -1)
        self._how[rows] = np.where(in_module >= 0, how[in_module], How.NONE)
        alone = (in_module < 0) & (in_range >= 0)
        self._layer[rows[alone]] = self._range_layers(ranges)[in_range[alone]]
        self._how[rows[alone]] = How.RANGE
        self._in_regions(rows, in_module, regions.at(*where))

    def _in_regions(
        self, rows: NDArray[np.int64], module: NDArray[np.int64], region: NDArray[np.int64]
    ) -> None:
        """Move what a compiled region holds into a row of its own, unless a module is in it."""
        start = self._events.start_ns
        inside = (region >= 0) & ((module < 0) | (start[region] >= start[module]))
        self._hide(rows[inside], _COMPILED_ROW)

    def _hide(self, rows: NDArray[np.int64], row_name: str) -> None:
        layers = self._layer[rows]
        paths = list(self._ids)
        for layer in np.unique(layers).tolist():
            path = paths[layer] if layer >= 0 else ()
            if layer >= 0 and path in self._exact.leaves:
                continue  # there is nothing in it to hide
            picked = rows[layers == layer]
            self._hidden[picked] = True
            if layer >= 0 and path[-1:] != (row_name,):
                self._layer[picked] = self._id((*path, row_name), None)

    def _module_layers(self, modules: _Spans) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        """(layer, how) by the row of a module's span."""
        exact, events = self._exact.paths, self._events
        names = events.names
        kinds = self._exact.classes
        layer = np.full(len(events) + 1, -1, np.int32)
        how = np.zeros(len(events) + 1, np.int8)
        paths: dict[int, tuple[str, ...]] = {-1: ()}
        rows = modules.rows
        parents = modules.nesting.parent.tolist()
        for span in modules.nesting.order.tolist():
            row = int(rows[span])
            label = names[events.name[row]]
            if label in exact:
                path = exact[label]
                layer[row], how[row] = self._id(path, kinds.get(path)), How.TREE
            else:
                instance = MODULE.sub("", label, count=1)
                path = (*paths[parents[span]], instance)
                layer[row] = self._id(path, _COUNTER.sub("", instance))
                how[row] = How.LAUNCH
            paths[span] = path
        return layer, how

    def _range_layers(self, ranges: _Spans) -> NDArray[np.int32]:
        """Layer by the row of a range."""
        events = self._events
        layer = np.full(len(events), -1, np.int32)
        paths: dict[int, tuple[str, ...]] = {-1: ()}
        parents = ranges.nesting.parent.tolist()
        for span in ranges.nesting.order.tolist():
            row = int(ranges.rows[span])
            paths[span] = (*paths[parents[span]], events.name_of(row))
            layer[row] = self._id(paths[span], None)
        return layer

    def _id(self, path: tuple[str, ...], of: str | None) -> int:
        known = self._ids.get(path)
        if known is None:
            known = self._ids[path] = len(self._ids)
            self._classes.append(of)
        return known

    def _gpu(self) -> None:
        """Layers of what a GPU worked on, after the host's."""
        events = self._events
        label = self._layer.astype(np.int64) * 2 + self._hidden
        found = origins(events, label)
        has = found.host >= 0
        rows, host = found.rows[has], found.host[has]
        self._layer[rows] = self._layer[host]
        self._how[rows] = self._how[host]
        self._hidden[rows] = self._hidden[host]
        launch = np.array([_GRAPH.match(name) is not None for name in events.names], bool)
        graphs = launch[events.name[host]] if len(host) else np.zeros(0, bool)
        self._hide(rows[graphs], _GRAPH_ROW)
        self._say(found, rows[graphs])

    def _say(self, found: Origins, in_graphs: NDArray[np.int64]) -> None:
        """What is hidden or not known, with its share of the time."""
        events = self._events
        rows, time_ns = measured(events)
        total = float(time_ns.sum())
        gpu = len(found.rows) > 0
        unit = "GPU operations" if gpu else "operators"

        def say(which: NDArray[np.bool_], what: str) -> None:
            if which.any() and total:
                share = float(time_ns[which].sum()) / total
                count = int(np.count_nonzero(which))
                percent = float(f"{100 * share:.2g}")  # 100, not 1e+02
                self._notes.append(f"{count} {unit} ({percent:g} % of the time) {what}")

        graph = np.isin(rows, in_graphs)
        say(graph, "were replayed by CUDA graphs, which hide the layers of what they hold")
        say(self._hidden[rows] & ~graph, "are in compiled regions, which hide the layers inside")
        none = (self._layer[rows] < 0) & ~self._hidden[rows]
        lost = np.zeros(len(rows), bool)
        if gpu:
            lost = found.host < 0
            say(lost & ~found.unclear, "have neither a launch nor an operator in the profile")
            say(found.unclear, "share their id with launches in several layers")
        outside = "module and range" if self._modules or not self._ids else "user range"
        say(none & ~lost, f"ran outside of every {outside}")


def _without_modules(layers: LayerMap, events: ProfilerEvents) -> str:
    """What the layers of a profile without modules are, with their share of the time."""
    if not layers.paths:
        return "no modules are in the profile: take it with with_stack=True to have layers"
    said = "no modules are in the profile (with_stack=True has them): "
    shares = layers.shares(events)
    if shares is None:
        return f"{said}user ranges stand for layers"
    time = "GPU time" if len(events.on_gpu()) else "operators' time"
    return f"{said}{shares['range']:.1%} of the {time} lies in user ranges, which stand for layers"
