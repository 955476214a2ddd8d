// SPDX-License-Identifier: Apache-2.0
// What is known of power sensors before anything is measured: the figures, for C++ and Python
// alike. pyenergy/sensor/catalog.py and host_catalog.py say where they come from.
#pragma once

#include <string_view>
#include <vector>

#include "core/channel.h"
#include "core/plain.h"

namespace pyenergy {

inline constexpr double kGainU = 0.035;   // relative standard uncertainty, uncalibrated
inline constexpr double kOffsetUW = 5.0;  // W

// How much is known of what a reading averages.
enum class Known : std::uint8_t {
  kNothing,
  kLog,        // stated, but of readings rarer than any sensor's
  kStated,     // by the source itself
  kCatalogue,  // by the study of the architecture
};

struct SensorPrior : SensorFacts {
  double gain_u = kGainU, offset_u_w = kOffsetUW;
  Known known_by = Known::kNothing;
  Ns delay_ns = 0;  // the largest
  Ns rc_ns = 0;     // time constant of an RC that it may be instead of a boxcar; 0: it is none
  std::string_view origin;
};

// Prior of a channel from its device's architecture and what is read (Channel::source). The times
// are what the source itself states, -1 where it states nothing; they win over the catalogue.
SensorPrior sensor_prior(std::string_view architecture, std::string_view source,
                         Ns update_ns = Channel::kUnknown, Ns window_ns = Channel::kUnknown,
                         Ns delay_ns = Channel::kUnknown);

// Those whose sensors were studied.
std::vector<std::string_view> sensor_architectures();

}  // namespace pyenergy
