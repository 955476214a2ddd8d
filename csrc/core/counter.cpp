// SPDX-License-Identifier: Apache-2.0
#include "core/counter.h"

#include <cmath>
#include <limits>

namespace pyenergy {

CounterUnwrap::CounterUnwrap(const Channel& channel)
    : scale_(channel.scale), modulus_(channel.modulus), max_rate_(channel.valid_max) {}

CounterUnwrap::Step CounterUnwrap::feed(double raw, Ns t) noexcept {
  constexpr double kNoTotal = std::numeric_limits<double>::quiet_NaN();
  if (!std::isfinite(raw) || raw < 0.0) return {kNoTotal, kInvalid};
  if (!seen_) {
    seen_ = true;
    last_raw_ = raw;
    last_move_ = t;
    return {0.0, kOk};
  }
  const double seconds = static_cast<double>(t - last_move_) * 1e-9 + 1.0;
  const double most = max_rate_ * seconds;  // SI
  double delta = (raw - last_raw_) * scale_;
  std::uint16_t flags = kOk;
  if (delta < 0.0 && modulus_ > 0.0 && delta + modulus_ * scale_ <= most) {
    delta += modulus_ * scale_;
    flags = kWrapped;
  }
  if (delta < 0.0 || delta > most) {
    delta = 0.0;
    flags = kReset;
  }
  if (raw != last_raw_) last_move_ = t;
  last_raw_ = raw;
  total_ += delta;
  return {total_, flags};
}

}  // namespace pyenergy
