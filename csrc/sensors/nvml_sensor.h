// SPDX-License-Identifier: Apache-2.0
// The sensor of one NVIDIA GPU.
#pragma once

#include <memory>
#include <string>

#include "sensors/activity.h"
#include "sensors/nvml_describe.h"

namespace pyenergy {

// `api` must outlive the sensor. The sensor reads exactly what found.plan says, then the activity.
// Without one, `activity.said` becomes the note of the utilisation.
std::unique_ptr<Sensor> make_nvml_sensor(const NvmlApi& api, NvmlFound found,
                                         ActivityChoice activity = {});

}  // namespace pyenergy
