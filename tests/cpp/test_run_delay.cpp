// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/run_delay.h"

using namespace pyenergy;

namespace {

// Threads that share one processor wait for one another.
Ns waited_beside(int others, Ns busy) {
  Ns waited = -1;
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) return;  // the others inherit it
    std::atomic<bool> stop{false};
    std::vector<std::thread> beside;
    for (int i = 0; i < others; ++i) {
      beside.emplace_back([&] {
        while (!stop.load(std::memory_order_relaxed)) {
        }
      });
    }
    const RunDelay before = run_delay();
    for (const Ns end = monotonic_ns() + busy; monotonic_ns() < end;) {
    }
    waited = run_delay().waited - before.waited;
    stop = true;
    for (auto& thread : beside) thread.join();
  }).join();
  return waited;
}

}  // namespace

TEST_CASE("a thread that shares its processor has waited about that long") {
  if (run_delay().waited < 0) {
    WARN_MESSAGE(false, "this kernel keeps no /proc/thread-self/schedstat");
    return;
  }
  const Ns busy = 200'000'000;
  CHECK(waited_beside(2, busy) > busy / 4);
}

TEST_CASE("turns never fall, and more threads than files is no matter") {
  const RunDelay first = run_delay();
  std::vector<std::thread> many;
  std::atomic<int> told{0};
  for (int i = 0; i < 100; ++i) {
    many.emplace_back([&] {
      const RunDelay own = run_delay();
      told += (own.waited >= 0) == (first.waited >= 0) && own.turns <= run_delay().turns;
    });
  }
  for (auto& thread : many) thread.join();
  CHECK(told == 100);
  CHECK(run_delay().turns >= first.turns);
}
