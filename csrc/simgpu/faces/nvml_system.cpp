// SPDX-License-Identifier: Apache-2.0
// The library itself: shutdown, versions, error texts, and how handles are found.
#include <strings.h>

#include <cstdlib>

#include "simgpu/faces/nvml_face.h"

using namespace pyenergy;
using namespace pyenergy::simgpu;

namespace {

// The handle of the first card or MIG instance whose text is the wanted one.
template <typename Matches>
nvmlReturn_t find_card(nvmlDevice_t* device, Matches&& matches) {
  if (device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  const std::shared_ptr<World> world = face::world();
  if (world == nullptr) return NVML_ERROR_UNINITIALIZED;
  for (std::uint32_t i = 0; i < world->size(); ++i) {
    bool found = false;
    {
      const CardLock lock(world->card(i));
      found = matches(world->card(i));
    }
    if (!found) continue;
    *device = face::handle_of(i);
    return face::driver_call(*device, Call::kHandle,
                             [](Card&, Ns, const face::Handle&) { return NVML_SUCCESS; });
  }
  return NVML_ERROR_NOT_FOUND;
}

// "0000:3B:00.0" names the same bus as "00000000:3b:00.0": the domain's leading zeros are optional.
bool same_bus(const char* a, const char* b) {
  char *rest_a = nullptr, *rest_b = nullptr;
  const unsigned long domain_a = std::strtoul(a, &rest_a, 16);
  const unsigned long domain_b = std::strtoul(b, &rest_b, 16);
  return domain_a == domain_b && strcasecmp(rest_a, rest_b) == 0;
}

}  // namespace

nvmlReturn_t nvmlShutdown(void) { return face::shut_down(); }

const char* nvmlErrorString(nvmlReturn_t result) {
  switch (result) {
    case NVML_SUCCESS:
      return "Success";
    case NVML_ERROR_UNINITIALIZED:
      return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT:
      return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED:
      return "Not Supported";
    case NVML_ERROR_NO_PERMISSION:
      return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND:
      return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE:
      return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED:
      return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT:
      return "Timeout";
    case NVML_ERROR_GPU_IS_LOST:
      return "GPU is lost";
    default:
      return "Unknown Error";
  }
}

nvmlReturn_t nvmlSystemGetDriverVersion(char* version, unsigned length) {
  if (face::world() == nullptr) return NVML_ERROR_UNINITIALIZED;
  return face::copy_text("580.00.00", version, length);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char* version, unsigned length) {
  if (face::world() == nullptr) return NVML_ERROR_UNINITIALIZED;
  return face::copy_text("13.580.00.00", version, length);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int* version) {
  if (version == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *version = 13000;
  return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int* version) {
  return nvmlSystemGetCudaDriverVersion(version);
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned* count) {
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  const nvmlReturn_t followed = face::follow_environment();
  if (followed != NVML_SUCCESS) return followed;
  const std::shared_ptr<World> world = face::world();
  if (world == nullptr) return NVML_ERROR_UNINITIALIZED;
  *count = world->size();
  return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount(unsigned* count) { return nvmlDeviceGetCount_v2(count); }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t* device) {
  std::uint32_t at = 0;
  const nvmlReturn_t found = find_card(device, [&](const Card&) { return at++ == index; });
  return found == NVML_ERROR_NOT_FOUND ? NVML_ERROR_INVALID_ARGUMENT : found;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned index, nvmlDevice_t* device) {
  return nvmlDeviceGetHandleByIndex_v2(index, device);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice_t* device) {
  if (uuid == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return find_card(device,
                   [&](const Card& card) { return std::string_view(uuid) == card.id.uuid; });
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char* bus, nvmlDevice_t* device) {
  if (bus == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return find_card(device, [&](const Card& card) { return same_bus(bus, card.id.pci); });
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char* bus, nvmlDevice_t* device) {
  return nvmlDeviceGetHandleByPciBusId_v2(bus, device);
}
