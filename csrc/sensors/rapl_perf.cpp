// SPDX-License-Identifier: Apache-2.0
// RAPL through the kernel's "power" PMU (arch/x86/events/rapl.c): events energy-pkg, -cores, -ram,
// -gpu and -psys, counted from the opening on one CPU of each package. The kernel extends the
// 32-bit counters itself, so these do not wrap.
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "sensors/rapl_domain.h"
#include "sensors/sysfs.h"

namespace pyenergy {
namespace {

struct Event {
  RaplDomain::Kind kind;
  const char* file;
};
constexpr Event kEvents[] = {
    {RaplDomain::Kind::kPackage, "energy-pkg"},   {RaplDomain::Kind::kCores, "energy-cores"},
    {RaplDomain::Kind::kUncore, "energy-gpu"},    {RaplDomain::Kind::kDram, "energy-ram"},
    {RaplDomain::Kind::kPlatform, "energy-psys"},
};

// "event=0x02" -> 2; -1 for anything else.
std::int64_t config_of(const std::string& text) {
  constexpr std::string_view kPrefix = "event=0x";
  if (!text.starts_with(kPrefix)) return -1;
  std::int64_t value = -1;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + kPrefix.size(), end, value, 16);
  return error == std::errc{} && at == end ? value : -1;
}

constexpr int kMostCpus = 8192;  // the kernel's own bound, CONFIG_NR_CPUS

// "0,18" or "0-1" -> the CPUs that count, one a package (or die); none where one cannot be.
std::vector<int> parse_cpus(const std::string& text) {
  std::vector<int> cpus;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    int first = 0, last = 0;
    auto step = std::from_chars(at, end, first);
    if (step.ec != std::errc{}) break;
    last = first;
    if (step.ptr < end && *step.ptr == '-') step = std::from_chars(step.ptr + 1, end, last);
    if (step.ec != std::errc{} || first < 0 || last >= kMostCpus) return {};
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    at = step.ptr + 1;
  }
  return cpus;
}

std::string refused(const std::string& what, int error) {
  std::string text = what + ": " + std::strerror(error);
  const std::string paranoid = read_small(proc_root() + "/sys/kernel/perf_event_paranoid").text;
  if ((error == EACCES || error == EPERM) && !paranoid.empty()) {
    text += " (kernel.perf_event_paranoid is " + paranoid + ")";
  }
  return text;
}

class PmuSearch {
 public:
  explicit PmuSearch(PerfOpen open)
      : folder_(sysfs_root() + "/bus/event_source/devices/power"), open_(open) {}

  RaplFound run() {
    found_.way = "perf";
    const auto type = read_count(folder_ + "/type");
    const std::vector<int> cpus = parse_cpus(read_small(folder_ + "/cpumask").text);
    if (!type || cpus.empty()) {
      found_.reason = "the kernel has no 'power' events";
      found_.fix = "sudo modprobe rapl";
      return std::move(found_);
    }
    for (const Event& event : kEvents) {
      for (std::size_t i = 0; i < cpus.size(); ++i) {
        // Each package would count the one platform.
        if (event.kind == RaplDomain::Kind::kPlatform && i > 0) break;
        add(event, static_cast<std::uint32_t>(*type), cpus[i], static_cast<int>(i));
      }
    }
    if (!found_.unreadable.empty()) {
      found_.reason = "power events are refused: " + joined(found_.unreadable);
      found_.fix = rapl_permission_fix();
    }
    return std::move(found_);
  }

 private:
  void add(const Event& event, std::uint32_t type, int cpu, int position) {
    const std::string file = folder_ + "/events/" + event.file;
    const std::int64_t config = config_of(read_small(file).text);
    const auto scale = read_number(file + ".scale");
    // An event that is not there is a domain that this CPU does not have.
    if (config < 0 || !scale || *scale <= 0.0 || read_small(file + ".unit").text != "Joules")
      return;
    RaplDomain domain;
    domain.kind = event.kind;
    domain.package = package_of(cpu, position);
    domain.name = event.file + std::string(" on CPU ") + std::to_string(cpu);
    domain.path = file;
    domain.scale = *scale;
    const int fd = open_(type, static_cast<std::uint64_t>(config), cpu);
    if (fd < 0) {
      found_.unreadable.push_back(refused(domain.name, -fd));
      return;
    }
    domain.counter = NumberFile::count(fd);
    found_.domains.push_back(std::move(domain));
  }

  static int package_of(int cpu, int position) {
    return read_count(sysfs_root() + "/devices/system/cpu/cpu" + std::to_string(cpu) +
                      "/topology/physical_package_id")
        .value_or(position);
  }

  const std::string folder_;
  const PerfOpen open_;
  RaplFound found_;
};

}  // namespace

int perf_open(std::uint32_t type, std::uint64_t config, int cpu) {
  perf_event_attr attr{};
  attr.size = sizeof(attr);
  attr.type = type;
  attr.config = config;
  const long fd = ::syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

RaplFound find_rapl_perf(PerfOpen open) { return PmuSearch(open).run(); }

}  // namespace pyenergy
