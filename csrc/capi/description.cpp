// SPDX-License-Identifier: Apache-2.0
// JSON of a recording.
#include "capi/description.h"

#include <sys/utsname.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace pyenergy {
namespace {

std::string text(std::string_view value) {
  std::string out = "\"";
  for (const char c : value) {
    constexpr const char* kHex = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 0xf];
    } else {
      out += c;
    }
  }
  return out + '"';
}

// JSON has no NaN: an unknown bound is null.
std::string number(double value) {
  if (!std::isfinite(value)) return "null";
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  std::string out(digits, end);
  // A float for Python as well.
  return out.find_first_of(".e") == std::string::npos ? out + ".0" : out;
}

std::string number(std::int64_t value) { return std::to_string(value); }

using Members = std::vector<std::pair<std::string, std::string>>;

std::string object(const Members& members) {
  std::string out = "{";
  for (const auto& [name, value] : members) {
    out += (out.size() > 1 ? ", " : "") + text(name) + ": " + value;
  }
  return out + "}";
}

template <typename Items, typename Describe>
std::string list(const Items& items, Describe describe) {
  std::string out = "[";
  for (const auto& item : items) out += (out.size() > 1 ? ", " : "") + describe(item);
  return out + "]";
}

std::string texts(const std::vector<std::string>& items) {
  return list(items, [](const std::string& item) { return text(item); });
}

std::string describe(const NamedDevice& device) {
  const DeviceInfo& info = device.info;
  return object({{"id", text(device.id)},
                 {"source", text(info.source)},
                 {"kind", text(info.kind)},
                 {"name", text(info.name)},
                 {"uuid", text(info.uuid)},
                 {"pci_bus_id", text(info.pci_bus_id)},
                 {"architecture", text(info.architecture)},
                 {"driver", text(info.driver)},
                 {"power_min_w", number(info.power_min_w)},
                 {"power_max_w", number(info.power_max_w)},
                 {"notes", texts(info.notes)}});
}

std::string describe(const Channel& channel) {
  return object({{"name", text(channel.name)},
                 {"unit", text(channel.unit)},
                 {"kind", text(channel.kind == ChannelKind::kCounter ? "counter" : "gauge")},
                 {"source", text(channel.source)},
                 {"scope", text(channel.scope)},
                 {"note", text(channel.note)},
                 {"update_ns", number(channel.update_ns)},
                 {"window_ns", number(channel.window_ns)},
                 {"delay_ns", number(channel.delay_ns)}});
}

std::string describe(const DeviceReadings& read) {
  Members channels;
  for (const Channel& channel : read.recording->channels()) {
    channels.emplace_back(channel.name, describe(channel));
  }
  const auto dropped = number(static_cast<std::int64_t>(read.dropped));
  return object({{"meta", describe(read.device)},
                 {"channels", object(channels)},
                 {"stats", object({{"dropped_in_trace", dropped}})},
                 {"gap_ns", number(read.gap)}});
}

// In the order of a recording, each with the number of those around it.
std::string describe(std::vector<SessionMark> marks) {
  std::ranges::stable_sort(marks, [](const SessionMark& a, const SessionMark& b) {
    return a.start != b.start ? a.start < b.start : a.end > b.end;
  });
  std::vector<Ns> around;
  return list(marks, [&](const SessionMark& mark) {
    std::erase_if(around, [&](Ns end) { return end <= mark.start; });
    const auto depth = static_cast<std::int64_t>(
        std::ranges::count_if(around, [&](Ns end) { return end >= mark.end; }));
    around.push_back(mark.end);
    return object({{"name", text(mark.name)},
                   {"start_ns", number(mark.start)},
                   {"end_ns", number(mark.end)},
                   {"depth", number(depth)}});
  });
}

std::string provenance() {
  utsname system{};
  uname(&system);
  const std::string what =
      std::string(system.sysname) + " " + system.release + " " + system.machine;
  return object({{"pyenergy", text(PYENERGY_VERSION)},
                 {"system", text(what)},
                 {"host", text(system.nodename)},
                 {"by", text("the C interface")}});
}

}  // namespace

std::string describe_recording(const Snapshot& snapshot, const std::vector<SessionMark>& marks,
                               const std::vector<std::string>& notes,
                               const std::array<ClockAnchor, 2>& anchors) {
  Members devices;
  for (const DeviceReadings& read : snapshot.devices) {
    devices.emplace_back(read.device.id, describe(read));
  }
  const auto anchor = [](const ClockAnchor& a) {
    return object({{"mono_ns", number(a.mono_ns)},
                   {"real_ns", number(a.real_ns)},
                   {"width_ns", number(a.width_ns)}});
  };
  return object({{"format", text("pyenergy-recording")},
                 {"version", "1"},
                 {"bounds_ns", "[" + number(snapshot.start) + ", " + number(snapshot.end) + "]"},
                 {"devices", object(devices)},
                 {"marks", describe(marks)},
                 {"anchors", list(anchors, anchor)},
                 {"notes", texts(notes)},
                 {"provenance", provenance()},
                 {"extra", "{}"}});
}

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t more = lead < 0x80   ? 0
                             : lead < 0xc2 ? text.size()  // no text begins so
                             : lead < 0xe0 ? 1
                             : lead < 0xf0 ? 2
                             : lead < 0xf5 ? 3
                                           : text.size();
    if (more >= text.size() - i) return false;
    for (std::size_t k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      // Longer than need be, a surrogate, or beyond the last: told by the second byte.
      const unsigned low = k > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
      const unsigned high = k > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
      if (next < low || next > high) return false;
    }
    i += more + 1;
  }
  return true;
}

}  // namespace pyenergy
