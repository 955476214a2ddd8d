// SPDX-License-Identifier: Apache-2.0
// How long a thread that could run has waited for a processor.
#pragma once

#include <cstdint>

#include "core/clock_ns.h"

namespace pyenergy {

// Totals of one thread since it began, as the kernel keeps them (/proc/thread-self/schedstat:
// Documentation/scheduler/sched-stats.rst, second and third number).
struct RunDelay {
  Ns waited = -1;           // on a run queue; -1: this kernel does not tell
  std::int64_t turns = -1;  // times that it was given a processor
};

// Of the calling thread; about a microsecond. Correct in a forked child, whose threads are new.
RunDelay run_delay() noexcept;

}  // namespace pyenergy
