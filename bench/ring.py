# SPDX-License-Identifier: Apache-2.0
"""Ring push and pop between two threads against Boost's and moodycamel's queues."""

from .harness import Result, run_json


def run() -> list[Result]:
    """At least as fast as the better peer."""
    t = run_json("ring_bench")
    peers = {"boost spsc_queue": t["boost_ns"], "moodycamel RWQueue": t["moodycamel_ns"]}
    best = min(peers, key=lambda name: peers[name])
    ratio = t["ring_ns"] / peers[best]
    theirs = ", ".join(f"{name} {ns:.2f} ns" for name, ns in peers.items())
    return [Result("ring push+pop", f"{t['ring_ns']:.2f} ns", theirs, ratio, "<= 1", ratio <= 1)]
