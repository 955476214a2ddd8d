// SPDX-License-Identifier: Apache-2.0
// What /proc/cpuinfo says of the CPU and the power that follows from it without any sensor.
#pragma once

#include <string>
#include <string_view>

namespace pyenergy {

struct CpuInfo {
  std::string model;  // verbatim; empty when the kernel names none
  int threads = 0;    // visible logical CPUs
  int packages = 0;   // distinct physical ids, at least 1 when there is a thread
  bool smt = false;   // the kernel shows more siblings than cores
  bool guest = false;
};

CpuInfo parse_cpuinfo(std::string_view text);

// Power from load: P = tdp_w * (idle_fraction + (1 - idle_fraction) * load).
struct CpuPowerModel {
  // Assumed, not measured: between about 0.15 (desktop) and 0.5 (large server packages at rest).
  static constexpr double kIdleFraction = 0.3;
  static constexpr double kUnknownWattsPerThread = 6.0;

  double tdp_w = 0.0;  // of the visible share of the package or packages
  std::string how;     // how tdp_w was found, for people
  double power_w(double load) const noexcept {
    return tdp_w * (kIdleFraction + (1.0 - kIdleFraction) * load);
  }
};

// The longest model of the table that the name contains as whole words decides; an unknown one
// counts kUnknownWattsPerThread for each visible thread.
CpuPowerModel power_model(const CpuInfo& cpu);

}  // namespace pyenergy
