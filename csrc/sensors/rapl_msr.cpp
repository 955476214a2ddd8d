// SPDX-License-Identifier: Apache-2.0
// RAPL through the registers themselves (/dev/cpu/N/msr), where the kernel has no driver for it.
// Intel SDM volume 4: 0x606 MSR_RAPL_POWER_UNIT, bits 12:8 the energy unit as 1/2^n J; 0x611
// MSR_PKG_ENERGY_STATUS, 32 bits. AMD PPR of family 17h: C001_0299 and C001_029B likewise.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <set>

#include "sensors/rapl_domain.h"
#include "sensors/sysfs.h"

namespace pyenergy {
namespace {

struct Registers {
  std::uint32_t unit, package;
};
constexpr Registers kIntel{0x606, 0x611};
constexpr Registers kAmd{0xc0010299, 0xc001029b};
constexpr double kCounts = 4294967296.0;  // of 32 bits
// Atoms from Silvermont to Airmont count 2^n uJ instead (intel_rapl_common.c, rapl_defaults_byt).
constexpr std::string_view kOtherUnits[] = {"55", "74", "76", "77", "90", "93"};

std::string explained(int error) {
  if (error == EIO) return "the CPU has no such register";
  return std::strerror(error);
}

// The package of one CPU, or why it cannot be read.
void add_package(const std::string& cpu, int package, Registers registers, RaplFound& found) {
  RaplDomain domain;
  domain.package = package;
  domain.name = "package-" + std::to_string(package);
  domain.path = dev_root() + "/cpu/" + cpu + "/msr";
  domain.counter = NumberFile::msr(domain.path, registers.package);
  const NumberFile::Value unit = NumberFile::msr(domain.path, registers.unit).read();
  const NumberFile::Value energy = domain.counter.read();
  if (unit.status != 0 || energy.status != 0) {
    const int error =
        domain.counter.is_open() ? std::max(unit.status, energy.status) : domain.counter.error();
    found.unreadable.push_back(domain.path + ": " + explained(error));
    return;
  }
  domain.scale = std::ldexp(1.0, -((static_cast<int>(unit.number) >> 8) & 0x1f));
  domain.modulus = kCounts;
  found.domains.push_back(std::move(domain));
}

}  // namespace

RaplFound find_rapl_msr() {
  RaplFound found;
  found.way = "msr";
  const std::string vendor = cpu_vendor();
  if (vendor.empty()) {
    found.reason = "RAPL is of Intel's and AMD's CPUs";
    return found;
  }
  if (vendor == "intel" && std::ranges::count(kOtherUnits, cpuinfo_value("model")) > 0) {
    found.reason = "this Atom's registers have units of their own";
    return found;
  }
  const Registers registers = vendor == "amd" ? kAmd : kIntel;
  const std::string topology = sysfs_root() + "/devices/system/cpu/";
  std::set<int> seen;
  for (const std::string& cpu : list_names(dev_root() + "/cpu").names) {
    const auto package = read_count(topology + "cpu" + cpu + "/topology/physical_package_id");
    if (!package || !seen.insert(*package).second) continue;
    add_package(cpu, *package, registers, found);
  }
  if (found.domains.empty()) {
    found.reason = found.unreadable.empty() ? "no /dev/cpu/N/msr" : joined(found.unreadable);
    found.fix = "sudo modprobe msr; only root may read it";
  }
  return found;
}

}  // namespace pyenergy
