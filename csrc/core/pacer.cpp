// SPDX-License-Identifier: Apache-2.0
// Deadlines: a fixed grid, or bursts around the updates that the phase locks expect.
#include "core/pacer.h"

#include <algorithm>
#include <limits>

namespace pyenergy {
namespace {

// After a pause so long (suspend, a hung read) the passed deadlines are not counted one by one.
constexpr int kMostSkipped = 4096;

}  // namespace

Pacer::Pacer(PacerConfig config)
    : config_(std::move(config)),
      random_(static_cast<std::minstd_rand::result_type>(config_.random_seed)) {
  if (config_.mode == PacingMode::kFixed) return;
  for (std::size_t channel = 0; channel < config_.seeds.size(); ++channel) {
    if (config_.seeds[channel] <= 0) continue;
    locks_.emplace_back(config_.seeds[channel], config_.dense);
    steering_.push_back(channel);
    served_.push_back(std::numeric_limits<Ns>::min());
  }
}

bool Pacer::locked() const noexcept {
  return !locks_.empty() &&
         std::ranges::all_of(locks_, [](const PhaseLock& lock) { return lock.locked(); });
}

Ns Pacer::next(Ns now) noexcept {
  if (started_) return locked() ? next_edge(now) : next_fixed(now);
  started_ = true;
  grid_ = now;
  return now;
}

Ns Pacer::random_offset() noexcept {
  if (config_.jitter <= 0.0) return 0;
  constexpr double kRange = static_cast<double>(std::minstd_rand::max() - std::minstd_rand::min());
  const double u = static_cast<double>(random_() - std::minstd_rand::min()) / kRange - 0.5;
  return static_cast<Ns>(u * config_.jitter * static_cast<double>(config_.period));
}

Ns Pacer::next_fixed(Ns now) noexcept {
  grid_ += config_.period;
  const Ns deadline = grid_ + random_offset();
  if (deadline > now) return deadline;
  const Ns skipped = std::max<Ns>(1, (now - grid_) / config_.period + 1);
  missed_ += static_cast<std::uint64_t>(skipped);
  grid_ += skipped * config_.period;
  return std::max(grid_ + random_offset(), now);
}

// The lock's first burst that ends after `t` and whose update has not been seen yet.
Pacer::Burst Pacer::burst_after(std::size_t lock, Ns t) const noexcept {
  const PhaseLock& clock = locks_[lock];
  const Ns half = clock.half_width(t);
  const Ns unseen = served_[lock] == std::numeric_limits<Ns>::min()
                        ? t - half
                        : std::max(t - half, served_[lock] + static_cast<Ns>(clock.period() / 2));
  const Ns update = clock.next_after(unseen);
  return {update - half, update + half};
}

// The deadline that follows another one, both in locked state.
Ns Pacer::after(Ns deadline) const noexcept {
  Ns next = deadline + config_.sparse;
  for (std::size_t i = 0; i < locks_.size(); ++i) {
    const Burst burst = burst_after(i, deadline);
    next = std::min(next, burst.start > deadline ? burst.start : deadline + config_.dense);
  }
  return next;
}

Ns Pacer::next_edge(Ns now) noexcept {
  grid_ = after(grid_);
  for (int skipped = 0; grid_ < now; ++skipped) {
    ++missed_;
    grid_ = skipped < kMostSkipped ? after(grid_) : now;
  }
  return grid_;
}

void Pacer::observe(std::size_t channel, Ns before, Ns after, bool changed) noexcept {
  if (!changed) return;
  for (std::size_t i = 0; i < locks_.size(); ++i) {
    if (steering_[i] != channel || !locks_[i].change(before, after)) continue;
    served_[i] = before + (after - before) / 2;
  }
}

bool Pacer::quiet(Ns now, Ns ahead) const noexcept {
  if (!locked()) return true;
  for (std::size_t i = 0; i < locks_.size(); ++i) {
    if (burst_after(i, now).start <= now + ahead) return false;
  }
  return true;
}

Ns Pacer::longest_interval() const noexcept {
  const auto fixed = static_cast<Ns>(static_cast<double>(config_.period) * (1.0 + config_.jitter));
  return locks_.empty() ? fixed : std::max(fixed, config_.sparse);
}

}  // namespace pyenergy
