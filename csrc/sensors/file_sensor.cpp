// SPDX-License-Identifier: Apache-2.0
// Reads the files of a group, one after the other.
#include "sensors/file_sensor.h"

#include <limits>
#include <utility>

namespace pyenergy {
namespace {

class FileSensor final : public Sensor {
 public:
  FileSensor(DeviceInfo info, std::vector<FileChannel> files)
      : info_(std::move(info)), files_(std::move(files)) {
    for (const FileChannel& file : files_) channels_.push_back(file.channel);
  }

  const DeviceInfo& info() const noexcept override { return info_; }
  const std::vector<Channel>& channels() const noexcept override { return channels_; }

  std::size_t read(ReadGroup group, std::span<Reading> out) noexcept override {
    std::size_t used = 0;
    for (std::size_t i = 0; i < files_.size() && used < out.size(); ++i) {
      if (channels_[i].group != group) continue;
      out[used++] = reading(static_cast<std::uint16_t>(i), value(files_[i]));
    }
    return used;
  }

 private:
  static NumberFile::Value value(const FileChannel& file) noexcept {
    NumberFile::Value first = file.number.read();
    if (first.status != 0 || !file.factor.is_open()) return first;
    const NumberFile::Value second = file.factor.read();
    if (second.status != 0) return second;
    first.number *= second.number;
    return first;
  }

  static Reading reading(std::uint16_t channel, const NumberFile::Value& value) noexcept {
    if (value.status == 0) return {.value = value.number, .channel = channel};
    return {.value = std::numeric_limits<double>::quiet_NaN(),
            .channel = channel,
            .flags = static_cast<std::uint16_t>(value.garbage ? kInvalid : kMissing),
            .status = value.status};
  }

  const DeviceInfo info_;
  const std::vector<FileChannel> files_;
  std::vector<Channel> channels_;
};

}  // namespace

std::unique_ptr<Sensor> make_file_sensor(DeviceInfo info, std::vector<FileChannel> files) {
  return std::make_unique<FileSensor>(std::move(info), std::move(files));
}

}  // namespace pyenergy
