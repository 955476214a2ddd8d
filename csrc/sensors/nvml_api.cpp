// SPDX-License-Identifier: Apache-2.0
// Loads libnvidia-ml, resolves its functions (newest version first) and initialises it.
#include "sensors/nvml_api.h"

#include <cstdlib>
#include <memory>
#include <mutex>

namespace pyenergy {
namespace {

DynLib open_library() {
  const char* chosen = ::secure_getenv("PYENERGY_NVML_LIBRARY");
  if (chosen != nullptr && *chosen != '\0') return DynLib({chosen});
  return DynLib({"libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1"});
}

template <typename Fn>
void find(const DynLib& library, Fn& function, std::initializer_list<const char*> names) {
  function = library.symbol<Fn>(names);
}

void find_identity(NvmlApi& api) {
  const DynLib& lib = api.library;
  find(lib, api.error_string, {"nvmlErrorString"});
  find(lib, api.driver_version, {"nvmlSystemGetDriverVersion"});
  find(lib, api.uuid, {"nvmlDeviceGetUUID"});
  find(lib, api.name, {"nvmlDeviceGetName"});
  find(lib, api.vbios, {"nvmlDeviceGetVbiosVersion"});
  // The older versions fill a prefix of the newest one's structure.
  find(lib, api.pci_info,
       {"nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2", "nvmlDeviceGetPciInfo"});
  find(lib, api.architecture, {"nvmlDeviceGetArchitecture"});
  find(lib, api.compute_capability, {"nvmlDeviceGetCudaComputeCapability"});
  find(lib, api.device_by_uuid, {"nvmlDeviceGetHandleByUUID"});
  find(lib, api.core_count, {"nvmlDeviceGetNumGpuCores"});
  find(lib, api.max_clock, {"nvmlDeviceGetMaxClockInfo"});
  find(lib, api.persistence, {"nvmlDeviceGetPersistenceMode"});
  find(lib, api.enforced_limit,
       {"nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimit"});
  find(lib, api.limit_range, {"nvmlDeviceGetPowerManagementLimitConstraints"});
  find(lib, api.mig_mode, {"nvmlDeviceGetMigMode"});
  find(lib, api.mig_count, {"nvmlDeviceGetMaxMigDeviceCount"});
  find(lib, api.mig_by_index, {"nvmlDeviceGetMigDeviceHandleByIndex"});
}

void find_readings(NvmlApi& api) {
  const DynLib& lib = api.library;
  find(lib, api.field_values, {"nvmlDeviceGetFieldValues"});
  find(lib, api.power_usage, {"nvmlDeviceGetPowerUsage"});
  find(lib, api.total_energy, {"nvmlDeviceGetTotalEnergyConsumption"});
  find(lib, api.samples, {"nvmlDeviceGetSamples"});
  find(lib, api.clock, {"nvmlDeviceGetClockInfo"});
  find(lib, api.temperature, {"nvmlDeviceGetTemperature"});
  find(lib, api.utilisation, {"nvmlDeviceGetUtilizationRates"});
  find(lib, api.memory, {"nvmlDeviceGetMemoryInfo"});
  find(lib, api.throttle_reasons,
       {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"});
  find(lib, api.performance_state, {"nvmlDeviceGetPerformanceState"});
  find(lib, api.process_utilisation, {"nvmlDeviceGetProcessUtilization"});
  find(lib, api.running,
       {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"});
  find(lib, api.running_v1, {"nvmlDeviceGetComputeRunningProcesses"});
  find(lib, api.gpm_support, {"nvmlGpmQueryDeviceSupport"});
  find(lib, api.gpm_alloc, {"nvmlGpmSampleAlloc"});
  find(lib, api.gpm_free, {"nvmlGpmSampleFree"});
  find(lib, api.gpm_sample, {"nvmlGpmSampleGet"});
  find(lib, api.gpm_metrics, {"nvmlGpmMetricsGet"});
}

// Empty when all is there; else the name of an essential function that is not.
std::string find_essential(NvmlApi& api) {
  find(api.library, api.init, {"nvmlInit_v2", "nvmlInit"});
  find(api.library, api.device_count, {"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"});
  find(api.library, api.device_by_index,
       {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"});
  if (api.init == nullptr) return "nvmlInit";
  if (api.device_count == nullptr) return "nvmlDeviceGetCount";
  if (api.device_by_index == nullptr) return "nvmlDeviceGetHandleByIndex";
  return {};
}

constexpr const char* kInstall =
    "install the NVIDIA driver; in a container, start it with the NVIDIA Container Toolkit "
    "(docker run --gpus all)";

}  // namespace

std::string NvmlApi::error_text(nvmlReturn_t code) const {
  const char* text = error_string == nullptr ? nullptr : error_string(code);
  const std::string number = "NVML error " + std::to_string(static_cast<int>(code));
  return text == nullptr ? number : std::string(text) + " (" + number + ")";
}

std::string nvml_fix(nvmlReturn_t code) {
  switch (code) {
    case NVML_ERROR_DRIVER_NOT_LOADED:
      return "load the driver (sudo modprobe nvidia); in a container, pass the GPUs in "
             "(docker run --gpus all)";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
      return "the driver was updated while loaded: reboot, or reload it (sudo rmmod nvidia_uvm "
             "nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia)";
    case NVML_ERROR_NO_PERMISSION:
      return "give this user access to /dev/nvidiactl and /dev/nvidia* (ls -l /dev/nvidia* shows "
             "the group; sudo usermod -aG GROUP $USER, then log in again)";
    case NVML_ERROR_GPU_IS_LOST:
    case NVML_ERROR_RESET_REQUIRED:
      return "reset the GPU (sudo nvidia-smi --gpu-reset -i INDEX) or reboot; dmesg | grep Xid "
             "tells the cause";
    case NVML_ERROR_LIBRARY_NOT_FOUND:
      return kInstall;
    default:
      return {};
  }
}

NvmlLoad load_nvml() {
  static std::mutex mutex;
  static const NvmlApi* loaded = nullptr;
  const std::lock_guard lock(mutex);
  if (loaded != nullptr) return {loaded, {}, {}};
  auto api = std::make_unique<NvmlApi>();
  api->library = open_library();
  if (!api->library.is_open()) {
    return {nullptr, "the NVIDIA driver's library cannot be loaded: " + api->library.error(),
            kInstall};
  }
  if (const std::string missing = find_essential(*api); !missing.empty()) {
    return {nullptr, api->library.path() + " has no function " + missing + ": it is not NVML",
            kInstall};
  }
  find_identity(*api);
  find_readings(*api);
  if (const nvmlReturn_t code = api->init(); code != NVML_SUCCESS) {
    return {nullptr, "NVML does not start: " + api->error_text(code), nvml_fix(code)};
  }
  // Never shut down or freed: sampler threads may outlive static destruction.
  loaded = api.release();
  return {loaded, {}, {}};
}

}  // namespace pyenergy
