# SPDX-License-Identifier: Apache-2.0
"""One measurement of `bench.attribution` in this process: its seconds and how memory rose.

Run as a script, also by interpreters that have no pyenergy.
"""

from __future__ import annotations

import json
import sys

EACH_SAMPLE = 10  # operations for each sample
EVERY_NS = 100_000  # one operation in so many: about one runs at any time, whatever their number


def _made(operations: int):  # type: ignore[no-untyped-def]
    import numpy as np

    rng = np.random.default_rng(0)
    samples, span_ns = operations // EACH_SAMPLE, operations * EVERY_NS
    t = np.linspace(0, span_ns, samples).astype(np.int64)
    starts = np.sort(rng.integers(0, span_ns - 10**6, operations))  # as profilers order them
    ends = starts + rng.integers(1_000, 200_000, operations)
    return t, rng.uniform(100, 400, samples), starts, ends


def _sweep(measured, operations: str) -> None:  # type: ignore[no-untyped-def]
    from pyenergy import _core
    from pyenergy.attribution.sweep import attribute

    t, watts, starts, ends = _made(int(operations))
    curve = _core.EnergyCurve(t, watts)
    measured(lambda: attribute(curve, starts, ends))


def _asof(measured, operations: str) -> None:  # type: ignore[no-untyped-def]
    import numpy as np
    import polars as pl

    t, watts, starts, ends = _made(int(operations))
    mean = (watts[1:] + watts[:-1]) / 2
    joules = np.concatenate([[0.0], np.cumsum(mean * np.diff(t) / 1e9)])
    samples = pl.DataFrame({"t": t, "j": joules, "w": watts})
    spans = pl.DataFrame({"start": starts, "end": ends})

    def at(column: str) -> pl.Expr:
        return pl.col("j") + pl.col("w") * (pl.col(column) - pl.col("t")) / 1e9

    def joined() -> object:
        first = spans.join_asof(samples, left_on="start", right_on="t").select(at("start"))
        last = (
            spans.with_row_index()
            .sort("end")
            .join_asof(samples, left_on="end", right_on="t")
            .select("index", j=at("end"))
            .sort("index")
        )
        return last["j"] - first["j"]

    measured(joined)


def _kineto(measured, path: str) -> None:  # type: ignore[no-untyped-def]
    from pyenergy.attribution import read_kineto

    measured(lambda: read_kineto(path))


def _hta(measured, path: str) -> None:  # type: ignore[no-untyped-def]
    from hta.common.trace_parser import parse_trace_dataframe
    from hta.configs.parser_config import ParserConfig

    config = ParserConfig.get_default_cfg()
    measured(lambda: parse_trace_dataframe(path, config))


def _peak_mb() -> float:
    """The most memory that this process ever had; unlike ru_maxrss, not what its parent had."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _main() -> None:
    import time

    def measured(work) -> None:  # type: ignore[no-untyped-def]
        before = _peak_mb()
        start = time.perf_counter()
        kept = work()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "rise_mb": _peak_mb() - before}))
        del kept

    name, *arguments = sys.argv[1:]
    {"sweep": _sweep, "asof": _asof, "kineto": _kineto, "hta": _hta}[name](measured, *arguments)


if __name__ == "__main__":
    _main()
