// SPDX-License-Identifier: Apache-2.0
// GPU performance monitoring of the simulated libnvidia-ml: a sample is the time it was taken at.
#include <array>
#include <atomic>

#include "simgpu/activity.h"
#include "simgpu/faces/nvml_face.h"

using namespace pyenergy;
using namespace pyenergy::simgpu;
using face::driver_call;
using face::Handle;

// NVML's own name of what its handle points to.
struct nvmlGpmSample_st {
  std::atomic<bool> used{false};
  nvmlDevice_t device = nullptr;
  Ns at = 0;
};

namespace {

std::array<nvmlGpmSample_st, 256> pool;

bool has_gpm(const Card& card) { return card.id.cc_major >= 9; }

nvmlReturn_t read_metric(const Card& card, nvmlGpmMetric_t& metric, Ns a, Ns b) {
  const auto percent = [&](Part part) {
    metric.value = 100.0 * activity(card, part, a, b);
    return NVML_SUCCESS;
  };
  switch (metric.metricId) {
    case NVML_GPM_METRIC_SM_UTIL:
      return percent(Part::kSm);
    case NVML_GPM_METRIC_ANY_TENSOR_UTIL:
      return percent(Part::kTensor);
    case NVML_GPM_METRIC_DRAM_BW_UTIL:
      return percent(Part::kDram);
    case NVML_GPM_METRIC_FP64_UTIL:
      return percent(Part::kFp64);
    case NVML_GPM_METRIC_FP32_UTIL:
      return percent(Part::kFp32);
    case NVML_GPM_METRIC_FP16_UTIL:
      return percent(Part::kFp16);
    default:
      return NVML_ERROR_NOT_SUPPORTED;
  }
}

}  // namespace

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t* support) {
  if (support == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kIdentity, [&](Card& card, Ns, const Handle&) {
    support->isSupportedDevice = has_gpm(card) ? 1 : 0;
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t* sample) {
  if (sample == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  for (nvmlGpmSample_st& free : pool) {
    if (free.used.exchange(true)) continue;
    free.device = nullptr;
    *sample = &free;
    return NVML_SUCCESS;
  }
  return NVML_ERROR_MEMORY;
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample) {
  if (sample == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  sample->used = false;
  return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t sample) {
  if (sample == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kUtilisation, [&](Card& card, Ns now, const Handle&) {
    if (!has_gpm(card)) return NVML_ERROR_NOT_SUPPORTED;
    sample->device = device;
    sample->at = now;
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t* query) {
  if (query == nullptr || query->sample1 == nullptr || query->sample2 == nullptr) {
    return NVML_ERROR_INVALID_ARGUMENT;
  }
  if (query->version != NVML_GPM_METRICS_GET_VERSION) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  const Ns a = query->sample1->at, b = query->sample2->at;
  if (query->sample1->device != query->sample2->device || a >= b) {
    return NVML_ERROR_INVALID_ARGUMENT;
  }
  const face::Handle* handle = face::from_handle(query->sample1->device);
  const std::shared_ptr<World> world = face::world();
  if (world == nullptr || handle == nullptr) return NVML_ERROR_UNINITIALIZED;
  const CardLock lock(world->card(handle->card));
  for (unsigned i = 0; i < query->numMetrics; ++i) {
    nvmlGpmMetric_t& metric = query->metrics[i];
    metric.nvmlReturn = read_metric(world->card(handle->card), metric, a, b);
  }
  return NVML_SUCCESS;
}
