// SPDX-License-Identifier: Apache-2.0
// Quantiles of a duration histogram.
#include "core/histogram.h"

#include <algorithm>
#include <cmath>

namespace pyenergy {

std::uint64_t DurationHistogram::upper_edge(int bin) noexcept {
  if (bin < (1 << kSubBits)) return static_cast<std::uint64_t>(bin);
  const int shift = (bin >> kSubBits) - 1;
  const auto sub = static_cast<std::uint64_t>(bin & ((1 << kSubBits) - 1));
  return (((std::uint64_t{1} << kSubBits) + sub + 1) << shift) - 1;
}

Ns DurationHistogram::quantile(double q) const noexcept {
  const std::uint64_t n = count();
  if (n == 0) return 0;
  const double wanted = std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(n));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t below = 0;
  for (int bin = 0; bin < kBins; ++bin) {
    below += bins_[static_cast<std::size_t>(bin)].load(std::memory_order_relaxed);
    if (below >= rank) return std::min(static_cast<Ns>(upper_edge(bin)), max());
  }
  return max();  // the writer was between its counts
}

}  // namespace pyenergy
