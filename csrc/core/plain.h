// SPDX-License-Identifier: Apache-2.0
// What the plain energies, those without a model of the work, share: what is known of a sensor, the
// power that a device can draw, and the spread of readings around the time that was not looked at.
#pragma once

#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "core/integrate.h"

namespace pyenergy {

// Nothing usable was read where an energy was asked for.
struct NoReadings : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What is known of a power sensor (pyenergy/sensor/catalog.py says what each is).
struct SensorFacts {
  Ns update_ns = -1;  // 0: every read is fresh; -1: not known
  Ns window_ns = -1;
  Ns lag_ns = 0;          // from a moment of power to the last reading that reflects its past
  double coverage = 1.0;  // smallest share of the time that readings look at
  bool known() const noexcept { return update_ns >= 0; }
};

// Power that a device can draw, W.
struct PowerLimits {
  static constexpr double kUnknownHigh = 1000.0;  // above every board limit of the catalogue
  double low, high;
  double width() const noexcept { return high - low; }
  // Widened to what was read; generous where unknown (not finite).
  static PowerLimits around(double low, double high, std::span<const double> values);
};

// The energies of windows, J, and the standard uncertainty that each term contributes, J.
struct PlainTerms {
  std::span<double> joules, edges, inside, gaps;
};

// A curve before it is one.
struct Knots {
  std::vector<Ns> t;
  std::vector<double> y;
  void add(Ns time, double value);
  // Made to cover [start, end]: held flat, or `outside` beyond them.
  void extend(Ns start, Ns end, std::optional<double> outside = {});
  EnergyCurve curve() const { return {t, y}; }
};

// Variance between neighbouring updates on a grid over [start, end]: of the readings in a pool of
// two seconds to either side, together with one pseudo-update from the limits, since a few equal
// readings prove little. Updates that repeat a value are not seen as changes, but they are
// evidence: a pool has as many as it is long. `first`, `last`: when each value was read first and
// last; not empty.
Knots pooled_variance(std::span<const Ns> first, std::span<const Ns> last,
                      std::span<const double> value, Ns period, PowerLimits limits, Ns start,
                      Ns end);

// Index of the first that is larger than `t`, of a non-decreasing sequence.
std::size_t after(std::span<const Ns> times, Ns t) noexcept;
// NumPy's: the mean of the middle two where their number is even. Not empty.
double median(std::vector<Ns> values);

}  // namespace pyenergy
