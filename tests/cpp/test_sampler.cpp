// SPDX-License-Identifier: Apache-2.0
// The hot loop on simulated time, with a scripted sensor.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "core/sampler.h"
#include "fake_sensor.h"

using namespace pyenergy;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Rig {
  explicit Rig(FakeSensor::Read read, StreamOptions options = {}, std::size_t capacity = 1024)
      : sensor({fake_channel("power"), fake_channel("clock", ReadGroup::kSlow)}, std::move(read)),
        ring(capacity),
        sampler(sensor, clock, options, ring, stats) {}
  void steps(int n) {
    for (int i = 0; i < n; ++i) REQUIRE(sampler.step(stop));
  }
  std::vector<Sample> take() {
    std::vector<Sample> out;
    ring.consume(ring.capacity(), [&](const Sample& s) { out.push_back(s); });
    return out;
  }
  ManualClock clock{kSecond};
  FakeSensor sensor;
  SpscRing<Sample> ring;
  SamplerStats stats;
  Sampler sampler;
  std::atomic<bool> stop{false};
};

std::size_t give(std::span<Reading> out, double value, std::uint16_t channel = 0) {
  out[0] = {.value = value, .channel = channel};
  return 1;
}

std::size_t fast_only(ReadGroup group, std::span<Reading> out) {
  return group == ReadGroup::kFast ? give(out, 5.0) : 0;
}

}  // namespace

TEST_SUITE_BEGIN("sampler");

TEST_CASE("samples carry the bracket of their read, the slow group its own and its own rate") {
  ManualClock* clock = nullptr;
  Rig rig([&](ReadGroup group, std::span<Reading> out) {
    clock->advance(group == ReadGroup::kFast ? 10 : 300);
    return give(out, 1.0, group == ReadGroup::kFast ? 0 : 1);
  });
  clock = &rig.clock;
  rig.steps(201);
  std::vector<Sample> fast, slow;
  for (const Sample& s : rig.take()) (s.channel == 0 ? fast : slow).push_back(s);
  REQUIRE(fast.size() == 201);
  for (std::size_t i = 0; i < fast.size(); ++i) {
    REQUIRE(fast[i].t_ns == kSecond + static_cast<Ns>(i) * kMs);
    REQUIRE(fast[i].read_ns == fast[i].t_ns + 10);
  }
  REQUIRE(slow.size() == 2);  // 0 and about 100 ms; the third is due just after 200 ms
  CHECK(slow[0].t_ns == kSecond + 10);
  CHECK(slow[0].read_ns == kSecond + 310);
  CHECK(rig.stats.polls == 201);
  CHECK(rig.stats.fast_latency.max() == 10);
  CHECK(rig.stats.slow_latency.max() == 300);
  CHECK(rig.stats.lateness.max() == 0);
}

TEST_CASE("readings with stamps of their own keep them") {
  Rig rig([](ReadGroup group, std::span<Reading> out) -> std::size_t {
    if (group == ReadGroup::kFast) return 0;
    out[0] = {.value = 7.0, .t_ns = 42, .read_ns = 43, .channel = 1};
    return 1;
  });
  rig.steps(1);
  const auto samples = rig.take();
  REQUIRE(samples.size() == 1);
  CHECK(samples[0].t_ns == 42);
  CHECK(samples[0].read_ns == 43);
}

TEST_CASE("NaN is missing, and missing is counted; a stranger's reading goes nowhere") {
  Rig rig([](ReadGroup group, std::span<Reading> out) -> std::size_t {
    if (group == ReadGroup::kSlow) return give(out, 1.0, 9);
    return give(out, kNaN);
  });
  rig.steps(3);
  const auto samples = rig.take();
  REQUIRE(samples.size() == 3);
  CHECK(samples[0].flags == kMissing);
  CHECK(std::isnan(samples[0].value));
  CHECK(rig.stats.failed_reads == 3);
}

TEST_CASE("a full ring drops the newest, counts it, and flags the channel's next sample") {
  Rig rig(fast_only, {}, 2);
  rig.steps(5);
  CHECK(rig.stats.dropped == 3);
  auto samples = rig.take();
  REQUIRE(samples.size() == 2);
  CHECK(samples[1].t_ns == kSecond + kMs);  // the oldest stayed
  rig.steps(2);
  samples = rig.take();
  REQUIRE(samples.size() == 2);
  CHECK(samples[0].flags == kGapBefore);
  CHECK(samples[1].flags == kOk);
  CHECK(rig.stats.samples == 4);
}

TEST_CASE("a call of two seconds misses deadlines and is not caught up") {
  ManualClock* clock = nullptr;
  int reads = 0;
  Rig rig([&](ReadGroup group, std::span<Reading> out) -> std::size_t {
    if (group == ReadGroup::kSlow) return 0;
    if (++reads == 10) clock->advance(2 * kSecond);
    return give(out, 5.0);
  });
  clock = &rig.clock;
  rig.steps(12);
  const auto samples = rig.take();
  REQUIRE(samples.size() == 12);
  CHECK(samples[9].read_ns - samples[9].t_ns == 2 * kSecond);
  CHECK(rig.stats.missed_deadlines == 2'000);
  CHECK(samples[10].t_ns == samples[9].read_ns + kMs);
  CHECK(samples[11].t_ns == samples[10].t_ns + kMs);
  CHECK(rig.stats.fast_latency.max() == 2 * kSecond);
}

TEST_CASE("a stop is seen within a slice of a long wait") {
  StreamOptions options;
  options.pacing.period = 3600 * kSecond;
  Rig rig(fast_only, options);
  rig.steps(1);
  rig.stop = true;
  CHECK_FALSE(rig.sampler.step(rig.stop));
  CHECK(rig.clock.now() - kSecond <= Sampler::kSlice);
  CHECK(rig.stats.polls == 1);
}

TEST_CASE("edge: the lock is published, and slow calls keep out of the bursts") {
  constexpr Ns kPeriod = 101 * kMs;
  StreamOptions options;
  options.pacing.mode = PacingMode::kEdge;
  options.pacing.seeds = {100 * kMs};
  ManualClock* clock = nullptr;
  std::vector<Ns> slow;
  Rig rig(
      [&](ReadGroup group, std::span<Reading> out) -> std::size_t {
        if (group == ReadGroup::kSlow) return slow.push_back(clock->now()), 0;
        return give(out, static_cast<double>(clock->now() / kPeriod));
      },
      options, 1 << 16);
  clock = &rig.clock;
  while (!rig.stats.locked) rig.steps(1);
  CHECK(rig.stats.locked_period_ns == doctest::Approx(1.01e8).epsilon(1e-2));
  slow.clear();
  rig.steps(3'000);
  CHECK(rig.stats.relocks == 0);
  REQUIRE(slow.size() > 100);
  for (const Ns t : slow) {
    const Ns ahead = kPeriod - t % kPeriod;  // until the next update
    REQUIRE(ahead > 500 * kUs);
  }
}

TEST_SUITE_END();
