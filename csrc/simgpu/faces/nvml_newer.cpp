// SPDX-License-Identifier: Apache-2.0
// What newer drivers added; the `old` library lacks it.
#include <cmath>

#include "simgpu/faces/nvml_processes.h"

using namespace pyenergy;
using namespace pyenergy::simgpu;
using face::driver_call;
using face::Handle;

namespace {

void store_unsigned(nvmlFieldValue_t& field, double mw) noexcept {
  field.valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
  field.value.uiVal = static_cast<unsigned>(std::llround(mw));
}

// In the narrowest type that holds it: an impossible reading reaches the caller whole.
void store_power(nvmlFieldValue_t& field, double watts) noexcept {
  const double mw = watts * 1e3;
  if (std::isnan(mw)) {
    field.valueType = NVML_VALUE_TYPE_DOUBLE;
    field.value.dVal = mw;
  } else if (mw < 0.0) {
    field.valueType = NVML_VALUE_TYPE_SIGNED_LONG_LONG;
    field.value.sllVal = std::llround(mw);
  } else if (mw > 4294967295.0) {
    field.valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
    field.value.ullVal = static_cast<unsigned long long>(std::llround(mw));
  } else {
    store_unsigned(field, mw);
  }
}

nvmlReturn_t read_sensor(Card& card, nvmlFieldValue_t& field, Ns now) noexcept {
  const FieldReading reading = read_field(card, field.fieldId, now);
  if (reading.status != kSuccess) return face::as_return(reading.status);
  if (field.fieldId == kFieldEnergy) {
    field.valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
    field.value.ullVal = static_cast<unsigned long long>(static_cast<long long>(reading.value));
  } else {
    store_power(field, reading.value);
  }
  return NVML_SUCCESS;
}

nvmlReturn_t read_one(Card& card, nvmlFieldValue_t& field, Ns now) noexcept {
  switch (field.fieldId) {
    case NVML_FI_DEV_POWER_INSTANT:
    case NVML_FI_DEV_POWER_AVERAGE: {
      const unsigned scope =
          card.id.module_only != 0 ? NVML_POWER_SCOPE_MODULE : NVML_POWER_SCOPE_GPU;
      if (card.power_by_field == 0 || field.scopeId != scope) return NVML_ERROR_NOT_SUPPORTED;
      return read_sensor(card, field, now);
    }
    case NVML_FI_DEV_POWER_MIN_LIMIT:
      store_unsigned(field, face::kMinimumLimit * card.limit_w * 1e3);
      return NVML_SUCCESS;
    case NVML_FI_DEV_POWER_MAX_LIMIT:
    case NVML_FI_DEV_POWER_DEFAULT_LIMIT:
    case NVML_FI_DEV_POWER_CURRENT_LIMIT:
      store_unsigned(field, card.limit_w * 1e3);
      return NVML_SUCCESS;
    default:
      return read_sensor(card, field, now);
  }
}

}  // namespace

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t* values) {
  if (values == nullptr || count < 1) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kFields, [&](Card& card, Ns now, const Handle&) {
    for (int i = 0; i < count; ++i) {
      nvmlFieldValue_t& field = values[i];
      field.timestamp = realtime_ns() / 1000;
      field.latencyUsec = 0;
      field.nvmlReturn = read_one(card, field, now);
    }
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long* out) {
  return face::read_clock_reasons(device, out);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t* memory) {
  if (memory == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  if (memory->version != nvmlMemory_v2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  nvmlMemory_t v1;
  const nvmlReturn_t result = nvmlDeviceGetMemoryInfo(device, &v1);
  if (result == NVML_SUCCESS) *memory = {nvmlMemory_v2, v1.total, v1.used, v1.free, 0};
  return result;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned* count,
                                                     nvmlProcessInfo_v2_t* infos) {
  return face::running_processes(device, count, infos, [](const GpuProcess& p) {
    return nvmlProcessInfo_v2_t{p.pid, p.memory_bytes, face::kNoInstance, face::kNoInstance};
  });
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned* count,
                                                     nvmlProcessInfo_t* infos) {
  return face::running_processes(device, count, infos, [](const GpuProcess& p) {
    return nvmlProcessInfo_t{p.pid, p.memory_bytes, face::kNoInstance, face::kNoInstance};
  });
}
