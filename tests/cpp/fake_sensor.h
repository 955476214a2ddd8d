// SPDX-License-Identifier: Apache-2.0
// A sensor whose readings a test writes down as a function.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "core/sensor.h"

namespace pyenergy {

inline Channel fake_channel(const char* name, ReadGroup group = ReadGroup::kFast) {
  Channel channel;
  channel.name = name;
  channel.group = group;
  return channel;
}

class FakeSensor final : public Sensor {
 public:
  using Read = std::function<std::size_t(ReadGroup, std::span<Reading>)>;
  // `most_readings`: of one read; 0: as many as there are channels.
  FakeSensor(std::vector<Channel> channels, Read read, std::function<bool()> finished = {},
             std::size_t most_readings = 0)
      : channels_(std::move(channels)),
        read_(std::move(read)),
        finished_(std::move(finished)),
        most_readings_(most_readings) {}
  const DeviceInfo& info() const noexcept override { return info_; }
  const std::vector<Channel>& channels() const noexcept override { return channels_; }
  std::size_t read(ReadGroup group, std::span<Reading> out) noexcept override {
    return read_(group, out);
  }
  std::size_t max_readings() const noexcept override {
    return most_readings_ == 0 ? channels_.size() : most_readings_;
  }
  bool finished() const noexcept override { return finished_ && finished_(); }

 private:
  const DeviceInfo info_;
  const std::vector<Channel> channels_;
  const Read read_;
  const std::function<bool()> finished_;
  const std::size_t most_readings_;
};

}  // namespace pyenergy
