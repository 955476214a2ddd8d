// SPDX-License-Identifier: Apache-2.0
// What one channel of a device measures.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "core/clock_ns.h"

namespace pyenergy {

enum class ChannelKind : std::uint8_t {
  kGauge,    // the reading is the quantity (power, clock, temperature)
  kCounter,  // only differences of the reading mean anything (energy)
};

// A device is read in two groups: the fast one at the sampling rate, the slow one at about 10 Hz.
enum class ReadGroup : std::uint8_t { kFast, kSlow };

struct Channel {
  static constexpr Ns kUnknown = -1;

  std::string name;  // "power", "power_average", "energy", "sm_clock", ... unique in a device
  std::string unit;  // SI, after scaling: "W", "J", "Hz", "degC", "1" (ratio), "bits"
  ChannelKind kind = ChannelKind::kGauge;
  ReadGroup group = ReadGroup::kFast;
  double scale = 1.0;    // SI value = raw value * scale
  double modulus = 0.0;  // raw value at which a counter wraps; 0: it does not
  // Readings outside [valid_min, valid_max] are invalid. In SI; for a counter the bounds are of
  // its rate (W for an energy counter).
  double valid_min = -std::numeric_limits<double>::infinity();
  double valid_max = std::numeric_limits<double>::infinity();
  std::string source;  // what is read: "nvml.field.186", "sim.power", "estimate.load"
  std::string scope;   // what it covers: "gpu", "module", "memory", "cpu-package"
  std::string note;    // what a user must know about it, or empty
  // What the source itself knows of the sensor (simulated and replayed ones do); kUnknown else.
  // update_ns 0: continuous, every read is fresh.
  Ns update_ns = kUnknown;
  Ns window_ns = kUnknown;
  Ns delay_ns = kUnknown;
};

}  // namespace pyenergy
