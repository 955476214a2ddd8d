// SPDX-License-Identifier: Apache-2.0
// What a card is: names, bus, architecture, memory, MIG instances.
#include <cstdio>
#include <cstring>

#include "simgpu/faces/nvml_face.h"

using namespace pyenergy;
using namespace pyenergy::simgpu;
using face::driver_call;
using face::get;
using face::Handle;

namespace {

constexpr unsigned long long kMiB = 1 << 20;
constexpr unsigned long long kReservedBytes = 512 * kMiB;

}  // namespace

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char* name, unsigned length) {
  return driver_call(
      device, Call::kIdentity,
      [&](Card& card, Ns, const Handle&) { return face::copy_text(card.id.name, name, length); },
      face::Scope::kCardOrMig);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char* uuid, unsigned length) {
  return driver_call(
      device, Call::kIdentity,
      [&](Card& card, Ns, const Handle& handle) {
        if (handle.mig < 0) return face::copy_text(card.id.uuid, uuid, length);
        char text[48];
        std::snprintf(text, sizeof text, "MIG-5157a000-0000-4000-8000-%08u%04d", handle.card,
                      handle.mig);
        return face::copy_text(text, uuid, length);
      },
      face::Scope::kCardOrMig);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t* pci) {
  if (pci == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kIdentity, [&](Card& card, Ns, const Handle& handle) {
    *pci = {};
    pci->bus = handle.card + 1;
    // The legacy form has a domain of four digits instead of eight.
    face::copy_text(card.id.pci, pci->busId, sizeof pci->busId);
    face::copy_text(card.id.pci + 4, pci->busIdLegacy, sizeof pci->busIdLegacy);
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_t* pci) {
  return nvmlDeviceGetPciInfo_v3(device, pci);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned* index) {
  if (index == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(
      device, Call::kIdentity,
      [&](Card&, Ns, const Handle& handle) {
        *index = handle.mig < 0 ? handle.card : static_cast<unsigned>(handle.mig);
        return NVML_SUCCESS;
      },
      face::Scope::kCardOrMig);
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned* minor_number) {
  return nvmlDeviceGetIndex(device, minor_number);
}

nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, nvmlDeviceArchitecture_t* out) {
  return get(device, Call::kIdentity, out, [](Card& c, Ns) { return c.id.nvml_architecture; });
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int* major_version,
                                                int* minor_version) {
  if (major_version == nullptr || minor_version == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kIdentity, [&](Card& card, Ns, const Handle&) {
    *major_version = static_cast<int>(card.id.cc_major);
    *minor_version = static_cast<int>(card.id.cc_minor);
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetNumGpuCores(nvmlDevice_t device, unsigned* out) {
  return get(device, Call::kIdentity, out, [](Card& card, Ns) { return card.id.cores; });
}

nvmlReturn_t nvmlDeviceGetVbiosVersion(nvmlDevice_t device, char* version, unsigned length) {
  return driver_call(device, Call::kIdentity, [&](Card&, Ns, const Handle&) {
    return face::copy_text("00.00.00.00.00", version, length);
  });
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, nvmlEnableState_t* out) {
  return get(device, Call::kIdentity, out, [](Card&, Ns) { return NVML_FEATURE_ENABLED; });
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* memory) {
  if (memory == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(
      device, Call::kMemory,
      [&](Card& card, Ns, const Handle&) {
        *memory = {card.id.memory_bytes, card.id.memory_bytes - kReservedBytes, kReservedBytes};
        return NVML_SUCCESS;
      },
      face::Scope::kCardOrMig);
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned* current, unsigned* pending) {
  if (current == nullptr || pending == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kMig, [&](Card& card, Ns, const Handle&) {
    *current = *pending =
        card.id.mig_instances > 0 ? NVML_DEVICE_MIG_ENABLE : NVML_DEVICE_MIG_DISABLE;
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned* out) {
  return get(device, Call::kMig, out,
             [](Card& card, Ns) { return card.id.mig_instances > 0 ? kMaxMig : 0; });
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index,
                                                 nvmlDevice_t* instance) {
  if (instance == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kMig, [&](Card& card, Ns, const Handle& handle) {
    if (index >= kMaxMig) return NVML_ERROR_INVALID_ARGUMENT;
    if (index >= card.id.mig_instances) return NVML_ERROR_NOT_FOUND;
    *instance = face::handle_of(handle.card, static_cast<int>(index));
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t instance,
                                                          nvmlDevice_t* device) {
  if (device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(
      instance, Call::kMig,
      [&](Card&, Ns, const Handle& handle) {
        if (handle.mig < 0) return NVML_ERROR_INVALID_ARGUMENT;
        *device = face::handle_of(handle.card);
        return NVML_SUCCESS;
      },
      face::Scope::kCardOrMig);
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned* is_mig) {
  if (is_mig == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(
      device, Call::kMig,
      [&](Card&, Ns, const Handle& handle) {
        *is_mig = handle.mig >= 0 ? 1 : 0;
        return NVML_SUCCESS;
      },
      face::Scope::kCardOrMig);
}
