// SPDX-License-Identifier: Apache-2.0
#include "core/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pyenergy {

namespace {

constexpr Ns kStopSlice = 50 * kMs;

void bump(std::atomic<std::uint64_t>& n, std::uint64_t by = 1) noexcept {
  n.store(n.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

// NaN equals NaN here: a reading that stays missing did not change.
bool same(double a, double b) noexcept { return a == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace

Sampler::Sampler(Sensor& sensor, Clock& clock, const StreamOptions& options, SpscRing<Sample>& ring,
                 SamplerStats& stats)
    : sensor_(sensor),
      clock_(clock),
      ring_(ring),
      stats_(stats),
      pacer_(options.pacing),
      slow_period_(options.slow_period),
      readings_(std::max<std::size_t>(sensor.max_readings(), 1)),
      last_(sensor.channels().size()),
      owed_(sensor.channels().size(), 0) {}

bool Sampler::step(const std::atomic<bool>& stop) noexcept {
  const Ns deadline = pacer_.next(clock_.now());
  stats_.missed_deadlines.store(pacer_.missed(), std::memory_order_relaxed);
  for (Ns now = clock_.now(); now < deadline; now = clock_.now()) {
    if (stop.load(std::memory_order_acquire)) return false;
    clock_.sleep_until(std::min(deadline, now + kStopSlice));
  }
  stats_.lateness.add(clock_.now() - deadline);
  poll(ReadGroup::kFast);
  if (clock_.now() >= next_slow_) {
    poll(ReadGroup::kSlow);
    next_slow_ = clock_.now() + slow_period_;
  }
  bump(stats_.polls);
  const bool locked = pacer_.locked();
  stats_.locked.store(locked, std::memory_order_relaxed);
  if (!pacer_.locks().empty()) {
    const double period = locked ? pacer_.locks().front().period() : 0.0;
    stats_.locked_period_ns.store(period, std::memory_order_relaxed);
    std::uint64_t relocks = 0;
    for (const PhaseLock& lock : pacer_.locks()) relocks += lock.relocks();
    stats_.relocks.store(relocks, std::memory_order_relaxed);
  }
  return true;
}

void Sampler::poll(ReadGroup group) noexcept {
  const Ns before = clock_.now();
  const std::size_t n = sensor_.read(group, readings_);
  const Ns after = clock_.now();
  (group == ReadGroup::kFast ? stats_.fast_latency : stats_.slow_latency).add(after - before);
  for (std::size_t i = 0; i < n; ++i) push(readings_[i], before, after);
}

void Sampler::push(const Reading& reading, Ns before, Ns after) noexcept {
  if (reading.channel >= last_.size()) return;
  Sample sample{reading.t_ns != 0 ? reading.t_ns : before,
                reading.t_ns != 0 ? reading.read_ns : after,
                reading.value,
                reading.channel,
                reading.flags,
                reading.status};
  if (std::isnan(sample.value)) sample.flags |= kMissing;
  if ((sample.flags & kMissing) != 0) {
    sample.value = std::numeric_limits<double>::quiet_NaN();
    bump(stats_.failed_reads);
  }
  Last& last = last_[reading.channel];
  if (last.seen) {
    pacer_.observe(reading.channel, last.read, sample.t_ns, !same(last.value, sample.value));
  }
  last = {sample.value, sample.read_ns, true};
  if (owed_[reading.channel] != 0) sample.flags |= kGapBefore;
  if (ring_.try_push(sample)) {
    owed_[reading.channel] = 0;
    bump(stats_.samples);
  } else {
    owed_[reading.channel] = 1;
    bump(stats_.dropped);
  }
}

}  // namespace pyenergy
