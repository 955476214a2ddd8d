// SPDX-License-Identifier: Apache-2.0
// The plain energy of a power channel: the integral of its readings, with what is unknown of it.
// pyenergy/sensor/uncertainty.py says what each term is and why.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/plain.h"

namespace pyenergy {

// Energy and uncertainty of any window inside [start, end]. Where that reaches beyond the readings,
// the nearest one is held and the time counts as a gap.
class PowerIntegral {
 public:
  // `power_min`, `power_max`: the device's, NaN where unknown. `gap`: failed reads that last longer
  // are a gap. Throws NoReadings when no run is usable, std::invalid_argument for arrays that
  // differ in length or times that decrease.
  PowerIntegral(const RunsView& runs, const SensorFacts& sensor, double power_min, double power_max,
                Ns start, Ns end, Ns gap);

  // All arrays have one length; windows as EnergyCurve::windows wants them.
  void windows(std::span<const Ns> starts, std::span<const Ns> ends, const PlainTerms& out,
               int threads) const;

  const EnergyCurve& curve() const noexcept { return curve_; }
  // Its integral is the variance (J^2) of the time that the sensor does not look at; null: it
  // looks at all of it.
  const EnergyCurve* unseen() const noexcept { return unseen_ ? &*unseen_ : nullptr; }
  PowerLimits limits() const noexcept { return limits_; }
  // Starts and ends of the times in which nothing was read.
  std::span<const Ns> gap_starts() const noexcept { return gap_starts_; }
  std::span<const Ns> gap_ends() const noexcept { return gap_ends_; }

 private:
  // The usable runs.
  struct Readings {
    explicit Readings(const RunsView& runs, Ns gap);
    std::size_t size() const noexcept { return value.size(); }
    Ns bracket(std::size_t i) const noexcept { return first[i] - last[i - 1]; }
    std::vector<Ns> first, last, known;  // middle of the first and last read; end of the first
    std::vector<double> value;
    // Before it: time in which nothing was read, or a few reads that failed.
    std::vector<bool> gap, failure;
  };
  PowerIntegral(const Readings& read, const SensorFacts& sensor, double power_min, double power_max,
                Ns start, Ns end);
  void find_gaps(const Readings& read);
  Knots pooled(const Readings& read) const;
  EnergyCurve build_curve(const Readings& read) const;
  EnergyCurve build_gaps() const;
  EnergyCurve build_inside(const Readings& read) const;
  std::optional<EnergyCurve> build_unseen(const Readings& read) const;
  EnergyCurve build_edges(const Readings& read) const;

  const SensorFacts sensor_;
  const Ns start_, end_;
  const PowerLimits limits_;
  const Ns period_;  // of the updates, or of the polls where these are rarer
  const double coverage_;
  std::vector<Ns> gap_starts_, gap_ends_;
  EnergyCurve curve_;
  EnergyCurve gap_;     // its integral is the half-width of the energy in gaps
  EnergyCurve inside_;  // its integral is the variance of what lies between polls
  std::optional<EnergyCurve> unseen_;
  EnergyCurve edge_;  // its value is the variance of an edge there
};

}  // namespace pyenergy
