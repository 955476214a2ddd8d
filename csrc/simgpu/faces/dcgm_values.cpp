// SPDX-License-Identifier: Apache-2.0
// What the simulated host engine reads.
#include <cmath>
#include <cstring>

#include "simgpu/activity.h"
#include "simgpu/faces/dcgm_face.h"
#include "simgpu/faults.h"

namespace pyenergy::simgpu::dcgm_face {
namespace {

using dcgm::Value;

int blank_kind(std::int32_t nvml_status) {
  switch (nvml_status) {
    case kNotSupported:
      return dcgm::kBlankNotSupported;
    case 4:  // NVML_ERROR_NO_PERMISSION
      return dcgm::kBlankNotPermissioned;
    case 6:  // NVML_ERROR_NOT_FOUND
      return dcgm::kBlankNotFound;
    default:
      return 0;
  }
}

void store_blank(int kind, unsigned short type, Value& value) {
  if (type == dcgm::kTypeInt64) {
    value.i64 = dcgm::kInt64Blank + kind;
  } else {
    value.dbl = dcgm::kFp64Blank + kind;
  }
}

void store(FieldReading reading, unsigned short type, int& status, Value& value) {
  status = dcgm::kOk;
  if (reading.status < 0) {
    status = reading.status;
    store_blank(0, type, value);
  } else if (reading.status >= 1000) {
    store_blank(reading.status - 1000, type, value);
  } else if (reading.status != kSuccess) {
    store_blank(blank_kind(reading.status), type, value);
  } else if (type == dcgm::kTypeInt64) {
    value.i64 = static_cast<std::int64_t>(reading.value);
  } else {
    value.dbl = reading.value;
  }
}

FieldReading read_part(Card& card, unsigned short field, Part part, Ns t, Ns interval) {
  // The model has no such field and answers "not supported": anything else is a fault.
  const FieldReading fault = read_field(card, field, t);
  if (fault.status != kNotSupported) return fault;
  return {activity(card, part, t - interval, t), kSuccess};
}

FieldReading read_number(Card& card, unsigned short field, Ns t, Ns interval) {
  switch (field) {
    case dcgm::kPowerUsage:
      return read_field(card, card.average.present != 0 ? kFieldPowerAverage : kFieldPowerInstant,
                        t);
    case dcgm::kPowerInstant:
      // The engine of a card without the field gives the 0 that its buffer held.
      if (card.power_by_field == 0) return {0.0, kSuccess};
      return read_field(card, kFieldPowerInstant, t);
    case dcgm::kTotalEnergy:
      return read_field(card, kFieldEnergy, t);
    case dcgm::kPowerLimitMax:
    case dcgm::kEnforcedPowerLimit:
      return {card.limit_w, kSuccess};
    case dcgm::kSmActive:
      return read_part(card, field, Part::kSm, t, interval);
    case dcgm::kTensorActive:
      return read_part(card, field, Part::kTensor, t, interval);
    case dcgm::kDramActive:
      return read_part(card, field, Part::kDram, t, interval);
    case dcgm::kFp64Active:
      return read_part(card, field, Part::kFp64, t, interval);
    case dcgm::kFp32Active:
      return read_part(card, field, Part::kFp32, t, interval);
    case dcgm::kFp16Active:
      return read_part(card, field, Part::kFp16, t, interval);
    default:
      return {std::nan(""), kNotSupported};
  }
}

void store_text(const char* text, unsigned short& type, Value& value) {
  type = dcgm::kTypeString;
  std::strncpy(value.str, text, sizeof value.str - 1);
}

}  // namespace

bool is_known(unsigned short field) {
  if (field == dcgm::kPowerInstant) return !kIsOld;
  return field > 0 && field < 1100;
}

void read_value(Card& card, unsigned short field, Ns t, Ns interval, unsigned short& type,
                int& status, Value& value) {
  type = field == dcgm::kTotalEnergy ? dcgm::kTypeInt64 : dcgm::kTypeDouble;
  store(read_number(card, field, t, interval), type, status, value);
}

bool read_identity(Card& card, unsigned short field, unsigned short& type, Value& value) {
  switch (field) {
    case dcgm::kDriverVersion:
      store_text("580.00.00", type, value);
      return true;
    case dcgm::kName:
      store_text(card.id.name, type, value);
      return true;
    case dcgm::kUuid:
      store_text(card.id.uuid, type, value);
      return true;
    case dcgm::kPciBusId:
      store_text(card.id.pci, type, value);
      return true;
    case dcgm::kComputeCapability:
      type = dcgm::kTypeInt64;
      value.i64 = static_cast<std::int64_t>(card.id.cc_major) << 16 | card.id.cc_minor;
      return true;
    default:
      return false;
  }
}

}  // namespace pyenergy::simgpu::dcgm_face
