// SPDX-License-Identifier: Apache-2.0
// Streams over fake sensors, and waiting for what their threads do.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/sampler.h"
#include "fake_sensor.h"

namespace pyenergy {

inline std::size_t five(ReadGroup group, std::span<Reading> out) {
  if (group == ReadGroup::kSlow) return 0;
  out[0] = {.value = 5.0};
  return 1;
}

inline std::shared_ptr<Stream> stream_of(FakeSensor::Read read, std::shared_ptr<Clock> clock,
                                         StreamOptions options = {},
                                         std::function<bool()> finished = {},
                                         std::size_t most_readings = 1) {
  auto sensor = std::make_unique<FakeSensor>(std::vector{fake_channel("power")}, std::move(read),
                                             std::move(finished), most_readings);
  return Stream::create(std::move(sensor), std::move(clock), std::move(options));
}

inline std::shared_ptr<Stream> live(FakeSensor::Read read = five) {
  return stream_of(std::move(read), std::make_shared<SystemClock>());
}

// Waits for something another thread does; five seconds mean it never will.
template <typename Condition>
bool eventually(Condition condition) {
  SystemClock clock;
  for (const Ns deadline = clock.now() + 5 * kSecond; clock.now() < deadline;) {
    if (condition()) return true;
    clock.sleep_until(clock.now() + 200 * kUs);
  }
  return condition();
}

}  // namespace pyenergy
