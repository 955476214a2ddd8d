// SPDX-License-Identifier: Apache-2.0
// Parts of the plain energies.
#include "core/plain.h"

#include <algorithm>
#include <cmath>

namespace pyenergy {
namespace {

constexpr Ns kPool = 2 * kSecond;
constexpr Ns kMostKnots = 2'000'000;

// Half the squared steps up to each value, added up.
std::vector<double> squared_steps(std::span<const double> value) {
  std::vector<double> sums{0.0};
  sums.reserve(value.size());
  for (std::size_t i = 1; i < value.size(); ++i) {
    const double step = value[i] - value[i - 1];
    sums.push_back(sums.back() + step * step / 2);
  }
  return sums;
}

}  // namespace

PowerLimits PowerLimits::around(double low, double high, std::span<const double> values) {
  const auto [least, most] = std::ranges::minmax(values);
  return {std::min(std::isfinite(low) ? low : 0.0, least),
          std::max(std::isfinite(high) ? high : kUnknownHigh, most)};
}

void Knots::add(Ns time, double value) {
  t.push_back(time);
  y.push_back(value);
}

void Knots::extend(Ns start, Ns end, std::optional<double> outside) {
  if (t.empty()) {
    add(start, outside.value_or(0.0));
    add(end, outside.value_or(0.0));
    return;
  }
  if (start < t.front()) {
    const Ns first = t.front();
    const double edge = outside.value_or(y.front());
    if (outside) {
      t.insert(t.begin(), {start, first});
      y.insert(y.begin(), {edge, edge});
    } else {
      t.insert(t.begin(), start);
      y.insert(y.begin(), edge);
    }
  }
  if (end <= t.back()) return;
  const double edge = outside.value_or(y.back());
  if (outside) add(t.back(), edge);
  add(end, edge);
}

std::size_t after(std::span<const Ns> times, Ns t) noexcept {
  return static_cast<std::size_t>(std::ranges::upper_bound(times, t) - times.begin());
}

double median(std::vector<Ns> values) {
  const std::size_t half = values.size() / 2;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(half);
  std::ranges::nth_element(values, middle);
  const auto upper = static_cast<double>(*middle);
  if (values.size() % 2 == 1) return upper;
  return (static_cast<double>(*std::max_element(values.begin(), middle)) + upper) / 2;
}

Knots pooled_variance(std::span<const Ns> first, std::span<const Ns> last,
                      std::span<const double> value, Ns period, PowerLimits limits, Ns start,
                      Ns end) {
  start = std::min(start, first.front());
  end = std::max(end, last.back());
  const Ns step = std::max(period, (end - start) / kMostKnots + 1);
  const std::vector<double> squares = squared_steps(value);
  const double prior = limits.width() * limits.width() / 12;
  Knots pooled;
  std::size_t upto_lo = 0, upto_hi = 0;  // how many began by either end of the pool: both only grow
  for (Ns at = start; at < end + 2 * step; at += step) {
    const Ns lo = std::max(at - kPool, first.front()), hi = std::min(at + kPool, last.back());
    while (upto_lo < first.size() && first[upto_lo] <= lo) ++upto_lo;
    while (upto_hi < first.size() && first[upto_hi] <= hi) ++upto_hi;
    const double total = squares[std::max<std::size_t>(upto_hi, 1) - 1] -
                         squares[std::max<std::size_t>(upto_lo, 1) - 1];
    const double updates =
        std::max(static_cast<double>(hi - lo) / static_cast<double>(period), 0.0);
    pooled.add(at, (total + prior) / (updates + 1.0));
  }
  return pooled;
}

}  // namespace pyenergy
