// SPDX-License-Identifier: Apache-2.0
// RAPL through powercap: layouts as the kernel makes them, what cannot be read, and energies.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string>

#include "sensors/sources.h"
#include "sysfs_tree.h"

using namespace pyenergy;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<DeviceInfo> of_kind(const SourceReport& report, const std::string& kind) {
  std::vector<DeviceInfo> found;
  std::ranges::copy_if(report.devices, std::back_inserter(found),
                       [&](const DeviceInfo& info) { return info.kind == kind; });
  return found;
}

std::vector<Channel> channels_of(const DeviceInfo& info) {
  return open_rapl(info, nullptr)->channels();
}

std::string fact(const DeviceInfo& info, const std::string& name) {
  for (const auto& [key, text] : info.facts) {
    if (key == name) return text;
  }
  return {};
}

// Two sockets of a Xeon: each has a package with its DRAM.
void two_sockets(const SysfsTree& tree) {
  tree.cpuinfo("GenuineIntel");
  tree.zone("intel-rapl:0", "package-0", 1'000'000);
  tree.zone("intel-rapl:0:0", "dram", 2'000'000, 65'712'999'613);
  tree.zone("intel-rapl:1", "package-1", 3'000'000);
  tree.zone("intel-rapl:1:0", "dram", 4'000'000, 65'712'999'613);
}

// A laptop: core and uncore in the package, the platform beside it, and the package once more
// through memory-mapped registers.
void laptop(const SysfsTree& tree) {
  tree.cpuinfo("GenuineIntel");
  tree.zone("intel-rapl:0", "package-0", 1'000'000);
  tree.zone("intel-rapl:0:0", "core", 500'000);
  tree.zone("intel-rapl:0:1", "uncore", 100'000);
  tree.zone("intel-rapl:1", "psys", 9'000'000);
  tree.zone("intel-rapl-mmio:0", "package-0", 1'000'000);
}

}  // namespace

TEST_SUITE_BEGIN("rapl");

TEST_CASE("two sockets are two packages and two DRAMs, each with its own wrap") {
  const SysfsTree tree;
  two_sockets(tree);
  const SourceReport report = enumerate_rapl("");
  CHECK(report.available);
  CHECK(report.reason.empty());
  const auto cpus = of_kind(report, "cpu");
  const auto drams = of_kind(report, "dram");
  REQUIRE(cpus.size() == 2);
  REQUIRE(drams.size() == 2);
  CHECK(report.devices.size() == 4);
  CHECK(cpus[1].index == 1);
  CHECK(cpus[1].name == "Test CPU 1, package 1");
  CHECK(drams[1].name == "DRAM of package 1");
  CHECK(cpus[0].part_of.empty());
  CHECK(cpus[0].architecture == "intel");
  CHECK(fact(cpus[0], "energy unit") == "61 uJ");
  CHECK(fact(drams[0], "energy unit") == "15.3 uJ");
  const auto channels = channels_of(cpus[1]);
  REQUIRE(channels.size() == 1);
  CHECK(channels[0].name == "energy");
  CHECK(channels[0].unit == "J");
  CHECK(channels[0].kind == ChannelKind::kCounter);
  CHECK(channels[0].modulus == 262'143'328'850.0);
  CHECK(channels[0].scope == "cpu-package");
  CHECK(channels[0].source == "rapl.powercap.package");
  CHECK(channels_of(drams[1])[0].scope == "dram");
  CHECK(channels_of(drams[1])[0].modulus == 65'712'999'613.0);
  Reading reading;
  REQUIRE(open_rapl(drams[1], nullptr)->read(ReadGroup::kFast, {&reading, 1}) == 1);
  CHECK(reading.value == 4'000'000.0);
}

TEST_CASE(
    "core and uncore are inside the package, the platform contains it, no zone counts twice") {
  const SysfsTree tree;
  laptop(tree);
  const SourceReport report = enumerate_rapl("");
  REQUIRE(report.devices.size() == 2);
  const auto cpus = of_kind(report, "cpu");
  const auto platforms = of_kind(report, "platform");
  REQUIRE(cpus.size() == 1);
  REQUIRE(platforms.size() == 1);
  CHECK(cpus[0].part_of == platforms[0].argument);
  CHECK(platforms[0].part_of.empty());
  const auto channels = channels_of(cpus[0]);
  REQUIRE(channels.size() == 3);
  CHECK(channels[0].name == "energy");
  CHECK(channels[1].name == "energy_cores");
  CHECK(channels[2].name == "energy_uncore");
  for (std::size_t i : {1U, 2U}) {
    CHECK(channels[i].group == ReadGroup::kSlow);
    CHECK(has(channels[i].note, "inside the package"));
  }
  CHECK(has(fact(cpus[0], "read through"), "intel-rapl:0/energy_uj"));
  std::array<Reading, 3> out;
  const auto sensor = open_rapl(cpus[0], nullptr);
  CHECK(sensor->read(ReadGroup::kFast, out) == 1);
  REQUIRE(sensor->read(ReadGroup::kSlow, out) == 2);
  CHECK(out[0].channel == 1);
  CHECK(out[0].value == 500'000.0);
  CHECK(out[1].value == 100'000.0);
}

TEST_CASE("memory-mapped zones serve where the processor's registers are not shown") {
  const SysfsTree tree;
  tree.cpuinfo("GenuineIntel");
  tree.zone("intel-rapl-mmio:0", "package-0", 1'000'000);
  CHECK(enumerate_rapl("").devices.size() == 1);
}

TEST_CASE("the dies of a package are packages of their own") {
  const SysfsTree tree;
  tree.cpuinfo("GenuineIntel");
  tree.zone("intel-rapl:0", "package-0-die-0", 1);
  tree.zone("intel-rapl:1", "package-0-die-1", 2);
  tree.zone("intel-rapl:2", "package-1-die-0", 3);
  tree.zone("intel-rapl:10", "package-1-die-1", 4);
  const auto cpus = of_kind(enumerate_rapl(""), "cpu");
  REQUIRE(cpus.size() == 4);
  CHECK(cpus[3].name == "Test CPU 1, package 1 die 1");
  CHECK(has(fact(cpus[3], "read through"), "intel-rapl:10/"));
}

TEST_CASE("AMD's counters say that they are modelled and that 'core' is one core") {
  const SysfsTree tree;
  tree.cpuinfo("AuthenticAMD");
  tree.zone("intel-rapl:0", "package-0", 5, 65'532'610'987);
  tree.zone("intel-rapl:0:0", "core", 5, 65'532'610'987);
  const auto cpus = of_kind(enumerate_rapl(""), "cpu");
  REQUIRE(cpus.size() == 1);
  CHECK(cpus[0].architecture == "amd");
  REQUIRE(cpus[0].notes.size() == 1);
  CHECK(has(cpus[0].notes[0], "model"));
  CHECK(channels_of(cpus[0])[1].scope == "cpu-core");
  CHECK(has(channels_of(cpus[0])[1].note, "one core only"));
}

TEST_CASE("enforced limits bound the power; those that mean none do not") {
  const SysfsTree tree;
  two_sockets(tree);
  const std::string zone = "sys/class/powercap/intel-rapl:0/";
  tree.write(zone + "constraint_0_power_limit_uw", 150'000'000);
  tree.write(zone + "constraint_1_power_limit_uw", 180'000'000);
  tree.write(zone + "constraint_2_power_limit_uw", 4'095'000'000);
  CHECK(enumerate_rapl("").devices[0].power_max_w == doctest::Approx(180.0));
  tree.write(zone + "enabled", 0LL);
  CHECK(std::isnan(enumerate_rapl("").devices[0].power_max_w));
}

TEST_CASE("counters that may not be read are named with the command that opens them") {
  const SysfsTree tree;
  two_sockets(tree);
  for (const char* key : {"intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1", "intel-rapl:1:0"}) {
    tree.close(std::string("sys/class/powercap/") + key + "/energy_uj");
  }
  const AsNobody nobody;
  const SourceReport report = enumerate_rapl("");
  CHECK_FALSE(report.available);
  CHECK(has(report.reason, "package-0 (intel-rapl:0): Permission denied"));
  CHECK(has(report.fix, "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj"));
  CHECK(has(report.fix, "SUBSYSTEM==\"powercap\""));
  CHECK(has(report.fix, "cap_perfmon=ep /"));
  CHECK(has(report.fix, "kernel.perf_event_paranoid=0"));
}

TEST_CASE("a package that may not be read is missing from every sum, and each device says so") {
  const SysfsTree tree;
  two_sockets(tree);
  tree.close("sys/class/powercap/intel-rapl:1/energy_uj");
  const AsNobody nobody;
  const SourceReport report = enumerate_rapl("");
  CHECK(report.available);
  CHECK(has(report.reason, "package-1"));
  const auto cpus = of_kind(report, "cpu");
  REQUIRE(cpus.size() == 1);
  CHECK(has(cpus[0].notes.back(), "in no sum: package-1 (intel-rapl:1)"));
}

TEST_CASE("zones whose files a container hides are told from zones that are not there") {
  const SysfsTree tree;
  tree.cpuinfo("GenuineIntel");
  tree.link("sys/class/powercap/intel-rapl:0", "../../devices/virtual/powercap/intel-rapl:0");
  const SourceReport hidden = enumerate_rapl("");
  CHECK_FALSE(hidden.available);
  CHECK(has(hidden.reason, "hidden, as containers do"));
  CHECK(has(hidden.fix, "systempaths=unconfined"));
  tree.remove("sys/class/powercap/intel-rapl:0");
  const SourceReport none = enumerate_rapl("");
  CHECK(has(none.reason, "no RAPL zone"));
  CHECK(has(none.fix, "modprobe intel_rapl_msr"));
}

TEST_CASE("another maker's CPU, a virtual machine and a foreign argument have their own words") {
  const SysfsTree tree;
  tree.write("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n");
  CHECK(has(enumerate_rapl("").reason, "RAPL is of Intel's and AMD's CPUs"));
  tree.cpuinfo("GenuineIntel", "flags\t\t: fpu hypervisor sse\n");
  CHECK(has(enumerate_rapl("").reason, "virtual machine"));
  CHECK(enumerate_rapl("").fix == "measure on the host");
  two_sockets(tree);
  CHECK_FALSE(enumerate_rapl("package-0").available);
  CHECK(has(enumerate_rapl("package-0").fix, "cpu:0"));
}

TEST_CASE("what a zone is that nobody knows is said, and the known ones are read") {
  const SysfsTree tree;
  two_sockets(tree);
  tree.zone("intel-rapl:2", "quantum-0", 1);
  tree.write("sys/class/powercap/dtpm:0/name", "soc");  // another framework's
  const SourceReport report = enumerate_rapl("");
  CHECK(report.devices.size() == 4);
  CHECK(has(report.reason, "not known: intel-rapl:2 ('quantum-0')"));
  CHECK_FALSE(has(report.reason, "dtpm"));
}

TEST_CASE("what is no number from the beginning is not a sensor") {
  const SysfsTree tree;
  two_sockets(tree);
  for (const char* text : {"nonsense", "", "12 uJ", "1e9"}) {
    tree.write("sys/class/powercap/intel-rapl:0/energy_uj", text);
    const SourceReport report = enumerate_rapl("");
    CAPTURE(text);
    CHECK(of_kind(report, "cpu").size() == 1);
    CHECK(has(report.reason, "package-0 (intel-rapl:0)"));
  }
}

TEST_CASE("a device that has gone is an error that says so") {
  const SysfsTree tree;
  two_sockets(tree);
  const auto cpus = of_kind(enumerate_rapl(""), "cpu");
  tree.remove("sys/class/powercap/intel-rapl:1");
  CHECK_THROWS_WITH_AS(open_rapl(cpus[1], nullptr),
                       doctest::Contains("does not give powercap:package-1 any more"),
                       std::runtime_error);
}

TEST_SUITE_END();
