// SPDX-License-Identifier: Apache-2.0
// Decides when to poll next. Not thread-safe: it belongs to the sampler's thread; the counters and
// locks that others may look at are copied out by the sampler.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "core/clock_ns.h"

namespace pyenergy {

enum class PacingMode : std::uint8_t {
  kFixed,  // every `period`
  kEdge,   // densely around each expected update of a channel, sparsely elsewhere
};

struct PacerConfig {
  PacingMode mode = PacingMode::kFixed;
  Ns period = kMs;        // fixed: the poll period; edge: also the poll period while not yet locked
  double jitter = 0.0;    // each fixed deadline is moved by U(-1/2, 1/2) * jitter * period: against
                          // aliasing with a periodic load. In [0, 1).
  Ns dense = 250 * kUs;   // edge: poll spacing inside a burst
  Ns sparse = 20 * kMs;   // edge: largest poll spacing outside the bursts
  std::vector<Ns> seeds;  // edge: expected update period of each channel, index as in
                          // Sensor::channels(); <= 0: it does not steer the pacing
  std::uint64_t random_seed = 1;
};

// Follows one channel's update clock t_k = t0 + k*T. Fed with the brackets of observed changes, it
// is a second-order phase-locked loop whose gains shrink as its memory grows (up to kMemory
// updates): at first a least-squares line through all changes, later a tracker.
class PhaseLock {
 public:
  static constexpr int kConfirm = 4;    // changes after the first that must agree before it locks
  static constexpr int kMemory = 32;    // updates
  static constexpr int kMaxStrays = 3;  // consecutive ones that drop the lock

  // `resolution`: the poll spacing within a burst.
  PhaseLock(Ns seed_period, Ns resolution);
  // The reading changed between a poll that ended at `before` and one that started at `after`.
  // True: the change is an update that was expected about then. While locked, kMaxStrays
  // consecutive others drop the lock, and it is acquired anew from the seed.
  bool change(Ns before, Ns after) noexcept;
  bool locked() const noexcept { return locked_; }
  double period() const noexcept { return period_; }
  // Half-width of the interval around an update expected at `at` in which to poll densely. It
  // grows with the time since the last change: a steady reading tells nothing of the phase.
  Ns half_width(Ns at) const noexcept;
  // The first expected update after `t`.
  Ns next_after(Ns t) const noexcept;
  std::uint32_t relocks() const noexcept { return relocks_; }

 private:
  void restart(Ns at) noexcept;
  bool acquire(double late, double updates, double width) noexcept;
  bool track(double late, double updates, double width) noexcept;
  void steer(double late, double updates) noexcept;

  double period_;       // ns
  Ns origin_ = 0;       // near the latest update that steered
  double phase_ = 0.0;  // that update's time, ns, relative to origin_
  double spread_;       // running mean |phase error|, ns
  int memory_ = 0;      // changes that the estimate rests on, at most kMemory; 0: none seen
  int strays_ = 0;      // consecutive changes that did not agree with the lock
  bool locked_ = false;
  std::uint32_t relocks_ = 0;
  const double seed_, resolution_;
};

class Pacer {
 public:
  explicit Pacer(PacerConfig config);
  // Next deadline; the first is `now` itself. Deadlines that have passed are counted as missed and
  // skipped: never caught up by a burst.
  Ns next(Ns now) noexcept;
  // Tells the pacer what a poll saw: `changed` against the previous poll of that channel, which
  // ended at `before`; this one started at `after`. A burst ends for a channel with its change.
  void observe(std::size_t channel, Ns before, Ns after, bool changed) noexcept;

  std::uint64_t missed() const noexcept { return missed_; }
  bool locked() const noexcept;  // every steering channel is, and there is one
  // No burst begins within `ahead` of `now` or is under way: time for calls that take long.
  bool quiet(Ns now, Ns ahead) const noexcept;
  const std::vector<PhaseLock>& locks() const noexcept { return locks_; }
  const PacerConfig& config() const noexcept { return config_; }
  // Longest time that may pass between two polls when all goes well: beyond it lies a gap.
  Ns longest_interval() const noexcept;

 private:
  struct Burst {
    Ns start, end;
  };
  Ns next_fixed(Ns now) noexcept;
  Ns next_edge(Ns now) noexcept;
  Ns after(Ns deadline) const noexcept;
  Burst burst_after(std::size_t lock, Ns t) const noexcept;
  Ns random_offset() noexcept;

  const PacerConfig config_;
  std::vector<PhaseLock> locks_;
  std::vector<std::size_t> steering_;  // channel index of each lock
  std::vector<Ns> served_;             // each lock's latest update that has been seen
  Ns grid_ = 0;                        // the last deadline (without jitter)
  bool started_ = false;
  std::uint64_t missed_ = 0;
  std::minstd_rand random_;
};

}  // namespace pyenergy
