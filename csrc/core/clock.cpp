// SPDX-License-Identifier: Apache-2.0
// The system's and the simulated clock, and clock anchors.
#include "core/clock.h"

#include <sys/prctl.h>
#include <cerrno>
#include <limits>

namespace pyenergy {

void SystemClock::sleep_until(Ns deadline) noexcept {
  const timespec until{deadline / kSecond, deadline % kSecond};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

void SystemClock::prepare_thread() noexcept {
  // The default slack of 50 us would be most of a fast poll's lateness. 0 would mean "default".
  prctl(PR_SET_TIMERSLACK, 1UL);
}

void ManualClock::sleep_until(Ns deadline) noexcept {
  if (auto_advance_) {  // nobody waits
    Ns now = now_.load(std::memory_order_relaxed);
    while (now < deadline && !now_.compare_exchange_weak(now, deadline)) {
    }
    return;
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return now_ >= deadline; });
}

void ManualClock::advance(Ns by) {
  const std::lock_guard lock(mutex_);
  now_ += by;
  changed_.notify_all();
}

ClockAnchor take_anchor(int triples) noexcept {
  ClockAnchor best{0, 0, std::numeric_limits<Ns>::max()};
  for (int i = 0; i < triples || i == 0; ++i) {
    const Ns before = monotonic_ns();
    const Ns real = realtime_ns();
    const Ns width = monotonic_ns() - before;
    if (width < best.width_ns) best = {before + width / 2, real, width};
  }
  return best;
}

}  // namespace pyenergy
