# SPDX-License-Identifier: Apache-2.0
"""Makes the inputs that the fuzzing of the Python readers begins with: small files of each kind.

``python tests/fuzz/make_corpus.py`` from the checkout; what is there already stays.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit"))

from fuzz_mutate import zipped
from fuzz_readers import CORPUS
from printed_logs import DCGMI, DMON, QUERY, export, power_series
from test_kineto_json import MODERN
from test_nsys import export as nsys_export

from pyenergy import Trace
from pyenergy.recording.clock_anchor import ClockAnchor
from pyenergy.recording.live_layout import unsealed
from pyenergy.recording.operations import Operations
from pyenergy.recording.store import save
from pyenergy.sensor.profile import Profile
from pyenergy.sensor.response import Response

TESTS = Path(__file__).resolve().parent.parent
S = 1_000_000_000


def recording(with_operations: bool) -> Trace:
    """Two seconds at 20 readings a second, two marks, a counter."""
    t = np.arange(S, 3 * S, S // 20)
    watts = 200.0 + 50.0 * (np.arange(len(t)) % 7)
    joules = np.cumsum(watts) / 20
    trace = Trace.from_readings(
        {"gpu:0/power": (t, watts), "gpu:0/energy": (t, joules)},
        [("work", S + S // 4, 2 * S), ("rest", 2 * S, 2 * S + S // 2)],
        bounds_ns=(S + 1, 3 * S - S // 10),
        devices={"gpu:0": {"architecture": "volta", "field": "instant"}},
    )
    anchors = [ClockAnchor(i * S, 1_790_000_000 * S + i * S, 100) for i in range(4)]
    recorded = replace(trace.recorded, anchors=anchors)
    if with_operations:
        n = 6
        zeros = np.zeros(n, np.int32)
        starts = S + S // 4 + np.arange(n) * (S // 5)
        operations = Operations(
            start_ns=starts, end_ns=starts + S // 6, name=np.arange(n, dtype=np.int32) % 2,
            device=zeros, stream=np.full(n, 7), layer=zeros.copy(), operator=zeros - 1,
            begins=np.ones(n, bool), names=("gemm", "softmax"), devices=("gpu:0",),
            layers=("attention",),
        )  # fmt: skip
        recorded = replace(recorded, operations=operations)
    return Trace(recorded)


def live() -> bytes:
    """The golden live folder, in one archive."""
    folder = TESTS / "golden/live-1.live"
    meta = unsealed((folder / "meta.json").read_bytes())
    assert meta is not None
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return zipped([(p.relative_to(folder).as_posix(), p.read_bytes()) for p in files], True)


def main() -> None:
    """Write them."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        inputs = {
            "recording/plain": save(recording(False).recorded, folder / "a").read_bytes(),
            "recording/operations": save(recording(True).recorded, folder / "b").read_bytes(),
            "live/golden": live(),
            "logs/query": QUERY.encode(),
            "logs/dmon": DMON.encode(),
            "logs/dcgmi": DCGMI.encode(),
            "logs/prometheus": export(power_series(), power_series(gpu="1")).encode(),
            "meter/seconds": b"time,watts\n1.0,200\n1.5,201.5\n2.0,199\n2.5,350\n",
            "meter/dates": b"timestamp;power (W)\n2026-11-20T13:03:22Z;200\n"
            b"2026-11-20T13:03:23.5Z;210\n2026-11-20T13:03:24Z;220\n",
            "profile/boxcar": Profile(
                gain=0.97, gain_u=0.005, response=Response("boxcar", window_s=0.025), update_s=0.1,
                uuid="GPU-1", details={"seconds": 30},
            ).save(folder / "p.json").read_bytes(),
            "kineto/today": MODERN.encode(),
            "nsys/export": nsys_export(folder / "n.sqlite").read_bytes(),
        }  # fmt: skip
    for name, content in inputs.items():
        path = CORPUS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(content)
            print(f"{path.relative_to(TESTS)}: {len(content)} bytes")


if __name__ == "__main__":
    main()
