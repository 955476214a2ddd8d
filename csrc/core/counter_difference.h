// SPDX-License-Identifier: Apache-2.0
// The plain energy of an energy counter: its difference, linear between its updates, with what is
// unknown of it. pyenergy/sensor/counter_model.py says what each term is and why.
#pragma once

#include <span>

#include "core/plain.h"

namespace pyenergy {

class CounterDifference {
 public:
  // `coverage`: share of the time that the counter knows of, at least. `power_min`, `power_max`:
  // the device's, NaN where unknown. Throws NoReadings when it did not move, std::invalid_argument
  // for arrays that differ in length.
  CounterDifference(const RunsView& runs, double power_min, double power_max, double coverage);

  // Time before the first or after the last reading is a gap.
  void windows(std::span<const Ns> starts, std::span<const Ns> ends, const PlainTerms& out,
               int threads) const;

  const EnergyCurve& curve() const noexcept { return curve_; }  // its integral is the energy
  PowerLimits limits() const noexcept { return limits_; }
  double mean_w() const noexcept;

 private:
  struct Steps {
    explicit Steps(const RunsView& runs);
    std::vector<Ns> t;          // when the counter was seen to have moved
    std::vector<double> total;  // what it showed, J
    std::vector<double> rate;   // from each to the next, W
    std::vector<bool> unknown;  // whether more than the counter tells may lie between
  };
  CounterDifference(const Steps& steps, double power_min, double power_max, double coverage);
  static EnergyCurve held(const Steps& steps, const std::vector<double>& value);
  EnergyCurve build_edges(const Steps& steps) const;
  EnergyCurve build_gaps(const Steps& steps) const;
  EnergyCurve build_unseen(const Steps& steps, double coverage) const;

  const PowerLimits limits_;
  const Ns start_, end_;
  const EnergyCurve curve_;
  const EnergyCurve edge_;    // its value is the variance of an edge there
  const EnergyCurve gap_;     // its integral is the half-width of the energy in gaps
  const EnergyCurve unseen_;  // its integral is the variance of the time not looked at
};

}  // namespace pyenergy
