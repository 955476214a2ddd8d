# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the Python readers: ``python tests/fuzz [READER ...] --seconds 60``.

With atheris (a wheel of its own, not among the test's requirements) libFuzzer guides it by what the
readers' code covers; without, the same changes are drawn at random. A finding is written to
``--findings`` and ends the run with code 1.
"""

from __future__ import annotations

import argparse
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent))

LONGEST_S = 20  # of one input, of this process alone: more is a hang
LARGEST_KIB = 512 * 1024  # that one small input may add to the process
INSTRUMENTED = ["pyenergy.recording", "pyenergy.attribution", "pyenergy.sensor", "zipfile"]


def main() -> int:
    """All readers one after the other, or this one; how many inputs were read, and findings."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz")
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--seconds", type=float, default=60.0, help="of all readers together")
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz-findings"))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--plain", action="store_true", help="at random, also where atheris is")
    asked = parser.parse_args()
    asked.findings.mkdir(parents=True, exist_ok=True)
    if len(asked.readers) == 1:
        return _one(asked)
    from fuzz_readers import READERS

    names = asked.readers or list(READERS)
    each = asked.seconds / len(names)
    # A process each: a hang or a crash in one is a finding, and not the end of the others.
    codes = [_child(name, each, asked) for name in names]
    return int(any(codes))


def _child(name: str, seconds: float, asked: argparse.Namespace) -> int:
    command = [sys.executable, __file__, name, "--seconds", f"{seconds}",
               "--findings", str(asked.findings), "--seed", str(asked.seed)]  # fmt: skip
    return subprocess.call(command + ["--plain"] * asked.plain)


def _one(asked: argparse.Namespace) -> int:
    (name,) = asked.readers
    if not asked.plain:
        try:
            import atheris
        except ImportError:
            pass
        else:
            return _guided(atheris, name, asked)
    from fuzz_readers import READERS, seeds

    reader, kept = READERS[name], seeds(name)
    rng, read, refused = Random(asked.seed), 0, 0
    end = time.monotonic() + asked.seconds
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        while time.monotonic() < end:
            data = rng.choice(kept)
            for _ in range(rng.choice((1, 1, 2, 3))):
                data = reader.change(data, rng)
            try:
                refused += _watched(reader, data, Path(folder))
            except Exception:
                traceback.print_exc()
                path = asked.findings / f"{name}-{asked.seed}-{read}"
                path.write_bytes(data)
                print(f"fuzz {name}: a finding after {read} inputs: {path}")
                return 1
            read += 1
    print(f"fuzz {name}: {read} inputs, {refused} refused, 0 findings (at random)")
    return 0


def _watched(reader: object, data: bytes, folder: Path) -> bool:
    """Read one input; a hang or an allocation out of proportion is an exception, too."""

    def hangs(*_: object) -> None:
        raise TimeoutError(f"an input of {len(data)} bytes takes more than {LONGEST_S} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGPROF, hangs)
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(10 * LONGEST_S)  # it may also wait for ever
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            refused = reader.refuses(data, folder)  # type: ignore[attr-defined]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if grown > LARGEST_KIB:
        raise MemoryError(f"an input of {len(data)} bytes took {grown // 1024} MiB")
    return bool(refused)


def _guided(atheris: object, name: str, asked: argparse.Namespace) -> int:
    import fuzz_guided

    return int(fuzz_guided.run(atheris, name, asked, _watched, INSTRUMENTED, _memory()))


def _memory() -> str | None:
    """Where files cost no disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
