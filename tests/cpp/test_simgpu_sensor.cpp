// SPDX-License-Identifier: Apache-2.0
// What simulated sensors publish and how they fail.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <set>

#include "lone_card.h"
#include "simgpu/control.h"
#include "simgpu/faults.h"
#include "simgpu/power_law.h"
#include "simgpu/presets.h"
#include "simgpu/sensor_model.h"

namespace {

using namespace pyenergy;
using namespace pyenergy::simgpu;

// A card whose sensor shows every error at once.
std::unique_ptr<Card> crooked_card() {
  auto card = make("a100");
  square_wave(*card, {60.0, 380.0, 130 * kMs, 0.4, 0.1}, 0);
  PowerField field = card->instant;
  field.delay = 15 * kMs;
  field.gain = 1.04;
  field.offset_w = -3.0;
  field.noise_w = 0.0;
  field.quantum_w = 0.5;
  set_field(*card, false, field);
  return card;
}

double read_power(const Card& card, Ns t) {
  return power_reading(card, card.instant, latest_update(card.instant, card.id.seed, t));
}

void add_fault(Card& card, const char* name, std::uint32_t target) {
  Fault fault = fault_by_name(name);
  fault.target = target;
  inject(card, fault);
}

std::uint32_t id(Call call) { return static_cast<std::uint32_t>(call); }

}  // namespace

TEST_CASE("a reading is round(gain * boxcar(t_k - delay) + offset), held until the next update") {
  const auto card = crooked_card();
  const PowerField& field = card->instant;
  for (std::int64_t k = 5; k < 40; ++k) {
    const Ns published = field.phase + k * 101'200'000;
    const double exact = 1.04 * boxcar(*card, 25 * kMs, published - 15 * kMs) - 3.0;
    const double reading = read_power(*card, published);
    CHECK(std::abs(reading - exact) <= 0.25 + 1e-9);
    CHECK(reading == 0.5 * std::round(reading / 0.5));
    CHECK(read_power(*card, published + 101'199'999) == reading);
    CHECK(latest_update(field, card->id.seed, published - 1).k == k - 1);
  }
}

TEST_CASE("an RC sensor publishes the low-pass, a continuous one the power now") {
  const auto rc = make("k40m");
  square_wave(*rc, {30.0, 200.0, 400 * kMs, 0.5, 0.0}, 0);
  const Update update = latest_update(rc->instant, rc->id.seed, 1'234'567'890);
  PowerField quiet = rc->instant;
  quiet.noise_w = quiet.quantum_w = 0.0;
  CHECK(power_reading(*rc, quiet, update) == lowpass(*rc, 830 * kMs, update.t));
  const auto ideal = make("ideal");
  set_power(*ideal, 321.0, 100);
  CHECK(read_power(*ideal, 99) == 50.0);
  CHECK(read_power(*ideal, 100) == 321.0);
}

TEST_CASE("jitter moves each update by at most half its width and keeps their order") {
  const auto card = make("a100");
  PowerField field = card->instant;
  field.jitter = 101 * kMs;  // nearly the whole period
  set_field(*card, false, field);
  const std::uint64_t seed = card->id.seed;
  std::set<Ns> shifts;
  for (std::int64_t k = 1; k < 2000; ++k) {
    const Ns t = update_time(field, seed, k), nominal = field.phase + k * field.update;
    CHECK(std::abs(t - nominal) <= field.jitter / 2);
    CHECK(update_time(field, seed, k + 1) > t);
    CHECK(latest_update(field, seed, t).k == k);
    CHECK(latest_update(field, seed, t - 1).k == k - 1);
    shifts.insert(t - nominal);
  }
  CHECK(shifts.size() > 1990);
}

TEST_CASE("noise is normal, repeatable and different between cards") {
  constexpr int kCount = 20'000;
  double sum = 0.0, squares = 0.0, product = 0.0;
  for (std::uint64_t k = 0; k < kCount; ++k) {
    const double a = normal(1, 7, k), b = normal(2, 7, k);
    CHECK(a == normal(1, 7, k));
    sum += a;
    squares += a * a;
    product += a * b;
  }
  // Four standard errors of the mean, the variance and the covariance.
  CHECK(std::abs(sum / kCount) < 4.0 / std::sqrt(kCount));
  CHECK(std::abs(squares / kCount - 1.0) < 4.0 * std::sqrt(2.0 / kCount));
  CHECK(std::abs(product / kCount) < 4.0 / std::sqrt(kCount));
}

TEST_CASE("the counter is the floor of the true energy at its last update") {
  const auto card = make("a100");
  square_wave(*card, {60.0, 380.0, 130 * kMs, 0.4, 0.1}, 0);
  EnergyCounter counter = card->counter;
  counter.gain = 0.98;
  counter.start_mj = 5e6;
  counter.epoch = kSecond;
  set_counter(*card, counter);
  double last = 0.0;
  for (Ns t = 2 * kSecond; t < 4 * kSecond; t += 7'654'321) {
    const Ns tick = counter.phase + (t - counter.phase) / counter.update * counter.update;
    const double mj = counter_reading(*card, t);
    CHECK(mj == 5e6 + std::floor(true_energy(*card, kSecond, tick) * 0.98e3));
    CHECK(mj >= last);
    last = mj;
  }
  CHECK(counter_reading(*card, 500 * kMs) == 5e6);  // before it began
}

TEST_CASE("the counter resets, runs backwards and wraps at the time it is told to") {
  const auto card = make("ideal");
  set_power(*card, 100.0, 0);
  Fault back = fault_by_name("counter_backwards");
  back.from = 2 * kSecond;
  back.value = 30.0;
  inject(*card, back);
  Fault reset = fault_by_name("counter_reset");
  reset.from = 5 * kSecond;
  inject(*card, reset);
  // Read 5 us late: half a millijoule away from the floor's edge.
  CHECK(counter_reading(*card, 2 * kSecond - 5 * kUs) == 199'999);
  CHECK(counter_reading(*card, 2 * kSecond + 5 * kUs) == 170'000);
  CHECK(counter_reading(*card, 5 * kSecond) == 0);
  CHECK(counter_reading(*card, 6 * kSecond + 5 * kUs) == 100'000);
  clear_faults(*card);
  EnergyCounter counter = card->counter;
  counter.modulus_mj = 65'536;
  set_counter(*card, counter);
  CHECK(counter_reading(*card, kSecond + 5 * kUs) == 100'000 - 65'536);
}

TEST_CASE("faults fire always, once, every so often, or from a time on") {
  const auto card = make("ideal");
  auto status = [&](Ns now = 0) { return begin_call(*card, Call::kPower, now).status; };
  Fault fault = fault_by_name("fails");
  fault.target = id(Call::kPower);
  inject(*card, fault);
  CHECK(status() == kUnknownError);
  CHECK(status() == kUnknownError);
  CHECK(begin_call(*card, Call::kEnergy, 0).status == kSuccess);

  clear_faults(*card);
  fault.once = 1;
  fault.value = 10.0;
  inject(*card, fault);
  CHECK(status() == 10);
  CHECK(status() == kSuccess);

  clear_faults(*card);
  fault.once = 0;
  fault.every = 3;
  inject(*card, fault);
  for (int i = 1; i <= 9; ++i) CHECK(status() == (i % 3 == 0 ? 10 : kSuccess));

  clear_faults(*card);
  fault.every = 1;
  fault.from = 100;
  inject(*card, fault);
  CHECK(status(99) == kSuccess);
  CHECK(status(100) == 10);
  CHECK(card->calls[id(Call::kPower)] == 15);
}

TEST_CASE("one field fails while its neighbours and the call itself succeed") {
  const auto card = make("h100");
  add_fault(*card, "not_supported", kFieldPowerInstant);
  CHECK(begin_call(*card, Call::kFields, 0).status == kSuccess);
  const FieldReading failed = read_field(*card, kFieldPowerInstant, 0);
  CHECK(failed.status == kNotSupported);
  CHECK(std::isnan(failed.value));
  CHECK(read_field(*card, kFieldPowerAverage, 0).status == kSuccess);
  CHECK(read_field(*card, kFieldEnergy, 0).status == kSuccess);
}

TEST_CASE("impossible readings come with success, as from a real driver") {
  const auto card = make("ideal");
  add_fault(*card, "negative", kFieldPowerInstant);
  CHECK(read_field(*card, kFieldPowerInstant, 0).value == -50.0);
  clear_faults(*card);
  add_fault(*card, "absurd", 0);
  CHECK(read_field(*card, kFieldPowerInstant, 0).value == 1e9);
  clear_faults(*card);
  add_fault(*card, "nan", 0);
  const FieldReading nan = read_field(*card, kFieldPowerInstant, 0);
  CHECK(nan.status == kSuccess);
  CHECK(std::isnan(nan.value));
}

TEST_CASE("a lost GPU fails every call; absent sensors are not supported") {
  const auto card = make("k40m");
  CHECK(read_field(*card, kFieldEnergy, 0).status == kNotSupported);
  CHECK(read_field(*card, kFieldPowerAverage, 0).status == kNotSupported);
  add_fault(*card, "gpu_lost", 0);
  for (std::uint32_t call = 1; call < id(Call::kCount); ++call) {
    CHECK(begin_call(*card, static_cast<Call>(call), 0).status == kGpuLost);
  }
}

TEST_CASE("calls take their time, and rare ones longer") {
  const auto card = make("ideal");
  set_latency(*card, {20 * kUs, 30 * kMs, 0.1});
  int slow = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Ns wait = begin_call(*card, Call::kFields, 0).wait;
    CHECK((wait == 20 * kUs || wait == 30 * kMs));
    if (wait == 30 * kMs) ++slow;
  }
  CHECK(std::abs(slow - 1000) < 120);  // four standard deviations of a binomial: 4 * 30
  add_fault(*card, "slow_call", id(Call::kFields));
  CHECK(begin_call(*card, Call::kFields, 0).wait >= 50 * kMs);
}

TEST_CASE("unknown names tell the known ones") {
  CHECK_THROWS_WITH_AS(fault_by_name("fire"), doctest::Contains("gpu_lost"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(call_by_name("fire"), doctest::Contains("fields"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(integrates_by_name("fire"), doctest::Contains("truth, sensor"),
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(find_preset("a101"), doctest::Contains("a100"), std::invalid_argument);
}
