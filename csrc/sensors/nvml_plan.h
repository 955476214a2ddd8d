// SPDX-License-Identifier: Apache-2.0
// Which calls read an NVML device: probed once when it is opened, then repeated without a thought.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/channel.h"
#include "sensors/nvml_api.h"

namespace pyenergy {

// Functions that are called one by one, beside the fields that are read together.
enum class NvmlCall : std::uint8_t {
  kPower,
  kEnergy,
  kSmClock,
  kMemoryClock,
  kTemperature,
  kUtilisation,  // gives two values: GPU, memory
  kMemory,       // gives two values: used, total
  kThrottleReasons,
  kPerformanceState,
};

struct NvmlAnswer {
  nvmlReturn_t code = NVML_ERROR_FUNCTION_NOT_FOUND;
  double value = 0.0, second = 0.0;  // raw; meaningful only on NVML_SUCCESS
};

NvmlAnswer call_nvml(const NvmlApi& api, nvmlDevice_t device, NvmlCall call) noexcept;
// The value of a field whatever its type; the code also covers a type that is not known.
NvmlAnswer field_answer(const nvmlFieldValue_t& field) noexcept;

inline constexpr const char* kUtilisationSource = "nvml.GetUtilizationRates";

struct NvmlPlan {
  static constexpr std::size_t kMaxFields = 4;
  struct Field {
    unsigned id, scope;
    std::uint16_t channel;
  };
  struct Step {
    NvmlCall call;
    std::uint16_t channel;  // of two values, the first one's
  };
  std::vector<Channel> channels;
  std::vector<Field> fields;     // all read by one call, fast group
  std::vector<Step> fast, slow;  // one call each
  int samples_channel = -1;      // >= 0: power comes from the driver's own sample buffer
  std::vector<std::string> notes;
};

// `max_power_w`: the board's largest power limit, NaN when unknown.
NvmlPlan probe_nvml(const NvmlApi& api, nvmlDevice_t device, double max_power_w);

}  // namespace pyenergy
