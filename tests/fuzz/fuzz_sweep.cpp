// SPDX-License-Identifier: Apache-2.0
// Operations of a profiler's file against a power curve: refused, or shared so that sums conserve.
#include <fuzzer/FuzzedDataProvider.h>

#include <cmath>
#include <stdexcept>

#include "core/sweepline.h"
#include "properties.h"

namespace {

using namespace pyenergy;

Ns time_of(FuzzedDataProvider& input) {
  if (input.ConsumeProbability<double>() < 0.03) return input.ConsumeIntegral<Ns>();
  return input.ConsumeIntegralInRange<Ns>(0, kSecond);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  try {
    std::vector<Ns> t;
    std::vector<double> y;
    for (int i = input.ConsumeIntegralInRange(0, 6); i > 0; --i) {
      t.push_back(time_of(input));
      y.push_back(input.ConsumeFloatingPointInRange(0.0, 1000.0));
    }
    const EnergyCurve curve(t, y);
    if (curve.empty()) return 0;
    SweepOptions options;
    options.from = input.ConsumeBool() ? curve.start() : time_of(input);
    options.to = input.ConsumeBool() ? curve.end() : time_of(input);
    options.static_w = input.ConsumeFloatingPointInRange(0.0, 100.0);
    options.policy =
        input.PickValueInArray({StaticPolicy::kSeparate, StaticPolicy::kBusy, StaticPolicy::kAll});
    std::vector<Ns> starts, ends;
    std::vector<double> weights;
    const bool weighted = input.ConsumeBool();
    while (input.remaining_bytes() > 0) {
      starts.push_back(time_of(input));
      ends.push_back(time_of(input));
      if (ends.back() < starts.back() && input.ConsumeProbability<double>() < 0.98) {
        std::swap(starts.back(), ends.back());
      }
      if (weighted) weights.push_back(input.ConsumeFloatingPointInRange(0.0, 1e9));
    }
    const SweepResult result = sweep(curve, {starts, ends, weights}, options);
    const double parts = result.operations_j + result.gaps_j + result.static_j;
    // What is taken off and given back as static power rounds, too, where the times are ages.
    const double seconds =
        (static_cast<double>(options.to) - static_cast<double>(options.from)) / 1e9;
    double scale = 1.0 + std::abs(curve.total()) + options.static_w * std::abs(seconds);
    for (const double e : result.energy_j) scale += std::abs(e);
    for (const double e : result.gap_energy_j) scale += std::abs(e);
    fuzz::require(std::abs(parts - result.total_j) <= 1e-9 * scale, "the parts are the whole");
  } catch (const std::invalid_argument&) {  // the contract: what cannot be is refused
  }
  return 0;
}
