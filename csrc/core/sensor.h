// SPDX-License-Identifier: Apache-2.0
// The one interface that every power source implements, and what is known of its device.
#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/channel.h"
#include "core/sample.h"

namespace pyenergy {

struct DeviceInfo {
  std::string source;  // the registry's name: "nvml", "dcgm", "rapl", "sim", ...
  // "gpu", "cpu" (a package), "dram", "platform" (all of a board), "module" (a CPU and its GPU, or
  // all of a Jetson), "rail" (a part of one), "sensor" (what it covers is not known)
  std::string kind;
  int index = 0;  // in the source's own order (NVML: PCI bus order)
  std::string uuid;
  std::string name;
  std::string pci_bus_id;    // "00000000:01:00.0", or empty
  std::string architecture;  // "hopper", "ampere", "ga100", ..., or empty when unknown
  std::string driver;        // version of driver or source
  // Bounds of the device's power in W; NaN when unknown. The maximum is the enforced limit.
  double power_min_w = std::numeric_limits<double>::quiet_NaN();
  double power_max_w = std::numeric_limits<double>::quiet_NaN();
  double speed_score = 0.0;  // larger is faster: CUDA's FASTEST_FIRST order; 0 when unknown
  bool mig_enabled = false;
  std::vector<std::string> mig_uuids;
  std::string argument;  // what the source needs to open it again (a path, a preset)
  std::string part_of;   // `argument` of the same source's device that contains it, or empty
  std::vector<std::pair<std::string, std::string>> facts;  // shown by doctor, in this order
  std::vector<std::string> notes;                          // what a user must know
};

// One value of one channel. A zero t_ns means "stamp me with the call's own bracket".
struct Reading {
  double value = 0.0;
  Ns t_ns = 0;
  Ns read_ns = 0;
  std::uint16_t channel = 0;
  std::uint16_t flags = kOk;
  std::int32_t status = 0;
};

// A sensor is opened, read from one thread at a time, and closed by its destructor.
class Sensor {
 public:
  virtual ~Sensor() = default;
  virtual const DeviceInfo& info() const noexcept = 0;
  // Fixed for the sensor's lifetime; Reading::channel indexes it.
  virtual const std::vector<Channel>& channels() const noexcept = 0;
  // Hot path: reads every channel of `group`, writes at most out.size() readings and returns how
  // many. Never throws, allocates, locks or logs. What cannot be read is written with kMissing,
  // NaN and the vendor's status.
  virtual std::size_t read(ReadGroup group, std::span<Reading> out) noexcept = 0;
  // Upper bound of what one read() may write.
  virtual std::size_t max_readings() const noexcept { return channels().size(); }
  // How long it may have nothing new to write although it is polled and all is well; 0: never.
  virtual Ns longest_silence() const noexcept { return 0; }
  // True once nothing more can ever be read (end of a replay).
  virtual bool finished() const noexcept { return false; }
};

}  // namespace pyenergy
