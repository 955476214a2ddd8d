// SPDX-License-Identifier: Apache-2.0
// An injectable clock, so that tests of pacing and sampling never sleep, and clock anchors, which
// join CLOCK_MONOTONIC to Unix time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "core/clock_ns.h"

namespace pyenergy {

// Implementations are safe to call from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Ns now() const noexcept = 0;
  // Returns at or after `deadline`; at once when it has passed.
  virtual void sleep_until(Ns deadline) noexcept = 0;
  // Called once by a thread before it starts to pace by this clock (timer slack 1 ns).
  virtual void prepare_thread() noexcept {}
  virtual bool is_manual() const noexcept { return false; }
};

// CLOCK_MONOTONIC with clock_nanosleep(TIMER_ABSTIME).
class SystemClock final : public Clock {
 public:
  Ns now() const noexcept override { return monotonic_ns(); }
  void sleep_until(Ns deadline) noexcept override;
  void prepare_thread() noexcept override;
};

// Time moves only when told. With `auto_advance` a sleep moves the time to its own deadline and
// returns (one pacing thread, simulated time as fast as the machine computes); without it a sleep
// blocks until advance() has carried the time past the deadline.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(Ns start = 0, bool auto_advance = true)
      : now_(start), auto_advance_(auto_advance) {}
  Ns now() const noexcept override { return now_.load(std::memory_order_acquire); }
  void sleep_until(Ns deadline) noexcept override;
  void advance(Ns by);
  bool is_manual() const noexcept override { return true; }

 private:
  std::mutex mutex_;  // of whoever waits, and of changes while somebody may
  std::condition_variable changed_;
  std::atomic<Ns> now_;
  const bool auto_advance_;
};

// At `mono_ns` the Unix clock said `real_ns`; the two readings lie within `width_ns`.
struct ClockAnchor {
  Ns mono_ns;
  Ns real_ns;
  Ns width_ns;
};

// Takes `triples` (mono, real, mono) readings and keeps the narrowest; mono_ns is its midpoint.
ClockAnchor take_anchor(int triples = 64) noexcept;

}  // namespace pyenergy
