// SPDX-License-Identifier: Apache-2.0
// The plain energies against closed forms.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/counter_difference.h"
#include "core/power_integral.h"
#include "core/sample.h"
#include "sensors/catalog.h"

using namespace pyenergy;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Readings that were each seen once, in no time.
struct Runs {
  std::vector<Ns> t;
  std::vector<double> value;
  std::vector<std::uint32_t> flags;
  void add(Ns at, double reading, std::uint32_t flag = kOk) {
    t.push_back(at);
    value.push_back(reading);
    flags.push_back(flag);
  }
  RunsView view() const { return {t, t, t, t, value, flags}; }
};

struct One {
  double joules, edges, inside, gaps;
};

template <typename Plain>
One window(const Plain& plain, Ns from, Ns to) {
  One out{};
  const Ns starts[] = {from}, ends[] = {to};
  plain.windows(starts, ends, {{&out.joules, 1}, {&out.edges, 1}, {&out.inside, 1}, {&out.gaps, 1}},
                1);
  return out;
}

Runs steady(double watts) {
  Runs runs;
  for (Ns t = 0; t <= 10 * kSecond; t += 100 * kMs) runs.add(t, watts);
  return runs;
}

constexpr SensorFacts kFresh{0, 0, 0, 1.0};

}  // namespace

TEST_CASE("plain: steady power that a fresh sensor reads is known") {
  const PowerIntegral plain(steady(200.0).view(), kFresh, 0.0, 400.0, 0, 10 * kSecond, kSecond);
  const One one = window(plain, kSecond, 4 * kSecond);
  CHECK(one.joules == doctest::Approx(600.0));
  CHECK(one.edges == 0.0);
  CHECK(one.inside == 0.0);
  CHECK(one.gaps == 0.0);
}

TEST_CASE("plain: a gap is any power that the device can draw") {
  Runs runs = steady(200.0);
  runs.flags[50] = kGapBefore;  // 100 ms
  const PowerIntegral plain(runs.view(), kFresh, 0.0, 400.0, 0, 12 * kSecond, kSecond);
  CHECK(window(plain, 0, 10 * kSecond).gaps == doctest::Approx(400.0 / std::sqrt(3.0) * 0.1));
  CHECK(window(plain, 0, 12 * kSecond).gaps == doctest::Approx(400.0 / std::sqrt(3.0) * 2.1));
}

TEST_CASE("plain: a step lies anywhere between two reads") {
  Runs runs;
  runs.add(0, 100.0);
  runs.add(kSecond, 300.0);
  const PowerIntegral plain(runs.view(), kFresh, 0.0, 400.0, 0, kSecond, kSecond);
  CHECK(window(plain, 0, kSecond).joules == doctest::Approx(200.0));
  CHECK(window(plain, 0, kSecond).inside == doctest::Approx(200.0 / std::sqrt(12.0)));
}

TEST_CASE("plain: readings that failed among good ones are no gap, and none at all are an error") {
  Runs runs = steady(200.0);
  runs.flags[50] = kMissing;
  runs.value[50] = kNaN;
  const PowerIntegral plain(runs.view(), kFresh, 0.0, 400.0, 0, 10 * kSecond, kSecond);
  CHECK(window(plain, 0, 10 * kSecond).gaps == 0.0);
  CHECK(window(plain, 0, 10 * kSecond).inside == doctest::Approx(400.0 / std::sqrt(3.0) * 0.2));
  for (auto& flag : runs.flags) flag = kMissing;
  CHECK_THROWS_AS(PowerIntegral(runs.view(), kFresh, 0.0, 400.0, 0, kSecond, 0), NoReadings);
  runs.flags.pop_back();
  CHECK_THROWS_AS(PowerIntegral(runs.view(), kFresh, 0.0, 400.0, 0, kSecond, 0),
                  std::invalid_argument);
}

TEST_CASE("plain: a counter is linear between its updates") {
  Runs runs;
  for (int i = 0; i <= 10; ++i) runs.add(i * kSecond, 100.0 * i);
  const CounterDifference plain(runs.view(), 0.0, 400.0, 1.0);
  const One one = window(plain, kSecond + kSecond / 2, 3 * kSecond);
  CHECK(one.joules == doctest::Approx(150.0));
  CHECK(one.edges == doctest::Approx(100.0 / std::sqrt(12.0) * std::sqrt(2.0)));
  CHECK(window(plain, 9 * kSecond, 12 * kSecond).gaps == doctest::Approx(800.0 / std::sqrt(3.0)));
  Runs still;
  for (int i = 0; i <= 10; ++i) still.add(i * kSecond, 100.0);
  CHECK_THROWS_AS(CounterDifference(still.view(), 0.0, 400.0, 1.0), NoReadings);
}

TEST_CASE("catalogue: what a source states wins") {
  const SensorPrior a100 = sensor_prior("ga100", "nvml.field.186");
  CHECK(a100.update_ns == 100 * kMs);
  CHECK(a100.coverage == 0.25);
  CHECK(sensor_prior("ga100", "nvml.field.186", 20 * kMs, 20 * kMs, 0).coverage == 1.0);
  CHECK(sensor_prior("", "nvml.field.186").update_ns == -1);
  CHECK(sensor_prior("amd", "rapl.powercap.package").gain_u == 0.1);
  CHECK(sensor_prior("", "estimate.load").gain_u == 0.5);
}
