// SPDX-License-Identifier: Apache-2.0
// Samples of any sensor, and of a dead process: scales, checks, counters that wrap, runs.
#include <fuzzer/FuzzedDataProvider.h>

#include <limits>

#include "properties.h"

namespace {

using namespace pyenergy;

Channel channel_of(FuzzedDataProvider& input) {
  Channel channel;
  channel.name = "c";
  channel.kind = input.ConsumeBool() ? ChannelKind::kCounter : ChannelKind::kGauge;
  channel.group = input.ConsumeBool() ? ReadGroup::kFast : ReadGroup::kSlow;
  channel.scale = input.PickValueInArray({1.0, 1e-3, 1e-6, 6.1e-5});
  channel.modulus = input.PickValueInArray({0.0, 4294967296.0, 262143328850.0, 1000.0});
  channel.valid_min = input.PickValueInArray({0.0, -10.0});
  channel.valid_max =
      input.PickValueInArray({1000.0, 1e6, std::numeric_limits<double>::infinity()});
  return channel;
}

// Small steps, or any number.
Ns time_of(FuzzedDataProvider& input, Ns last) {
  if (input.ConsumeProbability<double>() < 0.05) return input.ConsumeIntegral<Ns>();
  const Ns step = input.ConsumeIntegralInRange<Ns>(-kMs, 2 * kSecond);
  Ns next = 0;
  return __builtin_add_overflow(last, step, &next) ? last : next;
}

double value_of(FuzzedDataProvider& input) {
  switch (input.ConsumeIntegralInRange(0, 3)) {
    case 0:
      return input.ConsumeFloatingPoint<double>();
    case 1:
      return std::numeric_limits<double>::quiet_NaN();
    default:
      return input.ConsumeIntegral<std::uint32_t>();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  std::vector<Channel> channels;
  for (int i = input.ConsumeIntegralInRange(1, 3); i > 0; --i) {
    channels.push_back(channel_of(input));
  }
  const std::size_t count = channels.size();
  Recording recording(std::move(channels), input.ConsumeIntegralInRange<Ns>(0, kSecond), kSecond);
  Ns t = kSecond;
  for (std::size_t i = 0; i < count && input.ConsumeBool(); ++i) {
    const double value = std::abs(input.ConsumeFloatingPointInRange(0.0, 1000.0));
    recording.resume(i, {t, t, t, t, value, 1, kOk});
    recording.resume_counter(
        i, value, input.ConsumeBool() ? std::optional(value_of(input)) : std::nullopt, t);
  }
  while (input.remaining_bytes() > 0) {
    t = time_of(input, t);
    const Ns read = input.ConsumeBool() ? t : time_of(input, t);
    recording.take({t, read, value_of(input), input.ConsumeIntegralInRange<std::uint16_t>(0, 4),
                    static_cast<std::uint16_t>(input.ConsumeIntegral<std::uint8_t>() & 0x7f),
                    input.ConsumeIntegral<std::int16_t>()});
  }
  recording.counters();
  pyenergy::fuzz::check(recording);
  return 0;
}
