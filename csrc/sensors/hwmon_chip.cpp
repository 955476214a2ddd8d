// SPDX-License-Identifier: Apache-2.0
// One hwmon chip: powerN_input and _average in uW, energyN_input in uJ, and of an INA3221 the
// product of inN_input in mV and currN_input in mA.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

#include "sensors/hwmon_device.h"
#include "sensors/sysfs.h"

namespace pyenergy {
namespace {

constexpr double kMicro = 1e-6;

// What one chip measures under one number and label.
struct Measured {
  std::string power_input, power_average, energy, interval, cap;
};
using Measureds = std::map<std::pair<int, std::string>, Measured>;

// "power1_average" -> 1 where `type` is "power" and `rest` "_average"; else -1.
int number_of(std::string_view name, std::string_view type, std::string_view rest) {
  if (!name.ends_with(rest)) return -1;
  return number_after(name.substr(0, name.size() - rest.size()), type);
}

std::string label_of(const std::string& folder, const char* type, int number) {
  const std::string stem = folder + "/" + type + std::to_string(number);
  const std::string oem = read_small(stem + "_oem_info").text;
  return oem.empty() ? read_small(stem + "_label").text : oem;
}

void look_into(const std::string& folder, Measureds& found) {
  for (const std::string& name : list_names(folder).names) {
    const std::string path = folder + "/" + name;
    if (const int n = number_of(name, "power", "_input"); n >= 0) {
      found[{n, label_of(folder, "power", n)}].power_input = path;
    } else if (const int a = number_of(name, "power", "_average"); a >= 0) {
      Measured& measured = found[{a, label_of(folder, "power", a)}];
      measured.power_average = path;
      measured.interval = path + "_interval";
    } else if (const int e = number_of(name, "energy", "_input"); e >= 0) {
      found[{e, label_of(folder, "energy", e)}].energy = path;
    } else if (const int c = number_of(name, "power", "_cap"); c >= 0) {
      found[{c, label_of(folder, "power", c)}].cap = path;
    }
  }
}

void add_power(const Measured& measured, HwmonDevice& device, HwmonFound& found) {
  for (const bool average : {false, true}) {
    const std::string& path = average ? measured.power_average : measured.power_input;
    NumberFile file;
    if (path.empty() || !open_channel(path, file, found)) continue;
    const char* name = device.files.empty() ? "power" : "power_average";
    Channel channel =
        hwmon_power(name, "hwmon." + device.chip + (average ? ".average" : ".input"), kMicro);
    // The time that a reading averages, in ms; how often it is renewed is not said.
    const auto interval = average ? read_count(measured.interval) : std::nullopt;
    if (interval && *interval > 0) channel.window_ns = *interval * kMs;
    device.files.push_back({.channel = std::move(channel), .number = std::move(file)});
  }
}

void add_energy(const Measured& measured, HwmonDevice& device, HwmonFound& found) {
  NumberFile file;
  if (measured.energy.empty() || !open_channel(measured.energy, file, found)) return;
  Channel channel;
  channel.name = "energy";
  channel.unit = "J";
  channel.kind = ChannelKind::kCounter;
  channel.scale = kMicro;
  channel.source = "hwmon." + device.chip + ".energy";
  device.files.push_back({.channel = std::move(channel), .number = std::move(file)});
}

// "0000:03:00.0" of a chip that sits on a PCI device, as NVML writes it; or empty.
std::string pci_of(const std::string& folder) {
  char* real = ::realpath((folder + "/device").c_str(), nullptr);
  if (real == nullptr) return {};
  const std::string path = real;
  std::free(real);
  const std::string last = path.substr(path.rfind('/') + 1);
  const bool pci = last.size() == 12 && last[4] == ':' && last[7] == ':' && last[10] == '.';
  return pci ? "0000" + last : "";
}

bool is_single_core(const std::string& label) { return label.starts_with("Ecore"); }

void identify(const std::string& folder, HwmonDevice& device) {
  device.info.pci_bus_id = pci_of(folder);
  const std::string unique = read_small(folder + "/device/unique_id").text;
  if (device.chip == "amdgpu" && !unique.empty()) device.info.uuid = "AMD-" + unique;
  const std::string product = read_small(folder + "/device/product_name").text;
  device.info.name = product.empty() ? device.chip : product;
  if (!device.label.empty()) device.info.name += " " + device.label;
  device.info.facts.emplace_back("read through", folder);
}

// INA3221: three rails, each a voltage and a current.
void find_rails(const std::string& folder, const std::string& chip, HwmonFound& found) {
  for (const char* number : {"1", "2", "3"}) {
    HwmonDevice device;
    device.chip = chip;
    device.label = read_small(folder + "/in" + number + "_label").text;
    if (device.label == "NC") continue;  // the board connects nothing there
    const std::string volts = folder + "/in" + number + "_input";
    const std::string amperes = folder + "/curr" + number + "_input";
    if (!exists(volts) || !exists(amperes)) continue;
    FileChannel file{.channel = hwmon_power("power", "hwmon.ina3221", kMicro), .number = {}};
    if (!open_channel(volts, file.number, found)) continue;
    if (!open_channel(amperes, file.factor, found)) continue;
    // Documentation/hwmon/ina3221.rst: the time for all samples of all channels, averaged.
    const auto interval = read_count(folder + "/update_interval");
    if (interval && *interval > 0) {
      file.channel.update_ns = file.channel.window_ns = *interval * kMs;
      file.channel.delay_ns = 0;
    }
    identify(folder, device);
    const auto shunt = read_count(folder + "/shunt" + number + "_resistor");
    if (shunt) {
      device.info.facts.emplace_back("shunt", std::to_string(*shunt) + " uOhm");
    }
    device.files.push_back(std::move(file));
    found.devices.push_back(std::move(device));
  }
}

void find_measured(const std::string& folder, const std::string& chip, HwmonFound& found) {
  Measureds all;
  look_into(folder, all);
  // Older drivers put their attributes one level down (acpi_power_meter: Grace).
  if (all.empty()) look_into(folder + "/device", all);
  for (const auto& [key, measured] : all) {
    if (is_single_core(key.second)) {
      ++found.cores;
      continue;
    }
    HwmonDevice device;
    device.chip = chip;
    device.label = key.second;
    add_power(measured, device, found);
    add_energy(measured, device, found);
    if (device.files.empty()) continue;
    identify(folder, device);
    const auto cap = measured.cap.empty() ? std::nullopt : read_number(measured.cap);
    if (cap && *cap > 0.0) device.info.power_max_w = *cap * kMicro;
    found.devices.push_back(std::move(device));
  }
}

}  // namespace

bool open_channel(const std::string& path, NumberFile& file, HwmonFound& found) {
  file = NumberFile::text(path);
  const int error = file.is_open() ? file.read().status : file.error();
  // A device that sleeps or is busy may answer later; these will not.
  const bool never = error == EOPNOTSUPP || error == EINVAL || error == EACCES || error == EPERM ||
                     error == ENODEV || error == EBADMSG;
  if (file.is_open() && !never) return true;
  if (error == EACCES || error == EPERM) {
    found.denied.push_back(path);
  } else {
    found.broken.push_back(path + ": " + std::strerror(error));
  }
  return false;
}

Channel hwmon_power(const char* name, const std::string& source, double scale) {
  Channel channel;
  channel.name = name;
  channel.unit = "W";
  channel.scale = scale;
  channel.source = source;
  return channel;
}

void find_hwmon_chips(HwmonFound& found) {
  const std::string root = sysfs_root() + "/class/hwmon/";
  for (const std::string& name : list_names(root).names) {
    const std::string folder = root + name;
    std::string chip = read_small(folder + "/name").text;
    if (chip.empty()) chip = read_small(folder + "/device/name").text;
    if (chip.empty()) chip = name;
    if (chip == "ina3221") {
      find_rails(folder, chip, found);
    } else {
      find_measured(folder, chip, found);
    }
  }
}

}  // namespace pyenergy
