// SPDX-License-Identifier: Apache-2.0
// Energy curves against closed forms and against a slow sum in long double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "core/integrate.h"
#include "core/sample.h"

using namespace pyenergy;

namespace {

constexpr Ns kDay = 86'400 * kSecond;
constexpr Ns kUptime = 40 * kDay;  // CLOCK_MONOTONIC of a machine that has been up for long

struct Windows {
  std::vector<Ns> starts, ends;
  void add(Ns from, Ns to) {
    starts.push_back(from);
    ends.push_back(to);
  }
};

std::vector<double> integrate(const EnergyCurve& curve, const Windows& windows, int threads = 1) {
  std::vector<double> out(windows.starts.size(), std::numeric_limits<double>::quiet_NaN());
  curve.windows(windows.starts, windows.ends, out, threads);
  return out;
}

double integrate(const EnergyCurve& curve, Ns from, Ns to) {
  Windows one;
  one.add(from, to);
  return integrate(curve, one).front();
}

double value(const EnergyCurve& curve, Ns t) {
  double y = 0.0;
  curve.values({&t, 1}, {&y, 1});
  return y;
}

// Trapezoids over every segment that the window meets; flat beyond the ends.
double slow_sum(const std::vector<Ns>& t, const std::vector<double>& y, Ns from, Ns to) {
  const auto s = [](Ns a, Ns b) { return static_cast<long double>(b - a) * 1e-9L; };
  long double sum = 0.0L;
  if (from < t.front()) sum += y.front() * s(from, std::min(to, t.front()));
  if (to > t.back()) sum += y.back() * s(std::max(from, t.back()), to);
  for (std::size_t i = 0; i + 1 < t.size(); ++i) {
    const Ns a = std::max(from, t[i]), b = std::min(to, t[i + 1]);
    if (a >= b) continue;
    const long double slope = (static_cast<long double>(y[i + 1]) - y[i]) / s(t[i], t[i + 1]);
    sum += s(a, b) * (y[i] + slope * 0.5L * (s(t[i], a) + s(t[i], b)));
  }
  return static_cast<double>(sum);
}

struct Knots {
  std::vector<Ns> t;
  std::vector<double> y;
  EnergyCurve curve() const { return EnergyCurve(t, y); }
};

// Spacings from none (a jump) over nanoseconds to seconds.
Knots random_knots(std::size_t n, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> power(0.0, 700.0), exponent(0.0, 9.0);
  Knots knots;
  Ns t = kUptime;
  for (std::size_t i = 0; i < n; ++i) {
    knots.t.push_back(t);
    knots.y.push_back(power(random));
    if (random() % 8 != 0) t += static_cast<Ns>(std::pow(10.0, exponent(random)));
  }
  return knots;
}

Windows random_windows(const Knots& knots, std::size_t n, Ns beyond, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<Ns> time(knots.t.front() - beyond, knots.t.back() + beyond);
  Windows windows;
  for (std::size_t i = 0; i < n; ++i) {
    // Every third begins, every fifth ends on a knot: there the segments meet.
    Ns a = i % 3 == 0 ? knots.t[random() % knots.t.size()] : time(random);
    Ns b = i % 5 == 0 ? knots.t[random() % knots.t.size()] : time(random);
    windows.add(std::min(a, b), std::max(a, b));
  }
  return windows;
}

Windows sorted_by_start(const Windows& windows) {
  std::vector<std::pair<Ns, Ns>> pairs;
  for (std::size_t i = 0; i < windows.starts.size(); ++i) {
    pairs.emplace_back(windows.starts[i], windows.ends[i]);
  }
  std::ranges::sort(pairs);
  Windows sorted;
  for (const auto& [from, to] : pairs) sorted.add(from, to);
  return sorted;
}

}  // namespace

TEST_CASE("constants, steps and ramps have their closed forms") {
  const EnergyCurve constant(std::vector<Ns>{0, 3, 1'000, kSecond}, std::vector<double>(4, 128.0));
  CHECK(integrate(constant, 0, kSecond) == 128.0);
  CHECK(integrate(constant, 1, kSecond / 2 + 1) == 64.0);
  CHECK(constant.total() == doctest::Approx(128.0).epsilon(1e-15));

  const std::vector<Ns> t{0, kSecond, kSecond, 3 * kSecond};
  const EnergyCurve step(t, std::vector<double>{100.0, 100.0, 300.0, 300.0});
  CHECK(integrate(step, 0, kSecond) == 100.0);
  CHECK(integrate(step, kSecond, 2 * kSecond) == 300.0);
  CHECK(integrate(step, kSecond / 2, 3 * kSecond / 2) == 200.0);
  CHECK(step.total() == 700.0);

  const EnergyCurve ramp(std::vector<Ns>{0, 10 * kSecond}, std::vector<double>{0.0, 100.0});
  CHECK(integrate(ramp, 0, 10 * kSecond) == 500.0);
  CHECK(integrate(ramp, 2 * kSecond, 4 * kSecond) == doctest::Approx(60.0).epsilon(1e-15));
}

TEST_CASE("windows of random curves agree with the slow sum, inside and beyond the ends") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    const Knots knots = random_knots(2 + 37 * seed, seed);
    const EnergyCurve curve = knots.curve();
    const Windows windows = random_windows(knots, 500, 5 * kSecond, seed);
    const std::vector<double> found = integrate(curve, windows);
    // A difference of totals may err by some roundings of the total itself.
    const double bound = 1e-12 * curve.total();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double truth = slow_sum(knots.t, knots.y, windows.starts[i], windows.ends[i]);
      if (!(std::abs(found[i] - truth) <= bound)) ++wrong;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("the merge of sorted windows and the search of unsorted ones find the same bits") {
  const Knots knots = random_knots(5'000, 7);
  const EnergyCurve curve = knots.curve();
  const Windows sorted = sorted_by_start(random_windows(knots, 3'000, kSecond, 8));
  Windows reversed;
  for (std::size_t i = sorted.starts.size(); i-- > 0;) {
    reversed.add(sorted.starts[i], sorted.ends[i]);
  }
  std::vector<double> by_search = integrate(curve, reversed);
  std::ranges::reverse(by_search);
  CHECK(integrate(curve, sorted) == by_search);
}

TEST_CASE("the number of threads changes nothing") {
  const Knots knots = random_knots(3'000, 11);
  const EnergyCurve curve = knots.curve();
  const Windows windows = random_windows(knots, 160'000, kSecond, 12);
  const std::vector<double> one = integrate(curve, windows, 1);
  CHECK(integrate(curve, windows, 2) == one);
  CHECK(integrate(curve, windows, 3) == one);
  const Windows sorted = sorted_by_start(windows);
  CHECK(integrate(curve, sorted, 3) == integrate(curve, sorted, 1));
}

TEST_CASE("neighbouring windows add up to the whole") {
  const Knots knots = random_knots(400, 3);
  const EnergyCurve curve = knots.curve();
  std::mt19937_64 random(4);
  std::uniform_int_distribution<Ns> time(curve.start(), curve.end());
  for (int round = 0; round < 50; ++round) {
    std::vector<Ns> cuts{curve.start(), curve.end()};
    for (int i = 0; i < 30; ++i) cuts.push_back(time(random));
    std::ranges::sort(cuts);
    double sum = 0.0;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) sum += integrate(curve, cuts[i], cuts[i + 1]);
    CHECK(sum == doctest::Approx(curve.total()).epsilon(1e-13));
  }
}

TEST_CASE("beyond its ends the curve goes on flat") {
  // Steep at both ends: a line that went on would be far off.
  const std::vector<Ns> t{100 * kSecond, 101 * kSecond, 102 * kSecond};
  const EnergyCurve curve(t, std::vector<double>{10.0, 1'000.0, 20.0});
  CHECK(integrate(curve, 90 * kSecond, 95 * kSecond) == 50.0);
  CHECK(integrate(curve, 90 * kSecond, 100 * kSecond) == 100.0);
  CHECK(integrate(curve, 102 * kSecond, 104 * kSecond) == 40.0);
  CHECK(integrate(curve, 110 * kSecond, 111 * kSecond) == 20.0);
  CHECK(integrate(curve, 99 * kSecond, 103 * kSecond) == doctest::Approx(30.0 + curve.total()));
  CHECK(value(curve, 0) == 10.0);
  CHECK(value(curve, 200 * kSecond) == 20.0);

  const EnergyCurve point(std::vector<Ns>{kSecond}, std::vector<double>{70.0});
  CHECK(integrate(point, 0, 2 * kSecond) == 140.0);
  CHECK(integrate(point, 3 * kSecond, 4 * kSecond) == 70.0);
}

TEST_CASE("a microsecond deep in a week keeps its digits") {
  Knots knots;
  for (Ns i = 0; i <= 7 * 86'400; ++i) {
    knots.t.push_back(kUptime + i * kSecond);
    knots.y.push_back(i % 2 == 0 ? 400.0 : 500.0);
  }
  const EnergyCurve week = knots.curve();
  const Ns late = knots.t[600'000];  // an even one: 400 W, rising by 100 W/s
  CHECK(integrate(week, late + 1'000, late + 2'000) == doctest::Approx(400.00015e-6).epsilon(1e-9));
  // Across a knot: half a microsecond falls to 400 W, half rises from it.
  CHECK(integrate(week, late - 500, late + 500) == doctest::Approx(400.000025e-6).epsilon(1e-9));
  // Across several, the difference of totals errs by some roundings of 2.7e8 J (half of 6e-8 each).
  CHECK(std::abs(integrate(week, late, late + 10 * kSecond) - 4'500.0) < 2.5e-7);
}

TEST_CASE("a million small terms lose no digits of the total") {
  Knots knots;
  for (Ns i = 0; i <= 1'000'000; ++i) {
    knots.t.push_back(i * 100 * kUs);
    knots.y.push_back(0.1);
  }
  // A plain sum is off by 1e-11.
  CHECK(std::abs(knots.curve().total() / 10.0 - 1.0) < 1e-14);
}

TEST_CASE("wildly uneven knots are found all the same") {
  Knots knots;
  for (Ns i = 0; i < 20'000; ++i) {  // one per ns: all share the first slice of the index
    knots.t.push_back(kUptime + i);
    knots.y.push_back(static_cast<double>(i % 97));
  }
  for (Ns i = 1; i <= 20; ++i) {
    knots.t.push_back(kUptime + i * kDay);
    knots.y.push_back(static_cast<double>(10 * i));
  }
  const EnergyCurve curve = knots.curve();
  std::mt19937_64 random(5);
  for (int i = 0; i < 300; ++i) {
    const Ns a = kUptime + static_cast<Ns>(random() % 21'000);
    const Ns b = a + static_cast<Ns>(random() % 3'000);
    CHECK(integrate(curve, a, b) ==
          doctest::Approx(slow_sum(knots.t, knots.y, a, b)).epsilon(1e-9).scale(1e-9));
  }
  CHECK(value(curve, kUptime + 96) == 96.0);
  CHECK(value(curve, kUptime + kDay + kDay / 2) == doctest::Approx(15.0));
}

TEST_CASE("at a jump the later value counts; an empty window holds nothing") {
  const std::vector<Ns> t{0, 0, 10, 10, 10, 20};
  const EnergyCurve curve(t, std::vector<double>{1.0, 2.0, 2.0, 9.0, 5.0, 5.0});
  CHECK(value(curve, -1) == 1.0);
  CHECK(value(curve, 0) == 2.0);
  CHECK(value(curve, 9) == 2.0);
  CHECK(value(curve, 10) == 5.0);
  for (const Ns at : {-5, 0, 5, 10, 20, 30}) CHECK(integrate(curve, at, at) == 0.0);
  CHECK(integrate(curve, 0, 20) == doctest::Approx(70e-9).epsilon(1e-15));
}

TEST_CASE("runs are flat where the reading stood and linear between; missing ones leave no knot") {
  const std::vector<Ns> t_first{0, 100, 200, 300, 400}, read_first{20, 120, 220, 320, 420};
  const std::vector<Ns> t_last{50, 100, 250, 350, 440}, read_last{70, 120, 270, 370, 460};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> power{10.0, 30.0, nan, 1e9, 50.0};
  const std::vector<std::uint32_t> flags{0, kGapBefore, kMissing | 5u << 16, kInvalid, 0};
  const EnergyCurve curve =
      EnergyCurve::from_runs({t_first, read_first, t_last, read_last, power, flags});
  REQUIRE(curve.size() == 5);  // two, one (its only read), two
  CHECK(curve.start() == 10);
  CHECK(curve.end() == 450);
  CHECK(value(curve, 40) == 10.0);
  CHECK(value(curve, 85) == 20.0);   // halfway from 60 to 110
  CHECK(value(curve, 260) == 40.0);  // straight across what is missing
  CHECK(integrate(curve, 10, 60) == doctest::Approx(500e-9).epsilon(1e-15));
  CHECK(integrate(curve, 60, 110) == doctest::Approx(1'000e-9).epsilon(1e-15));
}

TEST_CASE("runs whose brackets overlap never run backwards in time") {
  const std::vector<Ns> t_first{0, 90}, read_first{10, 100}, t_last{80, 90}, read_last{140, 100};
  const std::vector<double> power{10.0, 30.0};
  const std::vector<std::uint32_t> flags{0, 0};
  const EnergyCurve curve =
      EnergyCurve::from_runs({t_first, read_first, t_last, read_last, power, flags});
  const auto knots = curve.knots();
  CHECK(std::ranges::is_sorted(knots, {}, &EnergyCurve::Knot::t));
  CHECK(value(curve, 110) == 30.0);
}

TEST_CASE("what is no curve is refused") {
  const std::vector<Ns> t{0, 10}, falling{10, 0}, three{0, 1, 2};
  const std::vector<double> y{1.0, 2.0};
  CHECK_THROWS_AS(EnergyCurve(falling, y), std::invalid_argument);
  CHECK_THROWS_AS(EnergyCurve(three, y), std::invalid_argument);
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    CHECK_THROWS_AS(EnergyCurve(t, std::vector<double>{1.0, bad}), std::invalid_argument);
  }
  const std::vector<Ns> no_time{0, Ns{1} << 62};
  CHECK_THROWS_AS(EnergyCurve(no_time, y), std::invalid_argument);
  const std::vector<std::uint32_t> flags{0, 0}, one{0};
  CHECK_THROWS_AS(EnergyCurve::from_runs({t, t, t, no_time, y, flags}), std::invalid_argument);
  CHECK_THROWS_AS(EnergyCurve::from_runs({t, t, t, t, y, one}), std::invalid_argument);
  CHECK_THROWS_AS(EnergyCurve::from_runs({t, three, t, t, y, flags}), std::invalid_argument);
  CHECK(EnergyCurve(std::vector<Ns>{}, std::vector<double>{}).empty());
}
