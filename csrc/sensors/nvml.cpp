// SPDX-License-Identifier: Apache-2.0
// The NVIDIA source: finds the GPUs and opens them by UUID.
#include <stdexcept>

#include "sensors/nvml_sensor.h"
#include "sensors/sources.h"

namespace pyenergy {
namespace {

// Lists what can be listed; a GPU that does not answer is named in the reason.
void list_devices(const NvmlApi& api, unsigned count, SourceReport& report) {
  for (unsigned i = 0; i < count; ++i) {
    nvmlDevice_t device = nullptr;
    const nvmlReturn_t code = api.device_by_index(i, &device);
    if (code == NVML_SUCCESS) {
      report.devices.push_back(describe_nvml(api, device, i).info);
      continue;
    }
    report.reason += (report.reason.empty() ? "GPU " : "; GPU ") + std::to_string(i) +
                     " cannot be used: " + api.error_text(code);
    if (report.fix.empty()) report.fix = nvml_fix(code);
  }
}

bool same_device(const NvmlApi& api, nvmlDevice_t device, unsigned index, const DeviceInfo& info) {
  if (info.uuid.empty()) return static_cast<int>(index) == info.index;
  return nvml_uuid(api, device) == info.uuid;
}

}  // namespace

SourceReport enumerate_nvml(const std::string& argument) {
  SourceReport report;
  report.source = "nvml";
  if (!argument.empty()) {
    report.reason = "takes no argument, not '" + argument + "'";
    report.fix = "say 'gpu:INDEX' or give the GPU's UUID";
    return report;
  }
  const NvmlLoad load = load_nvml();
  if (load.api == nullptr) {
    report.reason = load.reason;
    report.fix = load.fix;
    return report;
  }
  unsigned count = 0;
  if (const nvmlReturn_t code = load.api->device_count(&count); code != NVML_SUCCESS) {
    report.reason = "the GPUs cannot be counted: " + load.api->error_text(code);
    report.fix = nvml_fix(code);
    return report;
  }
  if (count == 0) report.reason = "the driver is loaded but shows no GPU to this process";
  list_devices(*load.api, count, report);
  report.available = !report.devices.empty();
  return report;
}

std::unique_ptr<Sensor> open_nvml(const DeviceInfo& info, std::shared_ptr<Clock> clock) {
  const NvmlLoad load = load_nvml();
  if (load.api == nullptr) throw std::runtime_error(load.reason + ". Fix: " + load.fix);
  unsigned count = 0;
  load.api->device_count(&count);
  for (unsigned i = 0; i < count; ++i) {
    const auto device = ask<nvmlDevice_t>(load.api->device_by_index, i);
    if (!device || !same_device(*load.api, *device, i, info)) continue;
    NvmlFound found = describe_nvml(*load.api, *device, i);
    ActivityChoice activity = find_activity(*load.api, *device, found.info.uuid, std::move(clock));
    return make_nvml_sensor(*load.api, std::move(found), std::move(activity));
  }
  const std::string name = info.uuid.empty() ? "GPU " + std::to_string(info.index) : info.uuid;
  throw std::runtime_error("NVML does not find " + name + " (any more)");
}

}  // namespace pyenergy
