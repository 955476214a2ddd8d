// SPDX-License-Identifier: Apache-2.0
// Replay: the same readings, at their own pace, on today's clock; and the list of sources.
#include <doctest/doctest.h>
#include <unistd.h>

#include <limits>
#include <stdexcept>

#include "core/clock.h"
#include "sensors/dynlib.h"
#include "sensors/replay.h"
#include "sensors/sources.h"

using namespace pyenergy;

namespace {

Channel channel(const char* name, ReadGroup group) {
  Channel made;
  made.name = name;
  made.unit = "W";
  made.group = group;
  return made;
}

Reading reading(Ns at, double value, std::uint16_t index = 0, std::uint16_t flags = kOk) {
  return {.value = value, .t_ns = at, .read_ns = at + 10, .channel = index, .flags = flags};
}

ReplayData recording() {
  ReplayData data;
  data.info.source = "nvml";
  data.info.name = "a recorded GPU";
  data.channels = {channel("power", ReadGroup::kFast), channel("temperature", ReadGroup::kSlow)};
  // Deliberately out of order: whoever registers may append channel by channel.
  data.readings = {reading(2'000, 20.0), reading(1'000, 10.0), reading(3'000, 30.0, 0, kGapBefore),
                   reading(1'500, 55.0, 1)};
  return data;
}

struct Replay {
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>(50'000, false);
  std::unique_ptr<Sensor> sensor;
  explicit Replay(const char* key) {
    register_replay(key, recording());
    sensor = open_replay(enumerate_replay(key).devices.at(0), clock);
  }
  std::vector<Reading> read(ReadGroup group = ReadGroup::kFast, std::size_t room = 10) {
    std::vector<Reading> out(room);
    out.resize(sensor->read(group, out));
    return out;
  }
};

}  // namespace

TEST_CASE("readings come when their time has come, on the clock of the opening") {
  Replay replay("pace");
  CHECK(replay_offset_ns("pace") == 49'000);
  CHECK(replay.read().empty());  // the first read had not ended yet
  replay.clock->advance(1'000);
  auto out = replay.read();
  REQUIRE(out.size() == 1);
  CHECK(out[0].value == 10.0);
  CHECK(out[0].t_ns == 50'000);
  CHECK(out[0].read_ns == 50'010);
  replay.clock->advance(10'000);
  out = replay.read();
  REQUIRE(out.size() == 2);
  CHECK(out[0].t_ns == 51'000);
  CHECK(out[1].flags == kGapBefore);
  CHECK_FALSE(replay.sensor->finished());  // the slow channel is not
  REQUIRE(replay.read(ReadGroup::kSlow).size() == 1);
  CHECK(replay.sensor->finished());
  CHECK(replay.read().empty());
}

TEST_CASE("what does not fit is given by the next read") {
  Replay replay("room");
  replay.clock->advance(kSecond);
  CHECK(replay.read(ReadGroup::kFast, 2).size() == 2);
  const auto rest = replay.read(ReadGroup::kFast, 2);
  REQUIRE(rest.size() == 1);
  CHECK(rest[0].value == 30.0);
}

TEST_CASE("a replay is found by its key and keeps its identity") {
  register_replay("one", recording());
  const SourceReport report = enumerate_replay("one");
  REQUIRE(report.devices.size() == 1);
  CHECK(report.devices[0].source == "replay");
  CHECK(report.devices[0].name == "a recorded GPU");
  CHECK(report.devices[0].argument == "one");
  CHECK(replay_offset_ns("one") == std::nullopt);
  CHECK_FALSE(enumerate_replay("none").available);
  CHECK(enumerate_replay("none").reason.find("'none'") != std::string::npos);
  CHECK_THROWS_AS(replay_offset_ns("none"), std::invalid_argument);
}

TEST_CASE("a recording that cannot be replayed is refused") {
  CHECK_THROWS_AS(register_replay("bad", {}), std::invalid_argument);
  ReplayData data = recording();
  data.readings[0].channel = 2;
  CHECK_THROWS_AS(register_replay("bad", data), std::invalid_argument);
  data = recording();
  data.readings[0].read_ns = data.readings[0].t_ns - 1;
  CHECK_THROWS_AS(register_replay("bad", data), std::invalid_argument);
  data = recording();
  data.channels[0].scale = 1e-3;
  CHECK_THROWS_AS(register_replay("bad", data), std::invalid_argument);
  for (const Ns t : {std::numeric_limits<Ns>::min(), -(Ns{1} << 61) - 1, Ns{1} << 62}) {
    data = recording();
    data.readings[0].t_ns = t;  // its read ends when it did: the others are far away
    CHECK_THROWS_AS(register_replay("bad", data), std::invalid_argument);
  }
}

TEST_CASE("the registry names its sources and refuses others") {
  CHECK(find_source("nvml").name == "nvml");
  CHECK((find_source("estimate").open == open_estimate));
  CHECK_THROWS_WITH_AS(find_source("amd"),
                       doctest::Contains("nvml, dcgm, rapl, hwmon, sim, replay, estimate"),
                       std::invalid_argument);
}

TEST_CASE("a library that does not load says so for each path") {
  const DynLib missing({"libno-such-1.so", "libno-such-2.so"});
  CHECK_FALSE(missing.is_open());
  CHECK(missing.error().find("libno-such-1.so") != std::string::npos);
  CHECK(missing.error().find("libno-such-2.so") != std::string::npos);
  CHECK((missing.symbol<void (*)()>({"anything"}) == nullptr));
  const DynLib libc({"libno-such.so", "libc.so.6"});
  REQUIRE(libc.is_open());
  CHECK(libc.path() == "libc.so.6");
  CHECK(libc.error().empty());
  const auto getpid_of_libc = libc.symbol<int (*)()>({"no_such_function", "getpid"});
  REQUIRE((getpid_of_libc != nullptr));
  CHECK(getpid_of_libc() == getpid());
}
