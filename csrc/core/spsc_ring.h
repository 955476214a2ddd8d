// SPDX-License-Identifier: Apache-2.0
// Wait-free single-producer single-consumer ring.
//
// Contract. Exactly one thread calls try_push and exactly one thread at a time calls the consumer
// functions (pop, consume); handing the consumer role to another thread needs a happens-before
// edge between the two (the collector's mutex gives it). Capacity is a power of two; all of it is
// usable. A full ring refuses the newest element: the producer counts it, nothing is overwritten.
//
// Who owns what. `tail_` is written by the producer only, `head_` by the consumer only; both count
// elements ever pushed or popped and never wrap in practice (2^64). Each side keeps a cached copy
// of the other's index on its own cache line and re-reads the real one only when the cached one
// says full (or empty), so that in steady state neither line bounces between the cores.
//
// Orders. The producer writes the slot, then publishes with a release store of tail_; the consumer
// acquires tail_ before it reads the slot. The consumer reads the slot, then frees it with a
// release store of head_; the producer acquires head_ before it writes the slot again. A side
// reads its own index relaxed: it alone writes it. No fences: TSan does not model them.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <type_traits>

namespace pyenergy {

// A constant of our own: the standard's interference size may differ between translation units.
// 128: adjacent-line prefetch pairs 64-byte lines on x86, and some Arm cores have 128-byte lines.
inline constexpr std::size_t kCacheLine = 128;

template <typename T>
class SpscRing {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit SpscRing(std::size_t capacity)
      : mask_(checked(capacity) - 1),
        slots_(static_cast<T*>(::operator new(capacity * sizeof(T), kAlignment))) {
    std::uninitialized_value_construct_n(slots_.get(), capacity);
  }
  SpscRing(const SpscRing&) = delete;
  SpscRing& operator=(const SpscRing&) = delete;

  std::size_t capacity() const noexcept { return mask_ + 1; }

  // Producer. False: the ring is full and nothing was written.
  [[nodiscard]] bool try_push(const T& value) noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_cache_ > mask_) {
      head_cache_ = head_.load(std::memory_order_acquire);
      if (tail - head_cache_ > mask_) return false;
    }
    slots_[tail & mask_] = value;
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // Consumer. False: the ring is empty.
  [[nodiscard]] bool try_pop(T& value) noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_cache_) {
      tail_cache_ = tail_.load(std::memory_order_acquire);
      if (head == tail_cache_) return false;
    }
    value = slots_[head & mask_];
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  // Consumer. Hands up to `limit` elements, oldest first, to `take(const T&)`, frees them together
  // and returns how many there were.
  template <typename Take>
  std::size_t consume(std::size_t limit, Take&& take) {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    tail_cache_ = tail_.load(std::memory_order_acquire);
    const std::size_t n = std::min<std::size_t>(limit, tail_cache_ - head);
    for (std::size_t i = 0; i < n; ++i) take(slots_[(head + i) & mask_]);
    head_.store(head + n, std::memory_order_release);
    return n;
  }

 private:
  // Elements that divide a cache line never straddle two: each line then crosses once.
  static constexpr std::align_val_t kAlignment{kCacheLine};
  struct Free {
    void operator()(T* slots) const noexcept { ::operator delete(slots, kAlignment); }
  };
  static std::size_t checked(std::size_t capacity) {
    if (std::has_single_bit(capacity)) return capacity;
    throw std::invalid_argument("ring capacity must be a power of two");
  }

  const std::size_t mask_;
  const std::unique_ptr<T[], Free> slots_;
  alignas(kCacheLine) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t head_cache_ = 0;  // producer's
  alignas(kCacheLine) std::atomic<std::uint64_t> head_{0};
  std::uint64_t tail_cache_ = 0;  // consumer's
};

}  // namespace pyenergy
