// SPDX-License-Identifier: Apache-2.0
// NVML's functions, looked up at run time: nothing links against the driver. Types are nvml.h's.
#pragma once

#include <nvml.h>

#include <optional>
#include <string>
#include <utility>

#include "sensors/dynlib.h"

namespace pyenergy {

// Null: this driver's library does not have it (but for the essential ones, never null here).
struct NvmlApi {
  template <typename... Args>
  using Function = nvmlReturn_t (*)(Args...);
  using Device = nvmlDevice_t;

  DynLib library;
  // Essential.
  Function<> init = nullptr;
  Function<unsigned*> device_count = nullptr;
  Function<unsigned, Device*> device_by_index = nullptr;
  // Identity.
  const char* (*error_string)(nvmlReturn_t) = nullptr;
  Function<char*, unsigned> driver_version = nullptr;
  Function<Device, char*, unsigned> uuid = nullptr, name = nullptr, vbios = nullptr;
  Function<Device, nvmlPciInfo_t*> pci_info = nullptr;
  Function<Device, nvmlDeviceArchitecture_t*> architecture = nullptr;
  Function<Device, int*, int*> compute_capability = nullptr;
  Function<const char*, Device*> device_by_uuid = nullptr;
  Function<Device, unsigned*> core_count = nullptr;
  Function<Device, nvmlClockType_t, unsigned*> max_clock = nullptr;
  Function<Device, nvmlEnableState_t*> persistence = nullptr;
  Function<Device, unsigned*> enforced_limit = nullptr;
  Function<Device, unsigned*, unsigned*> limit_range = nullptr;
  Function<Device, unsigned*, unsigned*> mig_mode = nullptr;
  Function<Device, unsigned*> mig_count = nullptr;
  Function<Device, unsigned, Device*> mig_by_index = nullptr;
  // Readings.
  Function<Device, int, nvmlFieldValue_t*> field_values = nullptr;
  Function<Device, unsigned*> power_usage = nullptr;
  Function<Device, unsigned long long*> total_energy = nullptr;
  Function<Device, nvmlSamplingType_t, unsigned long long, nvmlValueType_t*, unsigned*,
           nvmlSample_t*>
      samples = nullptr;
  Function<Device, nvmlClockType_t, unsigned*> clock = nullptr;
  Function<Device, nvmlTemperatureSensors_t, unsigned*> temperature = nullptr;
  Function<Device, nvmlUtilization_t*> utilisation = nullptr;
  Function<Device, nvmlMemory_t*> memory = nullptr;
  Function<Device, unsigned long long*> throttle_reasons = nullptr;
  Function<Device, nvmlPstates_t*> performance_state = nullptr;
  // Who works on it.
  Function<Device, nvmlProcessUtilizationSample_t*, unsigned*, unsigned long long>
      process_utilisation = nullptr;
  Function<Device, unsigned*, nvmlProcessInfo_t*> running = nullptr;
  Function<Device, unsigned*, nvmlProcessInfo_v1_t*> running_v1 = nullptr;

  // GPU performance monitoring; all or none.
  Function<Device, nvmlGpmSupport_t*> gpm_support = nullptr;
  Function<nvmlGpmSample_t*> gpm_alloc = nullptr;
  Function<nvmlGpmSample_t> gpm_free = nullptr;
  Function<Device, nvmlGpmSample_t> gpm_sample = nullptr;
  Function<nvmlGpmMetricsGet_t*> gpm_metrics = nullptr;
  bool has_gpm() const noexcept {
    return gpm_support != nullptr && gpm_alloc != nullptr && gpm_free != nullptr &&
           gpm_sample != nullptr && gpm_metrics != nullptr;
  }

  std::string error_text(nvmlReturn_t code) const;
};

// The one result of a getter whose last parameter receives it; empty when the function is missing
// or fails.
template <typename T, typename Fn, typename... Args>
std::optional<T> ask(Fn function, Args... args) noexcept {
  T result{};
  if (function == nullptr || function(args..., &result) != NVML_SUCCESS) return std::nullopt;
  return result;
}

struct NvmlLoad {
  const NvmlApi* api = nullptr;  // lives until the process ends; null: reason and fix say why
  std::string reason, fix;
};

// Loads and initialises NVML once per process; a failure is tried again at the next call. The
// library is $PYENERGY_NVML_LIBRARY, or else the driver's.
NvmlLoad load_nvml();

// What a user can do about an error, or empty.
std::string nvml_fix(nvmlReturn_t code);

}  // namespace pyenergy
