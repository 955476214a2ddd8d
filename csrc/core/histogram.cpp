// SPDX-License-Identifier: Apache-2.0
#include "core/histogram.h"

#include <algorithm>
#include <cmath>

namespace pyenergy {

std::uint64_t DurationHistogram::upper_edge(int bin) noexcept {
  constexpr int kPerOctave = 1 << kSubBits;
  if (bin < kPerOctave) return static_cast<std::uint64_t>(bin);
  const int shift = (bin >> kSubBits) - 1;
  const std::uint64_t base = static_cast<std::uint64_t>(kPerOctave + (bin & (kPerOctave - 1)));
  return ((base + 1) << shift) - 1;
}

Ns DurationHistogram::quantile(double q) const noexcept {
  const std::uint64_t n = count();
  if (n == 0) return 0;
  const double rank = std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(n));
  const std::uint64_t wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(rank));
  std::uint64_t seen = 0;
  for (int bin = 0; bin < kBins; ++bin) {
    seen += bins_[static_cast<std::size_t>(bin)].load(std::memory_order_relaxed);
    if (seen >= wanted) {
      return std::min(static_cast<Ns>(upper_edge(bin)), max());
    }
  }
  return max();
}

}  // namespace pyenergy
