# SPDX-License-Identifier: Apache-2.0
"""Which GPUs this process may see, and in which order, by CUDA's rules. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["GpuLike", "VisibleGpu", "visible_gpus"]

_VARIABLE = "CUDA_VISIBLE_DEVICES"
_WHOLE_GPU = "power and energy are of the whole GPU, not of one MIG instance"
# "NoDevFiles" is what Slurm writes for a job without GPUs.
_NONE = ("", "NoDevFiles")


class GpuLike(Protocol):
    """What is needed to know of a GPU (``_core.DeviceInfo`` has it)."""

    @property
    def index(self) -> int: ...
    @property
    def uuid(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def speed_score(self) -> float: ...
    @property
    def mig_enabled(self) -> bool: ...
    @property
    def mig_uuids(self) -> list[str]: ...


G = TypeVar("G", bound=GpuLike)


@dataclass(frozen=True)
class VisibleGpu(Generic[G]):
    """A GPU (or an instance on one) that CUDA shows to this process."""

    info: G
    mig_uuid: str | None = None
    notes: tuple[str, ...] = ()


def visible_gpus(gpus: Sequence[G], env: Mapping[str, str]) -> list[VisibleGpu[G]]:
    """The GPUs that CUDA shows under ``env``, in CUDA's order.

    Parameters
    ----------
    gpus : sequence
        Every GPU of the machine, as the driver lists them.
    env : mapping
        Its ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER`` count.

    Raises
    ------
    DeviceError
        When an entry names no device, or not exactly one, or is repeated: CUDA would then
        silently show fewer devices than the list says, or none.
    """
    ordered, notes = _cuda_order(gpus, env.get("CUDA_DEVICE_ORDER"))
    text = env.get(_VARIABLE)
    if text is None:
        return [_visible(gpu, None, notes) for gpu in ordered]
    if text.strip() in _NONE:
        return []
    entries = [entry.strip() for entry in text.split(",")]
    if not entries[-1]:
        entries.pop()  # a trailing comma names nothing, and nothing follows it
    if entries[0].startswith(("GPU-", "MIG-")):
        return _by_uuid(entries, gpus)
    return _by_index(entries, ordered, notes)


def _cuda_order(gpus: Sequence[G], order: str | None) -> tuple[list[G], tuple[str, ...]]:
    by_pci = sorted(gpus, key=lambda gpu: gpu.index)
    if order == "PCI_BUS_ID":
        return by_pci, ()
    notes: list[str] = []
    if order not in (None, "", "FASTEST_FIRST"):
        notes.append(f"CUDA_DEVICE_ORDER={order!r} is unknown: taken as FASTEST_FIRST")
    if len({gpu.name for gpu in gpus}) > 1:
        how = (
            "guessed from cores x clock"
            if all(gpu.speed_score > 0 for gpu in gpus)
            else "unknown for some of these GPUs"
        )
        notes.append(
            f"CUDA's FASTEST_FIRST order is {how}: set CUDA_DEVICE_ORDER=PCI_BUS_ID to be sure "
            "which GPU an index means"
        )
    return sorted(by_pci, key=lambda gpu: -gpu.speed_score), tuple(notes)


def _visible(gpu: G, mig_uuid: str | None, notes: tuple[str, ...] = ()) -> VisibleGpu[G]:
    return VisibleGpu(gpu, mig_uuid, (*notes, _WHOLE_GPU) if gpu.mig_enabled else notes)


def _by_index(entries: list[str], ordered: list[G], notes: tuple[str, ...]) -> list[VisibleGpu[G]]:
    chosen: list[int] = []
    for entry in entries:
        match = re.match(r"[+-]?[0-9]+", entry)
        if match is None:
            raise _unknown(entry, ordered, after=bool(chosen))
        if match.group() != entry:
            notes = (*notes, f"{_VARIABLE}: {entry!r} is read as {match.group()}, as CUDA does")
        number = int(match.group())
        if number < 0:
            break  # the documented way to end the list
        if number >= len(ordered):
            raise _unknown(entry, ordered, after=bool(chosen))
        if number in chosen:
            raise _repeated(entry)
        chosen.append(number)
    return [_visible(ordered[number], None, notes) for number in chosen]


def _by_uuid(entries: list[str], gpus: Sequence[G]) -> list[VisibleGpu[G]]:
    prefix = entries[0][:4]
    chosen: list[VisibleGpu[G]] = []
    for entry in entries:
        if not entry.startswith(prefix):
            raise _unknown(entry, gpus, after=True)
        matches = _mig_matches(entry, gpus) if prefix == "MIG-" else _gpu_matches(entry, gpus)
        if not matches:
            raise _unknown(entry, gpus, after=bool(chosen))
        if len(matches) > 1:
            names = ", ".join(mig or gpu.uuid for gpu, mig in matches)
            raise DeviceError(f"{_VARIABLE}: {entry!r} is ambiguous, it may be any of {names}")
        found = _visible(*matches[0])
        if any((v.info is found.info and v.mig_uuid == found.mig_uuid) for v in chosen):
            raise _repeated(entry)
        chosen.append(found)
    return _note_second_instances(chosen)


def _gpu_matches(entry: str, gpus: Sequence[G]) -> list[tuple[G, str | None]]:
    return [(gpu, None) for gpu in gpus if gpu.uuid.startswith(entry)]


def _mig_matches(entry: str, gpus: Sequence[G]) -> list[tuple[G, str | None]]:
    # Before driver 470 an instance was named by its GPU: MIG-GPU-<uuid>/<gpu instance>/<compute>.
    old = re.fullmatch(r"MIG-(GPU-[^/]+)/[0-9]+/[0-9]+", entry)
    if old is not None:
        return [(gpu, entry) for gpu in gpus if gpu.mig_enabled and gpu.uuid == old.group(1)]
    return [(gpu, uuid) for gpu in gpus for uuid in gpu.mig_uuids if uuid.startswith(entry)]


def _note_second_instances(chosen: list[VisibleGpu[G]]) -> list[VisibleGpu[G]]:
    if sum(v.mig_uuid is not None for v in chosen) < 2:
        return chosen
    note = "several MIG instances are listed: CUDA may use only the first"
    return [VisibleGpu(v.info, v.mig_uuid, (*v.notes, note)) for v in chosen]


def _unknown(entry: str, gpus: Sequence[GpuLike], *, after: bool) -> DeviceError:
    names = [f"{i}" for i in range(len(gpus))]
    names += [gpu.uuid for gpu in gpus] + [mig for gpu in gpus for mig in gpu.mig_uuids]
    listing = ", ".join(name for name in names if name) or "no GPU"
    effect = "ignores it and all that follows" if after else "shows no GPU at all"
    return DeviceError(
        f"{_VARIABLE}: {entry!r} names no device in this list, and CUDA {effect}. "
        f"This machine has: {listing}"
    )


def _repeated(entry: str) -> DeviceError:
    return DeviceError(f"{_VARIABLE}: {entry!r} names a device twice, and CUDA then shows none")
