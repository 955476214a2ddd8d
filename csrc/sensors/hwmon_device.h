// SPDX-License-Identifier: Apache-2.0
// What hwmon and IIO chips show of power and energy, one device for each thing that is measured.
#pragma once

#include <string>
#include <vector>

#include "sensors/file_sensor.h"

namespace pyenergy {

struct HwmonDevice {
  DeviceInfo info;
  std::string label;  // the chip's own word for it: "VDD_IN", "Module Power Socket 0", or empty
  std::string chip;   // "amdgpu", "ina3221"
  std::vector<FileChannel> files;
};

struct HwmonFound {
  std::vector<HwmonDevice> devices;
  std::vector<std::string> denied;  // paths that may not be read
  std::vector<std::string> broken;  // "path: why"
  std::size_t cores = 0;            // energies of single cores, which are inside their sockets
};

// /sys/class/hwmon: the kernel's Documentation/hwmon/sysfs-interface.rst.
void find_hwmon_chips(HwmonFound& found);
// /sys/bus/iio/devices: Documentation/ABI/testing/sysfs-bus-iio, and NVIDIA's ina3221x of L4T
// kernels before 5.10, which calls its rails rail_name_N.
void find_iio_chips(HwmonFound& found);

// Kind, scope and notes of a device from its chip and label; `channels` get scope and bounds.
void give_meaning(HwmonDevice& device);
// Opens a channel's file; false, and `found` says why, when it cannot be read or is not supported.
bool open_channel(const std::string& path, NumberFile& file, HwmonFound& found);
Channel hwmon_power(const char* name, const std::string& source, double scale);

}  // namespace pyenergy
