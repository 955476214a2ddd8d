// SPDX-License-Identifier: Apache-2.0
// The plain difference of an energy counter and its terms.
#include "core/counter_difference.h"

#include <algorithm>
#include <cmath>

#include "core/sample.h"

namespace pyenergy {
namespace {

const double kRoot3 = std::sqrt(3.0);

double seconds(Ns ns) noexcept { return static_cast<double>(ns) / 1e9; }

PowerLimits limits_of(double low, double high, std::span<const double> rate) {
  return {std::isnan(low) ? 0.0 : low,
          std::max(std::isnan(high) ? PowerLimits::kUnknownHigh : high, std::ranges::max(rate))};
}

}  // namespace

CounterDifference::Steps::Steps(const RunsView& runs) {
  const std::size_t n = runs.value.size();
  if (runs.t_first.size() != n || runs.read_first.size() != n || runs.flags.size() != n) {
    throw std::invalid_argument("the arrays of runs differ in length");
  }
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t flags = runs.flags[i];
    // The same value once more is no update: where a counter stands still, nothing is known.
    if ((flags & (kMissing | kInvalid)) != 0 || (!t.empty() && (flags & kContinues) != 0)) continue;
    const Ns at = (runs.t_first[i] + runs.read_first[i]) >> 1;
    if (!t.empty()) {
      rate.push_back((runs.value[i] - total.back()) / seconds(std::max(at - t.back(), Ns{1})));
      unknown.push_back((flags & (kReset | kGapBefore)) != 0);
    }
    t.push_back(at);
    total.push_back(runs.value[i]);
  }
  if (t.size() < 2 || !(total.back() > total.front())) {
    throw NoReadings("the energy counter did not move in the recording");
  }
}

CounterDifference::CounterDifference(const RunsView& runs, double power_min, double power_max,
                                     double coverage)
    : CounterDifference(Steps(runs), power_min, power_max, coverage) {}

CounterDifference::CounterDifference(const Steps& steps, double power_min, double power_max,
                                     double coverage)
    : limits_(limits_of(power_min, power_max, steps.rate)),
      start_(steps.t.front()),
      end_(steps.t.back()),
      curve_(held(steps, steps.rate)),
      edge_(build_edges(steps)),
      gap_(build_gaps(steps)),
      unseen_(build_unseen(steps, coverage)) {}

// value[i] from step i to the next.
EnergyCurve CounterDifference::held(const Steps& steps, const std::vector<double>& value) {
  Knots knots;
  for (std::size_t i = 0; i < value.size(); ++i) {
    knots.add(steps.t[i], value[i]);
    knots.add(steps.t[i + 1], value[i]);
  }
  return knots.curve();
}

EnergyCurve CounterDifference::build_edges(const Steps& steps) const {
  std::vector<double> variance;
  for (std::size_t i = 1; i < steps.total.size(); ++i) {
    const double increment = steps.total[i] - steps.total[i - 1];
    variance.push_back(increment * increment / 12);
  }
  return held(steps, variance);
}

EnergyCurve CounterDifference::build_gaps(const Steps& steps) const {
  std::vector<double> half_width;
  for (const bool unknown : steps.unknown) {
    half_width.push_back(unknown ? limits_.width() / kRoot3 : 0.0);
  }
  return held(steps, half_width);
}

EnergyCurve CounterDifference::build_unseen(const Steps& steps, double coverage) const {
  std::vector<Ns> between;
  for (std::size_t i = 1; i < steps.t.size(); ++i) between.push_back(steps.t[i] - steps.t[i - 1]);
  const auto period = std::max(static_cast<Ns>(std::nearbyint(median(std::move(between)))), Ns{1});
  const std::span<const Ns> t(steps.t);
  Knots knots = pooled_variance(t.first(t.size() - 1), t.subspan(1), steps.rate, period, limits_,
                                start_, end_);
  const double period_s = seconds(period), unseen_s = (1.0 - coverage) * period_s;
  for (double& y : knots.y) y *= unseen_s * unseen_s / period_s;
  return knots.curve();
}

double CounterDifference::mean_w() const noexcept {
  return curve_.total() / seconds(end_ - start_);
}

void CounterDifference::windows(std::span<const Ns> starts, std::span<const Ns> ends,
                                const PlainTerms& out, int threads) const {
  const std::size_t n = starts.size();
  std::vector<Ns> a(n), b(n);
  for (std::size_t i = 0; i < n; ++i) {
    a[i] = std::clamp(starts[i], start_, end_);
    b[i] = std::clamp(ends[i], start_, end_);
  }
  curve_.windows(a, b, out.joules, threads);
  unseen_.windows(a, b, out.inside, threads);
  gap_.windows(a, b, out.gaps, threads);
  std::vector<double> late(n);
  edge_.values(a, out.edges);
  edge_.values(b, late);
  const double mean = mean_w();
  for (std::size_t i = 0; i < n; ++i) {
    const double outside_s = seconds((ends[i] - starts[i]) - (b[i] - a[i]));
    out.joules[i] += outside_s * mean;
    out.edges[i] = starts[i] == ends[i] ? 0.0 : std::sqrt(out.edges[i] + late[i]);
    out.inside[i] = std::sqrt(out.inside[i]);
    out.gaps[i] += outside_s * limits_.width() / kRoot3;
  }
}

}  // namespace pyenergy
