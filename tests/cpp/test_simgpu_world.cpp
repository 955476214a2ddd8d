// SPDX-License-Identifier: Apache-2.0
// World files: shared between mappings and processes, robust against holders that die; and the
// in-process `sim` source on top.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "sensors/sources.h"
#include "simgpu/control.h"
#include "simgpu/power_law.h"
#include "simgpu/world.h"

namespace {

using namespace pyenergy;
using namespace pyenergy::simgpu;

class TemporaryPath {
 public:
  TemporaryPath() {
    std::string name = (std::filesystem::temp_directory_path() / "simgpu-XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  ~TemporaryPath() { std::filesystem::remove_all(directory_); }
  std::string file() const { return directory_ + "/world"; }

 private:
  std::string directory_;
};

class Environment {
 public:
  explicit Environment(const std::string& path) { setenv(kEnvironment, path.c_str(), 1); }
  ~Environment() { unsetenv(kEnvironment); }
};

double energy(Card& card) {
  const CardLock lock(card);
  return total_energy(card, 0, 10 * kSecond);
}

// Reads every channel of a group.
std::vector<Reading> read_all(Sensor& sensor, ReadGroup group) {
  std::vector<Reading> readings(sensor.max_readings());
  readings.resize(sensor.read(group, readings));
  return readings;
}

}  // namespace

TEST_CASE("two mappings of one file are one card") {
  const TemporaryPath path;
  const auto a = World::create(path.file());
  CHECK(a->add("a100") == 0);
  const auto b = World::open(path.file());
  REQUIRE(b->size() == 1);
  set_power(a->card(0), 300.0, 0);
  CHECK(energy(b->card(0)) == 3000.0);
  CHECK(energy(a->card(0)) == energy(b->card(0)));
}

TEST_CASE("a file that is not a world is refused with the reason") {
  const TemporaryPath path;
  CHECK_THROWS_WITH_AS(World::open(path.file()), doctest::Contains("No such file"),
                       std::runtime_error);
  std::ofstream(path.file()) << "not a world";
  CHECK_THROWS_WITH_AS(World::open(path.file()), doctest::Contains("not a world"),
                       std::runtime_error);
  CHECK_THROWS_WITH_AS(World::create(path.file()), doctest::Contains("exists"), std::runtime_error);
  std::filesystem::resize_file(path.file(), sizeof(WorldFile));
  CHECK_THROWS_WITH_AS(World::open(path.file()), doctest::Contains("not a world"),
                       std::runtime_error);
}

TEST_CASE("a world holds 64 cards, each with its own identity") {
  const TemporaryPath path;
  const auto world = World::create(path.file());
  for (std::uint32_t i = 0; i < kMaxCards; ++i) CHECK(world->add("v100") == i);
  CHECK_THROWS_AS(world->add("v100"), std::length_error);
  CHECK(std::string(world->card(0).id.uuid) != world->card(63).id.uuid);
  CHECK(std::string(world->card(63).id.pci) == "00000000:40:00.0");
}

TEST_CASE("a holder that is killed leaves a usable and consistent card") {
  const TemporaryPath path;
  const auto world = World::create(path.file());
  Card& card = world->card(world->add("ideal"));
  set_power(card, 100.0, 0);
  set_power(card, 200.0, kSecond);
  std::array<int, 2> ready{};
  REQUIRE(pipe(ready.data()) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const CardLock lock(card);
    card.segments[1].load_before = 1e9;  // half of a change
    const bool told = write(ready[1], "x", 1) == 1;
    while (told) pause();
    _exit(1);
  }
  char byte = 0;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  kill(child, SIGKILL);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(energy(card) == doctest::Approx(100.0 + 9 * 200.0).epsilon(1e-14));
  set_power(card, 300.0, 2 * kSecond);
  CHECK(energy(card) == doctest::Approx(100.0 + 200.0 + 8 * 300.0).epsilon(1e-14));
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("the sim source opens presets, counts of them, and the world's own cards") {
  const SourceReport two = enumerate_sim("v100*2");
  REQUIRE(two.available);
  REQUIRE(two.devices.size() == 2);
  CHECK(two.devices[0].uuid != two.devices[1].uuid);
  CHECK(two.devices[0].power_max_w == 300.0);
  // Asked again, the same cards.
  CHECK(enumerate_sim("v100").devices[0].uuid == two.devices[0].uuid);
  const SourceReport unknown = enumerate_sim("a100,h1000");
  CHECK_FALSE(unknown.available);
  CHECK(unknown.devices.empty());
  CHECK(unknown.reason.find("rtx3090") != std::string::npos);
  CHECK_FALSE(enumerate_sim("a100*x").available);

  const TemporaryPath path;
  const auto world = World::create(path.file());
  world->add("h100");
  world->add("a100");
  const Environment environment(path.file());
  CHECK(enumerate_sim("").devices.size() == 2);
  CHECK(enumerate_sim("a100").devices[0].index == 1);
  // A file holds the cards that its maker chose.
  CHECK(enumerate_sim("a100*2").reason.find("no further card 'a100'") != std::string::npos);
}

TEST_CASE("the sim sensor reads the model through the given clock") {
  const TemporaryPath path;
  const auto world = World::create(path.file());
  Card& card = world->card(world->add("ideal"));
  set_power(card, 250.0, 0);
  set_latency(card, {kMs, 0, 0.0});
  const Environment environment(path.file());
  const auto clock = std::make_shared<ManualClock>(3 * kSecond);
  const auto sensor = open_sim(enumerate_sim("").devices.at(0), clock);
  REQUIRE(sensor->channels().size() == 5);
  CHECK(sensor->channels()[0].name == "power");
  CHECK(sensor->channels()[1].name == "energy");
  CHECK(sensor->channels()[0].update_ns == 0);

  const std::vector<Reading> fast = read_all(*sensor, ReadGroup::kFast);
  REQUIRE(fast.size() == 2);
  CHECK(clock->now() == 3 * kSecond + kMs);  // the call's latency
  CHECK(fast[0].value == 250.0);
  CHECK(std::abs(fast[1].value - 750'250.0) <= 1.0);  // mJ, floored
  const std::vector<Reading> slow = read_all(*sensor, ReadGroup::kSlow);
  REQUIRE(slow.size() == 3);
  CHECK(slow[0].channel == 2);
  CHECK(slow[0].value == 1.98e9);
  CHECK(slow[2].value == 1.0);
}

TEST_CASE("what the sim sensor cannot read is missing, never zero") {
  const TemporaryPath path;
  const auto world = World::create(path.file());
  Card& card = world->card(world->add("ideal"));
  const Environment environment(path.file());
  const auto sensor =
      open_sim(enumerate_sim("").devices.at(0), std::make_shared<ManualClock>(kSecond));
  Fault fault = fault_by_name("fails");
  fault.target = kFieldEnergy;
  inject(card, fault);
  std::vector<Reading> fast = read_all(*sensor, ReadGroup::kFast);
  CHECK(fast[0].flags == kOk);
  CHECK(fast[1].flags == kMissing);
  CHECK(fast[1].status == kUnknownError);
  CHECK(std::isnan(fast[1].value));
  inject(card, fault_by_name("gpu_lost"));
  for (const ReadGroup group : {ReadGroup::kFast, ReadGroup::kSlow}) {
    for (const Reading& reading : read_all(*sensor, group)) {
      CHECK(reading.flags == kMissing);
      CHECK(reading.status == kGpuLost);
      CHECK(std::isnan(reading.value));
    }
  }
  inject(card, fault_by_name("driver_not_loaded"));
  CHECK(enumerate_sim("").reason.find("driver is not loaded") != std::string::npos);
}
