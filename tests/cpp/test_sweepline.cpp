// SPDX-License-Identifier: Apache-2.0
// The sweep against examples worked by hand, and sums that must hold whatever is drawn.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/sweepline.h"

using namespace pyenergy;

namespace {

constexpr Ns kUptime = 40 * 86'400 * kSecond;  // CLOCK_MONOTONIC of a machine up for long

struct Ops {
  std::vector<Ns> starts, ends;
  std::vector<double> weights;
  void add(Ns from, Ns to) {
    starts.push_back(from);
    ends.push_back(to);
  }
  void add(Ns from, Ns to, double weight) {
    add(from, to);
    weights.push_back(weight);
  }
  Operations view() const { return {starts, ends, weights}; }
};

EnergyCurve steady(double watts, Ns from, Ns to) {
  return EnergyCurve(std::vector<Ns>{from, to}, std::vector<double>{watts, watts});
}

SweepResult swept(const EnergyCurve& curve, const Ops& ops, double static_w = 0.0,
                  StaticPolicy policy = StaticPolicy::kSeparate) {
  return sweep(curve, ops.view(), {curve.start(), curve.end(), static_w, policy});
}

doctest::Approx about(double x) { return doctest::Approx(x).epsilon(1e-13); }

void check_column(const std::vector<double>& found, const std::vector<double>& truth) {
  REQUIRE(found.size() == truth.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(found[i] == about(truth[i]));
  }
}

// Relative to all that was summed, so that parts of both signs may cancel.
double missing(const SweepResult& r) {
  double size = std::abs(r.total_j) + std::abs(r.static_j);
  for (const double e : r.energy_j) size += std::abs(e);
  for (const double e : r.gap_energy_j) size += std::abs(e);
  return std::abs(r.total_j - (r.operations_j + r.gaps_j + r.static_j)) / std::max(size, 1e-300);
}

std::string refusal(const EnergyCurve& curve, const Ops& ops, const SweepOptions& options) {
  try {
    sweep(curve, ops.view(), options);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

// Steps and ramps between 50 and 400 W over 10 s.
EnergyCurve random_curve(unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> watts(50.0, 400.0);
  std::vector<Ns> t{kUptime};
  std::vector<double> y{100.0};
  while (t.back() < kUptime + 10 * kSecond) {
    t.push_back(t.back() + static_cast<Ns>(random() % (20 * kMs)));
    y.push_back(watts(random));
    if (random() % 3 == 0) {  // a jump
      t.push_back(t.back());
      y.push_back(watts(random));
    }
  }
  return EnergyCurve(t, y);
}

Ops random_ops(std::size_t n, unsigned seed, bool weighted) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> exponent(0.0, 9.5), weight_exponent(-300.0, 300.0);
  std::uniform_int_distribution<Ns> when(-kSecond, 11 * kSecond);
  Ops ops;
  for (std::size_t i = 0; i < n; ++i) {
    const bool again = i > 0 && random() % 4 == 0;
    const Ns from = again ? ops.starts[random() % i] : kUptime + when(random);
    const Ns to =
        random() % 16 == 0 ? from : from + static_cast<Ns>(std::pow(10.0, exponent(random)));
    ops.add(from, to);
    if (!weighted) continue;
    ops.weights.push_back(random() % 5 == 0 ? 0.0 : std::pow(10.0, weight_exponent(random)));
  }
  return ops;
}

}  // namespace

TEST_CASE("one operation alone has what the curve says, the rest are gaps") {
  // 100 W, rising to 300 W over the second second: 100, 200, 300 J.
  const EnergyCurve curve(
      std::vector<Ns>{kUptime, kUptime + kSecond, kUptime + 2 * kSecond, kUptime + 3 * kSecond},
      std::vector<double>{100.0, 100.0, 300.0, 300.0});
  Ops ops;
  ops.add(kUptime + kSecond, kUptime + 2 * kSecond);
  const SweepResult r = swept(curve, ops);
  check_column(r.energy_j, {200.0});
  check_column(r.lower_j, {200.0});
  check_column(r.upper_j, {200.0});
  check_column(r.alone_s, {1.0});
  CHECK(r.overlapped_s == std::vector<double>{0.0});
  CHECK(r.gap_start == std::vector<Ns>{kUptime, kUptime + 2 * kSecond});
  CHECK(r.gap_end == std::vector<Ns>{kUptime + kSecond, kUptime + 3 * kSecond});
  check_column(r.gap_energy_j, {100.0, 300.0});
  CHECK(r.total_j == about(600.0));
  CHECK(r.busy_s == about(1.0));
  CHECK(r.overlap_s == 0.0);
  CHECK(r.segments == 3);
  CHECK(r.negative_segments == 0);
  CHECK(r.deepest == 1);
}

TEST_CASE("overlap, nesting and a gap under each static policy") {
  // 100 W, of which 40 W static. A runs 0-4 s, B 2-6 s, nothing 6-10 s.
  const EnergyCurve curve = steady(100.0, 0, 10 * kSecond);
  Ops ops;
  ops.add(0, 4 * kSecond, 3.0);
  ops.add(2 * kSecond, 6 * kSecond, 1.0);
  // Dynamic 60 W: A 120 alone, B 120 alone, 120 shared 3 : 1.
  const SweepResult apart = swept(curve, ops, 40.0);
  check_column(apart.energy_j, {210.0, 150.0});
  check_column(apart.lower_j, {120.0, 120.0});
  check_column(apart.upper_j, {240.0, 240.0});
  check_column(apart.alone_s, {2.0, 2.0});
  check_column(apart.overlapped_s, {2.0, 2.0});
  check_column(apart.gap_energy_j, {240.0});
  CHECK(apart.static_j == about(400.0));
  CHECK(apart.busy_s == about(6.0));
  CHECK(apart.overlap_s == about(2.0));
  CHECK(apart.deepest == 2);
  // 80 J static alone to each, 80 shared 3 : 1, 160 in the gap.
  const SweepResult busy = swept(curve, ops, 40.0, StaticPolicy::kBusy);
  check_column(busy.energy_j, {350.0, 250.0});
  check_column(busy.lower_j, {260.0, 220.0});
  check_column(busy.upper_j, {380.0, 340.0});
  check_column(busy.gap_energy_j, {400.0});
  CHECK(busy.static_j == 0.0);
  // 400 J static over 4 + 4 s of operations and 4 s of gap: 33.3 J for each second.
  const SweepResult all = swept(curve, ops, 40.0, StaticPolicy::kAll);
  const double each = 400.0 / 3.0;
  check_column(all.energy_j, {210.0 + each, 150.0 + each});
  check_column(all.lower_j, {120.0 + each, 120.0 + each});
  check_column(all.upper_j, {240.0 + each, 240.0 + each});
  check_column(all.gap_energy_j, {240.0 + each});
  CHECK(all.static_j == 0.0);
  for (const SweepResult* r : {&apart, &busy, &all}) {
    CHECK(r->total_j == about(1000.0));
    CHECK(missing(*r) < 1e-15);
  }
}

TEST_CASE("weights of nothing share equally among themselves and take nothing beside others") {
  const EnergyCurve curve = steady(120.0, 0, 3 * kSecond);
  Ops ops;
  ops.add(0, 2 * kSecond, 0.0);
  ops.add(0, 2 * kSecond, 0.0);
  ops.add(kSecond, 3 * kSecond, 1e-9);
  check_column(swept(curve, ops).energy_j, {60.0, 60.0, 240.0});
}

TEST_CASE("weights at the ends of what a double holds overlap without loss") {
  const EnergyCurve curve = steady(100.0, 0, 10 * kSecond);
  Ops ops;
  const double tiny = std::numeric_limits<double>::denorm_min();
  const double huge = std::numeric_limits<double>::max();
  ops.add(0, 4 * kSecond, huge);
  ops.add(0, 10 * kSecond, tiny);
  ops.add(2 * kSecond, 4 * kSecond, huge);
  ops.add(6 * kSecond, 10 * kSecond, tiny);
  ops.add(6 * kSecond, 10 * kSecond, 2 * tiny);
  const SweepResult r = swept(curve, ops);
  check_column(r.energy_j, {300.0, 200.0 + 100.0, 100.0, 100.0, 200.0});
  CHECK(missing(r) < 1e-15);
}

TEST_CASE("a short operation loses no digits to a heavy past") {
  const EnergyCurve curve = steady(300.0, 0, 10 * 86'400 * kSecond);
  Ops ops;
  ops.add(0, curve.end());  // everything else overlaps it
  ops.add(0, curve.end() - kSecond);
  ops.add(curve.end() - kUs, curve.end());
  check_column({swept(curve, ops).energy_j[2]}, {150e-6});
}

TEST_CASE("less energy than the static power is negative, counted, and bounds turn round") {
  const EnergyCurve curve(std::vector<Ns>{0, kSecond, kSecond, 3 * kSecond},
                          std::vector<double>{30.0, 30.0, 80.0, 80.0});
  Ops ops;
  ops.add(0, 2 * kSecond);
  ops.add(0, kSecond);
  const SweepResult r = swept(curve, ops, 50.0);
  check_column(r.energy_j, {20.0, -10.0});
  check_column(r.lower_j, {10.0, -20.0});
  check_column(r.upper_j, {30.0, 0.0});
  check_column(r.gap_energy_j, {30.0});
  CHECK(r.negative_segments == 1);
  CHECK(r.negative_j == about(-20.0));
  CHECK(missing(r) < 1e-15);
}

TEST_CASE("operations outside the window are cut, counted and reported") {
  const EnergyCurve curve = steady(100.0, 0, 10 * kSecond);
  Ops ops;
  ops.add(-kSecond, 4 * kSecond);       // 3 s outside
  ops.add(7 * kSecond, 12 * kSecond);   // 4 s outside
  ops.add(-5 * kSecond, 20 * kSecond);  // 19 s outside
  ops.add(0, 2 * kSecond);              // ends where the window starts: 2 s
  ops.add(9 * kSecond, 10 * kSecond);   // 1 s
  ops.add(3 * kSecond, 3 * kSecond);    // no length
  ops.add(2 * kSecond, 8 * kSecond);    // exactly the window
  const SweepResult r =
      sweep(curve, ops.view(), {2 * kSecond, 8 * kSecond, 0.0, StaticPolicy::kSeparate});
  // 200 J by three, 300 J by two, 100 J by three.
  check_column(r.energy_j, {200.0 / 3, 100.0 / 3, 250.0, 0.0, 0.0, 0.0, 250.0});
  CHECK(r.total_j == about(600.0));
  CHECK(r.cut == 3);
  CHECK(r.outside == 2);
  CHECK(r.empty == 1);
  CHECK(r.outside_s == about(3.0 + 4.0 + 19.0 + 2.0 + 1.0));
  const Ops far = [] {
    Ops o;
    o.add(std::numeric_limits<Ns>::min(), std::numeric_limits<Ns>::max());
    return o;
  }();
  const SweepResult whole = swept(curve, far);
  check_column(whole.energy_j, {1000.0});
  CHECK(whole.outside_s == about(18446744073.709551615 - 10.0));
}

TEST_CASE("no operations, no window") {
  const EnergyCurve curve = steady(100.0, 0, kSecond);
  for (const auto policy : {StaticPolicy::kSeparate, StaticPolicy::kBusy, StaticPolicy::kAll}) {
    const SweepResult idle = swept(curve, {}, 30.0, policy);
    check_column(idle.gap_energy_j, {policy == StaticPolicy::kSeparate ? 70.0 : 100.0});
    CHECK(missing(idle) < 1e-15);
    Ops ops;
    ops.add(0, kSecond);
    const SweepResult empty = sweep(curve, ops.view(), {kMs, kMs, 30.0, policy});
    CHECK(empty.energy_j == std::vector<double>{0.0});
    CHECK(empty.gap_start.empty());
    CHECK(empty.segments == 0);
    CHECK(empty.total_j == 0.0);
    CHECK(empty.outside == 1);
  }
}

TEST_CASE("a million operations with the same edges") {
  const std::size_t n = 1'000'000;
  const EnergyCurve curve = steady(100.0, 0, 3 * kSecond);
  Ops ops;
  ops.starts.assign(n, kSecond);
  ops.ends.assign(n, 2 * kSecond);
  const SweepResult r = swept(curve, ops);
  CHECK(r.segments == 3);
  CHECK(r.deepest == n);
  CHECK(std::ranges::all_of(r.energy_j, [&](double e) { return e == r.energy_j[0]; }));
  CHECK(r.energy_j[0] == about(1e-4));
  CHECK(r.operations_j == about(100.0));
  ops.starts.assign(n, kSecond);
  ops.ends.assign(n, kSecond);
  CHECK(swept(curve, ops).empty == n);
}

TEST_CASE("sums conserve, and agree with the curve, for whatever is drawn") {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    const EnergyCurve curve = random_curve(seed);
    const Ops ops = random_ops(10 + 700 * (seed - 1), seed, seed % 2 == 0);
    for (const auto policy : {StaticPolicy::kSeparate, StaticPolicy::kBusy, StaticPolicy::kAll}) {
      const Ns from = kUptime + static_cast<Ns>(seed) * 17 * kMs, to = curve.end() - kSecond;
      const SweepResult r = sweep(curve, ops.view(), {from, to, 45.0, policy});
      double total = 0.0;
      curve.windows({&from, 1}, {&to, 1}, {&total, 1}, 1);
      CHECK(r.total_j == doctest::Approx(total).epsilon(1e-12));
      CHECK(missing(r) < 1e-12);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < ops.starts.size(); ++i) {
        const double slack = 1e-9 * (1.0 + std::abs(r.upper_j[i]));
        wrong += r.energy_j[i] < r.lower_j[i] - slack || r.energy_j[i] > r.upper_j[i] + slack;
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("the order of the operations does not change a bit") {
  for (const std::size_t n : {300, 5000}) {  // sorted by comparison, and by digits
    const EnergyCurve curve = random_curve(5);
    const Ops ops = random_ops(n, 6, true);
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937_64(7));
    Ops other;
    for (const std::size_t i : order) other.add(ops.starts[i], ops.ends[i], ops.weights[i]);
    const SweepResult a = swept(curve, ops, 40.0, StaticPolicy::kBusy);
    const SweepResult b = swept(curve, other, 40.0, StaticPolicy::kBusy);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < n; ++i) {
      wrong += b.energy_j[i] != a.energy_j[order[i]] || b.lower_j[i] != a.lower_j[order[i]] ||
               b.upper_j[i] != a.upper_j[order[i]] || b.alone_s[i] != a.alone_s[order[i]];
    }
    CHECK(wrong == 0);
    CHECK(a.gap_energy_j == b.gap_energy_j);
  }
}

TEST_CASE("what cannot be is refused, and the first index named") {
  const EnergyCurve curve = steady(100.0, 0, kSecond);
  const SweepOptions all{0, kSecond, 0.0, StaticPolicy::kSeparate};
  Ops ops;
  ops.add(0, 10, 1.0);
  ops.add(20, 10, 1.0);
  ops.add(20, 10, 1.0);
  CHECK(refusal(curve, ops, all) == "operation 1 ends before it starts (20, 10)");
  for (const double bad : {-1.0, std::nan(""), HUGE_VAL}) {
    Ops heavy;
    heavy.add(0, 10, 0.0);
    heavy.add(0, 10, 1.0);
    heavy.add(0, 10, bad);
    CHECK(refusal(curve, heavy, all).starts_with("the weight of operation 2 must be finite"));
    CHECK(refusal(curve, {}, {0, kSecond, bad, StaticPolicy::kAll})
              .starts_with("the static power must be finite"));
  }
  Ops uneven;
  uneven.add(0, 10, 1.0);
  uneven.add(0, 10);
  CHECK(refusal(curve, uneven, all) == "starts, ends and weights differ in length");
  uneven.ends.pop_back();
  CHECK(refusal(curve, uneven, all) == "starts, ends and weights differ in length");
  CHECK(refusal(curve, {}, {5, 4, 0.0, {}}) == "the window [5, 4] ends before it starts");
  CHECK(refusal(curve, {}, {-1, 4, 0.0, {}}).find("reaches outside the curve") !=
        std::string::npos);
  CHECK(refusal(curve, {}, {0, kSecond + 1, 0.0, {}}).find("reaches outside the curve") !=
        std::string::npos);
  CHECK(refusal(EnergyCurve({}, {}), {}, all) == "the curve has no points");
}
