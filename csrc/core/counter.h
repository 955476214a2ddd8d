// SPDX-License-Identifier: Apache-2.0
// Turns the readings of a wrapping, resettable counter into SI totals since the first reading.
#pragma once

#include <cstdint>
#include <optional>

#include "core/channel.h"
#include "core/sample.h"

namespace pyenergy {

class CounterUnwrap {
 public:
  explicit CounterUnwrap(const Channel& channel);

  struct Step {
    double total;         // SI, since the first reading; NaN when the reading is unusable
    std::uint16_t flags;  // kWrapped, kReset, kInvalid
  };
  // A reading that is negative, not finite or beyond 64 bits is kInvalid and changes nothing.
  // A fall within a known modulus is one wrap if the implied rate is possible (Channel::valid_max
  // over the time since the counter last moved, plus one second for the counter's own tick); any
  // other fall, and a rise that no device could make, is a reset: the total stands still, the
  // step is flagged, and what was used meanwhile is unknown. So is a step after so long a silence
  // that the counter may have wrapped once more than the readings show.
  Step feed(double raw, Ns t) noexcept;
  // Where the counter stood at the last usable reading.
  std::optional<double> raw() const noexcept {
    return seen_ ? std::optional(last_raw_) : std::nullopt;
  }
  // Takes up where another process stood: at `total` (SI) with the counter at `raw`, which last
  // moved at `moved`. Without `raw` what was used since is unknown: the next reading is a reset.
  void resume(double total, std::optional<double> raw, Ns moved) noexcept;

 private:
  bool possible(double rise, Ns t) const noexcept;
  bool ambiguous(double rise, Ns t) const noexcept;

  const double scale_, modulus_, max_rate_;
  double last_raw_ = 0.0;
  double total_ = 0.0;  // raw units: sums of integers stay exact
  Ns last_move_ = 0, last_t_ = 0;
  bool seen_ = false;
  bool lost_ = false;  // resumed without knowing where the counter stood
};

}  // namespace pyenergy
