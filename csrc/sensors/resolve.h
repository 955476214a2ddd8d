// SPDX-License-Identifier: Apache-2.0
// Which devices a request means, without Python: the names of pyenergy/_devices.py, but for
// "replay:FILE", since recordings are read by Python.
#pragma once

#include <string>
#include <vector>

#include "core/sensor.h"
#include "sensors/visible.h"

namespace pyenergy {

struct NamedDevice {
  std::string id;   // "gpu:0" counts as CUDA does, "cpu:0" in sockets
  DeviceInfo info;  // its notes are all that a user must know of it
};

// Several requests are joined by '+'. Throws DeviceError naming the request and what exists; also
// for devices that contain one another.
std::vector<NamedDevice> resolve_devices(const std::string& request);
// Everything that this process may measure; some contain others. Throws DeviceError when
// CUDA_VISIBLE_DEVICES names a device that does not exist.
std::vector<NamedDevice> all_devices();

}  // namespace pyenergy
