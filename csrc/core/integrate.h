// SPDX-License-Identifier: Apache-2.0
// Cumulative trapezoidal integral of a piecewise-linear curve, and window integrals from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/clock_ns.h"

namespace pyenergy {

// The runs of one power channel, as arrays of equal length (see column_store.h).
struct RunsView {
  std::span<const Ns> t_first, read_first, t_last, read_last;
  std::span<const double> value;
  std::span<const std::uint32_t> flags;
};

// y(t) is linear between knots; knots may share a time (a jump). Integrals are in y-units times
// seconds. A window that lies inside one segment is computed from that segment alone, so that a
// microsecond loses no digits to the total of a week.
class EnergyCurve {
 public:
  // Throws std::invalid_argument unless t is non-decreasing, y finite and the sizes agree; like
  // from_runs() also for what is no time (is_time()).
  EnergyCurve(std::span<const Ns> t, std::span<const double> y);
  // Step-hold where the reading was unchanged: a run is flat from the middle of its first bracket
  // to the middle of its last; between two runs the power moves linearly. Missing and invalid runs
  // carry no knot: the curve crosses them linearly, and the caller widens the uncertainty there.
  static EnergyCurve from_runs(const RunsView& runs);

  bool empty() const noexcept { return knots_.empty(); }
  Ns start() const noexcept { return knots_.front().t; }
  Ns end() const noexcept { return knots_.back().t; }
  std::size_t size() const noexcept { return knots_.size(); }
  double total() const noexcept { return knots_.back().integral; }

  // Integral of each window [starts[i], ends[i]]. All must lie inside [start(), end()] with
  // start <= end: the caller has checked (outside, the curve goes on flat). Windows sorted by start
  // are walked by a merge, others found by search. `threads` <= 1, or few windows: this thread.
  void windows(std::span<const Ns> starts, std::span<const Ns> ends, std::span<double> out,
               int threads) const;
  // y at each time (the later value at a jump).
  void values(std::span<const Ns> times, std::span<double> out) const;

  struct Knot {
    Ns t;
    double y;         // at t, as the segment that starts here sees it
    double slope;     // per second, up to the next knot
    double integral;  // from the first knot to t
  };
  static_assert(sizeof(Knot) == 32);
  std::span<const Knot> knots() const noexcept { return knots_; }

 private:
  EnergyCurve() = default;
  void append(Ns t, double y);
  void finish();  // slopes, integrals, search index

  // The segment that holds t: the last knot at or before it, or the first knot.
  std::size_t find(Ns t) const noexcept;
  std::size_t advance(std::size_t from, Ns t) const noexcept;  // the same, at or after `from`
  std::size_t bucket_of(Ns t) const noexcept;
  double window(std::size_t i, std::size_t j, Ns from, Ns to) const noexcept;
  double part(const Knot& knot, Ns from, Ns to) const noexcept;
  void walk(std::span<const Ns> starts, std::span<const Ns> ends, std::span<double> out) const;
  void search(std::span<const Ns> starts, std::span<const Ns> ends, std::span<double> out) const;

  std::vector<Knot> knots_;
  std::vector<std::uint32_t> bucket_;  // first knot of each equal slice of time: O(1) search
  double bucket_per_ns_ = 0.0;
};

}  // namespace pyenergy
