// SPDX-License-Identifier: Apache-2.0
// Overlap of spans and windows against a sum over all pairs; the low-pass against its closed form
// and against a sum over a fine grid.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <vector>

#include "core/overlap.h"

using namespace pyenergy;

namespace {

constexpr Ns kUptime = 40 * 86'400 * kSecond;  // CLOCK_MONOTONIC of a machine up for long

struct Spans {
  std::vector<Ns> starts, ends;
  std::vector<std::int32_t> classes;
  std::size_t class_count = 1;
  void add(Ns from, Ns to, std::int32_t cls = 0) {
    starts.push_back(from);
    ends.push_back(to);
    classes.push_back(cls);
    class_count = std::max(class_count, static_cast<std::size_t>(cls) + 1);
  }
  Activity activity() const { return Activity(starts, ends, classes, class_count); }
};

struct Windows {
  std::vector<Ns> starts, ends;
  void add(Ns from, Ns to) {
    starts.push_back(from);
    ends.push_back(to);
  }
};

using Row = std::map<std::int32_t, double>;

SparseRows overlap(const Activity& activity, const Windows& windows, int threads = 1) {
  return activity.overlap(windows.starts, windows.ends, threads);
}

Row row(const SparseRows& rows, std::size_t i) {
  Row out;
  for (auto k = static_cast<std::size_t>(rows.begin[i]);
       k < static_cast<std::size_t>(rows.begin[i + 1]); ++k) {
    out[rows.index[k]] = rows.value[k];
  }
  return out;
}

Row row(const Activity& activity, Ns from, Ns to) {
  Windows one;
  one.add(from, to);
  return row(overlap(activity, one), 0);
}

// Every span with the window; whole nanoseconds, so without rounding.
Row slow_overlap(const Spans& spans, Ns from, Ns to) {
  std::map<std::int32_t, Ns> ns;
  for (std::size_t i = 0; i < spans.starts.size(); ++i) {
    const Ns a = std::max(from, spans.starts[i]), b = std::min(to, spans.ends[i]);
    if (a < b) ns[spans.classes[i]] += b - a;
  }
  Row out;
  for (const auto& [cls, length] : ns) out[cls] = static_cast<double>(length * 1e-9L);
  return out;
}

bool same(const Row& found, const Row& truth, double tolerance) {
  if (found.size() != truth.size()) return false;
  return std::ranges::equal(found, truth, [&](const auto& a, const auto& b) {
    return a.first == b.first && std::abs(a.second - b.second) <= tolerance;
  });
}

// Lengths from none over nanoseconds to seconds; nested, overlapping, also within one class.
Spans random_spans(std::size_t n, std::int32_t classes, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> exponent(0.0, 9.0);
  std::uniform_int_distribution<Ns> when(0, 20 * kSecond);
  std::uniform_int_distribution<std::int32_t> cls(0, classes - 1);
  Spans spans;
  for (std::size_t i = 0; i < n; ++i) {
    const bool again = i > 0 && random() % 4 == 0;  // begins where another did
    const Ns from = again ? spans.starts[random() % i] : kUptime + when(random);
    const bool empty = random() % 16 == 0;
    spans.add(from, empty ? from : from + static_cast<Ns>(std::pow(10.0, exponent(random))),
              cls(random));
  }
  spans.class_count = static_cast<std::size_t>(classes);
  return spans;
}

Windows random_windows(const Spans& spans, std::size_t n, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<Ns> time(kUptime - 2 * kSecond, kUptime + 24 * kSecond);
  Windows windows;
  for (std::size_t i = 0; i < n; ++i) {
    // Every third begins, every fifth ends on an edge; every seventh is empty.
    const Ns a = i % 3 == 0 ? spans.starts[random() % spans.starts.size()] : time(random);
    const Ns b = i % 5 == 0 ? spans.ends[random() % spans.ends.size()] : time(random);
    windows.add(std::min(a, b), i % 7 == 0 ? std::min(a, b) : std::max(a, b));
  }
  return windows;
}

double level(const Activity& activity, Ns t, Ns tau, std::int32_t cls = 0) {
  const Row found = row(activity.lowpass({&t, 1}, tau), 0);
  const auto it = found.find(cls);
  return it == found.end() ? 0.0 : it->second;
}

// Of one span of height 1.
double closed_form(Ns from, Ns to, Ns t, Ns tau) {
  if (t <= from) return 0.0;
  const auto since = [&](Ns edge) {
    return static_cast<double>(t - edge) / static_cast<double>(tau);
  };
  if (t <= to) return -std::expm1(-since(from));
  return std::exp(-since(to)) - std::exp(-since(from));
}

}  // namespace

TEST_CASE("overlaps of random spans and windows are those of every pair") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    const Spans spans = random_spans(3 + 40 * seed, 1 + static_cast<int>(seed % 7), seed);
    const Activity activity = spans.activity();
    const Windows windows = random_windows(spans, 400, seed + 100);
    const SparseRows rows = overlap(activity, windows);
    REQUIRE(rows.begin.size() == windows.starts.size() + 1);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < windows.starts.size(); ++i) {
      const Row truth = slow_overlap(spans, windows.starts[i], windows.ends[i]);
      // A difference of prefix sums errs by some roundings of the sums themselves.
      if (!same(row(rows, i), truth, 1e-12 * 20.0 * static_cast<double>(spans.starts.size()))) {
        ++wrong;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("windows that cross many segments use sums of blocks and lose nothing") {
  Spans spans;  // a chain: 1000 spans of 100 us, every fourth a class of its own kind
  for (int i = 0; i < 1000; ++i) spans.add(i * 150 * kUs, i * 150 * kUs + 100 * kUs, i % 4);
  spans.add(0, 150 * kMs, 4);  // around all
  const Activity activity = spans.activity();
  REQUIRE(activity.segments() > 64 * 20);
  std::size_t wrong = 0;
  for (int from = 0; from < 1000; from += 37) {
    for (int to = from; to <= 1000; to += 29) {
      for (const Ns shift : {Ns{0}, 33 * kUs, 100 * kUs}) {
        const Ns a = from * 150 * kUs + shift, b = std::max(a, to * 150 * kUs);
        if (!same(row(activity, a, b), slow_overlap(spans, a, b), 1e-13)) ++wrong;
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a window inside one segment holds what runs there") {
  Spans spans;
  spans.add(0, 10 * kSecond, 1);
  spans.add(2 * kSecond, 8 * kSecond, 0);
  spans.add(3 * kSecond, 8 * kSecond, 0);
  const Activity activity = spans.activity();
  CHECK(row(activity, 4 * kSecond, 6 * kSecond) == Row{{0, 4.0}, {1, 2.0}});
  CHECK(row(activity, 4 * kSecond, 4 * kSecond + 1) == Row{{0, 2e-9}, {1, 1e-9}});
  CHECK(row(activity, 9 * kSecond, 10 * kSecond) == Row{{1, 1.0}});
}

TEST_CASE("empty windows, and windows outside all spans, have empty rows") {
  Spans spans;
  spans.add(kSecond, 2 * kSecond);
  spans.add(4 * kSecond, 5 * kSecond);
  const Activity activity = spans.activity();
  Windows windows;
  windows.add(kSecond + kMs, kSecond + kMs);  // empty, inside a span
  windows.add(kSecond, kSecond);
  windows.add(0, kSecond);  // touches the first span
  windows.add(2 * kSecond, 4 * kSecond);
  windows.add(5 * kSecond, 6 * kSecond);
  windows.add(-kUptime, 0);
  windows.add(kUptime, 2 * kUptime);
  const SparseRows rows = overlap(activity, windows);
  CHECK(rows.begin == std::vector<std::int64_t>(windows.starts.size() + 1, 0));
  CHECK(rows.index.empty());
  CHECK(rows.value.empty());
  CHECK(row(activity, std::numeric_limits<Ns>::min(), std::numeric_limits<Ns>::max()) ==
        Row{{0, 2.0}});
  CHECK(overlap(activity, Windows{}).begin == std::vector<std::int64_t>{0});
}

TEST_CASE("spans without length, and none at all, are no activity") {
  Spans spans;
  spans.add(kSecond, kSecond);
  CHECK(spans.activity().segments() == 0);
  CHECK(row(spans.activity(), 0, 2 * kSecond).empty());
  const Activity nothing({}, {}, {}, 3);
  CHECK(nothing.classes() == 3);
  CHECK(row(nothing, 0, kSecond).empty());
  CHECK(level(nothing, kSecond, kMs) == 0.0);
  CHECK(row(Activity({}, {}, {}, 0), 0, kSecond).empty());
}

TEST_CASE("rows come in the windows' order with increasing classes, whatever the spans' order") {
  Spans spans;
  for (const std::int32_t cls : {5, 0, 3, 4, 1, 2}) spans.add(0, (cls + 1) * kSecond, cls);
  const Activity activity = spans.activity();
  Windows windows;
  windows.add(4 * kSecond, 6 * kSecond);
  windows.add(0, kSecond);
  windows.add(5 * kSecond, 9 * kSecond);
  windows.add(2 * kSecond, 4 * kSecond);
  const SparseRows rows = overlap(activity, windows);
  CHECK(rows.begin == std::vector<std::int64_t>{0, 2, 8, 9, 13});
  CHECK(rows.index == std::vector<std::int32_t>{4, 5, 0, 1, 2, 3, 4, 5, 5, 2, 3, 4, 5});
  CHECK(row(rows, 0) == Row{{4, 1.0}, {5, 2.0}});
  CHECK(row(rows, 3) == Row{{2, 1.0}, {3, 2.0}, {4, 2.0}, {5, 2.0}});
}

TEST_CASE("the order of the spans does not change a bit") {
  Spans spans = random_spans(400, 5, 3), reversed;
  for (std::size_t i = spans.starts.size(); i-- > 0;) {
    reversed.add(spans.starts[i], spans.ends[i], spans.classes[i]);
  }
  reversed.class_count = spans.class_count;
  const Windows windows = random_windows(spans, 500, 4);
  const SparseRows a = overlap(spans.activity(), windows);
  const SparseRows b = overlap(reversed.activity(), windows);
  CHECK(a.begin == b.begin);
  CHECK(a.index == b.index);
  CHECK(a.value == b.value);
}

TEST_CASE("one thread and four find the same bits") {
  const Spans spans = random_spans(500, 6, 11);
  const Activity activity = spans.activity();
  const Windows windows = random_windows(spans, 200'003, 12);
  const SparseRows one = overlap(activity, windows, 1);
  for (const int threads : {4, 2, 0, -1, 1000}) {
    CAPTURE(threads);
    const SparseRows many = overlap(activity, windows, threads);
    CHECK(one.begin == many.begin);
    CHECK(one.index == many.index);
    CHECK(one.value == many.value);
  }
}

TEST_CASE("windows that follow one another add up to the window around them") {
  const Spans spans = random_spans(600, 3, 21);
  const Activity activity = spans.activity();
  std::mt19937_64 random(22);
  std::uniform_int_distribution<Ns> time(kUptime - kSecond, kUptime + 22 * kSecond);
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<Ns> cut(2 + random() % 30);
    for (Ns& t : cut) t = time(random);
    std::ranges::sort(cut);
    Row sum;
    for (std::size_t i = 0; i + 1 < cut.size(); ++i) {
      for (const auto& [cls, s] : row(activity, cut[i], cut[i + 1])) sum[cls] += s;
    }
    CHECK(same(sum, row(activity, cut.front(), cut.back()), 1e-10));
  }
}

TEST_CASE("spans and windows that cannot be are refused") {
  const std::vector<Ns> starts{0, 10}, ends{5, 20};
  const std::vector<std::int32_t> classes{0, 1};
  CHECK_NOTHROW(Activity(starts, ends, classes, 2));
  CHECK_THROWS_AS(Activity(starts, std::vector<Ns>{5, 9}, classes, 2), std::invalid_argument);
  CHECK_THROWS_AS(Activity(starts, ends, classes, 1), std::invalid_argument);
  CHECK_THROWS_AS(Activity(starts, ends, classes, 0), std::invalid_argument);
  CHECK_THROWS_AS(Activity(starts, ends, std::vector<std::int32_t>{0, -1}, 2),
                  std::invalid_argument);
  CHECK_THROWS_AS(Activity(starts, std::vector<Ns>{5}, classes, 2), std::invalid_argument);
  CHECK_THROWS_AS(Activity(starts, ends, std::vector<std::int32_t>{0}, 2), std::invalid_argument);
  const Activity activity(starts, ends, classes, 2);
  CHECK_THROWS_AS(activity.overlap(starts, std::vector<Ns>{5, 9}, 1), std::invalid_argument);
  CHECK_THROWS_AS(activity.overlap(starts, std::vector<Ns>{5}, 1), std::invalid_argument);
}

TEST_CASE("the low-pass of one span has its closed form, edges included") {
  Spans spans;
  const Ns from = kUptime, to = kUptime + 50 * kMs;
  spans.add(from, to);
  const Activity activity = spans.activity();
  for (const Ns tau : {Ns{1}, 40 * kUs, 12 * kMs, 3 * kSecond}) {
    CAPTURE(tau);
    std::vector<Ns> times{0, from - kSecond, from - 1, from, from, from + 1};
    for (Ns t = from + kMs; t < to + 200 * kMs; t += 7 * kMs) times.push_back(t);
    times.insert(times.end(), {to - 1, to, to, to + 1});
    std::ranges::sort(times);
    const SparseRows rows = activity.lowpass(times, tau);
    REQUIRE(rows.begin.size() == times.size() + 1);
    for (std::size_t i = 0; i < times.size(); ++i) {
      CAPTURE(i);
      const Row found = row(rows, i);
      const double value = found.empty() ? 0.0 : found.at(0);
      const double truth = closed_form(from, to, times[i], tau);
      CHECK(value == doctest::Approx(truth).epsilon(1e-12).scale(1.0));
      if (times[i] <= from) CHECK(found.empty());
    }
  }
}

TEST_CASE("the low-pass of many spans is the sum over a fine grid") {
  std::mt19937_64 random(31);
  Spans spans;
  for (int i = 0; i < 60; ++i) {
    const Ns from = kUptime + static_cast<Ns>(random() % 20'000) * kUs;
    spans.add(from, from + static_cast<Ns>(1 + random() % 3'000) * kUs, i % 3);
  }
  const Activity activity = spans.activity();
  const Ns tau = 500 * kUs, step = kUs;
  std::vector<double> filtered(3), running(3);
  std::vector<Ns> times;
  std::vector<std::vector<double>> truth;
  const double half = std::exp(-0.5 * static_cast<double>(step) / static_cast<double>(tau));
  for (Ns t = kUptime; t < kUptime + 30 * kMs; t += step) {
    if ((t - kUptime) % (137 * kUs) == 0) {
      times.push_back(t);
      truth.push_back(filtered);
    }
    std::ranges::fill(running, 0.0);
    for (std::size_t i = 0; i < spans.starts.size(); ++i) {
      if (spans.starts[i] <= t && t < spans.ends[i]) {
        running[static_cast<std::size_t>(spans.classes[i])] += 1.0;
      }
    }
    for (std::size_t j = 0; j < 3; ++j) {  // the weight at the middle of the step
      filtered[j] = filtered[j] * half * half +
                    running[j] * half * static_cast<double>(step) / static_cast<double>(tau);
    }
  }
  const SparseRows rows = activity.lowpass(times, tau);
  for (std::size_t i = 0; i < times.size(); ++i) {
    const Row found = row(rows, i);
    for (std::int32_t j = 0; j < 3; ++j) {
      const double value = found.contains(j) ? found.at(j) : 0.0;
      CHECK(value == doctest::Approx(truth[i][static_cast<std::size_t>(j)]).epsilon(2e-6).scale(1));
    }
  }
}

TEST_CASE("the low-pass is linear in the spans, nested and equal ones included") {
  const Spans spans = random_spans(300, 4, 41);
  const Activity activity = spans.activity();
  std::mt19937_64 random(42);
  std::uniform_int_distribution<Ns> time(kUptime - kSecond, kUptime + 24 * kSecond);
  for (const Ns tau : {40 * kUs, 12 * kMs, 2 * kSecond}) {
    CAPTURE(tau);
    std::vector<Ns> times;
    for (int i = 0; i < 300; ++i) {
      times.push_back(i % 3 == 0 ? spans.ends[random() % spans.ends.size()] : time(random));
    }
    std::ranges::sort(times);
    const SparseRows rows = activity.lowpass(times, tau);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < times.size(); ++i) {
      std::vector<double> truth(spans.class_count);
      for (std::size_t s = 0; s < spans.starts.size(); ++s) {
        truth[static_cast<std::size_t>(spans.classes[s])] +=
            closed_form(spans.starts[s], spans.ends[s], times[i], tau);
      }
      const Row found = row(rows, i);
      for (std::size_t j = 0; j < truth.size(); ++j) {
        const auto it = found.find(static_cast<std::int32_t>(j));
        if (std::abs((it == found.end() ? 0.0 : it->second) - truth[j]) > 1e-10) ++wrong;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("the low-pass refuses times that decrease and time constants that cannot be") {
  Spans spans;
  spans.add(0, kSecond);
  const Activity activity = spans.activity();
  const std::vector<Ns> times{0, 10, 10, 20}, decreasing{0, 10, 9};
  CHECK_NOTHROW(activity.lowpass(times, 1));
  CHECK_THROWS_AS(activity.lowpass(times, 0), std::invalid_argument);
  CHECK_THROWS_AS(activity.lowpass(times, -kMs), std::invalid_argument);
  CHECK_THROWS_AS(activity.lowpass(decreasing, kMs), std::invalid_argument);
  CHECK(activity.lowpass({}, kMs).begin == std::vector<std::int64_t>{0});
}
