// SPDX-License-Identifier: Apache-2.0
// Asks NVML for the utilisation of each process, and for those that hold a context.
#include "sensors/nvml_processes.h"

#include <algorithm>
#include <stdexcept>

#include "sensors/nvml_api.h"
#include "sensors/nvml_describe.h"

namespace pyenergy {
namespace {

// What the driver writes, whatever header it was built with (nvml.h of NVML 8 and later).
static_assert(sizeof(nvmlProcessUtilizationSample_t) == 32);
static_assert(sizeof(nvmlProcessInfo_t) == 24);
static_assert(sizeof(nvmlProcessInfo_v1_t) == 16);

constexpr unsigned kRoom = 8;  // grows when a GPU has more processes
constexpr int kTries = 4;      // others may start meanwhile

// A list by NVML's way of two calls: room in, number out.
template <typename Row, typename Ask>
nvmlReturn_t list(std::vector<Row>& rows, Ask&& ask) {
  unsigned count = kRoom;
  nvmlReturn_t code = NVML_ERROR_INSUFFICIENT_SIZE;
  for (int tries = 0; tries < kTries && code == NVML_ERROR_INSUFFICIENT_SIZE; ++tries) {
    rows.resize(count);
    code = ask(rows.data(), &count);
  }
  rows.resize(code == NVML_SUCCESS ? std::min<std::size_t>(count, rows.size()) : 0);
  return code;
}

nvmlDevice_t device_of(const NvmlApi& api, const std::string& uuid) {
  nvmlDevice_t found = nullptr;
  if (api.device_by_uuid != nullptr && api.device_by_uuid(uuid.c_str(), &found) == NVML_SUCCESS) {
    return found;
  }
  unsigned count = 0;
  api.device_count(&count);
  for (unsigned i = 0; i < count; ++i) {
    const auto device = ask<nvmlDevice_t>(api.device_by_index, i);
    if (device && nvml_uuid(api, *device) == uuid) return *device;
  }
  throw std::runtime_error("NVML does not find " + uuid + " (any more)");
}

template <typename Info, typename Fn>
bool list_running(Fn function, nvmlDevice_t device, GpuUse& use) {
  if (function == nullptr) return false;
  std::vector<Info> infos;
  const nvmlReturn_t code =
      list(infos, [&](Info* rows, unsigned* count) { return function(device, count, rows); });
  for (const Info& info : infos) use.running.push_back(info.pid);
  return code == NVML_SUCCESS;
}

}  // namespace

GpuUse gpu_use(const std::string& uuid, unsigned long long after_us) {
  const NvmlLoad load = load_nvml();
  if (load.api == nullptr) throw std::runtime_error(load.reason + ". Fix: " + load.fix);
  const NvmlApi& api = *load.api;
  const nvmlDevice_t device = device_of(api, uuid);
  GpuUse use;
  use.lists_running = list_running<nvmlProcessInfo_t>(api.running, device, use) ||
                      list_running<nvmlProcessInfo_v1_t>(api.running_v1, device, use);
  if (api.process_utilisation == nullptr) {
    use.problem = "this driver's library has no nvmlDeviceGetProcessUtilization";
    return use;
  }
  const nvmlReturn_t code =
      list(use.samples, [&](nvmlProcessUtilizationSample_t* rows, unsigned* count) {
        return api.process_utilisation(device, rows, count, after_us);
      });
  // Nothing new: nobody worked, or the driver has no later sample yet.
  const bool nothing = code == NVML_ERROR_NOT_FOUND || code == NVML_ERROR_NO_DATA;
  if (code != NVML_SUCCESS && !nothing) {
    use.problem = "nvmlDeviceGetProcessUtilization: " + api.error_text(code);
  }
  return use;
}

}  // namespace pyenergy
