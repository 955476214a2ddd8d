// SPDX-License-Identifier: Apache-2.0
// The latest samples in a mapped file, written by the sampler itself: what a killed process had
// read but not yet kept as rows.
//
// Only on tmpfs. A page of a file on a disk is write-protected while it is written back, and
// whoever stores to it then waits for the disk: the sampler must not. Pages are allocated before
// they are stored to, so that a full file system is an error here and no SIGBUS there. Memory of a
// file outlives the process, not the machine.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/live_layout.h"

namespace pyenergy {

// A circle of slots (live_layout.h). One writer; a slot that a kill left half written has a wrong
// check.
class LiveTail {
 public:
  // A new file of `capacity` slots, a power of two. Throws std::system_error: ENOTSUP where it
  // would not be memory.
  LiveTail(const std::string& path, std::size_t capacity, std::uint64_t seed);
  ~LiveTail();
  LiveTail(const LiveTail&) = delete;
  LiveTail& operator=(const LiveTail&) = delete;
  void push(const Sample& sample) noexcept {
    TailSlot slot{sample, ++seq_, 0};
    slot.check = live_check(seed_, slot);
    slots_[(seq_ - 1) & mask_] = slot;
  }

 private:
  const std::uint64_t mask_, seed_;
  std::byte* map_ = nullptr;
  std::size_t bytes_ = 0;
  TailSlot* slots_ = nullptr;
  std::uint64_t seq_ = 0;
};

// The tails that one sampler writes. Others add and remove them while it runs; it looks once a
// step.
//
// Orders. All of slots_ and steps_ is sequentially consistent: a step begins by counting itself and
// then loads the slots; a removal empties the slot and then loads the count. If it finds n, step
// n + 1 loads the empty slot, and when a later look finds more than n, step n is over: then, and
// not before, the memory goes.
class TailSet {
 public:
  static constexpr std::size_t kMost = 8;
  // Sampler.
  void begin_step() noexcept {
    steps_.store(steps_.load(std::memory_order_relaxed) + 1);
    for (std::size_t i = 0; i < kMost; ++i) using_[i] = slots_[i].load();
  }
  void push(const Sample& sample) noexcept {
    for (LiveTail* const tail : using_) {
      if (tail != nullptr) tail->push(sample);
    }
  }
  // Others, one at a time. False: kMost are there.
  bool add(std::shared_ptr<LiveTail> tail);
  void remove(const LiveTail* tail);
  // Lets go of what was removed and is in use no more.
  void reap() noexcept;

 private:
  struct Retired {
    std::shared_ptr<LiveTail> tail;
    std::uint64_t step;  // the last that may use it
  };
  std::array<std::atomic<LiveTail*>, kMost> slots_{};
  std::atomic<std::uint64_t> steps_{0};
  std::array<LiveTail*, kMost> using_{};               // sampler's
  std::array<std::shared_ptr<LiveTail>, kMost> kept_;  // others'
  std::vector<Retired> retired_;                       // others'
};

}  // namespace pyenergy
