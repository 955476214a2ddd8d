// SPDX-License-Identifier: Apache-2.0
// Acquires and follows one sensor's update clock.
#include <algorithm>
#include <cmath>

#include "core/pacer.h"

namespace pyenergy {
namespace {

// Acquisition accepts a seed that is wrong by this much, and jitter of this much of the period.
constexpr double kSeedError = 0.08;
constexpr double kJitter = 0.05;
// By so many spreads the bursts reach to either side: mean |error| is 0.8 sigma of a normal one.
constexpr double kReach = 4.0;

}  // namespace

PhaseLock::PhaseLock(Ns seed_period, Ns resolution)
    : period_(static_cast<double>(seed_period)),
      spread_(static_cast<double>(resolution)),
      seed_(static_cast<double>(seed_period)),
      resolution_(static_cast<double>(resolution)) {}

void PhaseLock::restart(Ns at) noexcept {
  period_ = seed_;
  origin_ = at;
  phase_ = 0.0;
  spread_ = resolution_;
  memory_ = 1;
  strays_ = 0;
  locked_ = false;
}

bool PhaseLock::change(Ns before, Ns after) noexcept {
  const Ns middle = before + (after - before) / 2;
  if (memory_ == 0) {
    restart(middle);
    return false;
  }
  const double since = static_cast<double>(middle - origin_) - phase_;
  const double updates = std::round(since / period_);
  const double late = since - updates * period_;
  const auto width = static_cast<double>(after - before);
  const bool agrees = locked_ ? track(late, updates, width) : acquire(late, updates, width);
  if (memory_ == 0) restart(middle);
  return agrees;
}

// Unlocked. A change that does not fit becomes the first of a new attempt (memory_ 0).
bool PhaseLock::acquire(double late, double updates, double width) noexcept {
  // The period is as uncertain as the seed until a second change has been seen.
  const double period_error = memory_ == 1 ? kSeedError : kSeedError / (2.0 * memory_);
  const double gate = (kJitter + updates * period_error) * period_ + width / 2;
  if (updates < 1.0 || gate >= period_ / 2 || std::abs(late) > gate) {
    memory_ = 0;
    return false;
  }
  steer(late, updates);
  locked_ = memory_ > kConfirm;
  return true;
}

bool PhaseLock::track(double late, double updates, double width) noexcept {
  const auto expected = origin_ + static_cast<Ns>(phase_ + updates * period_);
  const auto half = static_cast<double>(half_width(expected));
  const double outside = std::max(0.0, std::abs(late) - width / 2);
  // Found by a sparse poll: the burst saw nothing, so the update came before or after it.
  const bool wide = width > 2 * half;
  if (outside > (wide ? half / 2 : half)) {
    // Perhaps the jitter is larger than believed: look further before giving up.
    spread_ = std::min(1.5 * spread_, period_ / 16);
    if (++strays_ >= kMaxStrays) {
      ++relocks_;
      memory_ = 0;
    }
    return false;
  }
  strays_ = 0;
  if (!wide && updates >= 1.0) steer(late, updates);
  return true;
}

// Gains of the least-squares line through `memory_` equidistant points.
void PhaseLock::steer(double late, double updates) noexcept {
  memory_ = std::min(memory_ + 1, kMemory);
  const double k = memory_;
  const double alpha = 2 * (2 * k - 1) / (k * (k + 1));
  const double beta = 6 / (k * (k + 1));
  const double arrived = phase_ + updates * period_ + alpha * late;
  period_ += beta * late / updates;
  // The first step only carries the seed's error.
  if (memory_ > 2) spread_ += (std::abs(late) - spread_) / 8;
  const double whole = std::floor(arrived);
  origin_ += static_cast<Ns>(whole);
  phase_ = arrived - whole;
}

Ns PhaseLock::half_width(Ns at) const noexcept {
  const double updates = std::abs(static_cast<double>(at - origin_)) / period_;
  const double drift = updates * spread_ / memory_;
  const double reach = std::max(kReach * spread_ + drift, 2 * resolution_);
  return static_cast<Ns>(std::min(reach, period_ / 4));
}

Ns PhaseLock::next_after(Ns t) const noexcept {
  const double since = static_cast<double>(t - origin_) - phase_;
  const double updates = std::floor(since / period_) + 1.0;
  return origin_ + static_cast<Ns>(std::ceil(phase_ + updates * period_));
}

}  // namespace pyenergy
