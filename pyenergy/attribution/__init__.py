# SPDX-License-Identifier: Apache-2.0
"""Where the joules went: kernels, layers, tokens.

`pyenergy.Trace.attach` takes what profilers wrote; here is what reads it, for those who want to
look at it first.
"""

from __future__ import annotations

from .kineto_json import read_kineto
from .kineto_live import from_profiler
from .module_spans import ModuleSpans
from .nsys import read_nsys
from .profiler_events import Category, ProfilerEvents

__all__ = ["Category", "ModuleSpans", "ProfilerEvents", "from_profiler", "read_kineto", "read_nsys"]
