// SPDX-License-Identifier: Apache-2.0
// Power and energy that the kernel shows by hwmon and IIO: NVIDIA Grace, Jetson's INA3221, AMD's
// and Intel's GPUs, whatever else has a powerN or energyN. Each has a name: "hwmon:amdgpu".
#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <stdexcept>
#include <utility>

#include "sensors/hwmon_device.h"
#include "sensors/sources.h"
#include "sensors/sysfs.h"

namespace pyenergy {
namespace {

// A card, a package or a rail draws no more; boards and modules may.
constexpr double kLargestPartW = 3'000.0, kLargestBoardW = 20'000.0;
// An INA's zero may be off by as much, on a rail that carries nothing.
constexpr double kSlackW = 10.0;

struct Meaning {
  const char *kind, *scope, *note;
};

constexpr std::array<const char*, 5> kGpuChips = {"amdgpu", "i915", "xe", "nouveau", "radeon"};
// The whole of a Jetson module: the developer guides' "Power and thermal", tables of INA3221 rails.
constexpr std::array<const char*, 2> kModuleRails = {"VDD_IN", "POM_5V_IN"};

template <typename List>
bool among(const List& list, const std::string& name) {
  return std::ranges::find(list, name) != list.end();
}

// Grace: the Performance Tuning Guide's "Power telemetry". A module's has CPU, GPU and their memory
// in it; Grace's has the CPU rail, the SoC rail and what its regulators and memory take.
Meaning meaning_of(const std::string& chip, const std::string& label) {
  if (label.starts_with("Module Power Socket ")) {
    return {"module", "module", "CPU and GPU of the module with their memory and regulators"};
  }
  if (label.starts_with("Grace Power Socket ")) return {"cpu", "cpu-package", ""};
  if (label.starts_with("CPU Power Socket ") || label.starts_with("SysIO Power Socket ")) {
    return {"rail", "rail", "one rail of the CPU, without its regulators and memory"};
  }
  if (among(kGpuChips, chip)) return {"gpu", "gpu", ""};
  if (label.starts_with("Esocket") || chip == "fam15h_power") return {"cpu", "cpu-package", ""};
  if (chip.starts_with("ina3221")) {
    if (among(kModuleRails, label)) return {"module", "module", "all that the module draws"};
    return {"rail", "rail", "one rail of the board"};
  }
  if (chip == "power_meter") return {"platform", "platform", "as its maker wired it"};
  return {"sensor", "unknown", "what it covers is not known: it may contain other devices' power"};
}

// Lower case, and only what may stand in a device's name.
std::string slug(const std::string& text) {
  std::string out;
  for (const char raw : text) {
    const char c = static_cast<char>(std::tolower(static_cast<unsigned char>(raw)));
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    if (plain)
      out += c;
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  while (out.ends_with('-')) out.pop_back();
  return out;
}

// A label that says by itself what is measured names the device; else its chip does.
std::string name_of(const HwmonDevice& device, std::size_t of_its_chip) {
  const bool telling =
      device.chip.starts_with("ina3221") || device.label.find(' ') != std::string::npos;
  if (telling && !slug(device.label).empty()) return slug(device.label);
  const std::string chip = slug(device.chip);
  if (of_its_chip == 1 || device.label.empty()) return chip;
  return chip + "-" + slug(device.label);
}

void give_names(std::vector<HwmonDevice>& devices) {
  std::set<std::string> used;
  int index = 0;
  for (HwmonDevice& device : devices) {
    // How many labels its chip has: several cards of one kind count on instead.
    std::set<std::string> labels;
    for (const HwmonDevice& other : devices) {
      if (other.chip == device.chip) labels.insert(other.label);
    }
    const std::string base = name_of(device, labels.size());
    std::string name = base;
    for (int next = 2; !used.insert(name).second; ++next) name = base + "-" + std::to_string(next);
    device.info.argument = name;
    device.info.index = index++;
  }
}

const HwmonDevice* find_label(const std::vector<HwmonDevice>& devices, const std::string& label) {
  const auto found = std::ranges::find(devices, label, &HwmonDevice::label);
  return found == devices.end() ? nullptr : &*found;
}

// The smallest of the others that contains it.
const HwmonDevice* whole_of(const HwmonDevice& device, const std::vector<HwmonDevice>& devices) {
  const std::string socket = " Power Socket ";
  if (const auto at = device.label.find(socket); at != std::string::npos) {
    const std::string place = device.label.substr(at);
    const std::string part = device.label.substr(0, at);
    const HwmonDevice* grace = find_label(devices, "Grace" + place);
    if (part != "Grace" && part != "Module" && grace != nullptr) return grace;
    return part == "Module" ? nullptr : find_label(devices, "Module" + place);
  }
  if (device.chip.starts_with("ina3221") && device.info.kind == "rail") {
    for (const char* label : kModuleRails) {
      if (const HwmonDevice* whole = find_label(devices, label)) return whole;
    }
  }
  return nullptr;
}

HwmonFound find_all() {
  HwmonFound found;
  find_hwmon_chips(found);
  find_iio_chips(found);
  for (HwmonDevice& device : found.devices) give_meaning(device);
  give_names(found.devices);
  for (HwmonDevice& device : found.devices) {
    if (const HwmonDevice* whole = whole_of(device, found.devices)) {
      device.info.part_of = whole->info.argument;
      device.info.facts.emplace_back("part of", "hwmon:" + whole->info.argument);
    }
  }
  return found;
}

void explain(const HwmonFound& found, SourceReport& report) {
  std::vector<std::string> reasons;
  if (!found.denied.empty()) {
    reasons.push_back("may not be read: " + joined(found.denied));
    report.fix = "sudo chmod a+r " + joined(found.denied, " ") + " (until the next boot)";
  }
  if (!found.broken.empty()) reasons.push_back("give no number: " + joined(found.broken));
  if (found.cores > 0) {
    reasons.push_back(std::to_string(found.cores) +
                      " energies of single cores are inside their sockets' and left out");
  }
  if (found.devices.empty() && reasons.empty()) {
    reasons.push_back("no chip in " + sysfs_root() + "/class/hwmon or " + sysfs_root() +
                      "/bus/iio/devices shows power or energy");
  }
  report.reason = joined(reasons, "; ");
}

}  // namespace

void give_meaning(HwmonDevice& device) {
  const Meaning meaning = meaning_of(device.chip, device.label);
  const std::string kind = meaning.kind;
  const bool board = kind == "module" || kind == "platform" || kind == "sensor";
  const bool may_be_negative = kind == "rail" || kind == "module" || kind == "sensor";
  device.info.source = "hwmon";
  device.info.kind = kind;
  if (*meaning.note != '\0') device.info.notes.emplace_back(meaning.note);
  for (FileChannel& file : device.files) {
    Channel& channel = file.channel;
    channel.scope = meaning.scope;
    channel.valid_max = board ? kLargestBoardW : kLargestPartW;
    const bool gauge = channel.kind == ChannelKind::kGauge;
    channel.valid_min = gauge && may_be_negative ? -kSlackW : 0.0;
  }
}

SourceReport enumerate_hwmon(const std::string& argument) {
  SourceReport report;
  report.source = "hwmon";
  HwmonFound found = find_all();
  explain(found, report);
  for (HwmonDevice& device : found.devices) {
    const bool wanted = argument.empty() || device.info.argument == slug(argument) ||
                        device.info.pci_bus_id == argument ||
                        device.info.pci_bus_id == "0000" + argument;
    if (wanted) report.devices.push_back(std::move(device.info));
  }
  report.available = !report.devices.empty();
  if (report.available || argument.empty()) return report;
  std::vector<std::string> names;
  for (const HwmonDevice& device : found.devices) names.push_back(device.info.argument);
  const std::string there = names.empty() ? "there is none" : "there are " + joined(names);
  report.reason = "no sensor '" + argument + "'; " + there +
                  (report.reason.empty() ? "" : "; " + report.reason);
  return report;
}

std::unique_ptr<Sensor> open_hwmon(const DeviceInfo& info, std::shared_ptr<Clock>) {
  HwmonFound found = find_all();
  for (HwmonDevice& device : found.devices) {
    if (device.info.argument != info.argument) continue;
    return make_file_sensor(std::move(device.info), std::move(device.files));
  }
  throw std::runtime_error("hwmon does not show '" + info.argument + "' any more");
}

}  // namespace pyenergy
