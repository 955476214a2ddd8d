// SPDX-License-Identifier: Apache-2.0
#include "core/clock.h"

#include <errno.h>
#include <sys/prctl.h>

#include <limits>

namespace pyenergy {

void SystemClock::sleep_until(Ns deadline) noexcept {
  const timespec ts{deadline / kSecond, deadline % kSecond};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, nullptr) == EINTR) {
  }
}

void SystemClock::prepare_thread() noexcept { prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); }

Ns ManualClock::now() const noexcept {
  std::lock_guard lock(mutex_);
  return now_;
}

void ManualClock::sleep_until(Ns deadline) noexcept {
  std::unique_lock lock(mutex_);
  if (auto_advance_) {
    if (deadline > now_) now_ = deadline;
    changed_.notify_all();
    return;
  }
  changed_.wait(lock, [&] { return now_ >= deadline; });
}

void ManualClock::advance(Ns by) {
  {
    std::lock_guard lock(mutex_);
    now_ += by;
  }
  changed_.notify_all();
}

ClockAnchor take_anchor(int triples) noexcept {
  ClockAnchor best{0, 0, std::numeric_limits<Ns>::max()};
  for (int i = 0; i < triples || best.width_ns == std::numeric_limits<Ns>::max(); ++i) {
    const Ns before = monotonic_ns();
    const Ns real = realtime_ns();
    const Ns after = monotonic_ns();
    if (after - before < best.width_ns) {
      best = {before + (after - before) / 2, real, after - before};
    }
  }
  return best;
}

}  // namespace pyenergy
