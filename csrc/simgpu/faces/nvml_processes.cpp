// SPDX-License-Identifier: Apache-2.0
// Who works on a simulated card, and how much of the time.
#include "simgpu/faces/nvml_processes.h"

#include <algorithm>
#include <span>

#include "core/clock.h"

using namespace pyenergy;
using namespace pyenergy::simgpu;

namespace {

// Real drivers average over a sixth of a second to a second.
constexpr Ns kSamplePeriod = 200 * kMs;

// The end of the latest sample, in microseconds of Unix time as the driver stamps it.
unsigned long long latest_sample_us(Ns now) noexcept {
  const Ns end = now / kSamplePeriod * kSamplePeriod;
  return static_cast<unsigned long long>((realtime_ns() - (now - end)) / kUs);
}

// Half a period: the two clocks are not read at the same moment.
bool is_new(unsigned long long stamp_us, unsigned long long seen_us) noexcept {
  return stamp_us > seen_us + static_cast<unsigned long long>(kSamplePeriod / kUs / 2);
}

}  // namespace

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device, unsigned* count,
                                                  nvmlProcessInfo_v1_t* infos) {
  return face::running_processes(device, count, infos, [](const GpuProcess& p) {
    return nvmlProcessInfo_v1_t{p.pid, p.memory_bytes};
  });
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device,
                                             nvmlProcessUtilizationSample_t* samples,
                                             unsigned* count, unsigned long long last_seen_us) {
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return face::driver_call(device, Call::kProcesses, [&](Card& card, Ns now, const face::Handle&) {
    if (card.id.mig_instances > 0) return NVML_ERROR_NOT_SUPPORTED;
    const auto busy = [](const GpuProcess& p) { return p.sm_percent + p.memory_percent > 0; };
    const std::span<const GpuProcess> all(card.processes, card.process_count);
    const auto found = static_cast<unsigned>(std::ranges::count_if(all, busy));
    const unsigned long long stamp_us = latest_sample_us(now);
    if (found == 0 || !is_new(stamp_us, last_seen_us)) {
      *count = 0;
      return NVML_ERROR_NOT_FOUND;
    }
    const unsigned room = *count;
    *count = found;
    if (samples == nullptr || room < found) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (const GpuProcess& p : all) {
      if (busy(p)) *samples++ = {p.pid, stamp_us, p.sm_percent, p.memory_percent, 0, 0};
    }
    return NVML_SUCCESS;
  });
}
