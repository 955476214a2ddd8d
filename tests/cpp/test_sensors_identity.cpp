// SPDX-License-Identifier: Apache-2.0
// Who an NVML device says it is: architecture, limits, PCI name, MIG, and silence.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <string>

#include "sensors/nvml_describe.h"

using namespace pyenergy;

namespace {

nvmlDeviceArchitecture_t architecture;
int major_version, minor_version;

nvmlDevice_t handle(std::size_t number) { return reinterpret_cast<nvmlDevice_t>(number); }

nvmlReturn_t copy(char* out, unsigned size, const char* text) {
  std::snprintf(out, size, "%s", text);
  return NVML_SUCCESS;
}

NvmlApi make_api() {
  NvmlApi api;
  api.uuid = [](nvmlDevice_t device, char* out, unsigned size) {
    return copy(out, size, device == handle(1) ? "GPU-1" : "MIG-2");
  };
  api.name = [](nvmlDevice_t, char* out, unsigned size) { return copy(out, size, "A board"); };
  api.driver_version = [](char* out, unsigned size) { return copy(out, size, "570.1"); };
  api.pci_info = [](nvmlDevice_t, nvmlPciInfo_t* out) {
    out->domain = 1;
    out->bus = 0xab;
    out->device = 2;
    return NVML_SUCCESS;
  };
  api.architecture = [](nvmlDevice_t, nvmlDeviceArchitecture_t* out) {
    *out = architecture;
    return NVML_SUCCESS;
  };
  api.compute_capability = [](nvmlDevice_t, int* major_out, int* minor_out) {
    *major_out = major_version;
    *minor_out = minor_version;
    return NVML_SUCCESS;
  };
  return api;
}

DeviceInfo describe(const NvmlApi& api) { return describe_nvml(api, handle(1), 3).info; }

std::string architecture_name(nvmlDeviceArchitecture_t named, int major_cc, int minor_cc) {
  architecture = named;
  major_version = major_cc;
  minor_version = minor_cc;
  return describe(make_api()).architecture;
}

}  // namespace

TEST_CASE("GA100 is told from the other Amperes, whose power sensor differs") {
  CHECK(architecture_name(NVML_DEVICE_ARCH_AMPERE, 8, 0) == "ga100");
  CHECK(architecture_name(NVML_DEVICE_ARCH_AMPERE, 8, 6) == "ampere");
  CHECK(architecture_name(NVML_DEVICE_ARCH_HOPPER, 9, 0) == "hopper");
}

TEST_CASE("an architecture that NVML does not name follows from compute capability") {
  CHECK(architecture_name(NVML_DEVICE_ARCH_UNKNOWN, 7, 0) == "volta");
  CHECK(architecture_name(NVML_DEVICE_ARCH_UNKNOWN, 7, 5) == "turing");
  CHECK(architecture_name(NVML_DEVICE_ARCH_UNKNOWN, 8, 9) == "ada");
  CHECK(architecture_name(NVML_DEVICE_ARCH_UNKNOWN, 12, 1) == "blackwell");
  CHECK(architecture_name(NVML_DEVICE_ARCH_UNKNOWN, 99, 0).empty());
}

TEST_CASE("identity and limits") {
  NvmlApi api = make_api();
  api.enforced_limit = [](nvmlDevice_t, unsigned* out) {
    *out = 350'000;
    return NVML_SUCCESS;
  };
  api.limit_range = [](nvmlDevice_t, unsigned* low, unsigned* high) {
    *low = 100'000;
    *high = 700'000;
    return NVML_SUCCESS;
  };
  api.core_count = [](nvmlDevice_t, unsigned* out) {
    *out = 1000;
    return NVML_SUCCESS;
  };
  api.max_clock = [](nvmlDevice_t, nvmlClockType_t, unsigned* out) {
    *out = 1500;
    return NVML_SUCCESS;
  };
  api.power_usage = [](nvmlDevice_t, unsigned* out) {
    *out = 200'000;
    return NVML_SUCCESS;
  };
  const NvmlFound found = describe_nvml(api, handle(1), 3);
  CHECK(found.info.index == 3);
  CHECK(found.info.uuid == "GPU-1");
  CHECK(found.info.name == "A board");
  CHECK(found.info.driver == "570.1");
  CHECK(found.info.pci_bus_id == "00000001:AB:02.0");
  CHECK(found.info.power_max_w == doctest::Approx(350.0));
  CHECK(found.info.speed_score == 1.5e6);
  REQUIRE(found.plan.channels.size() == 1);
  // A reading may overshoot the limit in force, not five times the largest one that can be set.
  CHECK(found.plan.channels[0].valid_max == doctest::Approx(2 * 700.0));
}

TEST_CASE("under MIG power is of the whole GPU, and its instances are listed") {
  NvmlApi api = make_api();
  api.mig_mode = [](nvmlDevice_t, unsigned* current, unsigned* pending) {
    *current = *pending = NVML_DEVICE_MIG_ENABLE;
    return NVML_SUCCESS;
  };
  api.mig_count = [](nvmlDevice_t, unsigned* out) {
    *out = 7;
    return NVML_SUCCESS;
  };
  api.mig_by_index = [](nvmlDevice_t, unsigned index, nvmlDevice_t* out) {
    *out = handle(2);
    return index == 4 ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
  };
  const DeviceInfo info = describe(api);
  CHECK(info.mig_enabled);
  CHECK(info.mig_uuids == std::vector<std::string>{"MIG-2"});
  REQUIRE_FALSE(info.notes.empty());
  CHECK(info.notes[0].find("whole GPU") != std::string::npos);
}

TEST_CASE("a device that answers nothing is described by nothing") {
  const DeviceInfo info = describe(NvmlApi{});
  CHECK(info.uuid.empty());
  CHECK(info.architecture.empty());
  CHECK(std::isnan(info.power_max_w));
  CHECK(info.speed_score == 0.0);
  CHECK_FALSE(info.mig_enabled);
  CHECK(info.facts.empty());
}
