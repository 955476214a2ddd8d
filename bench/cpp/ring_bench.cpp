// SPDX-License-Identifier: Apache-2.0
// Push and pop of samples between two threads: our ring, boost::lockfree::spsc_queue and
// moodycamel::ReaderWriterQueue, in turn, many short rounds. Prints JSON: ns per element.
#include <pthread.h>

#include <algorithm>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <readerwriterqueue/readerwriterqueue.h>
#include <string>
#include <thread>
#include <vector>

#include "core/clock_ns.h"
#include "core/sample.h"
#include "core/spsc_ring.h"

namespace {

using pyenergy::Ns;
using pyenergy::Sample;

constexpr std::size_t kCapacity = 4096;

void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

// Time per element for `count` elements through a queue, both sides spinning.
template <typename Push, typename Pop>
double round_ns(long count, Push push, Pop pop) {
  std::atomic<bool> go{false};
  long sum = 0;
  std::thread consumer([&] {
    pin(1);
    while (!go.load(std::memory_order_acquire)) {
    }
    Sample s{};
    for (long i = 0; i < count; ++i) {
      while (!pop(s)) {
      }
      sum += s.t_ns;
    }
  });
  pin(0);
  Sample s{};
  go.store(true, std::memory_order_release);
  const Ns start = pyenergy::monotonic_ns();
  for (long i = 0; i < count; ++i) {
    s.t_ns = i;
    while (!push(s)) {
    }
  }
  consumer.join();
  const Ns end = pyenergy::monotonic_ns();
  if (sum != count * (count - 1) / 2) std::abort();
  return static_cast<double>(end - start) / static_cast<double>(count);
}

double ours(long count) {
  pyenergy::SpscRing<Sample> ring(kCapacity);
  return round_ns(
      count, [&](const Sample& s) { return ring.try_push(s); },
      [&](Sample& s) { return ring.try_pop(s); });
}

double boosts(long count) {
  boost::lockfree::spsc_queue<Sample> queue(kCapacity);
  return round_ns(
      count, [&](const Sample& s) { return queue.push(s); }, [&](Sample& s) { return queue.pop(s); });
}

double moodycamels(long count) {
  moodycamel::ReaderWriterQueue<Sample> queue(kCapacity);
  return round_ns(
      count, [&](const Sample& s) { return queue.try_enqueue(s); },
      [&](Sample& s) { return queue.try_dequeue(s); });
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 2'000'000;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 15;
  std::vector<double> a, b, c;
  for (int i = 0; i < rounds + 1; ++i) {  // the first round warms up
    const double x = ours(count), y = boosts(count), z = moodycamels(count);
    if (i == 0) continue;
    a.push_back(x), b.push_back(y), c.push_back(z);
  }
  std::printf("{\"ring_ns\": %.3f, \"boost_ns\": %.3f, \"moodycamel_ns\": %.3f, \"rounds\": %d}\n",
              median(a), median(b), median(c), rounds);
}
