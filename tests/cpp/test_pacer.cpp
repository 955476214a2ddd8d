// SPDX-License-Identifier: Apache-2.0
// Deadlines on a fixed grid, and bursts that follow the updates of simulated sensors.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/pacer.h"

using namespace pyenergy;

namespace {

constexpr Ns kCall = 30 * kUs;  // how long a poll takes

// When a sensor publishes, and at which of these times its reading changes.
struct Updates {
  std::vector<Ns> at;
  static Updates regular(Ns first, Ns period, std::size_t n, Ns jitter = 0, unsigned seed = 1) {
    std::mt19937_64 random(seed);
    std::uniform_int_distribution<Ns> shift(-jitter, jitter);
    Updates made;
    for (std::size_t k = 0; k < n; ++k) {
      made.at.push_back(first + static_cast<Ns>(k) * period + shift(random));
    }
    return made;
  }
  void continue_with(const Updates& more) { at.insert(at.end(), more.at.begin(), more.at.end()); }
  std::size_t published(Ns now) const {
    return static_cast<std::size_t>(std::ranges::upper_bound(at, now) - at.begin());
  }
};

struct Bracket {
  std::size_t channel;
  Ns before, after;
  std::size_t updates;  // how many fell into it
  bool locked;          // when it was found
  Ns width() const { return after - before; }
};

// Polls simulated channels as the sampler does, on simulated time.
struct Bench {
  struct Seen {
    std::size_t updates = 0;
    Ns read = 0;
  };
  Pacer pacer;
  std::vector<Updates> channels;
  std::vector<Seen> seen;
  std::vector<Bracket> brackets;
  std::size_t polls = 0;
  Ns now = 0;

  Bench(PacerConfig config, std::vector<Updates> of)
      : pacer(std::move(config)), channels(std::move(of)), seen(channels.size()) {}

  void poll() {
    const Ns start = pacer.next(now);
    REQUIRE(start >= now);
    now = start + kCall;
    ++polls;
    for (std::size_t i = 0; i < channels.size(); ++i) {
      const std::size_t updates = channels[i].published(start + kCall / 2);
      const bool locked = pacer.locked(), changed = updates != seen[i].updates;
      if (polls > 1) pacer.observe(i, seen[i].read, start, changed);
      if (polls > 1 && changed) {
        brackets.push_back({i, seen[i].read, start, updates - seen[i].updates, locked});
      }
      seen[i] = {updates, now};
    }
  }
  void run_until(Ns time) {
    while (now < time) poll();
  }
};

PacerConfig edge(std::vector<Ns> seeds) {
  PacerConfig config;
  config.mode = PacingMode::kEdge;
  config.seeds = std::move(seeds);
  return config;
}

double period_error(const Bench& bench, Ns truth, std::size_t lock = 0) {
  return std::abs(bench.pacer.locks().at(lock).period() / static_cast<double>(truth) - 1.0);
}

constexpr Ns kTrue = 101'200 * kUs;  // a real A100's, against its nominal 100 ms

}  // namespace

TEST_CASE("fixed deadlines lie on a grid whatever the polls' duration") {
  Pacer pacer(PacerConfig{});
  CHECK(pacer.next(500) == 500);
  CHECK(pacer.next(500 + 900 * kUs) == 500 + kMs);
  CHECK(pacer.next(500 + kMs) == 500 + 2 * kMs);
  CHECK(pacer.missed() == 0);
}

TEST_CASE("deadlines that have passed are counted and skipped, never caught up") {
  Pacer pacer(PacerConfig{});
  pacer.next(0);
  CHECK(pacer.next(5 * kMs + kMs / 2) == 6 * kMs);
  CHECK(pacer.missed() == 5);
  CHECK(pacer.next(6 * kMs + kUs) == 7 * kMs);
  CHECK(pacer.missed() == 5);
  CHECK(pacer.next(3600 * kSecond) > 3600 * kSecond);  // a suspended laptop
}

TEST_CASE("jitter moves each deadline evenly within its bounds, and never the grid") {
  PacerConfig config;
  config.jitter = 0.6;
  Pacer pacer(config);
  constexpr int kDeadlines = 20'000;
  const double half = 0.3 * static_cast<double>(kMs);
  double sum = 0.0, squares = 0.0, least = 0.0, most = 0.0;
  pacer.next(0);
  Ns now = 0;
  for (int i = 1; i <= kDeadlines; ++i) {
    now = pacer.next(now);
    const auto off = static_cast<double>(now - i * kMs);
    least = std::min(least, off);
    most = std::max(most, off);
    sum += off;
    squares += off * off;
  }
  CHECK(pacer.missed() == 0);
  CHECK(least >= -half);
  CHECK(most <= half);
  // Uniform: variance half^2 / 3; the mean of n lies within 5 sigma / sqrt(n), their variance
  // within 5 sqrt(4/5) / sqrt(n) of it.
  CHECK(std::abs(sum / kDeadlines) < 5.0 * half / std::sqrt(3.0 * kDeadlines));
  CHECK(squares / kDeadlines / (half * half / 3.0) == doctest::Approx(1.0).epsilon(0.032));
}

TEST_CASE("the same random seed gives the same deadlines, another one others") {
  const auto deadlines = [](std::uint64_t seed) {
    PacerConfig config;
    config.jitter = 0.9;
    config.random_seed = seed;
    Pacer pacer(config);
    std::vector<Ns> made{pacer.next(0)};
    for (int i = 0; i < 20; ++i) made.push_back(pacer.next(made.back()));
    return made;
  };
  CHECK(deadlines(3) == deadlines(3));
  CHECK(deadlines(3) != deadlines(4));
}

TEST_CASE("without a lock the edge pacer polls at its period") {
  for (const auto& seeds : {std::vector<Ns>{}, std::vector<Ns>{0, -1}}) {
    Pacer none(edge(seeds));
    CHECK(none.locks().empty());
    CHECK(!none.locked());
    CHECK(none.quiet(0, kSecond));
  }
  // A sensor that changes with every poll has no update clock that could be followed.
  Bench continuous(edge({100 * kMs}), {Updates::regular(0, 100 * kUs, 60'000)});
  continuous.run_until(4'999 * kMs);
  CHECK(!continuous.pacer.locked());
  CHECK(continuous.polls == 5'000);
}

TEST_CASE("the lock finds a period of 101.2 ms from a seed of 100 ms through 1 ms of jitter") {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    Bench bench(edge({100 * kMs}), {Updates::regular(37 * kMs, kTrue, 50, kMs, seed)});
    bench.run_until(50 * kTrue);
    CHECK(bench.pacer.locked());
    CHECK(bench.pacer.locks()[0].relocks() == 0);
    CHECK(period_error(bench, kTrue) < 1e-3);
  }
}

TEST_CASE("a seed may be wrong by some per cent") {
  for (const Ns percent : {94, 97, 100, 103, 106}) {
    Bench bench(edge({percent * kTrue / 100}), {Updates::regular(5 * kMs, kTrue, 60)});
    bench.run_until(60 * kTrue);
    CHECK(bench.pacer.locked());
    CHECK(period_error(bench, kTrue) < 1e-4);
  }
  // Also when the reading changes with every third update only: the first step is three times off.
  for (const Ns percent : {96, 104}) {
    Bench bench(edge({percent * kTrue / 100}), {Updates::regular(5 * kMs, 3 * kTrue, 20)});
    bench.run_until(60 * kTrue);
    CHECK(bench.pacer.locked());
    CHECK(period_error(bench, kTrue) < 1e-4);
  }
}

TEST_CASE("a lock needs agreeing changes; random ones are no clock") {
  PhaseLock lock(100 * kMs, 250 * kUs);
  for (Ns k = 0; k <= PhaseLock::kConfirm; ++k) {
    CHECK(!lock.locked());
    lock.change(k * 100 * kMs - kMs, k * 100 * kMs);
  }
  CHECK(lock.locked());

  std::mt19937_64 random(9);
  std::uniform_int_distribution<Ns> pause(0, 200 * kMs);
  PhaseLock confused(100 * kMs, 250 * kUs);
  int locked = 0;
  Ns t = kSecond;
  for (int i = 0; i < 1'000; ++i, locked += confused.locked()) {
    t += pause(random) + kMs;
    confused.change(t - kMs, t);
  }
  CHECK(locked < 50);
}

TEST_CASE("once locked every update is timed within the dense spacing, by few polls") {
  for (const Ns jitter : {Ns{0}, 500 * kUs}) {
    Bench bench(edge({100 * kMs}), {Updates::regular(40 * kMs, kTrue, 400, jitter)});
    bench.run_until(50 * kTrue);
    REQUIRE(bench.pacer.locked());
    const std::size_t polls_before = bench.polls;
    bench.brackets.clear();
    bench.run_until(350 * kTrue);
    const auto wide = std::ranges::count_if(bench.brackets, [&](const Bracket& found) {
      return found.updates != 1 || found.width() > bench.pacer.config().dense;
    });
    CHECK(bench.brackets.size() == 300);
    CHECK(wide == 0);
    const auto dense = static_cast<double>(300 * kTrue / bench.pacer.config().dense);
    CHECK(static_cast<double>(bench.polls - polls_before) < 0.04 * dense);
    CHECK(bench.pacer.locks()[0].relocks() == 0);
  }
}

TEST_CASE("a burst ends with its change") {
  Bench bench(edge({100 * kMs}), {Updates::regular(0, kTrue, 100)});
  bench.run_until(60 * kTrue);
  REQUIRE(bench.pacer.locked());
  for (int i = 0; i < 20; ++i) {
    for (const std::size_t found = bench.brackets.size(); bench.brackets.size() == found;) {
      bench.poll();
    }
    const Ns changed = bench.now;
    bench.poll();
    CHECK(bench.now - changed > bench.pacer.config().sparse / 2);
  }
}

TEST_CASE("a steady reading keeps the lock, and its bursts widen with the time") {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    Updates updates = Updates::regular(0, kTrue, 60, kMs, seed);
    updates.continue_with(Updates::regular(660 * kTrue, kTrue, 60, kMs, seed));  // after a minute
    Bench bench(edge({100 * kMs}), {updates});
    bench.run_until(659 * kTrue);
    CHECK(bench.pacer.locked());
    bench.brackets.clear();
    bench.run_until(720 * kTrue - kTrue / 2);
    CHECK(bench.pacer.locked());
    CHECK(bench.pacer.locks()[0].relocks() == 0);
    CHECK(bench.brackets.front().width() <= bench.pacer.config().dense);
  }
}

TEST_CASE("a phase that jumps by half a period drops the lock, which is found again") {
  Updates updates = Updates::regular(0, kTrue, 60);
  updates.continue_with(Updates::regular(60 * kTrue + kTrue / 2, kTrue, 60));
  Bench bench(edge({100 * kMs}), {updates});
  bench.run_until(60 * kTrue);
  CHECK(bench.pacer.locks()[0].relocks() == 0);
  bench.run_until(64 * kTrue);
  CHECK(!bench.pacer.locked());
  bench.run_until(120 * kTrue);
  CHECK(bench.pacer.locked());
  CHECK(bench.pacer.locks()[0].relocks() == 1);
  CHECK(period_error(bench, kTrue) < 1e-3);
  CHECK(bench.brackets.back().width() <= bench.pacer.config().dense);
}

TEST_CASE("changes that fail to appear are whole multiples of the period") {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    std::mt19937_64 random(seed);
    Updates sparse = Updates::regular(0, kTrue, 300, kMs, seed);
    std::erase_if(sparse.at, [&](Ns) { return random() % 3 != 0; });
    Bench bench(edge({100 * kMs}), {sparse});
    bench.run_until(300 * kTrue);
    CHECK(bench.pacer.locked());
    CHECK(bench.pacer.locks()[0].relocks() == 0);
    // A line through 32 changes over 96 updates that scatter by 0.58 ms: 4e-5, five times over.
    CHECK(period_error(bench, kTrue) < 2e-4);
  }
}

TEST_CASE("two channels are followed by the union of their bursts") {
  constexpr Ns kFast = 20'010 * kUs;
  Bench bench(edge({100 * kMs, 0, 20 * kMs}), {Updates::regular(3 * kMs, kTrue, 200),
                                               Updates::regular(0, 7 * kMs, 3'000),  // no seed
                                               Updates::regular(11 * kMs, kFast, 1'000)});
  bench.run_until(40 * kTrue);
  REQUIRE(bench.pacer.locked());
  REQUIRE(bench.pacer.locks().size() == 2);
  const std::size_t polls_before = bench.polls;
  bench.brackets.clear();
  bench.run_until(180 * kTrue);
  std::size_t found = 0;
  for (const Bracket& bracket : bench.brackets) {
    if (bracket.channel == 1) continue;
    ++found;
    CHECK(bracket.width() <= bench.pacer.config().dense);
  }
  CHECK(found == 140 + 140 * kTrue / kFast);
  CHECK(period_error(bench, kTrue, 0) < 1e-4);
  CHECK(period_error(bench, kFast, 1) < 1e-4);
  const auto dense = static_cast<double>(140 * kTrue / bench.pacer.config().dense);
  CHECK(static_cast<double>(bench.polls - polls_before) < 0.12 * dense);
}

TEST_CASE("a hung call while locked is skipped over, not caught up") {
  Bench bench(edge({100 * kMs}), {Updates::regular(0, kTrue, 200)});
  bench.run_until(60 * kTrue);
  REQUIRE(bench.pacer.locked());
  const std::uint64_t missed = bench.pacer.missed();
  bench.now += 2 * kSecond;
  const std::size_t polls = bench.polls;
  const Ns woken = bench.now;
  bench.run_until(woken + 50 * kMs);
  CHECK(bench.pacer.missed() > missed + 100);  // sparse polls alone are 50 a second
  CHECK(bench.polls - polls < 40);
  bench.run_until(150 * kTrue);
  CHECK(bench.pacer.locked());
  CHECK(bench.brackets.back().width() <= bench.pacer.config().dense);
}

TEST_CASE("time for slow calls is where no burst is near") {
  Bench bench(edge({100 * kMs}), {Updates::regular(0, kTrue, 200)});
  bench.run_until(60 * kTrue + 10 * kMs);
  REQUIRE(bench.pacer.locked());
  const Ns next = 61 * kTrue;
  CHECK(bench.pacer.quiet(next - 50 * kMs, kMs));
  CHECK(!bench.pacer.quiet(next - 50 * kMs, 51 * kMs));
  CHECK(!bench.pacer.quiet(next - 100 * kUs, 0));
}

TEST_CASE("the longest interval bounds the pace of each mode") {
  PacerConfig config;
  config.jitter = 0.5;
  CHECK(Pacer(config).longest_interval() == 1'500 * kUs);
  CHECK(Pacer(edge({100 * kMs})).longest_interval() == 20 * kMs);
  CHECK(Pacer(edge({})).longest_interval() == kMs);
}
