// SPDX-License-Identifier: Apache-2.0
// Counter readings to totals.
#include "core/counter.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pyenergy {
namespace {

constexpr double kMostCounts = 18446744073709551616.0;  // of 64 bits: sums stay finite

}  // namespace

CounterUnwrap::CounterUnwrap(const Channel& channel)
    : scale_(channel.scale), modulus_(channel.modulus), max_rate_(channel.valid_max) {}

bool CounterUnwrap::possible(double rise, Ns t) const noexcept {
  const double seconds = static_cast<double>(t - last_move_) * 1e-9 + 1.0;
  return rise * scale_ <= max_rate_ * seconds;
}

// Whether one more wrap since the previous reading would be possible, too. Readings in between that
// found it unmoved say that it did not.
bool CounterUnwrap::ambiguous(double rise, Ns t) const noexcept {
  if (modulus_ <= 0.0 || !seen_ || !std::isfinite(max_rate_)) return false;
  const double seconds = static_cast<double>(t - last_t_) * 1e-9;
  return (rise + modulus_) * scale_ <= max_rate_ * seconds;
}

CounterUnwrap::Step CounterUnwrap::feed(double raw, Ns t) noexcept {
  if (!(raw >= 0.0 && raw < kMostCounts)) {
    // The counter itself went on: the next usable reading still tells what was used meanwhile.
    return {std::numeric_limits<double>::quiet_NaN(), kInvalid};
  }
  double rise = seen_ ? raw - last_raw_ : 0.0;
  std::uint16_t flags = kOk;
  if (rise < 0.0 && modulus_ > 0.0 && last_raw_ < modulus_) {
    rise += modulus_;
    flags = kWrapped;
  }
  if (rise < 0.0 || !possible(rise, t) || ambiguous(rise, t)) {
    rise = 0.0;
    flags = kReset;
  }
  if (lost_) flags = kReset;
  lost_ = false;
  if (!seen_ || raw != last_raw_) last_move_ = t;
  seen_ = true;
  last_t_ = t;
  last_raw_ = raw;
  total_ += rise;
  return {total_ * scale_, flags};
}

void CounterUnwrap::resume(double total, std::optional<double> raw, Ns moved) noexcept {
  total_ = total / scale_;
  // Counters count in whole units: the total is to be the very number that it was.
  const double whole = std::round(total_);
  if (std::abs(total_ - whole) <= 1e-9 * std::max(1.0, std::abs(whole))) total_ = whole;
  seen_ = raw.has_value();
  lost_ = !seen_;
  last_raw_ = raw.value_or(0.0);
  last_move_ = last_t_ = moved;  // it was read since, but who knows when
}

}  // namespace pyenergy
