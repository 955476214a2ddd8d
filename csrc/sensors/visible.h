// SPDX-License-Identifier: Apache-2.0
// Which GPUs this process may see, and in which order, by CUDA's rules. Pure functions; the same
// rules as pyenergy/_visible.py, and a test holds the two against each other.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "core/sensor.h"

namespace pyenergy {

// A request for devices that cannot be met; the text says what there is.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A GPU (or an instance on one) that CUDA shows to this process.
struct VisibleGpu {
  DeviceInfo info;
  std::string mig_uuid;
  std::vector<std::string> notes;
};

// `gpus`: every GPU of the machine. `visible`, `order`: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER,
// null where they are not set. Throws DeviceError when an entry names no device, or not exactly
// one, or is repeated: CUDA would then silently show fewer devices than the list says, or none.
std::vector<VisibleGpu> visible_gpus(const std::vector<DeviceInfo>& gpus, const char* visible,
                                     const char* order);

}  // namespace pyenergy
