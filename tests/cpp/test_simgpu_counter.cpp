// SPDX-License-Identifier: Apache-2.0
// The energy counter that adds the power sensor's readings.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>

#include "lone_card.h"
#include "simgpu/control.h"
#include "simgpu/power_law.h"
#include "simgpu/sensor_model.h"
#include "simgpu/world.h"

namespace {

using namespace pyenergy;
using namespace pyenergy::simgpu;

void count_readings(Card& card, Ns epoch) {
  EnergyCounter counter = card.counter;
  counter.integrates = Integrates::kSensor;
  counter.epoch = epoch;
  set_counter(card, counter);
}

// A loaded card with every error, noise and jitter too, whose counter adds its readings.
void make_adding(Card& card) {
  square_wave(card, {60.0, 380.0, 130 * kMs, 0.4, 0.1}, 0);
  PowerField field = card.instant;
  field.jitter = 30 * kMs;
  field.delay = 15 * kMs;
  field.gain = 1.04;
  field.offset_w = -3.0;
  field.noise_w = 2.0;
  set_field(card, false, field);
  count_readings(card, kSecond);
}

std::unique_ptr<Card> adding_card() {
  auto card = make("a100");
  make_adding(*card);
  return card;
}

// The sum that such a counter shows in mJ, without any of its code.
double direct_mj(const Card& card, Ns from, Ns t) {
  const EnergyCounter& counter = card.counter;
  t = counter.phase + (t - counter.phase) / counter.update * counter.update;
  long double joules = 0.0;
  Ns before = 0;
  for (std::int64_t k = -1; update_time(card.instant, card.id.seed, k) <= t; ++k) {
    const Ns now = update_time(card.instant, card.id.seed, k);
    if (now > from) {
      joules += static_cast<long double>(power_reading(card, card.instant, {k, now})) *
                static_cast<long double>(now - before) * 1e-9L;
    }
    before = now;
  }
  return static_cast<double>(joules * 1e3L * static_cast<long double>(counter.gain));
}

// Whether a counter shows the floor of `mj` in whole mJ; at its edge the last digit may decide.
bool shows(double counter, double mj) {
  return counter == std::floor(counter) && counter <= mj + 1e-5 && counter > mj - 1.0 - 1e-5;
}

}  // namespace

TEST_CASE("a counter of readings adds each update's reading times the time since the last one") {
  const auto card = adding_card();
  EnergyCounter counter = card->counter;
  counter.gain = 0.98;
  counter.start_mj = 5e6;
  set_counter(*card, counter);
  CHECK(counter_reading(*card, 500 * kMs) == 5e6);  // before it began
  for (Ns t = kSecond; t < 30 * kSecond; t += 76'543'210) {
    CHECK(shows(counter_reading(*card, t) - 5e6, direct_mj(*card, kSecond, t)));
  }
  // It is the sensor's energy, not the card's.
  const double truth = 0.98e3 * true_energy(*card, kSecond, 30 * kSecond);
  CHECK(std::abs(direct_mj(*card, kSecond, 30 * kSecond) / truth - 1.0) > 0.01);
}

TEST_CASE("a counter of readings shows the same whatever was read before") {
  const auto card = adding_card(), fresh = adding_card();
  PowerField fast = card->instant;  // more updates than sums are kept of
  fast.update = 2 * kMs;
  fast.jitter = kMs;
  set_field(*card, false, fast);
  const double end = counter_reading(*card, 60 * kSecond);
  CHECK(shows(end, direct_mj(*card, kSecond, 60 * kSecond)));
  for (std::int64_t i = 0; i < 40; ++i) {  // back and forth
    const Ns t = kSecond + i * 7'919 % 41 * 1'543'210'987;
    set_field(*fresh, false, fast);
    CHECK(counter_reading(*card, t) == counter_reading(*fresh, t));
  }
  CHECK(counter_reading(*card, 60 * kSecond) == end);
}

TEST_CASE("a counter of readings follows each change of script, clock, law and sensor") {
  const auto card = adding_card();
  const Ns end = 20 * kSecond;
  double last = 0.0;
  auto follows = [&] {
    const double now = counter_reading(*card, end);
    const bool changed = now != last;
    last = now;
    for (Ns t = kSecond; t <= end; t += 500 * kMs) {
      CHECK(shows(counter_reading(*card, t), direct_mj(*card, kSecond, t)));
    }
    return changed && shows(now, direct_mj(*card, kSecond, end));
  };
  CHECK(follows());
  set_power(*card, 350.0, 15 * kSecond + 1);
  CHECK(follows());
  ramp(*card, 350.0, 100.0, 2 * kSecond, 5 * kSecond);  // and nothing at 15 s
  CHECK(follows());
  set_clock(*card, 0.5 * card->max_hz, 12 * kSecond);
  CHECK(follows());
  set_power_law(*card, 3.0);
  CHECK(follows());
  set_thermal(*card, 0.1, 4 * kSecond);
  CHECK(follows());
  PowerField field = card->instant;
  field.window = 0;  // what changes at a time changes the reading of that time
  field.delay = field.jitter = 0;
  set_field(*card, false, field);
  CHECK(follows());
  set_power(*card, 250.0, update_time(field, card->id.seed, 190));
  CHECK(follows());
  set_field(*card, true, card->average);  // not the field that it adds
  CHECK_FALSE(follows());
}

TEST_CASE("a counter of readings resets and runs backwards like any other") {
  const auto card = adding_card();
  Fault reset = fault_by_name("counter_reset");
  reset.from = 5 * kSecond;
  inject(*card, reset);
  Fault back = fault_by_name("counter_backwards");
  back.from = 8 * kSecond;
  back.value = 30.0;
  inject(*card, back);
  for (Ns t = kSecond; t < 20 * kSecond; t += 76'543'210) {
    const Ns tick = card->counter.phase +
                    (t - card->counter.phase) / card->counter.update * card->counter.update;
    const double mj = direct_mj(*card, tick >= reset.from ? reset.from : kSecond, t);
    CHECK(shows(counter_reading(*card, t) + (tick >= back.from ? 30e3 : 0.0), mj));
  }
  EnergyCounter counter = card->counter;
  counter.modulus_mj = 65'536;
  const double whole = counter_reading(*card, 20 * kSecond);
  set_counter(*card, counter);
  CHECK(counter_reading(*card, 20 * kSecond) == std::fmod(whole, 65'536));
}

TEST_CASE("two processes see one counter of readings") {
  const auto path =
      std::filesystem::temp_directory_path() / ("simgpu-counter-" + std::to_string(getpid()));
  const auto world = World::create(path);
  world->add("a100");
  Card& card = world->card(0);
  make_adding(card);
  const auto read = [](Card& shared, Ns t) {
    const CardLock lock(shared);
    return counter_reading(shared, t);
  };
  const double before = read(card, 20 * kSecond);
  // The child steps in between: reads further, then replans what was read already.
  const pid_t child = fork();
  if (child == 0) {
    const auto theirs = World::open(path);
    Card& other = theirs->card(0);
    const bool same = read(other, 20 * kSecond) == before;
    read(other, 40 * kSecond);
    set_power(other, 100.0, 10 * kSecond);
    _exit(same ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  std::filesystem::remove(path);
  CHECK(status == 0);
  CHECK(read(card, 20 * kSecond) != before);
  CHECK(shows(read(card, 20 * kSecond), direct_mj(card, kSecond, 20 * kSecond)));
}

TEST_CASE("a counter cannot add the readings of a sensor without updates") {
  const auto ideal = make("ideal");
  CHECK_THROWS_WITH_AS(count_readings(*ideal, 0), doctest::Contains("update period"),
                       std::invalid_argument);
  CHECK(ideal->counter.integrates == Integrates::kTruth);
  const auto card = adding_card();
  PowerField field = card->instant;
  field.update = field.jitter = 0;
  CHECK_THROWS_WITH_AS(set_field(*card, false, field), doctest::Contains("update period"),
                       std::invalid_argument);
  CHECK(card->instant.update > 0);
}
