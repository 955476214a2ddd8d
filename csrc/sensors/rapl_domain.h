// SPDX-License-Identifier: Apache-2.0
// RAPL's energy counters ("domains") and the three ways the kernel gives to them.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "sensors/number_file.h"

namespace pyenergy {

// No package, and no package's memory, draws more; a platform of many sockets may. A rise above it
// is no energy, and it bounds how long a counter may go unread (it wraps after modulus / power).
inline constexpr double kLargestPackageW = 1'000.0;
inline constexpr double kLargestPlatformW = 10'000.0;

struct RaplDomain {
  // Cores and uncore are inside the package, DRAM is beside it, the platform contains everything:
  // Intel SDM volume 3, "RAPL Domains and Platform Specificity".
  enum class Kind { kPackage, kCores, kUncore, kDram, kPlatform };

  Kind kind = Kind::kPackage;
  int package = 0;
  int die = -1;          // -1: the whole package
  std::string name;      // as the interface calls it: "package-0", "dram"
  std::string path;      // of the counter, for people
  double scale = 0.0;    // J per raw unit
  double modulus = 0.0;  // raw; 0: the kernel extends the counter, or does not tell
  double limit_w = std::numeric_limits<double>::quiet_NaN();  // the largest enforced power limit
  NumberFile counter;
};

// What one way gives: the counters that can be read, and why others cannot.
struct RaplFound {
  std::string way;  // "powercap", "perf", "msr"
  std::vector<RaplDomain> domains;
  std::vector<std::string> unreadable;  // "package-1: Permission denied"
  std::string reason;                   // of what is not there; empty when all is well
  std::string fix;

  bool has(RaplDomain::Kind kind) const;
};

// The opener of perf_event_open's descriptors: (type, config, cpu), a negative errno on failure.
using PerfOpen = int (*)(std::uint32_t type, std::uint64_t config, int cpu);
int perf_open(std::uint32_t type, std::uint64_t config, int cpu);

RaplFound find_rapl_powercap();
RaplFound find_rapl_perf(PerfOpen open = perf_open);
// Packages only: the units of the other registers differ from model to model.
RaplFound find_rapl_msr();

// What mends a counter that may not be read, with the interpreter that runs this.
std::string rapl_permission_fix();
// "intel", "amd", or empty for another CPU; from /proc/cpuinfo.
std::string cpu_vendor();
// Its value of a key, of the first processor; empty when there is none.
std::string cpuinfo_value(std::string_view key);

}  // namespace pyenergy
