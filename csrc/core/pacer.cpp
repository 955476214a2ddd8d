// SPDX-License-Identifier: Apache-2.0
#include "core/pacer.h"

#include <algorithm>
#include <cmath>

namespace pyenergy {

namespace {

constexpr double kSeedTolerance = 0.10;
constexpr int kConfirmations = 4;
constexpr int kStraysToDrop = 3;
constexpr int kLargestMultiple = 3;  // acquisition: changes may have been missed

}  // namespace

PhaseLock::PhaseLock(Ns seed_period, Ns poll_period)
    : seed_(static_cast<double>(seed_period)),
      poll_period_(poll_period),
      period_(seed_),
      spread_(seed_ / 40) {}

void PhaseLock::change(Ns before, Ns after) noexcept {
  if (locked_) {
    track(before, after);
  } else {
    acquire(before + (after - before) / 2);
  }
}

void PhaseLock::acquire(Ns middle) noexcept {
  const double elapsed = static_cast<double>(middle - last_);
  const double multiple = std::round(elapsed / period_);
  const bool agrees = started_ && multiple >= 1.0 && multiple <= kLargestMultiple &&
                      std::abs(elapsed / multiple / seed_ - 1.0) < kSeedTolerance;
  if (!agrees) {
    agreed_ = 0;
    followed_ = 0;
    period_ = seed_;
  } else {
    ++agreed_;
    period_ += (elapsed / multiple - period_) / agreed_;
    followed_ += 1;
  }
  last_ = middle;
  started_ = true;
  if (agreed_ >= kConfirmations) {
    locked_ = true;
    strays_ = 0;
    spread_ = seed_ / 40;
  }
}

void PhaseLock::track(Ns before, Ns after) noexcept {
  const Ns middle = before + (after - before) / 2;
  const double elapsed = static_cast<double>(middle - last_);
  const double multiple = std::round(elapsed / period_);
  if (multiple < 1.0) {  // a second change in one period: the phase is elsewhere
    if (++strays_ >= kStraysToDrop) drop(middle);
    return;
  }
  const double error = elapsed - multiple * period_;
  const double bracket = static_cast<double>(after - before) / 2;
  // A wide bracket is too coarse to steer by; it only tells whether the update left its place.
  const bool coarse = bracket > static_cast<double>(half_width());
  const double allowed = coarse ? bracket : static_cast<double>(half_width()) + bracket;
  if (std::abs(error) > allowed) {
    if (++strays_ >= kStraysToDrop) drop(middle);
    return;
  }
  if (coarse) return;
  strays_ = 0;
  followed_ = std::min(followed_ + 1, 1000);
  const double n = followed_;
  const double alpha = std::max(0.1, 2.0 * (2.0 * n - 1.0) / (n * (n + 1.0)));
  const double beta = std::max(0.002, 6.0 / (n * (n + 1.0)));
  last_ += static_cast<Ns>(std::llround(multiple * period_ + std::min(alpha, 1.0) * error));
  period_ += std::min(beta, 1.0) * error / multiple;
  spread_ += 0.1 * (std::abs(error) - spread_);
}

void PhaseLock::drop(Ns middle) noexcept {
  locked_ = false;
  ++relocks_;
  agreed_ = strays_ = followed_ = 0;
  period_ = seed_;
  last_ = middle;
}

Ns PhaseLock::half_width() const noexcept {
  const double wanted = std::max(4.0 * spread_, 2.0 * 250.0 * static_cast<double>(kUs));
  return static_cast<Ns>(std::min(wanted, period_ / 4));
}

Ns PhaseLock::next_after(Ns t) const noexcept {
  const double periods = std::floor(static_cast<double>(t - last_) / period_) + 1.0;
  const Ns next = last_ + static_cast<Ns>(std::llround(periods * period_));
  return next > t ? next : next + static_cast<Ns>(std::llround(period_));
}

bool PhaseLock::seen(Ns expected) const noexcept {
  return std::abs(static_cast<double>(expected - last_)) < period_ / 2;
}

Pacer::Pacer(PacerConfig config)
    : config_(std::move(config)), random_(static_cast<std::uint32_t>(config_.random_seed)) {
  if (config_.mode != PacingMode::kEdge) return;
  for (std::size_t i = 0; i < config_.seeds.size(); ++i) {
    if (config_.seeds[i] <= 0) continue;
    locks_.emplace_back(config_.seeds[i], config_.period);
    steering_.push_back(i);
  }
}

bool Pacer::locked() const noexcept {
  return !locks_.empty() &&
         std::all_of(locks_.begin(), locks_.end(), [](const auto& l) { return l.locked(); });
}

Ns Pacer::longest_interval() const noexcept {
  return locks_.empty() ? config_.period : std::max(config_.period, config_.sparse);
}

Ns Pacer::next(Ns now) noexcept {
  if (locked()) {
    grid_ = 0;
    return next_edge(now);
  }
  planned_ = 0;
  return next_fixed(now);
}

Ns Pacer::next_fixed(Ns now) noexcept {
  const Ns period = config_.period;
  if (grid_ == 0) {
    grid_ = now + period;
  } else {
    grid_ += period;
    if (grid_ <= now) {
      const Ns late = (now - grid_) / period + 1;
      missed_ += static_cast<std::uint64_t>(late);
      grid_ += late * period;
    }
  }
  if (config_.jitter <= 0.0) return grid_;
  std::uniform_real_distribution<double> around(-0.5, 0.5);
  const double shift = around(random_) * config_.jitter * static_cast<double>(period);
  return std::max(now + 1, grid_ + static_cast<Ns>(shift));
}

Ns Pacer::next_edge(Ns now) noexcept {
  if (planned_ != 0 && now - planned_ > planned_step_) ++missed_;
  Ns deadline = now + config_.sparse;
  for (const PhaseLock& lock : locks_) {
    const Ns half = lock.half_width();
    Ns expected = lock.next_after(now - half);
    if (lock.seen(expected)) expected = lock.next_after(expected + half);
    const Ns burst = expected - half;
    deadline = std::min(deadline, burst > now ? burst : now + config_.dense);
  }
  deadline = std::max(deadline, now + 1);
  planned_ = deadline;
  planned_step_ = deadline - now;
  return deadline;
}

void Pacer::observe(std::size_t channel, Ns before, Ns after, bool changed) noexcept {
  if (!changed) return;
  for (std::size_t i = 0; i < locks_.size(); ++i) {
    if (steering_[i] == channel) locks_[i].change(before, after);
  }
}

}  // namespace pyenergy
