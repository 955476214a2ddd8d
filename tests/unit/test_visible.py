# SPDX-License-Identifier: Apache-2.0
"""Device visibility follows CUDA's rules, and never yields a silently smaller set."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyenergy._visible import visible_gpus
from pyenergy.errors import DeviceError


@dataclass(frozen=True)
class Gpu:
    index: int
    uuid: str
    name: str = "H100"
    speed_score: float = 1.0
    mig_enabled: bool = False
    mig_uuids: list[str] = field(default_factory=list)


A = Gpu(0, "GPU-aa11-0000")
B = Gpu(1, "GPU-aa22-0000")
C = Gpu(2, "GPU-cc33-0000")
MIG = Gpu(3, "GPU-dd44-0000", mig_enabled=True, mig_uuids=["MIG-1111-a", "MIG-1122-b"])
GPUS = [A, B, C, MIG]


def chosen(text: str | None, gpus: list[Gpu] = GPUS, order: str | None = None) -> list[Gpu]:
    return [v.info for v in visible_gpus(gpus, environment(text, order))]


def environment(text: str | None, order: str | None = None) -> dict[str, str]:
    env = {"CUDA_VISIBLE_DEVICES": text, "CUDA_DEVICE_ORDER": order}
    return {key: value for key, value in env.items() if value is not None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, [A, B, C, MIG]),
        ("", []),
        ("  ", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", [A]),
        ("2,0", [C, A]),
        (" 1 , 0 ", [B, A]),
        ("0,1,", [A, B]),
        ("0,-1,1", [A]),
        ("GPU-aa22-0000", [B]),
        ("GPU-c", [C]),
        ("GPU-c,GPU-aa1", [C, A]),
        ("MIG-1122-b", [MIG]),
        ("MIG-GPU-dd44-0000/7/0", [MIG]),
    ],
)
def test_selects_what_cuda_selects(text: str | None, expected: list[Gpu]) -> None:
    assert chosen(text) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("9", "'9'"),
        ("0,9", "'9'"),
        ("GPU-ff", "'GPU-ff'"),
        ("GPU-aa", "ambiguous"),
        ("0,0", "twice"),
        ("GPU-c,GPU-cc", "twice"),
        ("0,GPU-c", "'GPU-c'"),
        ("GPU-c,0", "'0'"),
        ("0,,1", "''"),
        (",", "''"),
        ("none", "'none'"),
        ("MIG-9", "'MIG-9'"),
        ("MIG-1", "ambiguous"),
        ("MIG-GPU-aa11-0000/1/0", "MIG-GPU-aa11-0000/1/0"),  # its GPU has no MIG
    ],
)
def test_refuses_what_cuda_would_drop(text: str, named: str) -> None:
    with pytest.raises(DeviceError) as error:
        chosen(text)
    assert named in str(error.value)


def test_error_lists_what_exists() -> None:
    with pytest.raises(DeviceError, match=r"GPU-aa11-0000.*MIG-1111-a"):
        chosen("7")
    with pytest.raises(DeviceError, match="no GPU"):
        chosen("0", [])


def test_fastest_first_is_the_default_and_ties_keep_pci_order() -> None:
    slow, fast = Gpu(0, "GPU-1", "T4", 1.0), Gpu(1, "GPU-2", "H100", 9.0)
    twin = Gpu(2, "GPU-3", "H100", 9.0)
    gpus = [slow, fast, twin]
    assert chosen(None, gpus) == [fast, twin, slow]
    assert chosen("0", gpus) == [fast]
    assert chosen("0", gpus, "PCI_BUS_ID") == [slow]
    assert chosen(None, gpus, "PCI_BUS_ID") == gpus


def test_guessed_order_is_said_and_only_where_it_matters() -> None:
    mixed = [Gpu(0, "GPU-1", "T4", 1.0), Gpu(1, "GPU-2", "H100", 9.0)]
    unknown = [Gpu(0, "GPU-1", "T4", 0.0), Gpu(1, "GPU-2", "H100", 9.0)]
    assert "guessed" in visible_gpus(mixed, {})[0].notes[0]
    assert "unknown" in visible_gpus(unknown, {})[0].notes[0]
    assert visible_gpus(mixed, environment(None, "PCI_BUS_ID"))[0].notes == ()
    assert visible_gpus(mixed, environment("GPU-1"))[0].notes == ()
    assert visible_gpus([A, B], {})[0].notes == ()


def test_unknown_order_is_said() -> None:
    (gpu,) = visible_gpus([A], environment(None, "ALPHABETIC"))
    assert "ALPHABETIC" in gpu.notes[0]


def test_trailing_text_is_read_as_cuda_reads_it_and_said() -> None:
    (gpu,) = visible_gpus(GPUS, environment("1gpu"))
    assert gpu.info is B
    assert "'1gpu' is read as 1" in gpu.notes[0]


@pytest.mark.parametrize("text", [None, "3", "GPU-dd", "MIG-1111"])
def test_mig_power_is_said_to_be_the_whole_gpus(text: str | None) -> None:
    gpu = visible_gpus(GPUS, environment(text))[-1]
    assert gpu.info is MIG
    assert any("whole GPU" in note for note in gpu.notes)


def test_mig_instances_are_named_by_their_uuid() -> None:
    both = visible_gpus(GPUS, environment("MIG-1111-a,MIG-1122-b"))
    assert [v.mig_uuid for v in both] == ["MIG-1111-a", "MIG-1122-b"]
    assert all(any("only the first" in note for note in v.notes) for v in both)


@given(st.permutations(GPUS), st.permutations(range(4)), st.integers(0, 4))
def test_a_list_of_distinct_indices_is_kept_in_its_order(
    gpus: list[Gpu], indices: list[int], length: int
) -> None:
    text = ",".join(str(i) for i in indices[:length])
    assert chosen(text, gpus) == [GPUS[i] for i in indices[:length]]


@given(
    st.lists(
        st.one_of(
            st.integers(-2, 6).map(str),
            st.sampled_from(["GPU-aa11", "GPU-aa", "GPU-c", "MIG-11", "MIG-1111", "", "x", "1x"]),
        ),
        min_size=1,
    )
)
def test_never_a_silently_smaller_set(entries: list[str]) -> None:
    text = ",".join(entries)
    try:
        found = chosen(text)
    except DeviceError:
        return
    listed = text.removesuffix(",").split(",") if text else []
    ends = [i for i, entry in enumerate(listed) if entry.startswith("-")]
    assert len(found) == (ends[0] if ends else len(listed))
    if not any(entry.startswith("MIG-") for entry in listed):
        assert len({gpu.uuid for gpu in found}) == len(found)


@given(st.text(max_size=20))
def test_any_text_gives_devices_or_a_device_error(text: str) -> None:
    try:
        found = chosen(text)
    except DeviceError:
        return
    assert {gpu.uuid for gpu in found} <= {gpu.uuid for gpu in GPUS}
