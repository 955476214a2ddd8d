// SPDX-License-Identifier: Apache-2.0
// Append-only columns whose addresses never move, and the run-length store of one channel on them.
//
// A column reserves address space once and commits pages as it grows, so that NumPy can look at
// rows while more are appended. One writer at a time (the collector, under its mutex); any number
// of readers see the rows that they took a RunRows of, which never change again. Rows that nobody
// needs any more are forgotten by moving the others to a block of their own: whoever looks at the
// old block keeps it, and its memory goes with the last of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/clock_ns.h"
#include "core/sample.h"

namespace pyenergy {

// Address space that is committed from the front; at most PYENERGY_COLUMN_MIB, where that is set.
// Falls back to smaller reservations when the system refuses a large one (ulimit -v); throws
// std::bad_alloc only when even `kSmallest` fails.
class Reservation {
 public:
  static constexpr std::size_t kLargest = std::size_t{8} << 30;
  static constexpr std::size_t kSmallest = std::size_t{1} << 20;
  explicit Reservation(std::size_t want = kLargest);
  ~Reservation();
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  std::byte* data() const noexcept { return data_; }
  std::size_t reserved() const noexcept { return reserved_; }
  std::size_t committed() const noexcept { return committed_; }
  // Makes the first `bytes` usable; false when the reservation or the memory is exhausted.
  [[nodiscard]] bool commit(std::size_t bytes) noexcept;

 private:
  std::byte* data_ = nullptr;
  std::size_t reserved_ = 0, committed_ = 0;
};

template <typename T>
class Column {
 public:
  // 2^30 rows: 12 days of readings that all differ, at 1 kHz.
  static constexpr std::size_t kRows = Reservation::kLargest / sizeof(Ns);
  explicit Column(std::size_t rows = kRows) : memory_(rows * sizeof(T)) {}
  [[nodiscard]] bool reserve_row(std::size_t row) noexcept {
    return memory_.commit((row + 1) * sizeof(T));
  }
  T* data() noexcept { return reinterpret_cast<T*>(memory_.data()); }
  const T* data() const noexcept { return reinterpret_cast<const T*>(memory_.data()); }

 private:
  Reservation memory_;
};

// Consecutive equal readings of one channel.
struct Run {
  Ns t_first, read_first;  // bracket of the first read that saw the value
  Ns t_last, read_last;    // bracket of the last one
  double value;            // SI; NaN when missing
  std::uint32_t count;     // reads
  std::uint32_t flags;     // SampleFlag bits, vendor status in the upper 16
};

inline constexpr std::uint32_t run_flags(std::uint16_t flags, std::int32_t status) noexcept {
  return static_cast<std::uint32_t>(flags) | (static_cast<std::uint32_t>(status & 0xffff) << 16);
}

// The columns of a stretch of rows.
class RunBlock {
 public:
  // Address space for `rows`; the first of them is row `first` of its store.
  explicit RunBlock(std::size_t rows, std::size_t first = 0)
      : first_(first),
        t_first_(rows),
        read_first_(rows),
        t_last_(rows),
        read_last_(rows),
        value_(rows),
        count_(rows),
        flags_(rows) {}
  std::size_t first() const noexcept { return first_; }
  // By the number of the row in the store.
  [[nodiscard]] bool reserve_row(std::size_t row) noexcept;
  void write(std::size_t row, const Run& run) noexcept;
  Run row(std::size_t row) const noexcept;
  // Copies rows [from, end) of another block, which must be this one's first. False: no memory.
  [[nodiscard]] bool copy(const RunBlock& other, std::size_t from, std::size_t end) noexcept;

  const Ns* t_first() const noexcept { return t_first_.data(); }
  const Ns* read_first() const noexcept { return read_first_.data(); }
  const Ns* t_last() const noexcept { return t_last_.data(); }
  const Ns* read_last() const noexcept { return read_last_.data(); }
  const double* value() const noexcept { return value_.data(); }
  const std::uint32_t* count() const noexcept { return count_.data(); }
  const std::uint32_t* flags() const noexcept { return flags_.data(); }

 private:
  const std::size_t first_;
  Column<Ns> t_first_, read_first_, t_last_, read_last_;
  Column<double> value_;
  Column<std::uint32_t> count_, flags_;
};

// Rows of a store as they were at one moment, and for good: rows [block->first(), end).
struct RunRows {
  std::shared_ptr<const RunBlock> block;
  std::size_t end = 0;
  std::size_t size() const noexcept { return end - block->first(); }
};

// Rows have numbers, which count from the store's first one; [first(), size()) are in memory.
class RunStore {
 public:
  // A block of fewer forgotten rows is not worth moving the others.
  static constexpr std::size_t kFewest = 1024;
  // `gap_ns`: a longer silence from the end of one read to the end of the next is a gap: it ends
  // the run, and the next one is flagged kGapBefore. `rows`: address space for so many runs.
  explicit RunStore(Ns gap_ns, std::size_t rows = Column<Ns>::kRows)
      : gap_ns_(gap_ns), rows_(rows), block_(std::make_shared<RunBlock>(rows)) {}

  // False when memory is exhausted or `t` lies before the previous sample's: the sample is lost,
  // counted, and the next run is flagged kGapBefore.
  bool append(Ns t, Ns read, double value, std::uint16_t flags, std::int32_t status) noexcept;
  // Ends the open run, so that rows() shows everything seen so far. An equal reading that follows
  // starts a run with kContinues.
  void seal() noexcept;
  // The run that rows() does not show yet; null: there is none. Under the writer's mutex.
  const Run* open_run() const noexcept { return has_open_ ? &open_ : nullptr; }
  // Takes up, in a store that is still empty, behind a run that another process kept last: an equal
  // reading goes on with it.
  void resume(const Run& last) noexcept {
    open_ = last;
    has_open_ = block_->reserve_row(0);
    last_t_.store(last.t_last, std::memory_order_release);
  }

  // What there is now. Under the writer's mutex.
  RunRows rows() const noexcept { return {block_, size()}; }
  // The row with which someone begins who needs the readings since `t`: one more than touch them.
  // Under the writer's mutex.
  std::size_t row_since(Ns t) const noexcept;
  // Rows before `row` are needed no more. They go once they are as many as those that stay, so that
  // moving these costs little: at most twice the rows that are needed are kept, and kFewest. False:
  // no memory to move to; everything stays. Under the writer's mutex.
  bool forget(std::size_t row) noexcept;

  std::size_t first() const noexcept { return block_->first(); }  // under the writer's mutex
  std::size_t size() const noexcept { return size_.load(std::memory_order_acquire); }
  std::uint64_t lost() const noexcept { return lost_; }
  Ns last_t() const noexcept { return last_t_.load(std::memory_order_acquire); }  // 0: none yet

  // From row first() on. Under the writer's mutex, or where nothing is forgotten.
  const Ns* t_first() const noexcept { return block_->t_first(); }
  const Ns* read_first() const noexcept { return block_->read_first(); }
  const Ns* t_last() const noexcept { return block_->t_last(); }
  const Ns* read_last() const noexcept { return block_->read_last(); }
  const double* value() const noexcept { return block_->value(); }
  const std::uint32_t* count() const noexcept { return block_->count(); }
  const std::uint32_t* flags() const noexcept { return block_->flags(); }

 private:
  bool silent(Ns read) const noexcept;
  bool continues_open(Ns read, double value, std::uint32_t flags) const noexcept;
  bool start_run(Ns t, Ns read, double value, std::uint32_t flags, bool equal) noexcept;
  bool lose() noexcept;

  const Ns gap_ns_;
  const std::size_t rows_;
  std::shared_ptr<RunBlock> block_;
  std::atomic<std::size_t> size_{0};
  std::atomic<Ns> last_t_{0};
  Run open_{};  // also after it was written: the next reading is compared with it
  bool has_open_ = false;
  bool sealed_ = false;       // open_ has been written
  bool gap_pending_ = false;  // something was lost since the last row
  std::uint64_t lost_ = 0;
};

}  // namespace pyenergy
