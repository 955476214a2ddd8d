# SPDX-License-Identifier: Apache-2.0
"""What a trace leaves in the system while it runs: no socket that listens, no other process."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pyenergy
from pyenergy.recording.live import SHARED_MEMORY

ROOT = Path(__file__).resolve().parent.parent.parent
_LISTENS = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it


def listening() -> set[str]:
    """Inodes of this process's sockets that listen."""
    mine = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            mine.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:  # the listing's own
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/self/net/{table}")
        rows = path.read_text().splitlines()[1:] if path.exists() else []
        found |= {row.split()[9] for row in rows if row.split()[3] == _LISTENS}
    unix = Path("/proc/self/net/unix").read_text().splitlines()[1:]
    found |= {row.split()[6] for row in unix if int(row.split()[3], 16) & 0x10000}  # __SO_ACCEPTCON
    return {inode for inode in found if f"socket:[{inode}]" in mine}


def children() -> set[str]:
    """Processes of this one."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text().split()}


def test_a_socket_that_listens_would_be_seen() -> None:
    import socket

    before = listening()
    with socket.create_server(("127.0.0.1", 0)):
        assert len(listening() - before) == 1


def test_a_trace_listens_nowhere_and_starts_no_process(tmp_path: Path) -> None:
    before = listening(), children()
    with pyenergy.trace(devices="sim:ideal,a100", path=tmp_path / "run.pyenergy"):
        with pyenergy.mark("work"):
            sum(range(100_000))
        during = listening(), children()
    assert during == before


def test_files_are_for_whom_the_umask_says_and_the_tail_for_its_owner(tmp_path: Path) -> None:
    before, mask = set(SHARED_MEMORY.glob("pyenergy-*")), os.umask(0o027)
    try:
        with pyenergy.trace(devices="sim:ideal", path=tmp_path / "run.pyenergy") as t:
            inside = [p for p in (tmp_path / "run.pyenergy.live").rglob("*") if p.is_file()]
            tails = {*SHARED_MEMORY.glob("pyenergy-*")} - before
            tails |= {path for path in inside if path.name == "tail.npy"}
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [*inside, *tails]}
    finally:
        os.umask(mask)
    assert tails
    for path, mode in modes.items():
        assert mode == (0o600 if path in tails else 0o640), path
    assert stat.S_IMODE((tmp_path / "run.pyenergy").stat().st_mode) == 0o640
    assert t.bounds_ns


def test_a_link_in_the_place_of_a_new_file_is_not_followed(tmp_path: Path) -> None:
    """In a folder that others may write to the name of an unfinished file can be foretold."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    with pyenergy.trace(devices="sim:ideal") as t:
        pass
    target = tmp_path / "run.pyenergy"
    (tmp_path / f"{target.name}.{os.getpid()}.part").symlink_to(victim)
    t.save(target)
    assert victim.read_text() == "mine"
    assert not target.is_symlink()
    assert pyenergy.load(target).bounds_ns == t.bounds_ns


def test_every_setting_is_documented_in_one_place() -> None:
    folders = [ROOT / name for name in ("pyenergy", "csrc", "workloads")]
    paths = [
        p for folder in folders for p in folder.rglob("*") if p.suffix in (".py", ".cpp", ".h")
    ]
    setting = re.compile(r'"(PYENERGY_[A-Z_]+)"')
    read = {name for path in paths for name in setting.findall(path.read_text())}
    documented = set(re.findall(r"`(PYENERGY_[A-Z_]+)`", (ROOT / "docs/security.md").read_text()))
    assert read - {"PYENERGY_VERSION"} == documented
