# SPDX-License-Identifier: Apache-2.0
"""Which devices a request means, and which of them this process can read."""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Union

from . import _core
from ._node import Found, Node, node_of
from ._overlaps import holds_its_cpu, refuse_overlaps
from ._visible import visible_gpus
from .errors import DeviceError, EstimateWarning, RecordingError
from .recording.series import DeviceMeta
from .sensor.catalog import POWER_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Device", "DevicesLike", "channels_of", "devices", "not_measured", "resolve"]

DevicesLike = Union[str, int, "Iterable[str | int]"]

# Whatever of the environment decides which devices a name means.
_ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "PYENERGY_SIMGPU",
    "PYENERGY_NVML_LIBRARY",
    "PYENERGY_DCGM",
    "PYENERGY_DCGM_LIBRARY",
    "PYENERGY_PROC_ROOT",
    "PYENERGY_SYSFS_ROOT",
    "PYENERGY_DEV_ROOT",
)
# Requests for the CPU's own counters, and the kind of device that RAPL gives for each.
_RAPL = {"cpu": "cpu", "dram": "dram", "psys": "platform"}


@dataclass(frozen=True)
class Device:
    """A device that can be measured.

    Attributes
    ----------
    id : str
        ``gpu:0`` counts in this process's visible order (CUDA's), ``cpu:0`` and ``dram:0`` in
        sockets; ``hwmon:amdgpu`` has its sensor's name.
    meta : DeviceMeta
        Identity (UUID, PCI bus id, name) and bounds of its power.
    info : pyenergy._core.DeviceInfo
        The core's description, from which a sensor is opened.
    """

    id: str
    meta: DeviceMeta
    info: _core.DeviceInfo

    @property
    def key(self) -> tuple[str, str, int, str]:
        """Identity of the physical device in this process: one sampler serves all who ask."""
        return (self.info.source, self.info.uuid, self.info.index, self.info.argument)

    @property
    def is_estimate(self) -> bool:
        """Whether its power is computed from load and a table instead of read."""
        return self.info.source == "estimate"

    def __str__(self) -> str:
        uuid = f", {self.meta.uuid}" if self.meta.uuid else ""
        return f"{self.id} ({self.meta.name}{uuid})"


_cache: dict[tuple[object, ...], tuple[Device, ...]] = {}
_cache_lock = threading.RLock()


def devices() -> list[Device]:
    """Every device this process may measure: visible GPUs, then CPUs (perhaps estimated), what
    else RAPL counts, and what hwmon and IIO show. Some contain others.

    Raises
    ------
    DeviceError
        When ``CUDA_VISIBLE_DEVICES`` names a device that does not exist.
    """
    found: dict[tuple[str, str, int, str], Device] = {}
    for device in [*_gpus(), *_cpus(), *_rapl("dram"), *_rapl("psys"), *_hwmon()]:
        found.setdefault(device.key, device)
    return list(found.values())


def resolve(request: DevicesLike) -> tuple[Device, ...]:
    """The devices that ``request`` means.

    Parameters
    ----------
    request : str, int or iterable of them
        ``"auto"``: every visible GPU (where NVIDIA's driver shows none, those of hwmon, or a
        Jetson's module); without one the CPU; only if nothing real can be read an estimate of it,
        with an `EstimateWarning`. ``"gpu"``: every visible NVIDIA GPU. ``"gpu:1"`` or ``1``: one
        in visible order. ``"GPU-4e81"``: by UUID or unique prefix. ``"cpu"``, ``"cpu:0"``: CPU
        packages, measured where they can be, else estimated; ``"rapl"``: measured or an error;
        ``"estimate"``. ``"dram"``, ``"dram:0"``: their memory. ``"node"``: GPUs, CPU packages and
        memory that have a sensor (`Trace.node`). ``"psys"``: the platform, which contains
        both. ``"hwmon:NAME"``: a sensor of hwmon or IIO, ``"hwmon"``: all of them.
        ``"dcgm"``, ``"dcgm:0"``, ``"dcgm:HOST:PORT"``, ``"dcgm:HOST:PORT/0"``: GPUs as a DCGM host
        engine reads them. ``"sim:a100"``, ``"sim:a100,h100"``: simulated GPUs. ``"replay:FILE"``: a
        recording fed back as if live. Several may be joined by ``+`` or given as a list.

    Raises
    ------
    DeviceError
        Naming the request and what exists; also for devices that contain each other, whose sum
        would count the same joules twice.
    """
    names = _names(request)
    key = (names, *(os.environ.get(name) for name in _ENVIRONMENT))
    found = _cache.get(key)
    if found is None:
        found = _resolve(names)
        # A replay starts anew each time it is asked for.
        if not any(device.info.source == "replay" for device in found):
            with _cache_lock:
                _cache[key] = found
    if any(device.is_estimate for device in found):
        warnings.warn(
            "no power sensor can be read: CPU energy is an ESTIMATE from load and a TDP table, "
            "not a measurement ('pyenergy doctor' says what is missing)",
            EstimateWarning,
            stacklevel=4,
        )
    return found


def not_measured(request: DevicesLike, found: Iterable[Device]) -> tuple[str, ...]:
    """What of the node ``"node"``, which gave ``found``, leaves out; of other requests nothing."""
    if "node" not in _names(request):
        return ()
    estimated = any(device.is_estimate for device in found)
    return tuple(s for s in _node().not_measured if not (estimated and s.startswith("CPU:")))


def forget() -> None:
    """Look for devices anew at the next request."""
    global _cache_lock
    _cache_lock = threading.RLock()
    _cache.clear()


def _names(request: DevicesLike) -> tuple[str, ...]:
    if isinstance(request, (bool, bytes)):
        raise DeviceError(f"devices must be a name or an index, got {request!r}")
    if isinstance(request, int):
        return (f"gpu:{request}",)
    if isinstance(request, str):
        names = tuple(part.strip() for part in request.split("+"))
    else:
        try:
            names = tuple(name for item in request for name in _names(item))
        except TypeError as error:
            raise DeviceError(f"devices must be a name or an index, got {request!r}") from error
    if not names or not all(names):
        raise DeviceError(f"devices={request!r} names no device; try 'auto'")
    return names


def _resolve(names: tuple[str, ...]) -> tuple[Device, ...]:
    found: dict[tuple[str, str, int, str], Device] = {}
    for name in names:
        for device in _one(name):
            found.setdefault(device.key, device)
    refuse_overlaps(list(found.values()))
    return _distinct_ids(list(found.values()))


def _distinct_ids(found: list[Device]) -> tuple[Device, ...]:
    """Devices of different sources may share an id (``sim`` beside real GPUs): real GPUs keep
    theirs, which is CUDA's number, the others count on."""
    used = {device.id for device in found if device.info.source == "nvml"}
    out = []
    for device in found:
        if device.info.source == "nvml":
            out.append(device)
            continue
        kind, _, name = device.id.partition(":")
        number = int(name) if name.isdecimal() else 0  # a name is its sensor's own
        new_id = device.id
        while new_id in used:
            number += 1
            new_id = f"{kind}:{number}"
        used.add(new_id)
        out.append(replace(device, id=new_id, meta=replace(device.meta, id=new_id)))
    return tuple(out)


def _one(name: str) -> list[Device]:
    if name == "auto":
        return _auto()
    if name == "node":
        return list(_node().devices) or _auto()
    source, _, argument = name.partition(":")
    if source == "gpu":
        return _pick(_gpus(), argument, name)
    if source == "cpu":
        return _pick(_cpus(), argument, name)
    if source in _RAPL:
        return _pick(_rapl(source), argument, name)
    if name == "rapl":
        return _pick(_rapl("cpu"), "", name)
    if source == "hwmon":
        _from_source("hwmon", argument)  # an error with its reason where there is nothing
        return _hwmon(argument)
    if source == "estimate":
        return _from_source("estimate", argument)
    if source == "dcgm":
        return _from_source("dcgm", argument)
    if source == "sim":
        return _from_source("sim", argument)
    if source == "replay":
        return _replay(argument)
    if name.startswith(("GPU-", "MIG-")):
        return _by_uuid(name)
    raise DeviceError(
        f"unknown device {name!r}. This machine has: {_listing()}. Also: 'auto', 'node', 'gpu', "
        "'cpu', 'dram', 'psys', 'hwmon:NAME', a GPU's UUID, 'dcgm:0', 'sim:a100', "
        "'replay:FILE', 'estimate'"
    )


def _auto() -> list[Device]:
    gpus = _gpus()
    readable = [gpu for gpu in gpus if _has_power(gpu)]
    found = readable or _other_gpus() or _cpus()
    if not found:
        reason = _core.enumerate("nvml").reason
        raise DeviceError(
            f"nothing can be read on this machine (nvml: {reason}); see 'pyenergy doctor'"
        )
    left_out = [f"{g} has no readable power and is not counted" for g in gpus if g not in readable]
    first = replace(found[0].meta, notes=(*found[0].meta.notes, *left_out))
    return [replace(found[0], meta=first), *found[1:]]


def _node() -> Node:
    gpus, hwmon, rapl = _gpus(), _hwmon(), _core.enumerate("rapl")
    readable = [gpu for gpu in gpus if _has_power(gpu)]
    fix = f" (fix: {rapl.fix})" if rapl.fix else ""
    return node_of(
        Found(
            gpus=[*readable, *(d for d in hwmon if d.info.kind == "gpu")],
            silent=[gpu for gpu in gpus if gpu not in readable],
            cpus=[cpu for cpu in _cpus() if not cpu.is_estimate],
            dram=_rapl("dram"),
            modules=[d for d in hwmon if d.info.kind == "module"],
            whole=[gpu.id for gpu in readable if holds_its_cpu(gpu)],
            why_no_cpu=f"RAPL: {rapl.reason or 'it has no package here'}{fix}",
            why_no_dram=(
                "RAPL has no domain for it here (AMD's and desktop CPUs have none)"
                if rapl.available
                else f"RAPL: {rapl.reason}{fix}"
            ),
            psys=bool(_rapl("psys")),
        )
    )


def _other_gpus() -> list[Device]:
    """GPUs that NVIDIA's driver does not show, or else all of a Jetson's module."""
    for kind in ("gpu", "module"):
        found = [d for d in _hwmon() if d.info.kind == kind]
        if found:
            return found
    return []


def channels_of(device: Device) -> list[_core.Channel]:
    """What can be read of a device.

    Raises
    ------
    DeviceError
        When it cannot be opened, with the reason.
    """
    try:
        return _core.open_channels(device.info)
    except RuntimeError as error:
        raise DeviceError(f"{device} cannot be opened: {error}") from error


def _has_power(device: Device) -> bool:
    try:
        return any(c.name in POWER_CHANNELS for c in channels_of(device))
    except DeviceError:
        return False


def _pick(candidates: list[Device], argument: str, name: str) -> list[Device]:
    if not argument:
        if candidates:
            return candidates
        raise DeviceError(f"no device for {name!r}. {_why_not(name)}This machine has: {_listing()}")
    for device in candidates:
        if device.id.split(":")[1] == argument:
            return [device]
    raise DeviceError(f"no device {name!r}. {_why_not(name)}This machine has: {_listing()}")


def _by_uuid(prefix: str) -> list[Device]:
    matches = [
        gpu
        for gpu in _gpus()
        if gpu.meta.uuid.startswith(prefix) or any(m.startswith(prefix) for m in gpu.info.mig_uuids)
    ]
    if len(matches) == 1:
        return matches
    problem = "is not unique" if matches else "matches no visible GPU"
    raise DeviceError(f"{prefix!r} {problem}. This machine has: {_listing()}")


def _why_not(name: str) -> str:
    what, source = (
        ("RAPL", "rapl") if name.partition(":")[0] in (*_RAPL, "rapl") else ("NVIDIA GPUs", "nvml")
    )
    report = _core.enumerate(source)
    if report.available:
        return ""
    fix = f" (fix: {report.fix})" if source == "rapl" and report.fix else ""
    return f"{what}: {report.reason}{fix}. "


def _listing() -> str:
    try:
        return ", ".join(str(device) for device in devices()) or "no device"
    except DeviceError as error:
        return f"(unknown: {error})"


def _gpus() -> list[Device]:
    report = _core.enumerate("nvml")
    if not report.available:
        return []
    return [
        _device(f"gpu:{i}", gpu.info, gpu.notes)
        for i, gpu in enumerate(visible_gpus(report.devices, os.environ))
    ]


def _cpus() -> list[Device]:
    """CPU packages: by RAPL, else by hwmon (Grace), else the estimate."""
    by_hwmon = [info for info in _core.enumerate("hwmon").devices if info.kind == "cpu"]
    infos = by_hwmon or _core.enumerate("estimate").devices
    return _rapl("cpu") or [_device(f"cpu:{i}", info, ()) for i, info in enumerate(infos)]


def _rapl(request: str) -> list[Device]:
    return [
        _device(f"{request}:{info.index}", info, ())
        for info in _core.enumerate("rapl").devices
        if info.kind == _RAPL[request]
    ]


def _hwmon(argument: str = "") -> list[Device]:
    found = _core.enumerate("hwmon", argument).devices
    return [_device(f"hwmon:{info.argument}", info, ()) for info in found]


def _from_source(source: str, argument: str) -> list[Device]:
    report = _core.enumerate(source, argument)
    if not report.available or not report.devices:
        fix = f" ({report.fix})" if report.fix else ""
        name = f"{source}:{argument}" if argument else source
        raise DeviceError(f"cannot use {name!r}: {report.reason}{fix}")
    return [_device(f"{info.kind}:{i}", info, ()) for i, info in enumerate(report.devices)]


def _replay(path: str) -> list[Device]:
    from .recording.replay import register

    if not path:
        raise DeviceError("replay needs a file: 'replay:run.pyenergy'")
    try:
        keys = register(path)
    except RecordingError as error:
        raise DeviceError(f"cannot replay: {error}") from error
    return [
        _device(device_id, info, ())
        for device_id, key in keys.items()
        for info in _core.enumerate("replay", key).devices
    ]


def _device(device_id: str, info: _core.DeviceInfo, notes: Iterable[str]) -> Device:
    meta = DeviceMeta(
        id=device_id,
        source=info.source,
        kind=info.kind,
        name=info.name,
        uuid=info.uuid,
        pci_bus_id=info.pci_bus_id,
        architecture=info.architecture,
        driver=info.driver,
        power_min_w=info.power_min_w,
        power_max_w=info.power_max_w,
        notes=tuple(dict.fromkeys([*info.notes, *notes])),
    )
    return Device(device_id, meta, info)
