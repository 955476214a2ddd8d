// SPDX-License-Identifier: Apache-2.0
// What a recording makes of samples, and the thread that drains.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>

#include "core/clock.h"
#include "core/collector.h"
#include "fake_sensor.h"

using namespace pyenergy;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr Ns kGap = 1'000;

Channel energy_counter() {
  Channel channel;
  channel.kind = ChannelKind::kCounter;
  channel.scale = 1e-3;
  channel.valid_max = 1'000.0;  // W
  return channel;
}

}  // namespace

TEST_SUITE_BEGIN("collector");

TEST_CASE("recording: scale, validity and totals; never a wrong number") {
  Channel power;
  power.scale = 1e-3;
  power.valid_min = 0.0;
  power.valid_max = 1'000.0;
  Channel clock;
  clock.group = ReadGroup::kSlow;
  Recording recording({power, energy_counter(), clock}, kGap, 10 * kGap);
  const auto take = [&](Ns t, std::uint16_t channel, double value, std::uint16_t flags = kOk) {
    recording.take({t, t + 1, value, channel, flags, 0});
  };
  take(100, 0, 250'000.0);
  take(200, 0, -1.0);
  take(300, 0, 2e6);
  take(400, 0, std::numeric_limits<double>::infinity());
  take(500, 0, kNaN);
  take(600, 0, 100'000.0, kEstimate);
  take(100, 1, 1'000.0);
  take(200, 1, kNaN, kMissing);
  take(300, 1, 3'500.0);
  take(100, 2, 1e9);
  take(100 + 9 * kGap, 2, 1e9);
  take(100, 3, 1.0);
  recording.seal();
  CHECK(recording.lost() == 1);  // there is no channel 3

  const RunStore& watts = recording.store(0);
  REQUIRE(watts.size() == 4);
  CHECK(watts.value()[0] == doctest::Approx(250.0));
  CHECK(watts.flags()[1] == kInvalid);
  CHECK(std::isnan(watts.value()[1]));
  CHECK(watts.count()[1] == 3);
  CHECK(watts.flags()[2] == kMissing);
  CHECK(watts.flags()[3] == kEstimate);
  const RunStore& joules = recording.store(1);
  REQUIRE(joules.size() == 3);
  CHECK(joules.value()[0] == 0.0);
  CHECK(std::isnan(joules.value()[1]));
  CHECK(joules.value()[2] == doctest::Approx(2.5));
  CHECK(recording.store(2).size() == 1);  // slow channels have a gap of their own
}

TEST_CASE("collector: drains until the source has ended, then lets go of it") {
  struct Source final : Collectable {
    std::atomic<int> rounds{0};
    bool collect() override { return ++rounds < 3; }
  };
  auto source = std::make_shared<Source>();
  Collector::instance().add(source);
  const Ns deadline = monotonic_ns() + 5 * kSecond;
  SystemClock clock;
  while (source->rounds < 3 && monotonic_ns() < deadline) clock.sleep_until(monotonic_ns() + kMs);
  clock.sleep_until(monotonic_ns() + 3 * Collector::kPeriod);
  CHECK(source->rounds == 3);
}

TEST_CASE("collector: a source that is added again and again is still drained once a round") {
  struct Source final : Collectable {
    std::atomic<int> rounds{0}, hasty{0};
    Ns before = 0;  // of the collector's thread
    bool collect() override {
      const Ns now = monotonic_ns();
      hasty += before != 0 && now - before < Collector::kPeriod;
      before = now;
      return ++rounds < 4;
    }
  };
  auto source = std::make_shared<Source>();
  for (int i = 0; i < 50; ++i) Collector::instance().add(source);
  const Ns deadline = monotonic_ns() + 5 * kSecond;
  SystemClock clock;
  while (source->rounds < 4 && monotonic_ns() < deadline) clock.sleep_until(monotonic_ns() + kMs);
  CHECK(source->rounds == 4);
  CHECK(source->hasty == 0);
}

TEST_CASE("collector: what is no time is lost and counted, and refused of another process") {
  Recording recording({fake_channel("c")}, kSecond, kSecond);
  constexpr Ns kNoTime = std::numeric_limits<Ns>::max();
  recording.take({kNoTime, kNoTime, 1.0, 0, kOk, 0});
  recording.take({kSecond, kNoTime, 1.0, 0, kOk, 0});
  CHECK(recording.lost() == 2);
  CHECK_THROWS_AS(recording.resume(0, {0, kNoTime, 0, 0, 1.0, 1, kOk}), std::invalid_argument);
  CHECK_THROWS_AS(recording.resume_counter(0, 1.0, 1.0, -kNoTime), std::invalid_argument);
}

TEST_SUITE_END();
