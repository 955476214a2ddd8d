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
  Ns period = kMs;       // fixed: the poll period; edge: also the poll period while not yet locked
  double jitter = 0.0;   // each fixed deadline is moved by U(-1/2, 1/2) * jitter * period: against
                         // aliasing with a periodic load. In [0, 1).
  Ns dense = 250 * kUs;  // edge: poll spacing inside a burst
  Ns sparse = 20 * kMs;  // edge: largest poll spacing outside the bursts
  // edge: expected update period of each fast channel, index as in Sensor::channels();
  // <= 0: that channel does not steer the pacing.
  std::vector<Ns> seeds;
  std::uint64_t random_seed = 1;
};

// Follows one channel's update clock t_k = t0 + k*T with a second-order phase-locked loop. Fed
// with the brackets of observed changes; a change far from the expected phase drops the lock.
class PhaseLock {
 public:
  PhaseLock(Ns seed_period, Ns poll_period);
  // The reading changed between a poll that ended at `before` and one that started at `after`.
  void change(Ns before, Ns after) noexcept;
  bool locked() const noexcept { return locked_; }
  double period() const noexcept { return period_; }
  // Half-width of the interval around an expected update in which to poll densely.
  Ns half_width() const noexcept;
  // The expected update nearest after `t`; only while locked.
  Ns next_after(Ns t) const noexcept;
  std::uint32_t relocks() const noexcept { return relocks_; }

 private:
  double period_;       // ns
  double phase_ = 0.0;  // time of a recent update, ns, relative to origin_
  Ns origin_ = 0;
  double spread_;      // running mean |phase error|, ns
  int confirmed_ = 0;  // consecutive changes that agreed with the seed
  int strays_ = 0;     // consecutive changes that did not agree with the lock
  bool locked_ = false;
  bool seen_ = false;
  std::uint32_t relocks_ = 0;
  const double seed_;
  const Ns poll_period_;
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
  bool locked() const noexcept;  // every steering channel is
  const std::vector<PhaseLock>& locks() const noexcept { return locks_; }
  const PacerConfig& config() const noexcept { return config_; }
  // Longest time that may pass between two polls when all goes well: beyond it lies a gap.
  Ns longest_interval() const noexcept;

 private:
  Ns next_fixed(Ns now, Ns period) noexcept;

  PacerConfig config_;
  std::vector<PhaseLock> locks_;
  std::vector<std::size_t> steering_;  // channel index of each lock
  Ns grid_ = 0;                        // the fixed grid's last deadline (without jitter)
  bool started_ = false;
  std::uint64_t missed_ = 0;
  std::minstd_rand random_;
};

}  // namespace pyenergy
