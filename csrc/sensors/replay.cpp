// SPDX-License-Identifier: Apache-2.0
// The replay source: gives a recording's readings again at their own pace.
#include "sensors/replay.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "sensors/sources.h"

namespace pyenergy {
namespace {

constexpr std::size_t kMaxReadings = 4096;
constexpr Ns kLongest = Ns{1} << 61;  // 73 years: what is added to them never overflows

struct Entry {
  DeviceInfo info;
  std::vector<Channel> channels;
  std::array<std::vector<Reading>, 2> groups;  // by ReadGroup, in time order
  Ns start = 0;                                // of the first reading
};

struct Slot {
  std::shared_ptr<const Entry> entry;
  std::optional<Ns> offset;
};

std::mutex slots_mutex;

std::map<std::string, Slot>& slots() {
  static std::map<std::string, Slot> all;
  return all;
}

std::string unknown_key(const std::string& key) {
  return "no recording is registered as '" + key + "'";
}

void check(const ReplayData& data) {
  if (data.readings.empty()) throw std::invalid_argument("a recording without readings");
  for (const Channel& channel : data.channels) {
    if (channel.scale != 1.0) {
      throw std::invalid_argument("channel '" + channel.name + "': recorded values must be SI");
    }
  }
  for (const Reading& reading : data.readings) {
    if (reading.channel >= data.channels.size()) {
      throw std::invalid_argument("a reading of a channel that is not in the list");
    }
    if (!is_time(reading.t_ns) || !is_time(reading.read_ns)) {
      throw std::invalid_argument("a reading whose time is beyond 146 years");
    }
    if (reading.read_ns < reading.t_ns) {
      throw std::invalid_argument("a reading that ends before it begins");
    }
  }
  const auto [first, last] = std::ranges::minmax(data.readings, {}, &Reading::t_ns);
  const Ns end = std::ranges::max(data.readings, {}, &Reading::read_ns).read_ns;
  if (std::max(last.t_ns, end) - first.t_ns > kLongest) {
    throw std::invalid_argument("its readings lie more than 73 years apart");
  }
}

class ReplaySensor final : public Sensor {
 public:
  ReplaySensor(std::shared_ptr<const Entry> entry, std::shared_ptr<Clock> clock, Ns offset)
      : entry_(std::move(entry)), clock_(std::move(clock)), offset_(offset) {}

  const DeviceInfo& info() const noexcept override { return entry_->info; }
  const std::vector<Channel>& channels() const noexcept override { return entry_->channels; }
  std::size_t max_readings() const noexcept override { return kMaxReadings; }

  std::size_t read(ReadGroup group, std::span<Reading> out) noexcept override {
    const auto index = static_cast<std::size_t>(group);
    const std::vector<Reading>& readings = entry_->groups[index];
    const Ns now = clock_->now();
    std::size_t& next = next_[index];
    std::size_t written = 0;
    while (written < out.size() && next < readings.size() &&
           readings[next].read_ns + offset_ <= now) {
      out[written] = readings[next++];
      out[written].t_ns += offset_;
      out[written++].read_ns += offset_;
    }
    return written;
  }

  bool finished() const noexcept override {
    return next_[0] == entry_->groups[0].size() && next_[1] == entry_->groups[1].size();
  }

 private:
  const std::shared_ptr<const Entry> entry_;
  const std::shared_ptr<Clock> clock_;
  const Ns offset_;
  std::array<std::size_t, 2> next_{};
};

}  // namespace

void register_replay(const std::string& key, ReplayData data) {
  check(data);
  std::stable_sort(data.readings.begin(), data.readings.end(),
                   [](const Reading& a, const Reading& b) { return a.t_ns < b.t_ns; });
  auto entry = std::make_shared<Entry>();
  entry->start = data.readings.front().t_ns;
  for (const Reading& reading : data.readings) {
    const ReadGroup group = data.channels[reading.channel].group;
    entry->groups[static_cast<std::size_t>(group)].push_back(reading);
  }
  entry->channels = std::move(data.channels);
  entry->info = std::move(data.info);
  if (entry->info.source != "replay") {
    entry->info.facts.emplace_back("recorded source", entry->info.source);
  }
  entry->info.source = "replay";
  entry->info.argument = key;
  const std::lock_guard lock(slots_mutex);
  slots()[key] = {std::move(entry), std::nullopt};
}

std::optional<Ns> replay_offset_ns(const std::string& key) {
  const std::lock_guard lock(slots_mutex);
  const auto found = slots().find(key);
  if (found == slots().end()) throw std::invalid_argument(unknown_key(key));
  return found->second.offset;
}

SourceReport enumerate_replay(const std::string& argument) {
  SourceReport report;
  report.source = "replay";
  const std::lock_guard lock(slots_mutex);
  for (const auto& [key, slot] : slots()) {
    if (argument.empty() || argument == key) report.devices.push_back(slot.entry->info);
  }
  report.available = !report.devices.empty();
  if (!report.available) {
    report.reason = argument.empty() ? "no recording is registered" : unknown_key(argument);
    report.fix = "name a recording's file, as in replay:/path/to/recording.npz";
  }
  return report;
}

std::unique_ptr<Sensor> open_replay(const DeviceInfo& info, std::shared_ptr<Clock> clock) {
  const std::lock_guard lock(slots_mutex);
  const auto found = slots().find(info.argument);
  if (found == slots().end()) throw std::runtime_error(unknown_key(info.argument));
  Slot& slot = found->second;
  slot.offset = clock->now() - slot.entry->start;
  return std::make_unique<ReplaySensor>(slot.entry, std::move(clock), *slot.offset);
}

}  // namespace pyenergy
