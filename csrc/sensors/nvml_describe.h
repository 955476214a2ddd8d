// SPDX-License-Identifier: Apache-2.0
// Identity and facts of an NVML device.
#pragma once

#include <optional>

#include "core/sensor.h"
#include "sensors/nvml_plan.h"

namespace pyenergy {

struct NvmlFound {
  nvmlDevice_t device = nullptr;
  DeviceInfo info;
  NvmlPlan plan;  // its notes are also in info.notes
};

// Probes the device too.
NvmlFound describe_nvml(const NvmlApi& api, nvmlDevice_t device, unsigned index);

// "hopper", "ga100", ... of a compute capability, or empty.
std::string nvidia_architecture(int major, int minor);

std::string nvml_uuid(const NvmlApi& api, nvmlDevice_t device);

}  // namespace pyenergy
