// SPDX-License-Identifier: Apache-2.0
// What a stream makes of its options, and what of its samples reaches the recording.
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "live_stream.h"

using namespace pyenergy;

TEST_SUITE_BEGIN("stream");

TEST_CASE("options that make no sense are refused") {
  const auto refuses = [](auto change) {
    StreamOptions options;
    change(options);
    CHECK_THROWS_AS(stream_of(five, std::make_shared<ManualClock>(), options),
                    std::invalid_argument);
  };
  refuses([](StreamOptions& o) { o.pacing.period = 0; });
  refuses([](StreamOptions& o) { o.pacing.jitter = 1.0; });
  refuses([](StreamOptions& o) { o.pacing.dense = 0; });
  refuses([](StreamOptions& o) { o.pacing.sparse = o.pacing.dense - 1; });
  refuses([](StreamOptions& o) { o.pacing.seeds = {1, 1}; });  // there is one channel
  refuses([](StreamOptions& o) { o.slow_period = 0; });
  refuses([](StreamOptions& o) { o.ring_capacity = 1000; });
  refuses([](StreamOptions& o) { o.gap_ns = -1; });
}

TEST_CASE("inline: polls, drains, and ends with the sensor") {
  int reads = 0;
  const auto stream = stream_of(
      [&](ReadGroup group, std::span<Reading> out) {
        reads += group == ReadGroup::kFast;
        return five(group, out);
      },
      std::make_shared<ManualClock>(kSecond), {}, [&] { return reads >= 30; });
  CHECK(stream->gap() == 10 * kMs);
  stream->run_inline(20);
  CHECK(stream->recording()->store(0).last_t() == kSecond + 19 * kMs);
  stream->run_inline(20);
  CHECK(reads == 30);
  stream->recording()->seal();
  REQUIRE(stream->recording()->store(0).size() == 1);
  CHECK(stream->recording()->store(0).count()[0] == 30);
  CHECK_THROWS_AS(live()->run_inline(1), std::invalid_argument);
}

TEST_CASE("inline: what was lost or hung shows as a gap, though the reading never changed") {
  const auto clock = std::make_shared<ManualClock>(kSecond);
  int reads = 0;
  StreamOptions options;
  options.ring_capacity = 2;
  const auto stream = stream_of(
      [&](ReadGroup group, std::span<Reading> out) {
        if (group == ReadGroup::kSlow) return std::size_t{0};
        ++reads;
        if (reads == 10) clock->advance(2 * kSecond);
        const std::size_t given = reads == 20 ? 5 : 1;  // a flood that the ring cannot hold
        for (std::size_t i = 0; i < given; ++i) out[i] = {.value = 5.0};
        return given;
      },
      clock, options, {}, 5);
  stream->run_inline(30);
  const auto recording = stream->recording();
  recording->seal();
  const RunStore& store = recording->store(0);
  REQUIRE(store.size() == 3);
  CHECK(store.flags()[0] == kOk);
  CHECK(store.count()[0] == 9);
  CHECK(store.flags()[1] == kGapBefore);  // after the hang
  CHECK(store.count()[1] == 10 + 2);
  CHECK(store.flags()[2] == kGapBefore);  // after the flood
  CHECK(store.count()[2] == 10);
  CHECK(stream->stats().dropped == 3);
  CHECK(stream->stats().missed_deadlines == 2'000);
}

TEST_CASE("the collector drains without being asked") {
  const auto stream = live();
  stream->acquire();
  CHECK(eventually([&] { return stream->recording()->store(0).last_t() > 0; }));
  CHECK(stream->stop());
}

TEST_CASE("several threads may drain: every sample arrives once, in order") {
  StreamOptions options;
  options.pacing.period = 50 * kUs;
  std::atomic<int> reads{0};
  const auto stream = stream_of(
      [&](ReadGroup group, std::span<Reading> out) {
        if (group == ReadGroup::kSlow) return std::size_t{0};
        out[0] = {.value = static_cast<double>(reads++)};
        return std::size_t{1};
      },
      std::make_shared<SystemClock>(), options);
  stream->acquire();
  {
    std::vector<std::jthread> drainers;
    for (int i = 0; i < 3; ++i) {
      drainers.emplace_back([&] {
        while (reads < 2'000) stream->drain();
      });
    }
  }
  CHECK(stream->stop());
  const auto recording = stream->recording();
  recording->seal();
  const RunStore& store = recording->store(0);
  CHECK(recording->lost() == 0);
  CHECK(stream->stats().dropped == 0);
  REQUIRE(store.size() == stream->stats().samples);
  for (std::size_t i = 0; i < store.size(); ++i) {
    REQUIRE(store.value()[i] == static_cast<double>(i));
  }
}

TEST_SUITE_END();
