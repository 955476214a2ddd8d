// SPDX-License-Identifier: Apache-2.0
// Who works on an NVIDIA GPU, by what the driver samples: for sharing its energy among processes.
// Called some times a second by whoever asks, never by a sampler.
#pragma once

#include <nvml.h>

#include <string>
#include <vector>

namespace pyenergy {

struct GpuUse {
  std::vector<nvmlProcessUtilizationSample_t> samples;  // later than asked for; may be none
  std::vector<unsigned> running;                        // pids that hold a compute context
  std::string problem;  // why there are no samples although there may be processes; or empty
  bool lists_running = false;
};

// Of the GPU with that UUID. pids are the host's, whatever namespace asks. Throws
// std::runtime_error where NVML does not load or does not know the GPU.
GpuUse gpu_use(const std::string& uuid, unsigned long long after_us);

}  // namespace pyenergy
