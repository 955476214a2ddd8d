// SPDX-License-Identifier: Apache-2.0
// Address space committed from the front, and runs of equal readings.
#include "core/column_store.h"

#include <sys/mman.h>
#include <unistd.h>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>

namespace pyenergy {
namespace {

constexpr std::size_t kFirstCommit = std::size_t{1} << 16;
constexpr std::size_t kLargestCommit = std::size_t{1} << 26;
// These tell how a run began, not what its readings are: they do not keep readings apart.
constexpr std::uint32_t kOfTheStart = kGapBefore | kReset | kContinues | kWrapped;

std::size_t round_up(std::size_t n, std::size_t step) noexcept {
  return (n + step - 1) / step * step;
}

std::byte* map(std::size_t bytes, int protection) noexcept {
  void* at = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
}

// Where address space is short (ulimit -v, valgrind) and should not all go into columns.
std::size_t most_wanted() noexcept {
  const char* const setting = std::getenv("PYENERGY_COLUMN_MIB");
  const long mib = setting == nullptr ? 0 : std::atol(setting);
  return mib > 0 ? static_cast<std::size_t>(mib) << 20 : Reservation::kLargest;
}

bool same(double a, double b) noexcept { return a == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace

Reservation::Reservation(std::size_t want) {
  want = std::min(want, most_wanted());
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  for (std::size_t bytes = round_up(std::max(want, page), page);;
       bytes = round_up(std::max(bytes / 2, kSmallest), page)) {
    reserved_ = bytes;
    // Usable at once where the system does not count untouched pages: neighbouring columns then
    // share one mapping, of which a process may have 65,530 (vm.max_map_count).
    data_ = map(bytes, PROT_READ | PROT_WRITE);
    committed_ = data_ != nullptr ? bytes : 0;
    if (data_ == nullptr) data_ = map(bytes, PROT_NONE);
    if (data_ != nullptr) return;
    if (bytes <= kSmallest) throw std::bad_alloc();
  }
}

Reservation::~Reservation() { munmap(data_, reserved_); }

bool Reservation::commit(std::size_t bytes) noexcept {
  if (bytes <= committed_) return true;
  if (bytes > reserved_) return false;
  // Doubling keeps the calls few; pages that nobody touches cost nothing.
  const std::size_t step = std::clamp(committed_, kFirstCommit, kLargestCommit);
  const std::size_t upto = std::min(reserved_, round_up(std::max(bytes, committed_ + step), step));
  if (mprotect(data_, upto, PROT_READ | PROT_WRITE) != 0) return false;
  committed_ = upto;
  return true;
}

// A reading is there when its read ends: a read that hangs is a silence too.
bool RunStore::silent(Ns read) const noexcept { return read - open_.read_last > gap_ns_; }

bool RunStore::continues_open(Ns read, double value, std::uint32_t flags) const noexcept {
  return !gap_pending_ && !silent(read) && (flags & kOfTheStart) == 0 && same(value, open_.value) &&
         flags == (open_.flags & ~kOfTheStart);
}

bool RunStore::lose() noexcept {
  ++lost_;
  gap_pending_ = true;
  return false;
}

bool RunStore::append(Ns t, Ns read, double value, std::uint16_t flags,
                      std::int32_t status) noexcept {
  const bool seen = has_open_ || sealed_;
  if (seen && t < open_.t_last) return lose();
  const std::uint32_t bits = run_flags(flags, status);
  const bool equal = seen && continues_open(read, value, bits);
  if (equal && has_open_) {
    open_.t_last = t;
    open_.read_last = read;
    ++open_.count;
  } else if (!start_run(t, read, value, bits, equal)) {
    return lose();
  }
  last_t_.store(t, std::memory_order_release);
  return true;
}

// The row is reserved when the run starts, so that writing it when it ends cannot fail.
bool RunStore::start_run(Ns t, Ns read, double value, std::uint32_t flags, bool equal) noexcept {
  const bool seen = has_open_ || sealed_;
  const bool gap = gap_pending_ || (seen && silent(read));
  seal();
  if (!block_->reserve_row(size_.load(std::memory_order_relaxed))) return false;
  if (equal) flags |= kContinues;
  if (gap) flags |= kGapBefore;
  open_ = {t, read, t, read, value, 1, flags};
  has_open_ = true;
  sealed_ = gap_pending_ = false;
  return true;
}

void RunStore::seal() noexcept {
  if (!has_open_) return;
  const std::size_t row = size_.load(std::memory_order_relaxed);
  block_->write(row, open_);
  // Publishes the row's columns to readers, who acquire size().
  size_.store(row + 1, std::memory_order_release);
  has_open_ = false;
  sealed_ = true;
}

std::size_t RunStore::row_since(Ns t) const noexcept {
  const Ns* const last = block_->read_last();
  const auto count = static_cast<std::ptrdiff_t>(size() - first());
  const auto touching = std::lower_bound(last, last + count, t) - last;
  return first() + static_cast<std::size_t>(std::max<std::ptrdiff_t>(touching - 1, 0));
}

bool RunStore::forget(std::size_t row) noexcept {
  row = std::min(row, size());
  if (row < first() + kFewest || row - first() < size() - row) return true;
  try {
    const auto fresh = std::make_shared<RunBlock>(rows_, row);
    if (!fresh->copy(*block_, row, size())) return false;
    if (has_open_ && !fresh->reserve_row(size())) return false;
    block_ = fresh;
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool RunBlock::reserve_row(std::size_t row) noexcept {
  const std::size_t at = row - first_;
  return t_first_.reserve_row(at) && read_first_.reserve_row(at) && t_last_.reserve_row(at) &&
         read_last_.reserve_row(at) && value_.reserve_row(at) && count_.reserve_row(at) &&
         flags_.reserve_row(at);
}

void RunBlock::write(std::size_t row, const Run& run) noexcept {
  const std::size_t at = row - first_;
  t_first_.data()[at] = run.t_first;
  read_first_.data()[at] = run.read_first;
  t_last_.data()[at] = run.t_last;
  read_last_.data()[at] = run.read_last;
  value_.data()[at] = run.value;
  count_.data()[at] = run.count;
  flags_.data()[at] = run.flags;
}

Run RunBlock::row(std::size_t row) const noexcept {
  const std::size_t at = row - first_;
  return {t_first()[at], read_first()[at], t_last()[at], read_last()[at],
          value()[at],   count()[at],      flags()[at]};
}

bool RunBlock::copy(const RunBlock& other, std::size_t from, std::size_t end) noexcept {
  const std::size_t n = end - from, at = from - other.first_;
  if (n == 0) return true;
  if (!reserve_row(end - 1)) return false;
  std::copy_n(other.t_first() + at, n, t_first_.data());
  std::copy_n(other.read_first() + at, n, read_first_.data());
  std::copy_n(other.t_last() + at, n, t_last_.data());
  std::copy_n(other.read_last() + at, n, read_last_.data());
  std::copy_n(other.value() + at, n, value_.data());
  std::copy_n(other.count() + at, n, count_.data());
  std::copy_n(other.flags() + at, n, flags_.data());
  return true;
}

}  // namespace pyenergy
