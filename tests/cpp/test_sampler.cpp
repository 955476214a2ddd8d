// SPDX-License-Identifier: Apache-2.0
// The hot loop on simulated time, against sensors that fail, hang and flood.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "core/sampler.h"
#include "fake_sensor.h"

using namespace pyenergy;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint16_t kPower = 0, kEnergy = 1, kTemperature = 2;

std::vector<Channel> three_channels() {
  return {fake_channel("power"), fake_channel("energy"),
          fake_channel("temperature", ReadGroup::kSlow)};
}

std::size_t give(std::span<Reading> out, std::uint16_t channel, double value) {
  out[0] = {.value = value, .channel = channel};
  return 1;
}

// Nothing but power, whose value counts the polls.
FakeSensor::Read counting_polls() {
  return [n = 0.0](ReadGroup group, std::span<Reading> out) mutable {
    return group == ReadGroup::kFast ? give(out, kPower, n++) : 0;
  };
}

// A sampler on simulated time that starts at one second.
struct Rig {
  using Read = std::function<std::size_t(ManualClock&, ReadGroup, std::span<Reading>)>;
  ManualClock clock{kSecond};
  FakeSensor sensor;
  SpscRing<Sample> ring;
  SamplerStats stats;
  Sampler sampler;
  std::atomic<bool> stop{false};

  explicit Rig(Read read, const StreamOptions& options = {}, std::size_t room = 4'096)
      : sensor(three_channels(),
               [this, read = std::move(read)](ReadGroup group, std::span<Reading> out) {
                 return read(clock, group, out);
               }),
        ring(room),
        sampler(sensor, clock, options, ring, stats) {}

  void steps(int n) {
    for (int i = 0; i < n; ++i) REQUIRE(sampler.step(stop));
  }
  std::vector<Sample> drain() {
    std::vector<Sample> samples;
    ring.consume(ring.capacity(), [&](const Sample& s) { samples.push_back(s); });
    return samples;
  }
};

// A rig's read of the fast group only.
template <typename Fast>
Rig::Read fast_only(Fast fast) {
  return [fast](ManualClock& clock, ReadGroup group, std::span<Reading> out) mutable {
    return group == ReadGroup::kFast ? fast(clock, out) : std::size_t{0};
  };
}

// Wakes some time after it was asked to, and may do something before each sleep.
struct LateClock final : Clock {
  Ns time = kSecond, late = 0;
  std::vector<Ns> sleeps;
  std::function<void()> before_sleep = [] {};
  Ns now() const noexcept override { return time; }
  void sleep_until(Ns deadline) noexcept override {
    before_sleep();
    sleeps.push_back(deadline - time);
    time = std::max(time, deadline + late);
  }
};

}  // namespace

TEST_SUITE_BEGIN("sampler");

TEST_CASE("a sample holds the bracket of its read, on the grid") {
  Rig rig(fast_only([](ManualClock& clock, std::span<Reading> out) {
    clock.advance(20 * kUs);
    out[0] = {.value = 250.0, .channel = kPower, .status = 7};
    return std::size_t{1};
  }));
  rig.steps(3);
  const std::vector<Sample> samples = rig.drain();
  REQUIRE(samples.size() == 3);
  Ns expected = kSecond;
  for (const Sample& sample : samples) {
    CHECK(sample.t_ns == expected);
    CHECK(sample.read_ns == expected + 20 * kUs);
    CHECK(sample.value == 250.0);
    CHECK(sample.channel == kPower);
    CHECK(sample.flags == kOk);
    CHECK(sample.status == 7);
    expected += kMs;
  }
  CHECK(rig.stats.polls == 3);
  CHECK(rig.stats.samples == 3);
  CHECK(rig.stats.fast_latency.max() == 20 * kUs);
}

TEST_CASE("readings that bring their own stamps keep them; unknown channels are ignored") {
  Rig rig(fast_only([](ManualClock&, std::span<Reading> out) {
    out[0] = {.value = 1.0, .t_ns = 100, .read_ns = 130, .channel = kEnergy, .flags = kEstimate};
    out[1] = {.value = 2.0, .channel = 99};
    return std::size_t{2};
  }));
  rig.steps(1);
  const std::vector<Sample> samples = rig.drain();
  REQUIRE(samples.size() == 1);
  CHECK(samples[0].t_ns == 100);
  CHECK(samples[0].read_ns == 130);
  CHECK(samples[0].flags == kEstimate);
}

TEST_CASE("a full ring drops the newest, counts it, and the channel's next sample says so") {
  Rig rig(fast_only([n = 0.0](ManualClock&, std::span<Reading> out) mutable {
            return give(out, kPower, n++);
          }),
          {}, 4);
  rig.steps(10);
  CHECK(rig.stats.samples == 4);
  CHECK(rig.stats.dropped == 6);
  std::vector<Sample> kept = rig.drain();
  REQUIRE(kept.size() == 4);
  for (const Sample& sample : kept) CHECK(sample.flags == kOk);
  CHECK(kept.back().value == 3.0);

  rig.steps(2);
  kept = rig.drain();
  REQUIRE(kept.size() == 2);
  CHECK(kept[0].value == 10.0);
  CHECK(kept[0].flags == kGapBefore);
  CHECK(kept[1].flags == kOk);
}

TEST_CASE("a drop of one channel does not flag the others") {
  Rig rig(fast_only([](ManualClock&, std::span<Reading> out) {
            out[0] = {.value = 1.0, .channel = kPower};
            out[1] = {.value = 2.0, .channel = kEnergy};
            return std::size_t{2};
          }),
          {}, 1);
  rig.steps(1);  // room for the power only
  CHECK(rig.drain().size() == 1);
  rig.steps(1);
  const std::vector<Sample> power = rig.drain();
  REQUIRE(power.size() == 1);
  CHECK(power[0].channel == kPower);
  CHECK(power[0].flags == kOk);
  CHECK(rig.stats.dropped == 2);
}

TEST_CASE("what is missing is flagged, counted and never a number") {
  Reading given{.value = kNaN, .status = 15};
  Rig rig(fast_only([&](ManualClock&, std::span<Reading> out) {
    out[0] = given;
    return std::size_t{1};
  }));
  const auto next = [&] {
    rig.steps(1);
    return rig.drain().at(0);
  };
  Sample sample = next();
  CHECK(sample.flags == kMissing);
  CHECK(sample.status == 15);
  CHECK(std::isnan(sample.value));
  given.flags = kInvalid;  // there was a value, but it cannot be
  sample = next();
  CHECK(sample.flags == kInvalid);
  CHECK(rig.stats.failed_reads == 1);
  given = {.value = 0.0};
  sample = next();
  CHECK(sample.flags == kOk);
  CHECK(sample.value == 0.0);
}

TEST_CASE("a call of two seconds is followed by no burst") {
  Rig rig(fast_only([n = 0](ManualClock& clock, std::span<Reading> out) mutable {
    if (++n == 11) clock.advance(2 * kSecond + 300 * kUs);
    return give(out, kPower, 1.0);
  }));
  rig.steps(31);
  // 11 polls before the hang, one grid step to its end, then one a millisecond as before.
  CHECK(rig.clock.now() == kSecond + 10 * kMs + 2 * kSecond + 20 * kMs);
  CHECK(rig.stats.missed_deadlines == 2'000);
  CHECK(rig.stats.fast_latency.max() == 2 * kSecond + 300 * kUs);
  CHECK(rig.stats.lateness.max() == 0);  // what was missed is no late poll
}

TEST_CASE("lateness is measured from the deadline") {
  LateClock clock;
  clock.late = 70 * kUs;
  FakeSensor sensor(three_channels(), counting_polls());
  SpscRing<Sample> ring(64);
  SamplerStats stats;
  Sampler sampler(sensor, clock, {}, ring, stats);
  const std::atomic<bool> stop{false};
  for (int i = 0; i < 20; ++i) REQUIRE(sampler.step(stop));
  CHECK(stats.lateness.count() == 20);
  CHECK(stats.lateness.max() == 70 * kUs);
  CHECK(stats.lateness.quantile(0.04) == 0);  // the first poll is its own deadline
  CHECK(stats.lateness.quantile(0.5) == 70 * kUs);
  CHECK(stats.missed_deadlines == 0);
}

TEST_CASE("a stop is seen before the deadline, within a slice") {
  LateClock clock;
  std::atomic<bool> stop{false};
  clock.before_sleep = [&] {
    if (clock.sleeps.size() == 3) stop = true;
  };
  FakeSensor sensor(three_channels(), counting_polls());
  SpscRing<Sample> ring(64);
  SamplerStats stats;
  StreamOptions slow;
  slow.pacing.period = 10 * kSecond;
  Sampler sampler(sensor, clock, slow, ring, stats);
  REQUIRE(sampler.step(stop));
  CHECK(!sampler.step(stop));
  CHECK(stats.polls == 1);
  CHECK(clock.sleeps == std::vector<Ns>(4, Sampler::kSlice));
  CHECK(!sampler.step(stop));
}

TEST_CASE("slow channels are read at their own period and stamped by their own read") {
  std::size_t slow_reads = 0;
  Rig rig([&](ManualClock& clock, ReadGroup group, std::span<Reading> out) {
    clock.advance(group == ReadGroup::kFast ? 10 * kUs : 400 * kUs);
    if (group == ReadGroup::kFast) return give(out, kPower, 1.0);
    ++slow_reads;
    return give(out, kTemperature, 55.0);
  });
  rig.steps(1'000);
  CHECK(slow_reads == 10);
  CHECK(rig.stats.polls == 1'000);
  CHECK(rig.stats.slow_latency.count() == 10);
  CHECK(rig.stats.slow_latency.max() == 400 * kUs);
  CHECK(rig.stats.fast_latency.max() == 10 * kUs);
  for (const Sample& sample : rig.drain()) {
    CHECK(sample.read_ns - sample.t_ns == (sample.channel == kPower ? 10 * kUs : 400 * kUs));
  }
}

TEST_CASE("in edge mode the statistics tell the lock, and slow calls leave the bursts alone") {
  constexpr Ns kPeriod = 101'200 * kUs;
  std::vector<Ns> slow_reads;
  StreamOptions options;
  options.pacing.mode = PacingMode::kEdge;
  options.pacing.seeds = {100 * kMs};
  options.slow_period = 15 * kMs;  // due again with every poll outside the bursts
  Rig rig(
      [&](ManualClock& clock, ReadGroup group, std::span<Reading> out) {
        const Ns now = clock.now();
        clock.advance(group == ReadGroup::kFast ? 20 * kUs : 500 * kUs);
        if (group == ReadGroup::kFast) {
          return give(out, kPower, static_cast<double>(now / kPeriod));
        }
        slow_reads.push_back(now);
        return give(out, kTemperature, 55.0);
      },
      options);
  CHECK(!rig.stats.locked);
  while (rig.clock.now() < 60 * kPeriod) rig.steps(1);
  CHECK(rig.stats.locked);
  const double period = rig.stats.locked_period_ns;
  CHECK(period == doctest::Approx(static_cast<double>(kPeriod)).epsilon(1e-4));
  slow_reads.clear();
  while (rig.clock.now() < 120 * kPeriod) rig.steps(1);
  CHECK(slow_reads.size() > 4 * 60);
  // Bursts begin half a millisecond before the update; the millisecond before stays free too.
  for (const Ns at : slow_reads) CHECK((at / kPeriod + 1) * kPeriod - at > 1'450 * kUs);
  CHECK(rig.stats.relocks == 0);
}

TEST_CASE("statistics go on counting when a new sampler takes over") {
  ManualClock clock(0);
  FakeSensor sensor(three_channels(), [&](ReadGroup group, std::span<Reading> out) {
    clock.advance(2 * kMs + kMs / 2);
    return group == ReadGroup::kFast ? give(out, kPower, 1.0) : 0;
  });
  SpscRing<Sample> ring(64);
  SamplerStats stats;
  StreamOptions options;
  options.slow_period = 1'000 * kSecond;
  const std::atomic<bool> stop{false};
  for (std::uint64_t start = 1; start <= 3; ++start) {
    Sampler sampler(sensor, clock, options, ring, stats);
    for (int i = 0; i < 5; ++i) REQUIRE(sampler.step(stop));
    CHECK(stats.polls == 5 * start);
    // The first step also reads the slow group, 5 ms in all: 5 deadlines; then 2 a step.
    CHECK(stats.missed_deadlines == (5 + 3 * 2) * start);
  }
}

TEST_SUITE_END();
