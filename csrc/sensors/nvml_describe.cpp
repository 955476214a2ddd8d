// SPDX-License-Identifier: Apache-2.0
// Asks an NVML device who it is: what is not answered stays empty, unknown or NaN.
#include "sensors/nvml_describe.h"

#include <array>
#include <cstdio>
#include <limits>

namespace pyenergy {
namespace {

using Device = nvmlDevice_t;

template <typename Fn, typename... Args>
std::string text(Fn function, Args... args) {
  std::array<char, 128> out{};
  const auto size = static_cast<unsigned>(out.size());
  if (function == nullptr || function(args..., out.data(), size) != NVML_SUCCESS) return {};
  out.back() = '\0';
  return out.data();
}

template <typename... Args>
std::string format(const char* pattern, Args... args) {
  std::array<char, 128> out;
  std::snprintf(out.data(), out.size(), pattern, args...);
  return out.data();
}

std::string pci_bus_id(const NvmlApi& api, Device device) {
  const auto pci = ask<nvmlPciInfo_t>(api.pci_info, device);
  return pci ? format("%08X:%02X:%02X.0", pci->domain, pci->bus, pci->device) : std::string();
}

struct Capability {
  int major = 0, minor = 0;  // 0: unknown
};

Capability compute_capability(const NvmlApi& api, Device device) {
  Capability found;
  if (api.compute_capability == nullptr ||
      api.compute_capability(device, &found.major, &found.minor) != NVML_SUCCESS) {
    return {};
  }
  return found;
}

// NVML knows no GA100 (its power sensor is another one than the other Amperes'): compute
// capability 8.0 is.
std::string architecture(const NvmlApi& api, Device device, Capability cc) {
  switch (
      ask<nvmlDeviceArchitecture_t>(api.architecture, device).value_or(NVML_DEVICE_ARCH_UNKNOWN)) {
    case NVML_DEVICE_ARCH_KEPLER:
      return "kepler";
    case NVML_DEVICE_ARCH_MAXWELL:
      return "maxwell";
    case NVML_DEVICE_ARCH_PASCAL:
      return "pascal";
    case NVML_DEVICE_ARCH_VOLTA:
      return "volta";
    case NVML_DEVICE_ARCH_TURING:
      return "turing";
    case NVML_DEVICE_ARCH_AMPERE:
      return cc.major == 8 && cc.minor == 0 ? "ga100" : "ampere";
    case NVML_DEVICE_ARCH_ADA:
      return "ada";
    case NVML_DEVICE_ARCH_HOPPER:
      return "hopper";
    case NVML_DEVICE_ARCH_BLACKWELL:
      return "blackwell";
    default:
      return nvidia_architecture(cc.major, cc.minor);
  }
}

void describe_mig(const NvmlApi& api, Device device, DeviceInfo& info) {
  unsigned current = 0, pending = 0;
  if (api.mig_mode == nullptr || api.mig_mode(device, &current, &pending) != NVML_SUCCESS) return;
  info.mig_enabled = current == NVML_DEVICE_MIG_ENABLE;
  if (!info.mig_enabled) return;
  info.notes.emplace_back(
      "MIG is on: power and energy are of the whole GPU, shared by all its instances");
  const unsigned count = ask<unsigned>(api.mig_count, device).value_or(0);
  for (unsigned i = 0; i < count; ++i) {
    const auto instance = ask<Device>(api.mig_by_index, device, i);
    if (instance) info.mig_uuids.push_back(nvml_uuid(api, *instance));
  }
}

struct Limits {
  double enforced_w = std::numeric_limits<double>::quiet_NaN();
  double largest_w = std::numeric_limits<double>::quiet_NaN();
};

Limits describe_limits(const NvmlApi& api, Device device, DeviceInfo& info) {
  Limits limits;
  if (const auto limit = ask<unsigned>(api.enforced_limit, device)) {
    limits.enforced_w = 1e-3 * *limit;
    info.facts.emplace_back("power limit", format("%.6g W", limits.enforced_w));
  }
  unsigned low = 0, high = 0;
  if (api.limit_range != nullptr && api.limit_range(device, &low, &high) == NVML_SUCCESS) {
    limits.largest_w = 1e-3 * high;
    info.facts.emplace_back("settable power limits",
                            format("%.6g to %.6g W", 1e-3 * low, 1e-3 * high));
  }
  return limits;
}

void describe_speed(const NvmlApi& api, Device device, Capability cc, DeviceInfo& info) {
  if (cc.major > 0) {
    info.facts.emplace_back("compute capability", format("%d.%d", cc.major, cc.minor));
  }
  const auto cores = ask<unsigned>(api.core_count, device);
  const auto clock = ask<unsigned>(api.max_clock, device, NVML_CLOCK_SM);
  if (cores) info.facts.emplace_back("CUDA cores", std::to_string(*cores));
  if (clock) info.facts.emplace_back("maximum SM clock", format("%u MHz", *clock));
  if (cores && clock) info.speed_score = static_cast<double>(*cores) * *clock;
}

}  // namespace

std::string nvidia_architecture(int major, int minor) {
  switch (major) {
    case 3:
      return "kepler";
    case 5:
      return "maxwell";
    case 6:
      return "pascal";
    case 7:
      return minor < 5 ? "volta" : "turing";
    case 8:
      return minor == 0 ? "ga100" : minor == 9 ? "ada" : "ampere";
    case 9:
      return "hopper";
    case 10:
    case 11:
    case 12:
      return "blackwell";
    default:
      return {};
  }
}

std::string nvml_uuid(const NvmlApi& api, nvmlDevice_t device) { return text(api.uuid, device); }

NvmlFound describe_nvml(const NvmlApi& api, nvmlDevice_t device, unsigned index) {
  NvmlFound found;
  found.device = device;
  DeviceInfo& info = found.info;
  info.source = "nvml";
  info.kind = "gpu";
  info.index = static_cast<int>(index);
  info.uuid = nvml_uuid(api, device);
  info.name = text(api.name, device);
  info.pci_bus_id = pci_bus_id(api, device);
  info.driver = text(api.driver_version);
  const Capability cc = compute_capability(api, device);
  info.architecture = architecture(api, device, cc);
  describe_speed(api, device, cc, info);
  const Limits limits = describe_limits(api, device, info);
  info.power_max_w = limits.enforced_w;
  if (const std::string vbios = text(api.vbios, device); !vbios.empty()) {
    info.facts.emplace_back("VBIOS", vbios);
  }
  if (const auto mode = ask<nvmlEnableState_t>(api.persistence, device)) {
    info.facts.emplace_back("persistence mode", *mode == NVML_FEATURE_ENABLED ? "on" : "off");
  }
  describe_mig(api, device, info);
  found.plan = probe_nvml(api, device, limits.largest_w);
  info.notes.insert(info.notes.end(), found.plan.notes.begin(), found.plan.notes.end());
  return found;
}

}  // namespace pyenergy
