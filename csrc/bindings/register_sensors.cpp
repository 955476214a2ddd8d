// SPDX-License-Identifier: Apache-2.0
// Binds what exists and what each device can read: sources, devices, recordings to replay.
#include <set>
#include <stdexcept>

#include "bindings/bind.h"
#include "core/clock.h"
#include "sensors/dcgm_api.h"
#include "sensors/registry.h"
#include "sensors/replay.h"

namespace pyenergy {
namespace {

using IndexArray = py::array_t<std::uint16_t, py::array::c_style>;

template <typename T>
void take(const py::dict& from, const char* key, T& into) {
  if (!from.contains(key)) return;
  try {
    into = from[key].cast<T>();
  } catch (const py::cast_error&) {
    throw py::type_error("field '" + std::string(key) + "' has the wrong type");
  }
}

// A keyword that the object does not have is an error, not a silent default.
void refuse_unknown(const py::dict& from, const std::set<std::string>& known) {
  for (const auto& item : from) {
    const auto key = item.first.cast<std::string>();
    if (!known.contains(key)) throw py::type_error("unknown field '" + key + "'");
  }
}

DeviceInfo device_from(const py::KWArgs<py::object>& fields) {
  refuse_unknown(fields, {"source", "kind", "index", "uuid", "name", "pci_bus_id", "architecture",
                          "driver", "power_min_w", "power_max_w", "speed_score", "mig_enabled",
                          "mig_uuids", "argument", "part_of", "facts", "notes"});
  DeviceInfo info;
  take(fields, "source", info.source);
  take(fields, "kind", info.kind);
  take(fields, "index", info.index);
  take(fields, "uuid", info.uuid);
  take(fields, "name", info.name);
  take(fields, "pci_bus_id", info.pci_bus_id);
  take(fields, "architecture", info.architecture);
  take(fields, "driver", info.driver);
  take(fields, "power_min_w", info.power_min_w);
  take(fields, "power_max_w", info.power_max_w);
  take(fields, "speed_score", info.speed_score);
  take(fields, "mig_enabled", info.mig_enabled);
  take(fields, "mig_uuids", info.mig_uuids);
  take(fields, "argument", info.argument);
  take(fields, "part_of", info.part_of);
  take(fields, "notes", info.notes);
  py::dict facts;
  take(fields, "facts", facts);
  for (const auto& fact : facts) {
    info.facts.emplace_back(py::str(fact.first), py::str(fact.second));
  }
  return info;
}

template <typename Enum>
Enum one_of(const py::dict& fields, const char* key, const char* first, const char* second) {
  std::string word = first;
  take(fields, key, word);
  if (word == first) return static_cast<Enum>(0);
  if (word == second) return static_cast<Enum>(1);
  throw py::value_error(std::string(key) + " is '" + word + "', not '" + first + "' or '" + second +
                        "'");
}

}  // namespace

Channel channel_from(const py::dict& fields) {
  refuse_unknown(fields,
                 {"name", "unit", "kind", "group", "scale", "modulus", "valid_min", "valid_max",
                  "source", "scope", "note", "update_ns", "window_ns", "delay_ns"});
  Channel channel;
  take(fields, "name", channel.name);
  take(fields, "unit", channel.unit);
  take(fields, "scale", channel.scale);
  take(fields, "modulus", channel.modulus);
  take(fields, "valid_min", channel.valid_min);
  take(fields, "valid_max", channel.valid_max);
  take(fields, "source", channel.source);
  take(fields, "scope", channel.scope);
  take(fields, "note", channel.note);
  take(fields, "update_ns", channel.update_ns);
  take(fields, "window_ns", channel.window_ns);
  take(fields, "delay_ns", channel.delay_ns);
  channel.kind = one_of<ChannelKind>(fields, "kind", "gauge", "counter");
  channel.group = one_of<ReadGroup>(fields, "group", "fast", "slow");
  return channel;
}

namespace {

struct SampleArrays {
  const TimeArray& t_ns;
  const TimeArray& read_ns;
  const ValueArray& value;
  const IndexArray& channel;
  const FlagArray& flags;
};

std::vector<Reading> readings_from(const SampleArrays& in) {
  const py::ssize_t n = in.t_ns.size();
  if (in.read_ns.size() != n || in.value.size() != n || in.channel.size() != n ||
      in.flags.size() != n) {
    throw py::value_error("the arrays of samples differ in length");
  }
  std::vector<Reading> readings(static_cast<std::size_t>(n));
  for (py::ssize_t i = 0; i < n; ++i) {
    const std::uint32_t bits = in.flags.data()[i];
    readings[static_cast<std::size_t>(i)] = {.value = in.value.data()[i],
                                             .t_ns = in.t_ns.data()[i],
                                             .read_ns = in.read_ns.data()[i],
                                             .channel = in.channel.data()[i],
                                             .flags = static_cast<std::uint16_t>(bits & 0xffff),
                                             .status = static_cast<std::int16_t>(bits >> 16)};
  }
  return readings;
}

void register_replay_arrays(const std::string& key, const DeviceInfo& info,
                            const py::typing::List<py::object>& channels, const TimeArray& t_ns,
                            const TimeArray& read_ns, const ValueArray& value,
                            const IndexArray& channel, const FlagArray& flags) {
  ReplayData data{.info = info,
                  .channels = {},
                  .readings = readings_from({t_ns, read_ns, value, channel, flags})};
  for (const auto& item : channels) {
    data.channels.push_back(py::isinstance<py::dict>(item)
                                ? channel_from(py::reinterpret_borrow<py::dict>(item))
                                : item.cast<Channel>());
  }
  register_replay(key, std::move(data));
}

py::typing::Dict<py::str, py::str> facts_of(const DeviceInfo& info) {
  py::dict facts;
  for (const auto& [key, text] : info.facts) facts[py::str(key)] = text;
  return facts;
}

std::string repr(const DeviceInfo& info) {
  return "<DeviceInfo " + info.source + ":" + std::to_string(info.index) + " '" + info.name + "'" +
         (info.uuid.empty() ? "" : " " + info.uuid) + ">";
}

void bind_device(py::module_& m) {
  py::class_<DeviceInfo>(m, "DeviceInfo", "A device that a source has found; read-only.")
      .def(py::init(&device_from))
      .def_readonly("source", &DeviceInfo::source)
      .def_readonly("kind", &DeviceInfo::kind, "gpu, cpu, dram, platform, module, rail or sensor")
      .def_readonly("index", &DeviceInfo::index, "in the source's own order (NVML: PCI bus order)")
      .def_readonly("uuid", &DeviceInfo::uuid)
      .def_readonly("name", &DeviceInfo::name)
      .def_readonly("pci_bus_id", &DeviceInfo::pci_bus_id)
      .def_readonly("architecture", &DeviceInfo::architecture)
      .def_readonly("driver", &DeviceInfo::driver)
      .def_readonly("power_min_w", &DeviceInfo::power_min_w)
      .def_readonly("power_max_w", &DeviceInfo::power_max_w, "the enforced limit; NaN: unknown")
      .def_readonly("speed_score", &DeviceInfo::speed_score, "larger is faster; 0: unknown")
      .def_readonly("mig_enabled", &DeviceInfo::mig_enabled)
      .def_readonly("mig_uuids", &DeviceInfo::mig_uuids)
      .def_readonly("argument", &DeviceInfo::argument)
      .def_readonly("part_of", &DeviceInfo::part_of,
                    "argument of the same source's device that contains it, or empty")
      .def_property_readonly("facts", &facts_of)
      .def_readonly("notes", &DeviceInfo::notes)
      .def("__repr__", &repr);
}

void bind_report(py::module_& m) {
  py::class_<SourceReport>(m, "SourceReport", "What looking for a source's devices found.")
      .def_readonly("source", &SourceReport::source)
      .def_readonly("available", &SourceReport::available)
      .def_readonly("reason", &SourceReport::reason)
      .def_readonly("fix", &SourceReport::fix)
      .def_readonly("devices", &SourceReport::devices);
}

std::vector<std::string> source_names() {
  std::vector<std::string> names;
  for (const Source& source : sources()) names.emplace_back(source.name);
  return names;
}

std::string status_text(const std::string& source, int status) {
  if (source.starts_with("dcgm")) return dcgm_status_text(status);
  return "status " + std::to_string(status);
}

SourceReport enumerate_source(const std::string& source, const std::string& argument) {
  return find_source(source).enumerate(argument);
}

std::vector<Channel> open_channels(const DeviceInfo& info) {
  return find_source(info.source).open(info, std::make_shared<SystemClock>())->channels();
}

}  // namespace

void register_sensors(py::module_& m) {
  bind_device(m);
  bind_report(m);
  const py::call_guard<Unlocked> unlocked;
  m.def("sources", &source_names, "Names of the power sources, best first.");
  m.def("enumerate", &enumerate_source, py::arg("source"), py::arg("argument") = "", unlocked,
        "Look for a source's devices; absence is a report with a reason, never an exception.");
  m.def("status_text", &status_text, py::arg("source"), py::arg("status"),
        "What a missing reading's status means, of a channel's source.");
  m.def("open_channels", &open_channels, py::arg("info"), unlocked,
        "Open a device, return what it can read, and close it again.");
  m.def(
      "register_replay", &register_replay_arrays, py::arg("key"), py::arg("info"),
      py::arg("channels"), py::arg("t_ns"), py::arg("read_ns"), py::arg("value"),
      py::arg("channel"), py::arg("flags"),
      "Make a recording known to the source \"replay\". `channels`: Channel objects or dicts of\n"
      "their fields. One element of the arrays per sample: time, SI value, index of its channel.");
  m.def("replay_offset_ns", &replay_offset_ns, py::arg("key"),
        "What its latest opening added to the recorded times; None before the first.");
}

}  // namespace pyenergy
