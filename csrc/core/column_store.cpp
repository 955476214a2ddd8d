// SPDX-License-Identifier: Apache-2.0
#include "core/column_store.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <new>

namespace pyenergy {

Reservation::Reservation(std::size_t want) {
  for (std::size_t size = std::max(want, kSmallest); size >= kSmallest; size /= 2) {
    void* at = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at != MAP_FAILED) {
      data_ = static_cast<std::byte*>(at);
      reserved_ = size;
      return;
    }
  }
  throw std::bad_alloc();
}

Reservation::~Reservation() { munmap(data_, reserved_); }

bool Reservation::commit(std::size_t bytes) noexcept {
  if (bytes <= committed_) return true;
  if (bytes > reserved_) return false;
  // Grow by half: few system calls, and a steady reading stays on a few pages.
  constexpr std::size_t kPage = 4096;
  const std::size_t want = std::max(bytes, committed_ + committed_ / 2);
  const std::size_t rounded = std::min((want + kPage - 1) / kPage * kPage, reserved_);
  if (mprotect(data_, rounded, PROT_READ | PROT_WRITE) != 0) return false;
  committed_ = rounded;
  return true;
}

bool RunStore::write_row(const Run& run) noexcept {
  const std::size_t row = size_.load(std::memory_order_relaxed);
  if (!t_first_.reserve_row(row) || !read_first_.reserve_row(row) || !t_last_.reserve_row(row) ||
      !read_last_.reserve_row(row) || !value_.reserve_row(row) || !count_.reserve_row(row) ||
      !flags_.reserve_row(row)) {
    lost_ += run.count;
    gap_pending_ = true;
    return false;
  }
  t_first_.data()[row] = run.t_first;
  read_first_.data()[row] = run.read_first;
  t_last_.data()[row] = run.t_last;
  read_last_.data()[row] = run.read_last;
  value_.data()[row] = run.value;
  count_.data()[row] = run.count;
  flags_.data()[row] = run.flags;
  size_.store(row + 1, std::memory_order_release);
  return true;
}

bool RunStore::append(Ns t, Ns read, double value, std::uint16_t flags,
                      std::int32_t status) noexcept {
  const Ns previous = has_open_ || sealed_ ? open_.read_last : 0;
  const bool late = previous != 0 && t - previous > gap_ns_;
  if (late || gap_pending_) flags |= kGapBefore;
  gap_pending_ = false;
  // What happened just before a sample belongs to the start of a run, not to its identity.
  constexpr std::uint16_t kEvents = kGapBefore | kReset | kWrapped | kContinues;
  const bool eventful = (flags & kEvents) != 0;
  const std::uint32_t packed = run_flags(flags, status);
  const bool same_value = value == open_.value || (std::isnan(value) && std::isnan(open_.value));
  const std::uint32_t identity = ~static_cast<std::uint32_t>(kEvents);
  const bool same = same_value && (packed & identity) == (open_.flags & identity);
  last_t_.store(t, std::memory_order_release);
  if (has_open_ && same && !eventful && open_.count != UINT32_MAX) {
    open_.t_last = t;
    open_.read_last = read;
    ++open_.count;
    return true;
  }
  const bool continues = sealed_ && same && !eventful;
  const bool written = !has_open_ || write_row(open_);
  if (!written) flags |= kGapBefore;
  gap_pending_ = false;
  open_ = {t, read, t, read, value, 1, run_flags(flags, status)};
  if (continues) open_.flags |= kContinues;
  has_open_ = true;
  sealed_ = false;
  return written;
}

bool RunStore::seal() noexcept {
  if (!has_open_) return true;
  has_open_ = false;
  sealed_ = true;
  return write_row(open_);
}

}  // namespace pyenergy
