# SPDX-License-Identifier: Apache-2.0
"""Checks that need a GPU: ``python -m bench.gpu [--devices gpu:0] [--save FILE]``.

Update period of every power field and of the energy counter under a changing load, call latencies,
the counter against the integral (idle, and under a steady matrix product), and what sampling costs
a decode loop. It changes no clock, limit or mode. Without CUDA the load runs on the CPU: with
``--devices sim:h100`` that tries the program, not a GPU.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pyenergy
from pyenergy import _core
from pyenergy._devices import Device, resolve
from pyenergy._trace import Trace
from pyenergy.sensor.update_clock import fit_clock
from pyenergy.units import NS_PER_S

from .harness import machine

DEVICE_OF = {True: "cuda", False: "cpu"}


def main() -> None:
    """Run every check, print and perhaps save what was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--devices", default="gpu:0")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=7, help="decode loops of each kind")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    import torch

    torch_device = DEVICE_OF[torch.cuda.is_available()]
    device = resolve(arguments.devices)[0]
    report: dict[str, Any] = {"machine": {**machine(), **_identity(device)}}
    report["sensors"] = _sensors(arguments.devices, arguments.seconds, torch_device)
    period_s = report["sensors"]["channels"].get("power", {}).get("update_period_s")
    report["counter"] = _counter(arguments.devices, arguments.seconds, torch_device)
    report["decode"] = _decode(arguments.devices, arguments.rounds, period_s, torch_device)
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.save:
        arguments.save.write_text(text + "\n")


def _identity(device: Device) -> dict[str, str]:
    import torch

    return {
        "device": device.meta.name,
        "architecture": device.meta.architecture,
        "driver": device.meta.driver,
        "torch": torch.__version__,
        **device.info.facts,
    }


def _product(size: int, torch_device: str) -> Callable[[], None]:
    """One matrix product that lasts milliseconds."""
    import torch

    kind = torch.bfloat16 if torch_device == "cuda" else torch.float32
    a = torch.randn(size, size, device=torch_device, dtype=kind)
    return lambda: (a @ a, None)[1]


def _work(product: Callable[[], None], seconds: float, torch_device: str) -> None:
    import torch

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        product()
        if torch_device == "cuda":
            torch.cuda.synchronize()


def _sensors(devices: str, seconds: float, torch_device: str) -> dict[str, Any]:
    """Update periods while the load changes at random moments, and call latencies."""
    product = _product(8192 if torch_device == "cuda" else 512, torch_device)
    rng = random.Random(1)
    with pyenergy.trace(devices=devices, rate_hz=1000, pacing="fixed") as trace:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            _work(product, rng.uniform(0.02, 0.3), torch_device)
            time.sleep(rng.uniform(0.02, 0.3))
    data = next(iter(trace.recorded.devices.values()))
    channels = {}
    for name, channel in data.channels.items():
        period = fit_clock(data.runs[name])
        entry: dict[str, Any] = {"read_as": channel.source, "scope": channel.scope}
        if period is not None:
            entry["update_period_s"], entry["u_s"] = period.period_s, period.u_s
            entry["changes"], entry["off_the_clock"] = period.changes, period.violations
        channels[name] = entry
    calls = {k: data.stats[k] for k in ("fast_latency", "slow_latency", "lateness")}
    return {"channels": channels, "calls": calls}


def _counter(devices: str, seconds: float, torch_device: str) -> dict[str, Any]:
    """The counter between two of its updates against the integral over the same time."""
    product = _product(8192 if torch_device == "cuda" else 512, torch_device)
    loads: dict[str, Callable[[], None]] = {
        "idle": lambda: time.sleep(seconds),
        "steady product": lambda: _work(product, seconds, torch_device),
    }
    results = {}
    for name, load in loads.items():
        with pyenergy.trace(devices=devices, rate_hz=1000, pacing="fixed") as trace:
            load()
        results[name] = _counter_against_integral(trace)
    return results


def _counter_against_integral(trace: Trace) -> dict[str, float] | str:
    energies = [name for name in trace.channels if name.endswith("/energy")]
    if not energies:
        return "no energy counter"
    series = trace.series(energies[0])
    low, high = trace.bounds_ns
    inside = np.flatnonzero((series.t_ns >= low) & (series.t_ns <= high))
    if len(inside) < 2:
        return "the counter did not move"
    first, last = inside[0], inside[-1]
    by_counter = float(series.values[last] - series.values[first])
    window = trace.window(int(series.t_ns[first]), int(series.t_ns[last]))
    seconds = float(series.t_ns[last] - series.t_ns[first]) / NS_PER_S
    return {
        "seconds": seconds,
        "counter_j": by_counter,
        "integral_j": window.joules,
        "u_j": window.u,
        "counter_over_integral": by_counter / window.joules,
    }


def _decode(devices: str, rounds: int, period_s: float | None, torch_device: str) -> dict[str, Any]:
    """Tokens per second of a decode loop alone, under 1 kHz polling and under edge pacing."""
    loop = _decode_loop(torch_device)
    loop()  # warm up
    options: dict[str, dict[str, Any] | None] = {
        "alone": None,
        "1 kHz": {"rate_hz": 1000, "pacing": "fixed"},
    }
    if period_s is not None:
        options["edge"] = {"pacing": "edge", "update_period_s": period_s}
    times: dict[str, list[float]] = {name: [] for name in options}
    for _ in range(rounds):
        for name, sampling in options.items():
            if sampling is None:
                times[name].append(loop())
            else:
                with pyenergy.trace(devices=devices, **sampling):
                    if sampling["pacing"] == "edge":
                        time.sleep(1.0)  # let the phase lock settle before the loop is timed
                    times[name].append(loop())
            _await_quiet()
    alone = statistics.median(times["alone"])
    slowdown = {n: statistics.median(t) / alone - 1 for n, t in times.items() if n != "alone"}
    return {"seconds": times, "slowdown": slowdown}


def _await_quiet() -> None:
    """Let the samplers' linger end: the next loop may be the one without them."""
    from pyenergy import _hub

    while any(shared.stream.running for shared in _hub._streams.values()):
        time.sleep(0.05)


def _decode_loop(torch_device: str) -> Callable[[], float]:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    small = {} if torch_device == "cuda" else {"n_layer": 2, "n_embd": 64, "n_head": 2}
    config = GPT2Config(eos_token_id=None, bos_token_id=None, pad_token_id=0, **small)
    model = GPT2LMHeadModel(config).to(torch_device).eval()
    prompt = torch.randint(0, config.vocab_size, (1, 32), device=torch_device)

    def loop() -> float:
        start = _core.now_ns()
        model.generate(
            prompt, max_new_tokens=256, do_sample=False, attention_mask=torch.ones_like(prompt)
        )
        if torch_device == "cuda":
            torch.cuda.synchronize()
        return (_core.now_ns() - start) / NS_PER_S

    return loop


if __name__ == "__main__":
    main()
