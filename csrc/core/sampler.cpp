// SPDX-License-Identifier: Apache-2.0
// The hot loop. Nothing here throws, allocates, locks or logs.
#include "core/sampler.h"

#include <algorithm>
#include <cmath>

namespace pyenergy {
namespace {

// Slow calls take up to this: they keep away from a burst that begins sooner.
constexpr Ns kSlowCall = kMs;

// Only the sampler writes its statistics, so a plain load and store suffice.
void add(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace

Sampler::Sampler(Sensor& sensor, Clock& clock, const StreamOptions& options, SpscRing<Sample>& ring,
                 SamplerStats& stats)
    : sensor_(sensor),
      clock_(clock),
      ring_(ring),
      stats_(stats),
      pacer_(options.pacing),
      slow_period_(options.slow_period),
      readings_(sensor.max_readings()),
      last_(sensor.channels().size()),
      owed_(sensor.channels().size()) {}

bool Sampler::step(const std::atomic<bool>& stop) noexcept {
  Ns now = clock_.now();
  const Ns deadline = pacer_.next(now);
  if (!wait_until(deadline, stop, now)) return false;
  stats_.lateness.add(now - deadline);
  tails_.begin_step();
  now = poll(ReadGroup::kFast, now);
  add(stats_.polls);
  if (slow_due(now)) {
    poll(ReadGroup::kSlow, now);
    next_slow_ = now + slow_period_;
  }
  publish_pacing();
  return true;
}

bool Sampler::wait_until(Ns deadline, const std::atomic<bool>& stop, Ns& now) noexcept {
  for (;;) {
    if (stop.load(std::memory_order_acquire)) return false;
    if (now >= deadline) return true;
    clock_.sleep_until(std::min(deadline, now + kSlice));
    now = clock_.now();
  }
}

bool Sampler::slow_due(Ns now) const noexcept {
  if (now < next_slow_) return false;
  return pacer_.quiet(now, kSlowCall) || now >= next_slow_ + slow_period_;
}

// Returns the time at the end of the read.
Ns Sampler::poll(ReadGroup group, Ns before) noexcept {
  const std::size_t n = sensor_.read(group, readings_);
  const Ns after = clock_.now();
  (group == ReadGroup::kFast ? stats_.fast_latency : stats_.slow_latency).add(after - before);
  for (std::size_t i = 0; i < n; ++i) {
    const Reading& reading = readings_[i];
    const bool stamped = reading.t_ns != 0;
    const Sample sample{stamped ? reading.t_ns : before,
                        stamped ? reading.read_ns : after,
                        reading.value,
                        reading.channel,
                        reading.flags,
                        reading.status};
    if (sample.channel >= last_.size()) continue;
    if (group == ReadGroup::kFast) observe(sample);
    push(sample);
  }
  return after;
}

void Sampler::push(Sample sample) noexcept {
  if (std::isnan(sample.value) && (sample.flags & kInvalid) == 0) sample.flags |= kMissing;
  if ((sample.flags & kMissing) != 0) add(stats_.failed_reads);
  std::uint8_t& owed = owed_[sample.channel];
  if (owed != 0) sample.flags |= kGapBefore;
  tails_.push(sample);  // before the ring: what is kept as a row has been in the tail
  if (ring_.try_push(sample)) {
    owed = 0;
    add(stats_.samples);
  } else {
    owed = 1;
    add(stats_.dropped);
  }
}

void Sampler::observe(const Sample& sample) noexcept {
  if (std::isnan(sample.value)) return;  // what changed meanwhile, the next reading will tell
  Last& last = last_[sample.channel];
  if (last.seen) {
    pacer_.observe(sample.channel, last.read, sample.t_ns, sample.value != last.value);
  }
  last = {sample.value, sample.read_ns, true};
}

void Sampler::publish_pacing() noexcept {
  add(stats_.missed_deadlines, pacer_.missed() - missed_);
  missed_ = pacer_.missed();
  if (pacer_.locks().empty()) return;
  std::uint64_t relocks = 0;
  for (const PhaseLock& lock : pacer_.locks()) relocks += lock.relocks();
  add(stats_.relocks, relocks - relocks_);
  relocks_ = relocks;
  const PhaseLock& first = pacer_.locks().front();
  stats_.locked.store(pacer_.locked(), std::memory_order_relaxed);
  stats_.locked_period_ns.store(first.locked() ? first.period() : 0.0, std::memory_order_relaxed);
}

}  // namespace pyenergy
