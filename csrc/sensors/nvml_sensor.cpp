// SPDX-License-Identifier: Apache-2.0
// Reads an NVIDIA GPU by the plan that was probed at open.
#include "sensors/nvml_sensor.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <utility>

#include "core/clock.h"

namespace pyenergy {
namespace {

// The driver keeps about a hundred samples; more than this at once would be a fault.
constexpr std::size_t kSampleBuffer = 1024;
// Beyond this the Unix clock was set, and the samples' stamps cannot be placed.
constexpr Ns kClockStep = 50 * kUs;

// Fills a caller's span, dropping what does not fit.
class Writer {
 public:
  explicit Writer(std::span<Reading> out) noexcept : out_(out) {}
  void put(std::uint16_t channel, nvmlReturn_t code, double value) noexcept {
    const bool ok = code == NVML_SUCCESS;
    put({.value = ok ? value : std::numeric_limits<double>::quiet_NaN(),
         .channel = channel,
         .flags = static_cast<std::uint16_t>(ok ? kOk : kMissing),
         .status = static_cast<std::int32_t>(code)});
  }
  void put(const Reading& reading) noexcept {
    if (used_ < out_.size()) out_[used_++] = reading;
  }
  std::size_t used() const noexcept { return used_; }

 private:
  const std::span<Reading> out_;
  std::size_t used_ = 0;
};

// Drains the driver's buffer of power samples, which it stamps with Unix time.
class SampleDrain {
 public:
  SampleDrain(const NvmlApi& api, nvmlDevice_t device, std::uint16_t channel)
      : api_(api), device_(device), channel_(channel), buffer_(kSampleBuffer) {
    const ClockAnchor anchor = take_anchor();
    offset_ = anchor.mono_ns - anchor.real_ns;
    last_us_ = static_cast<unsigned long long>(anchor.real_ns / kUs);  // older ones were before us
  }

  void read(Writer& out) noexcept {
    refresh();
    nvmlValueType_t type{};
    auto count = static_cast<unsigned>(buffer_.size());
    const nvmlReturn_t code =
        api_.samples(device_, NVML_TOTAL_POWER_SAMPLES, last_us_, &type, &count, buffer_.data());
    if (code == NVML_ERROR_NOT_FOUND || code == NVML_ERROR_NO_DATA) return;  // nothing new
    if (code != NVML_SUCCESS) return out.put(channel_, code, 0.0);
    for (std::size_t i = 0; i < std::min<std::size_t>(count, buffer_.size()); ++i) {
      put(buffer_[i], type, out);
    }
  }

 private:
  void refresh() noexcept {
    const ClockAnchor anchor = take_anchor(8);
    const Ns offset = anchor.mono_ns - anchor.real_ns;
    if (std::abs(offset - offset_) > kClockStep) {
      gap_ = true;
      last_us_ = static_cast<unsigned long long>(anchor.real_ns / kUs);
    }
    offset_ = offset;
  }

  void put(const nvmlSample_t& sample, nvmlValueType_t type, Writer& out) noexcept {
    if (sample.timeStamp <= last_us_) return;
    last_us_ = sample.timeStamp;
    nvmlFieldValue_t field{};
    field.valueType = type;
    field.value = sample.sampleValue;
    const NvmlAnswer answer = field_answer(field);
    const Ns at = static_cast<Ns>(sample.timeStamp) * kUs + offset_;
    const bool ok = answer.code == NVML_SUCCESS;
    const int flags = (ok ? kOk : kMissing) | (std::exchange(gap_, false) ? kGapBefore : kOk);
    out.put({.value = ok ? answer.value : std::numeric_limits<double>::quiet_NaN(),
             .t_ns = at,
             .read_ns = at,
             .channel = channel_,
             .flags = static_cast<std::uint16_t>(flags),
             .status = static_cast<std::int32_t>(answer.code)});
  }

  const NvmlApi& api_;
  const nvmlDevice_t device_;
  const std::uint16_t channel_;
  std::vector<nvmlSample_t> buffer_;  // sized once
  Ns offset_ = 0;
  unsigned long long last_us_ = 0;
  bool gap_ = false;
};

class NvmlSensor final : public Sensor {
 public:
  NvmlSensor(const NvmlApi& api, NvmlFound found, std::unique_ptr<Activity> activity)
      : api_(api),
        device_(found.device),
        info_(std::move(found.info)),
        plan_(std::move(found.plan)),
        activity_(std::move(activity)) {
    if (activity_) first_activity_ = plan_.channels.size() - activity_->channels().size();
    if (plan_.samples_channel >= 0) {
      drain_ = std::make_unique<SampleDrain>(api_, device_,
                                             static_cast<std::uint16_t>(plan_.samples_channel));
    }
  }

  const DeviceInfo& info() const noexcept override { return info_; }
  const std::vector<Channel>& channels() const noexcept override { return plan_.channels; }
  std::size_t max_readings() const noexcept override {
    return plan_.channels.size() + (drain_ ? kSampleBuffer : 0) +
           (activity_ ? activity_->max_readings() : 0);
  }

  std::size_t read(ReadGroup group, std::span<Reading> out) noexcept override {
    Writer writer(out);
    if (group == ReadGroup::kFast) {
      read_fields(writer);
      for (const auto& step : plan_.fast) call(step, writer);
    } else {
      for (const auto& step : plan_.slow) call(step, writer);
      if (drain_) drain_->read(writer);
      if (activity_) {
        const auto first = static_cast<std::uint16_t>(first_activity_);
        return writer.used() + activity_->read(out.subspan(writer.used()), first);
      }
    }
    return writer.used();
  }

 private:
  // One call for all fields: they share the driver's lock, and each has its own return code.
  void read_fields(Writer& out) noexcept {
    if (plan_.fields.empty()) return;
    std::array<nvmlFieldValue_t, NvmlPlan::kMaxFields> values{};
    const std::size_t n = plan_.fields.size();
    for (std::size_t i = 0; i < n; ++i) {
      values[i].fieldId = plan_.fields[i].id;
      values[i].scopeId = plan_.fields[i].scope;
      // A library that leaves an entry alone must not look as if it had read 0.
      values[i].nvmlReturn = NVML_ERROR_UNKNOWN;
    }
    const nvmlReturn_t code = api_.field_values(device_, static_cast<int>(n), values.data());
    for (std::size_t i = 0; i < n; ++i) {
      const NvmlAnswer answer =
          code == NVML_SUCCESS ? field_answer(values[i]) : NvmlAnswer{.code = code};
      out.put(plan_.fields[i].channel, answer.code, answer.value);
    }
  }

  void call(const NvmlPlan::Step& step, Writer& out) noexcept {
    const NvmlAnswer answer = call_nvml(api_, device_, step.call);
    out.put(step.channel, answer.code, answer.value);
    if (step.call == NvmlCall::kUtilisation || step.call == NvmlCall::kMemory) {
      out.put(static_cast<std::uint16_t>(step.channel + 1), answer.code, answer.second);
    }
  }

  const NvmlApi& api_;
  const nvmlDevice_t device_;
  const DeviceInfo info_;
  const NvmlPlan plan_;
  std::unique_ptr<SampleDrain> drain_;
  const std::unique_ptr<Activity> activity_;
  std::size_t first_activity_ = 0;
};

// The activity's channels are the last ones.
void add_activity(std::vector<Channel>& channels, const ActivityChoice& choice) {
  if (choice.activity) {
    const auto& more = choice.activity->channels();
    channels.insert(channels.end(), more.begin(), more.end());
    return;
  }
  for (Channel& channel : channels) {
    if (channel.source == kUtilisationSource) channel.note = choice.said;
  }
}

}  // namespace

std::unique_ptr<Sensor> make_nvml_sensor(const NvmlApi& api, NvmlFound found,
                                         ActivityChoice activity) {
  add_activity(found.plan.channels, activity);
  return std::make_unique<NvmlSensor>(api, std::move(found), std::move(activity.activity));
}

}  // namespace pyenergy
