// SPDX-License-Identifier: Apache-2.0
// The CPU's own energy counters: Intel's and AMD's RAPL by powercap, else by perf events, else by
// the registers. One device per package (its cores and uncore as channels of it: they are inside),
// one per package's DRAM, one for the platform.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <stdexcept>
#include <utility>

#include "sensors/cpu_model.h"
#include "sensors/file_sensor.h"
#include "sensors/rapl_domain.h"
#include "sensors/sources.h"
#include "sensors/sysfs.h"

namespace pyenergy {
namespace {

using Kind = RaplDomain::Kind;

// "approximately every 1 ms": Intel SDM volume 3, "Energy status"; AMD the same (the kernel's
// Documentation/hwmon/amd_energy.rst).
constexpr Ns kUpdate = kMs;

struct Cpu {
  std::string name, vendor;
};

struct RaplDevice {
  DeviceInfo info;
  std::vector<FileChannel> files;
};

template <typename... Args>
std::string format(const char* pattern, Args... args) {
  std::array<char, 256> text;
  std::snprintf(text.data(), text.size(), pattern, args...);
  return text.data();
}

double largest_w(Kind kind) {
  return kind == Kind::kPlatform ? kLargestPlatformW : kLargestPackageW;
}

struct Words {
  const char *channel, *source, *scope;
};

Words words_of(Kind kind) {
  switch (kind) {
    case Kind::kPackage:
      return {"energy", "package", "cpu-package"};
    case Kind::kCores:
      return {"energy_cores", "cores", "cpu-cores"};
    case Kind::kUncore:
      return {"energy_uncore", "uncore", "cpu-uncore"};
    case Kind::kDram:
      return {"energy", "dram", "dram"};
    case Kind::kPlatform:
      break;
  }
  return {"energy", "psys", "platform"};
}

Channel channel_of(const RaplDomain& domain, const std::string& way, const Cpu& cpu) {
  const Words words = words_of(domain.kind);
  Channel channel;
  channel.name = words.channel;
  channel.unit = "J";
  channel.kind = ChannelKind::kCounter;
  const bool part = domain.kind == Kind::kCores || domain.kind == Kind::kUncore;
  channel.group = part ? ReadGroup::kSlow : ReadGroup::kFast;
  channel.scale = domain.scale;
  channel.modulus = domain.modulus;
  channel.valid_min = 0.0;
  channel.valid_max = largest_w(domain.kind);
  channel.source = "rapl." + way + "." + words.source;
  channel.scope = words.scope;
  channel.update_ns = kUpdate;
  if (part) channel.note = "inside the package's energy, never added to it";
  if (domain.kind == Kind::kCores && cpu.vendor == "amd") {
    channel.scope = "cpu-core";
    channel.note = "of one core only, inside the package's energy";
  }
  return channel;
}

std::string argument_of(const RaplDomain& domain, const std::string& way) {
  std::string where = std::to_string(domain.package);
  if (domain.die >= 0) where += "-die-" + std::to_string(domain.die);
  if (domain.kind == Kind::kPlatform) return way + ":psys";
  return way + (domain.kind == Kind::kDram ? ":dram-" : ":package-") + where;
}

void add_facts(const RaplDomain& domain, const std::string& way, DeviceInfo& info) {
  info.facts.emplace_back("read through", way + " (" + domain.path + ")");
  if (domain.modulus <= 0.0) return;
  const double joules = domain.modulus * domain.scale;
  // The counters have 32 bits: Intel SDM, MSR_PKG_ENERGY_STATUS; AMD PPR, C001_029B.
  info.facts.emplace_back("energy unit", format("%.3g uJ", 1e6 * joules / 4294967296.0));
  info.facts.emplace_back("counter wraps after",
                          format("%.6g J (%.0f s at %g W)", joules, joules / largest_w(domain.kind),
                                 largest_w(domain.kind)));
}

RaplDevice device_of(RaplDomain domain, const std::string& way, const Cpu& cpu) {
  RaplDevice device;
  DeviceInfo& info = device.info;
  info.source = "rapl";
  info.architecture = cpu.vendor;
  info.argument = argument_of(domain, way);
  info.power_min_w = 0.0;
  info.power_max_w = domain.limit_w;
  const std::string place =
      format("package %d", domain.package) + (domain.die >= 0 ? format(" die %d", domain.die) : "");
  switch (domain.kind) {
    case Kind::kDram:
      info.kind = "dram";
      info.name = "DRAM of " + place;
      break;
    case Kind::kPlatform:
      info.kind = "platform";
      info.name = "platform (psys)";
      info.notes.emplace_back(
          "the platform's counter contains the CPU and its DRAM; what else, and how well, is up to "
          "the board's maker");
      break;
    default:
      info.kind = "cpu";
      info.name = (cpu.name.empty() ? "CPU" : cpu.name) + ", " + place;
      if (cpu.vendor == "amd") {
        info.notes.emplace_back(
            "AMD's counter follows a model of the activity, not a measurement (arXiv 2108.00808)");
      }
  }
  add_facts(domain, way, info);
  Channel channel = channel_of(domain, way, cpu);
  device.files.push_back({.channel = std::move(channel), .number = std::move(domain.counter)});
  return device;
}

bool is_inside_package(const RaplDomain& domain) {
  return domain.kind == Kind::kCores || domain.kind == Kind::kUncore;
}

// Gives the parts of packages to them, and each device its number among its kind.
std::vector<RaplDevice> devices_of(RaplFound found, const Cpu& cpu) {
  std::ranges::stable_sort(found.domains, {},
                           [](const RaplDomain& d) { return std::pair(d.package, d.die); });
  const bool platform = found.has(Kind::kPlatform);
  std::vector<RaplDevice> devices;
  for (const Kind kind : {Kind::kPackage, Kind::kDram, Kind::kPlatform}) {
    int index = 0;
    for (RaplDomain& domain : found.domains) {
      if (domain.kind != kind) continue;
      devices.push_back(device_of(std::move(domain), found.way, cpu));
      devices.back().info.index = index++;
      if (platform && kind != Kind::kPlatform) devices.back().info.part_of = found.way + ":psys";
    }
  }
  for (RaplDomain& domain : found.domains) {
    if (!is_inside_package(domain)) continue;
    const std::string package = argument_of(domain, found.way);
    for (RaplDevice& device : devices) {
      if (device.info.argument != package) continue;
      device.files.push_back(
          {.channel = channel_of(domain, found.way, cpu), .number = std::move(domain.counter)});
    }
  }
  if (!found.unreadable.empty()) {
    for (RaplDevice& device : devices) {
      device.info.notes.push_back("not read, and in no sum: " + joined(found.unreadable));
    }
  }
  return devices;
}

Cpu this_cpu() { return {.name = cpuinfo_value("model name"), .vendor = cpu_vendor()}; }

bool is_guest() {
  return (" " + cpuinfo_value("flags") + " ").find(" hypervisor ") != std::string::npos;
}

// The first way that gives a package; else what each said.
struct Choice {
  RaplFound found;
  std::string reason, fix;
};

Choice choose() {
  Choice choice;
  std::vector<std::string> reasons;
  for (RaplFound (*find)() : {+[] { return find_rapl_powercap(); },
                              +[] { return find_rapl_perf(); }, +[] { return find_rapl_msr(); }}) {
    RaplFound found = find();
    if (found.has(Kind::kPackage)) {
      choice.reason = found.reason;
      choice.fix = found.fix;
      choice.found = std::move(found);
      return choice;
    }
    if (!found.reason.empty()) reasons.push_back(found.way + ": " + found.reason);
    if (choice.fix.empty()) choice.fix = found.fix;
    if (choice.found.domains.empty() && !found.domains.empty()) choice.found = std::move(found);
  }
  choice.reason = joined(reasons, "; ");
  return choice;
}

}  // namespace

bool RaplFound::has(RaplDomain::Kind kind) const {
  return std::ranges::any_of(domains, [kind](const RaplDomain& d) { return d.kind == kind; });
}

std::string cpuinfo_value(std::string_view key) {
  const std::string text = "\n" + read_small(proc_root() + "/cpuinfo").text;
  for (auto at = text.find("\n" + std::string(key)); at != std::string::npos;
       at = text.find("\n" + std::string(key), at + 1)) {
    const auto end = std::min(text.find('\n', at + 1), text.size());
    const std::string line = text.substr(at + 1, end - at - 1);
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    // "model" is no "model name".
    if (line.find_first_not_of(" \t", key.size()) != colon) continue;
    const auto first = line.find_first_not_of(" \t", colon + 1);
    return first == std::string::npos ? "" : line.substr(first);
  }
  return {};
}

std::string cpu_vendor() {
  const std::string vendor = cpuinfo_value("vendor_id");
  if (vendor == "GenuineIntel") return "intel";
  // Hygon's are AMD's Zen: the kernel's drivers serve both alike.
  if (vendor == "AuthenticAMD" || vendor == "HygonGenuine") return "amd";
  return {};
}

std::string rapl_permission_fix() {
  std::array<char, PATH_MAX> program{};
  const ssize_t n = ::readlink("/proc/self/exe", program.data(), program.size() - 1);
  const std::string self = n > 0 ? program.data() : "$(readlink -f $(which python3))";
  return "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj (until the next boot), or as "
         "the "
         "udev rule SUBSYSTEM==\"powercap\", ACTION==\"add\", RUN+=\"/bin/chmod a+r "
         "%S%p/energy_uj\" in /etc/udev/rules.d/70-rapl.rules; it is closed because of "
         "CVE-2020-8694: other users' secrets show in it. Or by perf events: sudo setcap "
         "cap_perfmon=ep " +
         self + ", or sudo sysctl kernel.perf_event_paranoid=0";
}

SourceReport enumerate_rapl(const std::string& argument) {
  SourceReport report;
  report.source = "rapl";
  if (!argument.empty()) {
    report.reason = "takes no argument, not '" + argument + "'";
    report.fix = "say 'cpu', 'cpu:0', 'dram' or 'psys'";
    return report;
  }
  Choice choice = choose();
  report.reason = std::move(choice.reason);
  report.fix = std::move(choice.fix);
  for (RaplDevice& device : devices_of(std::move(choice.found), this_cpu())) {
    report.devices.push_back(std::move(device.info));
  }
  report.available = !report.devices.empty();
  if (report.available) return report;
  if (cpu_vendor().empty()) {
    report.reason = "RAPL is of Intel's and AMD's CPUs, and this is none";
    report.fix = "see 'hwmon' for what this machine has instead";
  } else if (is_guest()) {
    report.reason = "a virtual machine, whose host keeps RAPL to itself (" + report.reason + ")";
    report.fix = "measure on the host";
  }
  return report;
}

std::unique_ptr<Sensor> open_rapl(const DeviceInfo& info, std::shared_ptr<Clock>) {
  Choice choice = choose();
  for (RaplDevice& device : devices_of(std::move(choice.found), this_cpu())) {
    if (device.info.argument != info.argument) continue;
    return make_file_sensor(std::move(device.info), std::move(device.files));
  }
  throw std::runtime_error("RAPL does not give " + info.argument + " any more" +
                           (choice.reason.empty() ? "" : ": " + choice.reason) +
                           (choice.fix.empty() ? "" : ". Fix: " + choice.fix));
}

}  // namespace pyenergy
