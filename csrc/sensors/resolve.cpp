// SPDX-License-Identifier: Apache-2.0
// Names of devices, and what they stand for.
#include "sensors/resolve.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <tuple>

#include "core/clock.h"
#include "sensors/registry.h"

namespace pyenergy {
namespace {

using Devices = std::vector<NamedDevice>;

auto key_of(const DeviceInfo& info) {
  return std::tie(info.source, info.uuid, info.index, info.argument);
}

void add_distinct(Devices& to, Devices from) {
  for (NamedDevice& device : from) {
    const auto same = [&](const NamedDevice& other) {
      return key_of(other.info) == key_of(device.info);
    };
    if (std::ranges::none_of(to, same)) to.push_back(std::move(device));
  }
}

SourceReport look(const std::string& source, const std::string& argument = "") {
  return find_source(source).enumerate(argument);
}

Devices numbered(const std::string& kind, std::vector<DeviceInfo> infos) {
  Devices found;
  for (DeviceInfo& info : infos) {
    found.push_back({kind + ":" + std::to_string(found.size()), std::move(info)});
  }
  return found;
}

Devices gpus() {
  const SourceReport report = look("nvml");
  if (!report.available) return {};
  Devices found;
  for (VisibleGpu& gpu : visible_gpus(report.devices, std::getenv("CUDA_VISIBLE_DEVICES"),
                                      std::getenv("CUDA_DEVICE_ORDER"))) {
    for (std::string& note : gpu.notes) {
      if (std::ranges::find(gpu.info.notes, note) == gpu.info.notes.end()) {
        gpu.info.notes.push_back(std::move(note));
      }
    }
    found.push_back({"gpu:" + std::to_string(found.size()), std::move(gpu.info)});
  }
  return found;
}

Devices rapl(const std::string& request) {
  const std::string kind = request == "psys" ? "platform" : request;
  Devices found;
  for (const DeviceInfo& info : look("rapl").devices) {
    if (info.kind == kind) found.push_back({request + ":" + std::to_string(info.index), info});
  }
  return found;
}

Devices hwmon(const std::string& argument = "") {
  Devices found;
  for (const DeviceInfo& info : look("hwmon", argument).devices) {
    found.push_back({"hwmon:" + info.argument, info});
  }
  return found;
}

Devices of_kind(Devices devices, const std::string& kind) {
  std::erase_if(devices, [&](const NamedDevice& device) { return device.info.kind != kind; });
  return devices;
}

// CPU packages: by RAPL, else by hwmon (Grace), else the estimate.
Devices cpus() {
  if (Devices found = rapl("cpu"); !found.empty()) return found;
  std::vector<DeviceInfo> infos;
  for (const NamedDevice& device : of_kind(hwmon(), "cpu")) infos.push_back(device.info);
  return numbered("cpu", infos.empty() ? look("estimate").devices : std::move(infos));
}

bool has_power(const NamedDevice& device) {
  try {
    const auto sensor =
        find_source(device.info.source).open(device.info, std::make_shared<SystemClock>());
    return std::ranges::any_of(sensor->channels(), [](const Channel& channel) {
      return channel.name == "power" || channel.name == "power_samples";
    });
  } catch (const std::runtime_error&) {
    return false;
  }
}

std::string listing() {
  try {
    std::string text;
    for (const NamedDevice& device : all_devices()) {
      text += (text.empty() ? "" : ", ") + device.id + " (" + device.info.name +
              (device.info.uuid.empty() ? "" : ", " + device.info.uuid) + ")";
    }
    return text.empty() ? "no device" : text;
  } catch (const DeviceError& error) {
    return std::string("(unknown: ") + error.what() + ")";
  }
}

Devices automatic() {
  const Devices all = gpus();
  Devices found;
  std::vector<std::string> left_out;
  for (const NamedDevice& gpu : all) {
    if (has_power(gpu)) {
      found.push_back(gpu);
    } else {
      left_out.push_back(gpu.id + " (" + gpu.info.name +
                         ") has no readable power and is not counted");
    }
  }
  if (found.empty()) found = of_kind(hwmon(), "gpu");
  if (found.empty()) found = of_kind(hwmon(), "module");
  if (found.empty()) found = cpus();
  if (found.empty()) {
    throw DeviceError("nothing can be read on this machine (nvml: " + look("nvml").reason +
                      "); see 'pyenergy doctor'");
  }
  std::ranges::move(left_out, std::back_inserter(found.front().info.notes));
  return found;
}

// Why a request for what a machine may have finds nothing.
std::string why_not(const std::string& source) {
  const bool nvidia = source == "gpu";
  const SourceReport report = look(nvidia ? "nvml" : "rapl");
  if (report.available) return "";
  const std::string fix = nvidia || report.fix.empty() ? "" : " (fix: " + report.fix + ")";
  return std::string(nvidia ? "NVIDIA GPUs" : "RAPL") + ": " + report.reason + fix + ". ";
}

Devices pick(const Devices& candidates, const std::string& argument, const std::string& name) {
  if (argument.empty() && !candidates.empty()) return candidates;
  for (const NamedDevice& device : candidates) {
    if (device.id.substr(device.id.find(':') + 1) == argument) return {device};
  }
  throw DeviceError((argument.empty() ? "no device for '" : "no device '") + name + "'. " +
                    why_not(name.substr(0, name.find(':'))) + "This machine has: " + listing());
}

Devices of_source(const std::string& source, const std::string& argument) {
  const SourceReport report = look(source, argument);
  if (!report.available || report.devices.empty()) {
    throw DeviceError("cannot use '" + source + (argument.empty() ? "" : ":" + argument) +
                      "': " + report.reason + (report.fix.empty() ? "" : " (" + report.fix + ")"));
  }
  Devices found;
  for (const DeviceInfo& info : report.devices) {
    found.push_back({info.kind + ":" + std::to_string(found.size()), info});
  }
  return found;
}

// Recordings are archives that Python reads; what it has registered in this process is known here.
Devices replay(const std::string& key) {
  const SourceReport report = look("replay", key);
  if (key.empty() || !report.available) {
    throw DeviceError("cannot use 'replay:" + key +
                      "': a recording's file is read by Python. Open it there "
                      "(pyenergy.load, or devices='replay:FILE' in pyenergy.trace)");
  }
  Devices found;
  for (const DeviceInfo& info : report.devices) {
    // Python's keys are FILE#ID.
    const std::size_t hash = info.argument.rfind('#');
    found.push_back({hash == std::string::npos ? info.kind + ":" + std::to_string(found.size())
                                               : info.argument.substr(hash + 1),
                     info});
  }
  return found;
}

Devices with_uuid(const std::string& prefix) {
  Devices found = gpus();
  std::erase_if(found, [&](const NamedDevice& gpu) {
    const auto begins = [&](const std::string& uuid) { return uuid.starts_with(prefix); };
    return !begins(gpu.info.uuid) && std::ranges::none_of(gpu.info.mig_uuids, begins);
  });
  if (found.size() == 1) return found;
  throw DeviceError("'" + prefix + "' " +
                    (found.empty() ? "matches no visible GPU" : "is not unique") +
                    ". This machine has: " + listing());
}

Devices one(const std::string& name) {
  const std::size_t colon = name.find(':');
  const std::string source = name.substr(0, colon);
  const std::string argument = colon == std::string::npos ? "" : name.substr(colon + 1);
  if (name == "auto") return automatic();
  if (source == "gpu") return pick(gpus(), argument, name);
  if (source == "cpu") return pick(cpus(), argument, name);
  if (source == "dram" || source == "psys") return pick(rapl(source), argument, name);
  if (name == "rapl") return pick(rapl("cpu"), "", name);
  if (source == "hwmon") {
    of_source("hwmon", argument);  // an error with its reason where there is nothing
    return hwmon(argument);
  }
  if (source == "estimate" || source == "dcgm" || source == "sim") {
    return of_source(source, argument);
  }
  if (source == "replay") return replay(argument);
  if (name.starts_with("GPU-") || name.starts_with("MIG-")) return with_uuid(name);
  throw DeviceError("unknown device '" + name + "'. This machine has: " + listing() +
                    ". Also: 'auto', 'gpu', 'cpu', 'dram', 'psys', 'hwmon:NAME', a GPU's UUID, "
                    "'dcgm:0', 'sim:a100', 'estimate'");
}

// What a sensor of a kind contains of other sensors' kinds, on the same machine.
bool kind_contains(const std::string& whole, const std::string& part) {
  const bool small = part == "cpu" || part == "dram" || part == "gpu" || part == "rail";
  if (whole == "platform") return small || part == "module";
  if (whole == "module") return small;
  return whole == "cpu" && part == "rail";
}

// Whether `whole` is above `part` in their source's tree.
bool is_above(const DeviceInfo& whole, const DeviceInfo& part) {
  if (whole.argument.empty() || part.part_of.empty()) return false;
  const std::vector<DeviceInfo> all = look(part.source).devices;
  std::string above = part.part_of;
  for (std::size_t steps = 0; !above.empty() && steps <= all.size(); ++steps) {
    if (above == whole.argument) return true;
    const auto parent = std::ranges::find(all, above, &DeviceInfo::argument);
    above = parent == all.end() ? "" : parent->part_of;
  }
  return false;
}

std::string overlap(const DeviceInfo& whole, const DeviceInfo& part) {
  for (const DeviceInfo* const info : {&whole, &part}) {
    if (info->source == "sim" || info->source == "replay") return "";  // on no machine's board
  }
  if (whole.source == part.source) return is_above(whole, part) ? "contains" : "";
  if (whole.kind == "cpu" && part.kind == "cpu") return "is the same package as";
  return kind_contains(whole.kind, part.kind) ? "contains" : "";
}

void refuse_overlaps(const Devices& devices) {
  for (const NamedDevice& whole : devices) {
    for (const NamedDevice& part : devices) {
      const std::string why = &whole == &part ? "" : overlap(whole.info, part.info);
      if (why.empty()) continue;
      throw DeviceError(whole.id + " " + why + " " + part.id +
                        ": their sum would count the same joules twice; measure each in a session "
                        "of its own (they share one sampler)");
    }
  }
}

// Devices of different sources may share an id: real GPUs keep theirs, which is CUDA's number, the
// others count on.
void make_ids_distinct(Devices& devices) {
  std::vector<std::string> used;
  for (const NamedDevice& device : devices) {
    if (device.info.source == "nvml") used.push_back(device.id);
  }
  for (NamedDevice& device : devices) {
    if (device.info.source == "nvml") continue;
    const std::size_t colon = device.id.find(':');
    const std::string kind = device.id.substr(0, colon), name = device.id.substr(colon + 1);
    const bool counted = !name.empty() && name.size() < 9 &&
                         name.find_first_not_of("0123456789") == std::string::npos;
    long number = counted ? std::stol(name) : 0;
    while (std::ranges::find(used, device.id) != used.end()) {
      device.id = kind + ":" + std::to_string(++number);
    }
    used.push_back(device.id);
  }
}

}  // namespace

std::vector<NamedDevice> all_devices() {
  Devices found;
  for (Devices part : {gpus(), cpus(), rapl("dram"), rapl("psys"), hwmon()}) {
    add_distinct(found, std::move(part));
  }
  return found;
}

std::vector<NamedDevice> resolve_devices(const std::string& request) {
  Devices found;
  for (std::size_t from = 0; from <= request.size();) {
    const std::size_t plus = std::min(request.find('+', from), request.size());
    std::string name = request.substr(from, plus - from);
    name.erase(0, std::min(name.find_first_not_of(" \t\n"), name.size()));
    name.erase(name.find_last_not_of(" \t\n") + 1);
    if (name.empty()) {
      throw DeviceError("devices='" + request + "' names no device; try 'auto'");
    }
    add_distinct(found, one(name));
    from = plus + 1;
  }
  refuse_overlaps(found);
  make_ids_distinct(found);
  return found;
}

}  // namespace pyenergy
