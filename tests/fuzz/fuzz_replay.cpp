// SPDX-License-Identifier: Apache-2.0
// Recordings that are fed back: whatever a file told, they are refused or replayed in order.
#include <fuzzer/FuzzedDataProvider.h>

#include <memory>
#include <stdexcept>

#include "core/clock.h"
#include "properties.h"
#include "sensors/replay.h"
#include "sensors/sources.h"

namespace {

using namespace pyenergy;

ReplayData data_of(FuzzedDataProvider& input) {
  ReplayData data;
  data.info.source = "nvml";
  for (int i = input.ConsumeIntegralInRange(0, 3); i > 0; --i) {
    Channel channel;
    channel.name = "c" + std::to_string(i);
    channel.kind = input.ConsumeBool() ? ChannelKind::kCounter : ChannelKind::kGauge;
    channel.group = input.ConsumeBool() ? ReadGroup::kFast : ReadGroup::kSlow;
    if (input.ConsumeProbability<double>() < 0.02) channel.scale = 2.0;
    data.channels.push_back(std::move(channel));
  }
  Ns t = input.ConsumeIntegral<Ns>();
  while (input.remaining_bytes() > 0) {
    const bool wild = input.ConsumeProbability<double>() < 0.05;
    const Ns step = input.ConsumeIntegralInRange<Ns>(-kMs, kSecond);
    if (wild || __builtin_add_overflow(t, step, &t)) t = input.ConsumeIntegral<Ns>();
    const Ns took = input.ConsumeIntegralInRange<Ns>(wild ? -kMs : 0, kMs);
    Ns read = 0;
    if (__builtin_add_overflow(t, took, &read)) read = t;
    data.readings.push_back({.value = input.ConsumeFloatingPoint<double>(),
                             .t_ns = t,
                             .read_ns = read,
                             .channel = input.ConsumeIntegralInRange<std::uint16_t>(0, 3),
                             .flags = input.ConsumeIntegralInRange<std::uint16_t>(0, 0x7f)});
  }
  return data;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider input(bytes, size);
  try {
    register_replay("key", data_of(input));
  } catch (const std::invalid_argument&) {
    return 0;
  }
  const SourceReport report = enumerate_replay("key");
  fuzz::require(report.available, "what is registered is found");
  const auto clock = std::make_shared<ManualClock>(kSecond);
  const auto sensor = open_replay(report.devices.front(), clock);
  Recording recording(sensor->channels(), kSecond, kSecond);
  std::vector<Reading> out(64);
  for (int step = 0; step < 1000 && !sensor->finished(); ++step) {
    clock->advance(step < 500 ? 20 * kMs : 3600 * kSecond);
    for (const ReadGroup group : {ReadGroup::kFast, ReadGroup::kSlow}) {
      const std::size_t n = sensor->read(group, out);
      fuzz::require(n <= out.size(), "a read fits its buffer");
      for (std::size_t i = 0; i < n; ++i) {
        fuzz::require(out[i].read_ns <= clock->now(), "nothing is read before its time");
        recording.take({out[i].t_ns, out[i].read_ns, out[i].value, out[i].channel, out[i].flags,
                        out[i].status});
      }
    }
  }
  fuzz::check(recording);
  return 0;
}
