// SPDX-License-Identifier: Apache-2.0
// RAPL where powercap gives nothing: the kernel's power events, and the registers themselves.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "sensors/file_sensor.h"
#include "sensors/rapl_domain.h"
#include "sensors/sources.h"
#include "sysfs_tree.h"

using namespace pyenergy;

namespace {

using Kind = RaplDomain::Kind;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr double kEventScale = 2.3283064365386962890625e-10;  // 2^-32 J, as the kernel states it

void event(const SysfsTree& tree, const std::string& name, const std::string& config) {
  const std::string file = "sys/bus/event_source/devices/power/events/" + name;
  tree.write(file, config);
  tree.write(file + ".scale", "2.3283064365386962890625e-10");
  tree.write(file + ".unit", "Joules");
}

// The PMU of a machine with two packages, whose CPUs 0 and 18 count.
void pmu(const SysfsTree& tree) {
  tree.cpuinfo("GenuineIntel");
  tree.write("sys/bus/event_source/devices/power/type", 23);
  tree.write("sys/bus/event_source/devices/power/cpumask", "0,18");
  tree.write("sys/devices/system/cpu/cpu0/topology/physical_package_id", 0LL);
  tree.write("sys/devices/system/cpu/cpu18/topology/physical_package_id", 1);
  event(tree, "energy-pkg", "event=0x02");
  event(tree, "energy-ram", "event=0x03");
  event(tree, "energy-psys", "event=0x05");
}

struct Opened {
  std::uint32_t type;
  std::uint64_t config;
  int cpu;
};
std::vector<Opened> opened;
std::string counts_file;  // what every descriptor reads, eight bytes a time

int open_counts(std::uint32_t type, std::uint64_t config, int cpu) {
  opened.push_back({type, config, cpu});
  return open(counts_file.c_str(), O_RDONLY);
}
int open_denied(std::uint32_t, std::uint64_t, int) { return -EACCES; }

void write_counts(const SysfsTree& tree, const std::vector<std::uint64_t>& counts) {
  counts_file = tree.path("counts");
  std::ofstream out(counts_file, std::ios::binary);
  out.write(reinterpret_cast<const char*>(counts.data()),
            static_cast<std::streamsize>(counts.size() * sizeof(counts[0])));
}

// A register file as /dev/cpu/N/msr: eight bytes at the register's number.
void write_msr(const SysfsTree& tree, const std::string& cpu, std::uint32_t address,
               std::uint64_t value, std::size_t bytes = 8) {
  const std::filesystem::path file = tree.path("dev/cpu/" + cpu + "/msr");
  std::filesystem::create_directories(file.parent_path());
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT, 0600);
  REQUIRE(fd >= 0);
  CHECK(pwrite(fd, &value, bytes, address) == static_cast<ssize_t>(bytes));
  close(fd);
}

void topology(const SysfsTree& tree, const std::string& cpu, int package) {
  tree.write("sys/devices/system/cpu/cpu" + cpu + "/topology/physical_package_id", package);
}

}  // namespace

TEST_SUITE_BEGIN("rapl ways");

TEST_CASE("events are opened once a package, with the kernel's own numbers, the platform once") {
  const SysfsTree tree;
  pmu(tree);
  write_counts(tree, {0, 0});
  opened.clear();
  const RaplFound found = find_rapl_perf(open_counts);
  CHECK(found.reason.empty());
  REQUIRE(found.domains.size() == 5);
  REQUIRE(opened.size() == 5);
  CHECK(opened[0].type == 23);
  CHECK(opened[0].config == 2);
  CHECK(opened[0].cpu == 0);
  CHECK(opened[1].cpu == 18);
  CHECK(opened[4].config == 5);
  CHECK(found.domains[1].kind == Kind::kPackage);
  CHECK(found.domains[1].package == 1);
  CHECK(found.domains[1].scale == kEventScale);
  CHECK(found.domains[1].modulus == 0.0);  // the kernel extends it
  CHECK(found.domains[3].kind == Kind::kDram);
  CHECK(found.domains[4].kind == Kind::kPlatform);
}

TEST_CASE("counts become joules; the end of what can be read is missing") {
  const SysfsTree tree;
  pmu(tree);
  write_counts(tree, {0, 1ULL << 32, 10ULL << 32});
  RaplFound found = find_rapl_perf(open_counts);
  const NumberFile& counter = found.domains[0].counter;
  CHECK(counter.read().number * kEventScale == 0.0);
  CHECK(counter.read().number * kEventScale == doctest::Approx(1.0));
  CHECK(counter.read().number * kEventScale == doctest::Approx(10.0));
  CHECK(counter.read().status == ENODATA);
  CHECK(std::isnan(counter.read().number));
}

TEST_CASE("a slow read gives its value with the bracket that it took") {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  Channel channel;
  channel.name = "energy";
  std::vector<FileChannel> files;
  files.push_back({.channel = channel, .number = NumberFile::count(ends[0])});
  const auto sensor = make_file_sensor({}, std::move(files));
  std::thread writer([&] {
    SystemClock clock;
    clock.sleep_until(clock.now() + 20 * kMs);
    const std::uint64_t value = 42;
    CHECK(write(ends[1], &value, sizeof(value)) == sizeof(value));
  });
  const Ns before = monotonic_ns();
  Reading reading;
  CHECK(sensor->read(ReadGroup::kFast, {&reading, 1}) == 1);
  CHECK(monotonic_ns() - before >= 20 * kMs);
  CHECK(reading.value == 42.0);
  writer.join();
  close(ends[1]);
}

TEST_CASE("refused events name the setting that refuses them") {
  const SysfsTree tree;
  pmu(tree);
  tree.write("proc/sys/kernel/perf_event_paranoid", 2);
  const RaplFound found = find_rapl_perf(open_denied);
  CHECK(found.domains.empty());
  CHECK(has(found.reason, "energy-pkg on CPU 0: Permission denied"));
  CHECK(has(found.reason, "kernel.perf_event_paranoid is 2"));
  CHECK(has(found.fix, "cap_perfmon"));
}

TEST_CASE("events that are not there, or not in joules, are left alone") {
  const SysfsTree tree;
  CHECK(has(find_rapl_perf(open_counts).fix, "modprobe rapl"));
  pmu(tree);
  write_counts(tree, {0});
  tree.write("sys/bus/event_source/devices/power/events/energy-ram.unit", "apples");
  tree.write("sys/bus/event_source/devices/power/events/energy-psys", "umask=0x05");
  for (const RaplDomain& domain : find_rapl_perf(open_counts).domains) {
    CHECK(domain.kind == Kind::kPackage);
  }
  for (const char* scale : {"nan", "inf", "-1", "1e999"}) {
    tree.write("sys/bus/event_source/devices/power/events/energy-pkg.scale", scale);
    CHECK_FALSE(find_rapl_perf(open_counts).has(Kind::kPackage));
  }
}

TEST_CASE("a list of CPUs that cannot be takes neither time nor memory") {
  const SysfsTree tree;
  pmu(tree);
  for (const char* cpus : {"0-2147483647", "-5-3", "0-99999", "3-"}) {
    tree.write("sys/bus/event_source/devices/power/cpumask", cpus);
    CHECK(has(find_rapl_perf(open_counts).fix, "modprobe rapl"));
  }
}

TEST_CASE("the kernel's own perf_event_open is read the same way") {
  const int fd = perf_open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, 0);
  if (fd < 0) {
    MESSAGE("perf events are refused here: ", strerror(-fd));
    return;
  }
  const NumberFile clock = NumberFile::count(fd);
  const NumberFile::Value first = clock.read();
  SystemClock time;
  time.sleep_until(time.now() + 5 * kMs);
  const NumberFile::Value second = clock.read();
  CHECK(first.status == 0);
  CHECK(second.number > first.number);
}

TEST_CASE("Intel's registers: the unit's power of two, 32 bits, one CPU a package") {
  const SysfsTree tree;
  tree.cpuinfo("GenuineIntel");
  for (const char* cpu : {"0", "1", "2"}) {
    topology(tree, cpu, cpu[0] == '2' ? 1 : 0);
    write_msr(tree, cpu, 0x606, 0x000a0e03);             // 2^-14 J: 61 uJ
    write_msr(tree, cpu, 0x611, 0xffffffff80000000ULL);  // the upper half is reserved
  }
  const RaplFound found = find_rapl_msr();
  REQUIRE(found.domains.size() == 2);
  CHECK(found.domains[0].scale == std::ldexp(1.0, -14));
  CHECK(found.domains[0].modulus == 4294967296.0);
  CHECK(found.domains[0].counter.read().number == 2147483648.0);
  CHECK(found.domains[1].package == 1);
  const SourceReport report = enumerate_rapl("");
  REQUIRE(report.devices.size() == 2);
  CHECK(open_rapl(report.devices[1], nullptr)->channels()[0].source == "rapl.msr.package");
}

TEST_CASE("AMD's registers") {
  const SysfsTree tree;
  tree.cpuinfo("AuthenticAMD");
  topology(tree, "0", 0);
  write_msr(tree, "0", 0xc0010299, 0x1003, 2);  // 2^-16 J: 15.3 uJ
  write_msr(tree, "0", 0xc001029b, 0x12340000);
  const RaplFound found = find_rapl_msr();
  REQUIRE(found.domains.size() == 1);
  CHECK(found.domains[0].scale == std::ldexp(1.0, -16));
  CHECK(found.domains[0].counter.read().number == static_cast<double>(0x12340000));
}

TEST_CASE("registers that may not be read, are not there, or count otherwise") {
  const SysfsTree tree;
  tree.cpuinfo("GenuineIntel");
  CHECK(has(find_rapl_msr().reason, "no /dev/cpu/N/msr"));
  topology(tree, "0", 0);
  write_msr(tree, "0", 0x10, 1);  // ends before the unit's register
  CHECK(has(find_rapl_msr().reason, "No data"));
  write_msr(tree, "0", 0x606, 0x000a0e03);
  write_msr(tree, "0", 0x611, 1);
  {
    tree.close("dev/cpu/0/msr");
    const AsNobody nobody;
    CHECK(has(find_rapl_msr().reason, "Permission denied"));
  }
  tree.write("proc/cpuinfo", "vendor_id\t: GenuineIntel\nmodel\t\t: 55\nmodel name\t: Atom E3845");
  CHECK(has(find_rapl_msr().reason, "units of their own"));
}

TEST_CASE("powercap goes before events, events before registers") {
  const SysfsTree tree;
  pmu(tree);
  topology(tree, "0", 0);
  write_msr(tree, "0", 0x606, 0x000a0e03);
  write_msr(tree, "0", 0x611, 1);
  // The machine that runs this has no PMU of that number, so the registers serve.
  REQUIRE(enumerate_rapl("").available);
  CHECK(has(enumerate_rapl("").devices[0].argument, "msr:"));
  tree.zone("intel-rapl:0", "package-0", 1);
  CHECK(has(enumerate_rapl("").devices[0].argument, "powercap:"));
}

TEST_SUITE_END();
