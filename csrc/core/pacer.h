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

// Follows one channel's update clock t_k = t0 + k*T, fed with the brackets of observed changes.
//
// Acquisition averages intervals that agree with the seed to 10 %; four in a row lock. Locked, it
// is an alpha-beta filter whose gains shrink as those of a least-squares line through all changes
// do, down to a floor that lets it follow drift. Changes that leave the expected phase are strays;
// three in a row drop the lock. A reading that does not change says nothing.
class PhaseLock {
 public:
  PhaseLock(Ns seed_period, Ns poll_period);
  // The reading changed between a poll that ended at `before` and one that started at `after`.
  void change(Ns before, Ns after) noexcept;
  bool locked() const noexcept { return locked_; }
  double period() const noexcept { return period_; }  // ns
  // Half-width of the interval around an expected update in which to poll densely.
  Ns half_width() const noexcept;
  // The first expected update after `t`; only while locked.
  Ns next_after(Ns t) const noexcept;
  // Whether the change that belongs to the expected update at `expected` has been seen.
  bool seen(Ns expected) const noexcept;
  std::uint32_t relocks() const noexcept { return relocks_; }

 private:
  void acquire(Ns middle) noexcept;
  void track(Ns before, Ns after) noexcept;
  void drop(Ns middle) noexcept;

  const double seed_;
  const Ns poll_period_;
  double period_;     // ns
  Ns last_ = 0;       // latest change that was believed: measured before the lock, filtered after
  double spread_;     // running mean |phase error|, ns
  int agreed_ = 0;    // consecutive changes that agreed with the seed
  int strays_ = 0;    // consecutive changes that did not agree with the lock
  int followed_ = 0;  // changes since the acquisition began
  bool started_ = false, locked_ = false;
  std::uint32_t relocks_ = 0;
};

class Pacer {
 public:
  explicit Pacer(PacerConfig config);
  // Next deadline after `now`. Deadlines that have passed are counted as missed and skipped:
  // never caught up by a burst.
  Ns next(Ns now) noexcept;
  // Tells the pacer what a poll saw: `changed` against the previous poll of that channel, which
  // ended at `before`; this one started at `after`.
  void observe(std::size_t channel, Ns before, Ns after, bool changed) noexcept;

  std::uint64_t missed() const noexcept { return missed_; }
  bool locked() const noexcept;  // every steering channel is, and there is one
  const std::vector<PhaseLock>& locks() const noexcept { return locks_; }
  const PacerConfig& config() const noexcept { return config_; }
  // Longest time that may pass between two polls when all goes well: beyond it lies a gap.
  Ns longest_interval() const noexcept;

 private:
  Ns next_fixed(Ns now) noexcept;
  Ns next_edge(Ns now) noexcept;

  PacerConfig config_;
  std::vector<PhaseLock> locks_;
  std::vector<std::size_t> steering_;  // channel index of each lock
  Ns grid_ = 0;                        // the fixed grid's last deadline (without jitter)
  Ns planned_ = 0, planned_step_ = 0;  // edge: the last deadline, and how far it was ahead
  std::uint64_t missed_ = 0;
  std::minstd_rand random_;
};

}  // namespace pyenergy
