// SPDX-License-Identifier: Apache-2.0
// The ring against a queue, at its smallest capacities, and between two threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/spsc_ring.h"

using pyenergy::SpscRing;

TEST_SUITE_BEGIN("ring");

TEST_CASE("only powers of two are capacities") {
  for (const std::size_t bad : {0, 3, 6, 1000}) {
    CHECK_THROWS_AS(SpscRing<int>{bad}, std::invalid_argument);
  }
  CHECK(SpscRing<int>(1).capacity() == 1);
  CHECK(SpscRing<int>(1024).capacity() == 1024);
}

TEST_CASE("a full ring refuses the newest and keeps what it has") {
  for (const std::size_t capacity : {1, 2}) {
    CAPTURE(capacity);
    SpscRing<int> ring(capacity);
    int out = -1;
    CHECK_FALSE(ring.try_pop(out));
    for (int turn = 0; turn < 10; ++turn) {  // wraps every slot several times
      const int first = 100 * turn;
      for (int i = 0; i < static_cast<int>(capacity); ++i) CHECK(ring.try_push(first + i));
      CHECK_FALSE(ring.try_push(-1));
      for (int i = 0; i < static_cast<int>(capacity); ++i) {
        REQUIRE(ring.try_pop(out));
        CHECK(out == first + i);
      }
      CHECK_FALSE(ring.try_pop(out));
    }
  }
}

TEST_CASE("any sequence of calls behaves as a bounded queue") {
  std::mt19937 random(7);
  for (const std::size_t capacity : {1, 2, 4, 16}) {
    CAPTURE(capacity);
    SpscRing<int> ring(capacity);
    std::deque<int> queue;
    for (int step = 0; step < 20'000; ++step) {
      const auto choice = random() % 5;
      if (choice < 2) {
        const bool fits = queue.size() < capacity;
        REQUIRE(ring.try_push(step) == fits);
        if (fits) queue.push_back(step);
      } else if (choice < 4) {
        int out = -1;
        REQUIRE(ring.try_pop(out) == !queue.empty());
        if (queue.empty()) continue;
        REQUIRE(out == queue.front());
        queue.pop_front();
      } else {
        const std::size_t limit = random() % (capacity + 2);
        const std::size_t expected = std::min(limit, queue.size());
        REQUIRE(ring.consume(limit, [&](int out) {
          REQUIRE(out == queue.front());
          queue.pop_front();
        }) == expected);
      }
    }
  }
}

TEST_CASE("two threads: every element once, in order, whole") {
  struct Element {
    std::uint64_t number, check;
  };
  constexpr std::uint64_t kCount = 300'000;
  for (const std::size_t capacity : {2, 256}) {
    CAPTURE(capacity);
    SpscRing<Element> ring(capacity);
    std::jthread producer([&] {
      for (std::uint64_t i = 0; i < kCount;) {
        if (ring.try_push({i, ~i * 3})) {
          ++i;
        } else {
          std::this_thread::yield();
        }
      }
    });
    std::uint64_t next = 0, wrong = 0;
    const auto take = [&](const Element& e) {
      wrong += e.number != next || e.check != ~next * 3;
      ++next;
    };
    while (next < kCount) {
      Element e{};
      const bool batch = next % 2 == 0;
      const std::size_t got = batch ? ring.consume(100, take) : (ring.try_pop(e) ? 1 : 0);
      if (!batch && got == 1) take(e);
      if (got == 0) std::this_thread::yield();
    }
    CHECK(wrong == 0);
    CHECK(next == kCount);
  }
}

TEST_SUITE_END();
