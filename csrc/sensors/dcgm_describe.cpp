// SPDX-License-Identifier: Apache-2.0
#include "sensors/dcgm_describe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>

#include "sensors/nvml_describe.h"

namespace pyenergy {
namespace {

// One field of one entity, read now; DCGM's code of the call.
int ask_live(const DcgmEngine& engine, dcgm::EntityPair entity, unsigned short field,
             dcgm::FieldValue2& value) {
  value = {};
  value.version = dcgm::version_of<dcgm::FieldValue2>(2);
  value.status = dcgm::kNoData;  // an entry that is left alone is no value
  return engine.api.latest(engine.handle, &entity, 1, &field, 1, dcgm::kLiveData, &value);
}

std::string text_of(const dcgm::FieldValue2& value) {
  if (value.status != dcgm::kOk || value.field_type != dcgm::kTypeString) return {};
  const std::string text(value.value.str, ::strnlen(value.value.str, sizeof value.value.str));
  return text.starts_with("<<<") ? std::string() : text;  // "<<<NOT_FOUND>>>" and its like
}

std::string text_of(const DcgmEngine& engine, dcgm::EntityPair entity, unsigned short field) {
  const auto value = std::make_unique<dcgm::FieldValue2>();
  if (ask_live(engine, entity, field, *value) != dcgm::kOk) return {};
  return text_of(*value);
}

double watts(const DcgmEngine& engine, unsigned gpu, unsigned short field) {
  const DcgmAnswer answer = dcgm_number(engine, gpu, field);
  const bool usable = answer.status == 0 && answer.value > 0.0;
  return usable ? answer.value : std::numeric_limits<double>::quiet_NaN();
}

std::string architecture(const DcgmEngine& engine, unsigned gpu) {
  const DcgmAnswer answer = dcgm_number(engine, gpu, dcgm::kComputeCapability);
  if (answer.status != 0) return {};
  const auto both = static_cast<unsigned>(answer.value);
  return nvidia_architecture(static_cast<int>(both >> 16), static_cast<int>(both & 0xffff));
}

}  // namespace

std::vector<unsigned> dcgm_gpus(const DcgmEngine& engine, int* code) {
  std::array<unsigned, dcgm::kMaxDevices> ids{};
  int count = 0;
  const int result = engine.api.devices(engine.handle, ids.data(), &count);
  if (code != nullptr) *code = result;
  if (result != dcgm::kOk) return {};
  return {ids.begin(), ids.begin() + std::clamp(count, 0, static_cast<int>(ids.size()))};
}

DcgmAnswer dcgm_number(const DcgmEngine& engine, unsigned gpu, unsigned short field) {
  const auto value = std::make_unique<dcgm::FieldValue2>();
  const int code = ask_live(engine, {dcgm::kEntityGpu, gpu}, field, *value);
  if (code != dcgm::kOk) return {code < 0 ? -code : code};
  return dcgm_answer(value->status, value->field_type, value->value);
}

std::string dcgm_text(const DcgmEngine& engine, unsigned gpu, unsigned short field) {
  return text_of(engine, {dcgm::kEntityGpu, gpu}, field);
}

DeviceInfo describe_dcgm(const DcgmEngine& engine, unsigned gpu) {
  DeviceInfo info;
  info.source = "dcgm";
  info.kind = "gpu";
  info.index = static_cast<int>(gpu);
  info.uuid = dcgm_text(engine, gpu, dcgm::kUuid);
  info.name = dcgm_text(engine, gpu, dcgm::kName);
  info.pci_bus_id = dcgm_text(engine, gpu, dcgm::kPciBusId);
  info.driver = text_of(engine, {dcgm::kEntityNone, 0}, dcgm::kDriverVersion);
  info.architecture = architecture(engine, gpu);
  info.power_max_w = watts(engine, gpu, dcgm::kEnforcedPowerLimit);
  info.argument = engine.address;
  info.facts = {{"DCGM library", engine.api.library.path()}, {"host engine", engine.where()}};
  if (!engine.is_local()) {
    info.notes.emplace_back(
        "its host engine is on another machine, whose clock is not ours: a reading belongs to the "
        "time between two of our calls, which widens the uncertainty of short windows");
  }
  return info;
}

}  // namespace pyenergy
