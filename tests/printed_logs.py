# SPDX-License-Identifier: Apache-2.0
"""Logs as other tools print them, for the tests of their readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pyenergy.recording.logs import Log, read_log
from pyenergy.recording.logs.times import instant_ns

NAMES = "timestamp, index, uuid, name, power.draw.instant [W], power.limit [W]"
A100 = "NVIDIA A100-SXM4-40GB"
QUERY = f"""{NAMES}
2026/11/20 14:03:22.123, 0, GPU-5b3b, {A100}, 61.27 W, 400.00 W
2026/11/20 14:03:22.125, 1, GPU-77ac, {A100}, 350.01 W, 300.00 W
2026/11/20 14:03:22.223, 0, GPU-5b3b, {A100}, [N/A], 400.00 W
2026/11/20 14:03:22.226, 1, GPU-77ac, {A100}, 351.00 W, 300.00 W
2026/11/20 14:03:22.323, 0, GPU-5b3b, {A100}, 63.00 W, 400.00 W
"""
FIRST = instant_ns("2026-11-20T13:03:22.123Z")
DMON = """#Date       Time        gpu    pwr  gtemp  mtemp     sm
#YYYYMMDD   HH:MM:SS    Idx      W      C      C      %
 20261120   14:03:22      0     61     34      -      0
 20261120   14:03:22      1    350     60      -    100
 20261120   14:03:23      0      -     34      -      0
 20261120   14:03:23      1    351     60      -    100
#Date       Time        gpu    pwr  gtemp  mtemp     sm
#YYYYMMDD   HH:MM:SS    Idx      W      C      C      %
 20261120   14:03:24      0     62     34      -      0
 20261120   14:03:24      1    352     60      -    100
"""
DCGMI = """#Entity   POWER             TOTEC
ID        W                 mJ
GPU 0     87.123            123456789
GPU 1     88.000            5000
GPU 0     N/A               123465502
GPU 1     89.500            5009
#Entity   POWER             TOTEC
ID        W                 mJ
GPU 0     90.000            123474001
GPU 1     90.500            5018


dmon was stopped do to receiving a signal
"""
DCGMI_TIMES = {"start": "2026-11-20T13:03:22Z", "interval_s": 0.1}
LABELS = {"gpu": "0", "UUID": "GPU-5b3b", "modelName": A100, "Hostname": "node1"}


def read(tmp_path: Path, text: str | bytes, **options: Any) -> Log:
    path = tmp_path / "log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_log(path, **options)


def export(*series: tuple[dict[str, str], list[list[Any]]]) -> str:
    result = [{"metric": labels, "values": values} for labels, values in series]
    data = {"resultType": "matrix", "result": result}
    return json.dumps({"status": "success", "data": data})


def power_series(metric: str = "DCGM_FI_DEV_POWER_USAGE", **labels: str) -> Any:
    values = [[1795183402.123, "61.272"], [1795183417.123, "NaN"], [1795183432.123, "62"]]
    return {"__name__": metric, **LABELS, **labels}, values
