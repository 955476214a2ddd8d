// SPDX-License-Identifier: Apache-2.0
// Activity from DCGM's profiling fields.
#include <algorithm>
#include <limits>
#include <utility>

#include "sensors/activity.h"
#include "sensors/dcgm_reader.h"

namespace pyenergy {
namespace {

// A call that takes longer holds up the power readings of the same thread: DCGM is left alone for
// a while then.
constexpr Ns kSlowCall = 50 * kMs;
constexpr Ns kPause = 10 * kSecond;

class DcgmActivity final : public Activity {
 public:
  DcgmActivity(std::unique_ptr<DcgmReader> reader, std::vector<Channel> channels)
      : reader_(std::move(reader)), channels_(std::move(channels)) {}

  const std::vector<Channel>& channels() const noexcept override { return channels_; }
  std::size_t max_readings() const noexcept override { return DcgmReader::kMaxReadings; }

  std::size_t read(std::span<Reading> out, std::uint16_t first) noexcept override {
    const Ns before = monotonic_ns();
    if (before < paused_until_) return missing(out, first);
    const std::size_t n = reader_->read(out, first);
    const Ns after = monotonic_ns();
    if (after - before > kSlowCall) paused_until_ = after + kPause;
    return n;
  }

 private:
  std::size_t missing(std::span<Reading> out, std::uint16_t first) const noexcept {
    std::size_t n = 0;
    for (; n < std::min(out.size(), channels_.size()); ++n) {
      out[n] = {.value = std::numeric_limits<double>::quiet_NaN(),
                .channel = static_cast<std::uint16_t>(first + n),
                .flags = kMissing,
                .status = -dcgm::kTimeout};
    }
    return n;
  }

  const std::unique_ptr<DcgmReader> reader_;
  const std::vector<Channel> channels_;
  Ns paused_until_ = 0;
};

std::unique_ptr<DcgmWatch> watch(const std::shared_ptr<DcgmEngine>& engine, unsigned gpu,
                                 const std::vector<ActivityPart>& parts) {
  std::vector<unsigned short> fields;
  for (const ActivityPart& part : parts) fields.push_back(part.dcgm_field);
  return std::make_unique<DcgmWatch>(engine, gpu, fields, kActivityInterval);
}

}  // namespace

std::unique_ptr<Activity> open_dcgm_activity(std::shared_ptr<DcgmEngine> engine, unsigned gpu,
                                             std::string& reason) {
  std::vector<ActivityPart> parts = activity_parts();
  std::string note = "activity: DCGM profiling fields (" + engine->where() + ")";
  auto watched = watch(engine, gpu, parts);
  if (watched->code() == dcgm::kProfilingMultiPass) {
    std::erase_if(parts, [](const ActivityPart& part) {
      return part.dcgm_field != dcgm::kDramActive && part.dcgm_field != dcgm::kFp64Active &&
             part.dcgm_field != dcgm::kFp32Active;
    });
    note += ", without those that this GPU cannot count at the same time";
    watched = watch(engine, gpu, parts);
  }
  if (const int code = watched->code(); code != dcgm::kOk) {
    const std::string fix = dcgm_fix(code);
    reason = "its profiling fields (" + engine->where() +
             ") cannot be watched: " + engine->api.error_text(code) +
             (fix.empty() ? "" : " (fix: " + fix + ")");
    return nullptr;
  }
  std::vector<Channel> channels = activity_channels(parts, note, true);
  std::vector<DcgmReader::Field> fields;
  for (const ActivityPart& part : parts) {
    fields.push_back({part.dcgm_field, static_cast<std::uint16_t>(fields.size())});
  }
  DcgmReaderOptions options;
  options.interval = kActivityInterval;
  options.fp_channel = static_cast<int>(channels.size()) - 1;
  return std::make_unique<DcgmActivity>(
      std::make_unique<DcgmReader>(std::move(watched), std::move(fields), options),
      std::move(channels));
}

}  // namespace pyenergy
