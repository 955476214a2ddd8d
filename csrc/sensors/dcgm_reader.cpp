// SPDX-License-Identifier: Apache-2.0
// Watches, and values drained from DCGM's cache. Whatever DCGM read is fetched, each value once and
// with DCGM's own stamp: how often we ask does not matter.
#include "sensors/dcgm_reader.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>

namespace pyenergy {
namespace {

// Kept by the engine for us, should we be late.
constexpr double kKeepSeconds = 10.0;
// Beyond this the Unix clock was set.
constexpr Ns kClockStep = 50 * kUs;
// A field may be silent for so many intervals and this long before it is missing. A first value
// takes the profiling module about a second.
constexpr Ns kPatience = 1500 * kMs;
// No value that is kept is so old, and none is from the future.
constexpr Ns kFarOff = 2 * static_cast<Ns>(kKeepSeconds) * kSecond;
// Halves of one update carry the same stamp, or stamps of one loop of the engine.
constexpr std::int64_t kSameUpdateUs = 20'000;

// Names in an engine must differ, between processes and within one.
std::string unique_name() {
  static std::atomic<unsigned> count{0};
  return "pyenergy-" + std::to_string(::getpid()) + "-" + std::to_string(count.fetch_add(1)) + "-" +
         std::to_string(monotonic_ns());
}

}  // namespace

DcgmWatch::DcgmWatch(std::shared_ptr<DcgmEngine> engine, unsigned gpu,
                     const std::vector<unsigned short>& fields, Ns interval)
    : engine_(std::move(engine)), code_(start(gpu, fields, interval)) {}

int DcgmWatch::start(unsigned gpu, const std::vector<unsigned short>& fields, Ns interval) {
  const DcgmApi& api = engine_->api;
  const dcgm::Handle handle = engine_->handle;
  const std::string name = unique_name();
  int code = api.create_group(handle, dcgm::kGroupEmpty, name.c_str(), &group_);
  if (code != dcgm::kOk) return code;
  has_group_ = true;
  if (code = api.add_device(handle, group_, gpu); code != dcgm::kOk) return code;
  code = api.create_fields(handle, static_cast<int>(fields.size()), fields.data(), name.c_str(),
                           &fields_);
  if (code != dcgm::kOk) return code;
  has_fields_ = true;
  code = api.watch(handle, group_, fields_, interval / kUs, kKeepSeconds, 0);
  // The first value would come with the engine's next cycle only. What this answers is not ours:
  // any other watch may fail.
  if (code == dcgm::kOk) api.update_all(handle, 1);
  return code;
}

DcgmWatch::~DcgmWatch() {
  const DcgmApi& api = engine_->api;
  if (code_ == dcgm::kOk) api.unwatch(engine_->handle, group_, fields_);
  if (has_fields_) api.destroy_fields(engine_->handle, fields_);
  if (has_group_) api.destroy_group(engine_->handle, group_);
}

int DcgmWatch::drain(std::int64_t since_us, long long& next_us, dcgm::EntityValues values,
                     void* user) const noexcept {
  return engine_->api.values_since(engine_->handle, group_, fields_, since_us, &next_us, values,
                                   user);
}

bool FpActive::add(bool is_fp64, std::int64_t ts_us, const DcgmAnswer& answer,
                   DcgmAnswer& sum) noexcept {
  for (Half& half : halves_) {
    const bool fits =
        half.waits && half.is_fp64 != is_fp64 && std::abs(half.ts_us - ts_us) <= kSameUpdateUs;
    if (!fits) continue;
    half.waits = false;
    const DcgmAnswer& fp64 = is_fp64 ? answer : half.answer;
    const DcgmAnswer& fp32 = is_fp64 ? half.answer : answer;
    sum = {fp64.status != 0 ? fp64.status : fp32.status, fp64.value + fp32.value / 2};
    return true;
  }
  halves_[next_] = {ts_us, answer, is_fp64, true};
  next_ = (next_ + 1) % halves_.size();
  return false;
}

DcgmReader::DcgmReader(std::unique_ptr<DcgmWatch> watch, std::vector<Field> fields,
                       DcgmReaderOptions options)
    : watch_(std::move(watch)), options_(options), local_(watch_->engine().is_local()) {
  for (const Field& field : fields) lines_.push_back({field.channel, field.id});
  if (options_.fp_channel >= 0) {
    lines_.push_back({static_cast<std::uint16_t>(options_.fp_channel), 0});
  }
  const ClockAnchor anchor = options_.anchor();
  offset_ = anchor.mono_ns - anchor.real_ns;
  for (Line& line : lines_) line.heard = anchor.mono_ns;
  // Readings from before the opening are nobody's; the engine of another host has its own clock.
  since_us_ = local_ ? anchor.real_ns / kUs : 0;
}

std::size_t DcgmReader::read(std::span<Reading> out, std::uint16_t first) noexcept {
  const ClockAnchor anchor = options_.anchor();
  now_ = anchor.mono_ns;
  if (previous_ != 0 && now_ - previous_ < options_.interval / 2) return 0;
  out_ = out;
  used_ = 0;
  first_ = first;
  overrun_ = false;
  follow_clock(anchor);
  long long next_us = since_us_;
  const int code = watch_->drain(since_us_, next_us, &DcgmReader::take, this);
  if (code == dcgm::kOk || overrun_) {
    // A stamp from the future must not hide what comes until then.
    const auto latest =
        local_ ? std::min<std::int64_t>(next_us, anchor.real_ns / kUs + 1) : next_us;
    since_us_ = std::max<std::int64_t>(since_us_, latest);
  }
  const bool failed = code != dcgm::kOk && code != dcgm::kNoData && !overrun_;
  const Ns limit = kPatience + 3 * options_.interval;
  for (Line& line : lines_) {
    line.gap = line.gap || overrun_;
    if (failed) {
      put_missing(line, code < 0 ? -code : code);
    } else if (now_ - line.heard > limit) {
      put_missing(line, line.had ? -dcgm::kStaleData : -dcgm::kNoData);
    }
  }
  previous_ = now_;
  return used_;
}

// A Unix clock that was set moves DCGM's stamps: what was stamped before cannot be placed.
void DcgmReader::follow_clock(const ClockAnchor& anchor) noexcept {
  const Ns offset = anchor.mono_ns - anchor.real_ns;
  const bool stepped = std::abs(offset - offset_) > kClockStep;
  offset_ = offset;
  if (!stepped || !local_) return;
  since_us_ = anchor.real_ns / kUs;
  for (Line& line : lines_) {
    line.gap = true;
    line.last_us = 0;
  }
}

int DcgmReader::take(unsigned, unsigned, dcgm::FieldValue1* values, int count,
                     void* self) noexcept {
  auto& reader = *static_cast<DcgmReader*>(self);
  for (int i = 0; i < count; ++i) {
    if (!reader.value(values[i])) {
      reader.overrun_ = true;
      return -1;
    }
  }
  return 0;
}

// False: there is no room for it.
bool DcgmReader::value(const dcgm::FieldValue1& value) noexcept {
  const auto line = std::find_if(lines_.begin(), lines_.end(), [&](const Line& candidate) {
    return candidate.id == value.field_id && candidate.id != 0;
  });
  if (line == lines_.end() || value.ts_us <= line->last_us) return true;
  const bool is_half = options_.fp_channel >= 0 &&
                       (value.field_id == dcgm::kFp64Active || value.field_id == dcgm::kFp32Active);
  // The computed channel needs room too.
  if (used_ + 2 > out_.size()) return false;
  const Ns stamp = value.ts_us * kUs + offset_;
  if (local_ && std::abs(stamp - now_) > kFarOff) {
    // DCGM hands it out until it forgets it: said once.
    if (std::exchange(line->strange_us, value.ts_us) == value.ts_us) return true;
    put_missing(*line, kStatusStrangeTime);
    return true;
  }
  line->last_us = value.ts_us;
  // Of another clock, nothing tells how old the values are that the first call finds.
  if (!local_ && previous_ == 0) return true;
  const DcgmAnswer answer = dcgm_answer(value.status, value.field_type, value.value);
  const Ns t = local_ ? stamp : previous_;
  const Ns read = local_ ? std::clamp(now_, stamp, stamp + options_.slack) : now_;
  put(*line, answer, t, read);
  DcgmAnswer sum;
  if (is_half && fp_.add(value.field_id == dcgm::kFp64Active, value.ts_us, answer, sum)) {
    put(lines_.back(), sum, t, read);
  }
  return true;
}

void DcgmReader::put(Line& line, const DcgmAnswer& answer, Ns t, Ns read) noexcept {
  line.heard = now_;
  line.had = line.had || answer.status == 0;
  if (used_ == out_.size()) {
    line.gap = true;
    return;
  }
  const bool ok = answer.status == 0;
  const int flags = (ok ? kOk : kMissing) | (std::exchange(line.gap, false) ? kGapBefore : kOk);
  out_[used_++] = {.value = ok ? answer.value : std::numeric_limits<double>::quiet_NaN(),
                   .t_ns = t,
                   .read_ns = read,
                   .channel = static_cast<std::uint16_t>(first_ + line.channel),
                   .flags = static_cast<std::uint16_t>(flags),
                   .status = static_cast<std::int32_t>(answer.status)};
}

void DcgmReader::put_missing(Line& line, int status) noexcept {
  // Silence is told once in a while, and goes on counting from there.
  put(line, {status}, now_, now_);
}

}  // namespace pyenergy
