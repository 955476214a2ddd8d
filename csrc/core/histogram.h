// SPDX-License-Identifier: Apache-2.0
// Durations in logarithmic bins of about 3 %: fixed memory, written by one thread without a lock,
// read by any other at any time (relaxed: a reader may see a count a moment late, never a torn
// one).
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "core/clock_ns.h"

namespace pyenergy {

class DurationHistogram {
 public:
  static constexpr int kSubBits = 5;  // 32 bins an octave
  static constexpr int kBins = (64 - kSubBits) << kSubBits;

  void add(Ns duration) noexcept {
    const std::uint64_t d = duration < 0 ? 0 : static_cast<std::uint64_t>(duration);
    bump(bins_[bin_of(d)]);
    bump(count_);
    if (d > max_.load(std::memory_order_relaxed)) max_.store(d, std::memory_order_relaxed);
  }
  std::uint64_t count() const noexcept { return count_.load(std::memory_order_relaxed); }
  Ns max() const noexcept { return static_cast<Ns>(max_.load(std::memory_order_relaxed)); }
  // Upper edge of the bin that holds quantile q (0..1), at most max(); 0 when nothing was added.
  Ns quantile(double q) const noexcept;

 private:
  static int bin_of(std::uint64_t d) noexcept {
    if (d < (1u << kSubBits)) return static_cast<int>(d);
    const int shift = 63 - std::countl_zero(d) - kSubBits;
    return ((shift + 1) << kSubBits) + static_cast<int>((d >> shift) & ((1u << kSubBits) - 1));
  }
  static std::uint64_t upper_edge(int bin) noexcept;
  // Only the owner writes, so a plain load and store suffice.
  static void bump(std::atomic<std::uint64_t>& n) noexcept {
    n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  std::array<std::atomic<std::uint64_t>, kBins> bins_{};
  std::atomic<std::uint64_t> count_{0}, max_{0};
};

}  // namespace pyenergy
