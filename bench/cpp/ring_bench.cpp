// SPDX-License-Identifier: Apache-2.0
// Push and pop of samples between two threads: our ring, boost::lockfree::spsc_queue and
// moodycamel::ReaderWriterQueue, in turn, many short rounds. Prints JSON: ns per element, taken in
// bulk with a back-off (as our collector takes them), and one by one, spinning.
#include <pthread.h>

#include <readerwriterqueue/readerwriterqueue.h>
#include <algorithm>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/clock_ns.h"
#include "core/sample.h"
#include "core/spsc_ring.h"

namespace {

using pyenergy::Ns;
using pyenergy::Sample;

constexpr std::size_t kCapacity = 1024;  // the sampler's own at 1 kHz

void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

// How a side waits on an empty or full queue: the same for every queue.
struct Spin {
  void operator()() const {}
};
struct BackOff {
  void operator()() const {
    for (int i = 0; i < 64; ++i) __builtin_ia32_pause();
  }
};

// Time per element for `count` elements through a queue. `push` takes one element or refuses it;
// `take` adds what it can take to a sum and returns how many elements that were.
template <typename Wait, typename Push, typename Take>
double round_ns(long count, Wait wait, Push push, Take take) {
  std::atomic<bool> go{false};
  long sum = 0;
  std::thread consumer([&] {
    pin(1);
    while (!go.load(std::memory_order_acquire)) {
    }
    for (long i = 0; i < count;) {
      const long n = take(sum);
      i += n;
      if (n == 0) wait();
    }
  });
  pin(0);
  Sample s{};
  go.store(true, std::memory_order_release);
  const Ns start = pyenergy::monotonic_ns();
  for (long i = 0; i < count; ++i) {
    s.t_ns = i;
    while (!push(s)) wait();
  }
  consumer.join();
  const Ns end = pyenergy::monotonic_ns();
  if (sum != count * (count - 1) / 2) std::abort();
  return static_cast<double>(end - start) / static_cast<double>(count);
}

// One element at a time from a queue with a pop(Sample&).
template <typename Pop>
auto one_by_one(Pop pop) {
  return [pop, s = Sample{}](long& sum) mutable {
    if (!pop(s)) return 0L;
    sum += s.t_ns;
    return 1L;
  };
}

struct Rounds {
  std::vector<double> ring, boost, moodycamel;
};

// Each queue as it is best used: what can take many at once does.
template <typename Wait>
void in_bulk(long count, Rounds& out) {
  {
    pyenergy::SpscRing<Sample> ring(kCapacity);
    out.ring.push_back(round_ns(
        count, Wait{}, [&](const Sample& s) { return ring.try_push(s); },
        [&](long& sum) {
          return static_cast<long>(ring.consume(256, [&](const Sample& s) { sum += s.t_ns; }));
        }));
  }
  {
    boost::lockfree::spsc_queue<Sample> queue(kCapacity);
    out.boost.push_back(round_ns(
        count, Wait{}, [&](const Sample& s) { return queue.push(s); },
        [&](long& sum) {
          return static_cast<long>(queue.consume_all([&](const Sample& s) { sum += s.t_ns; }));
        }));
  }
  moodycamel::ReaderWriterQueue<Sample> queue(kCapacity);
  out.moodycamel.push_back(round_ns(
      count, Wait{}, [&](const Sample& s) { return queue.try_enqueue(s); },
      one_by_one([&](Sample& s) { return queue.try_dequeue(s); })));
}

template <typename Wait>
void singly(long count, Rounds& out) {
  {
    pyenergy::SpscRing<Sample> ring(kCapacity);
    out.ring.push_back(round_ns(
        count, Wait{}, [&](const Sample& s) { return ring.try_push(s); },
        one_by_one([&](Sample& s) { return ring.try_pop(s); })));
  }
  {
    boost::lockfree::spsc_queue<Sample> queue(kCapacity);
    out.boost.push_back(round_ns(
        count, Wait{}, [&](const Sample& s) { return queue.push(s); },
        one_by_one([&](Sample& s) { return queue.pop(s); })));
  }
  moodycamel::ReaderWriterQueue<Sample> queue(kCapacity);
  out.moodycamel.push_back(round_ns(
      count, Wait{}, [&](const Sample& s) { return queue.try_enqueue(s); },
      one_by_one([&](Sample& s) { return queue.try_dequeue(s); })));
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void print(const char* name, const Rounds& r, const char* end) {
  std::printf("\"%s\": {\"ring_ns\": %.3f, \"boost_ns\": %.3f, \"moodycamel_ns\": %.3f}%s", name,
              median(r.ring), median(r.boost), median(r.moodycamel), end);
}

}  // namespace

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 2'000'000;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 15;
  Rounds bulk, single, warm_up;
  in_bulk<BackOff>(count, warm_up);
  for (int i = 0; i < rounds; ++i) {
    in_bulk<BackOff>(count, bulk);
    singly<Spin>(count, single);
  }
  std::printf("{");
  print("bulk", bulk, ", ");
  print("singly", single, "}\n");
}
