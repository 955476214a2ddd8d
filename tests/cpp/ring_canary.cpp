// SPDX-License-Identifier: Apache-2.0
// The ring with one order too weak: tail is published relaxed. ThreadSanitizer must report it, and
// must say nothing of the real ring in the same program (argument "ring"): so its silence about
// the ring's other tests means something.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string_view>
#include <thread>

#include "core/spsc_ring.h"

namespace {

class CanaryRing {
 public:
  explicit CanaryRing(std::size_t capacity)
      : mask_(capacity - 1), slots_(std::make_unique<std::uint64_t[]>(capacity)) {}
  bool try_push(std::uint64_t value) {
    const auto tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) > mask_) return false;
    slots_[tail & mask_] = value;
    tail_.store(tail + 1, std::memory_order_relaxed);  // the fault: not release
    return true;
  }
  bool try_pop(std::uint64_t& value) {
    const auto head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return false;
    value = slots_[head & mask_];
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

 private:
  const std::size_t mask_;
  const std::unique_ptr<std::uint64_t[]> slots_;
  std::atomic<std::uint64_t> tail_{0}, head_{0};
};

constexpr std::uint64_t kCount = 10'000;

template <typename Ring>
std::uint64_t sum_through(Ring& ring) {
  std::jthread producer([&] {
    for (std::uint64_t i = 0; i < kCount;) {
      ring.try_push(i) ? static_cast<void>(++i) : std::this_thread::yield();
    }
  });
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < kCount;) {
    std::uint64_t value = 0;
    if (ring.try_pop(value)) {
      sum += value;
      ++i;
    } else {
      std::this_thread::yield();
    }
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const bool real = argc > 1 && std::string_view(argv[1]) == "ring";
  pyenergy::SpscRing<std::uint64_t> ring(64);
  CanaryRing canary(64);
  const std::uint64_t sum = real ? sum_through(ring) : sum_through(canary);
  std::puts(sum == kCount * (kCount - 1) / 2 ? "all arrived" : "elements were lost");
}
