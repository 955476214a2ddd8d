// SPDX-License-Identifier: Apache-2.0
// How long each class of activity ran inside many windows, and what a slow sensor saw of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/clock_ns.h"

namespace pyenergy {

// Compressed sparse rows: row i has columns index[begin[i]..begin[i+1]), increasing.
struct SparseRows {
  std::vector<std::int64_t> begin{0};
  std::vector<std::int32_t> index;
  std::vector<double> value;
};

// Spans of time, each of one class in [0, classes). Spans may nest and overlap, also within one
// class: u_j(t) is the number of spans of class j that hold t.
class Activity {
 public:
  // Throws std::invalid_argument when the sizes differ, a span is reversed or a class is unknown.
  Activity(std::span<const Ns> starts, std::span<const Ns> ends,
           std::span<const std::int32_t> classes, std::size_t class_count);

  std::size_t classes() const noexcept { return class_count_; }
  std::size_t segments() const noexcept { return edge_.size(); }

  // Seconds of each class inside each window [starts[i], ends[i]]: the integral of u_j. Any order;
  // sorted windows are found fastest. Throws std::invalid_argument for reversed windows.
  SparseRows overlap(std::span<const Ns> starts, std::span<const Ns> ends, int threads) const;

  // u_j behind a first-order low-pass with time constant tau, at times that do not decrease.
  SparseRows lowpass(std::span<const Ns> times, Ns tau) const;

 private:
  struct Active {
    std::int32_t cls;
    std::int32_t count;
  };
  class Sums;  // one thread's dense accumulator

  void build_prefix();
  std::size_t find(Ns t) const noexcept;  // segment that holds t; segments() when before the first
  void add(std::size_t from, std::size_t to, Ns start, Ns end, Sums& sums) const;
  void window(Ns start, Ns end, Sums& sums) const;
  void rows(std::span<const Ns> starts, std::span<const Ns> ends, SparseRows& out) const;
  Ns segment_end(std::size_t i) const noexcept {
    return i + 1 < edge_.size() ? edge_[i + 1] : edge_[i];
  }

  std::size_t class_count_;
  std::vector<Ns> edge_;            // segment i is [edge_[i], edge_[i + 1]); the last is empty
  std::vector<std::size_t> begin_;  // its active classes: active_[begin_[i]..begin_[i + 1])
  std::vector<Active> active_;
  std::size_t stride_ = 64;     // segments between two rows of prefix_
  std::vector<double> prefix_;  // seconds of each class before segment k * stride_
};

}  // namespace pyenergy
