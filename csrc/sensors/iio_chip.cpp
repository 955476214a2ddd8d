// SPDX-License-Identifier: Apache-2.0
// IIO chips: in_powerN_input in mW, or in_powerN_raw times in_powerN_scale.
#include <utility>

#include "sensors/hwmon_device.h"
#include "sensors/sysfs.h"

namespace pyenergy {
namespace {

constexpr double kMilli = 1e-3;

// "in_power0_input" -> "0"; "in_power_raw" -> "". False where the name is no reading of power.
bool parse(const std::string& name, const std::string& suffix, std::string& number) {
  const std::string prefix = "in_power";
  if (!name.starts_with(prefix) || !name.ends_with(suffix)) return false;
  number = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  return number.find_first_not_of("0123456789") == std::string::npos;
}

void add(const std::string& folder, const std::string& number, const std::string& suffix,
         double scale, HwmonFound& found) {
  HwmonDevice device;
  device.chip = read_small(folder + "/name").text;
  if (device.chip.empty()) device.chip = "iio";
  device.label = read_small(folder + "/rail_name_" + number).text;
  if (device.label.empty()) device.label = read_small(folder + "/label").text;
  if (device.label == "NC") return;
  NumberFile file;
  if (!open_channel(folder + "/in_power" + number + suffix, file, found)) return;
  device.files.push_back(
      {.channel = hwmon_power("power", "iio." + device.chip, scale), .number = std::move(file)});
  device.info.name = device.chip + (device.label.empty() ? "" : " " + device.label);
  device.info.facts.emplace_back("read through", folder);
  found.devices.push_back(std::move(device));
}

}  // namespace

void find_iio_chips(HwmonFound& found) {
  const std::string root = sysfs_root() + "/bus/iio/devices/";
  for (const std::string& name : list_names(root).names) {
    if (!name.starts_with("iio:device")) continue;
    const std::string folder = root + name;
    for (const std::string& file : list_names(folder).names) {
      std::string number;
      if (parse(file, "_input", number)) {
        add(folder, number, "_input", kMilli, found);
      } else if (parse(file, "_raw", number)) {
        // Both forms of one reading would be two devices of one thing.
        if (exists(folder + "/in_power" + number + "_input")) continue;
        const auto scale = read_number(folder + "/in_power" + number + "_scale");
        if (scale && *scale > 0.0)
          add(folder, number, "_raw", *scale * kMilli, found);
        else
          found.broken.push_back(folder + "/" + file + ": no in_power" + number + "_scale");
      }
    }
  }
}

}  // namespace pyenergy
