# SPDX-License-Identifier: Apache-2.0
"""Ring push and pop between two threads against Boost's and moodycamel's queues."""

from .harness import Result, run_json

KINDS = {
    "bulk": "ring, taken in bulk as the collector does, both sides backing off",
    "singly": "ring, taken one by one, both sides spinning",
}


def run() -> list[Result]:
    """At least as fast as the better peer."""
    times = run_json("ring_bench")
    return [_against_the_better(name, times[kind]) for kind, name in KINDS.items()]


def _against_the_better(name: str, t: dict[str, float]) -> Result:
    peers = {"boost": t["boost_ns"], "moodycamel": t["moodycamel_ns"]}
    ratio = t["ring_ns"] / min(peers.values())
    theirs = ", ".join(f"{peer} {ns:.1f} ns" for peer, ns in peers.items())
    return Result(name, f"{t['ring_ns']:.1f} ns", theirs, ratio, "<= 1", ratio <= 1)
