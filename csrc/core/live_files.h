// SPDX-License-Identifier: Apache-2.0
// One device's runs on disk while they are recorded: what a process that is killed leaves behind.
//
// Rows are written by pwrite from the columns in memory, not stored to a mapped file: a full disk,
// a quota or a network that is away is then the error of a call and never a SIGBUS, a page that the
// kernel is writing back never stops the thread that drains the ring, and any number of recordings
// may follow one stream, each from its own first row. Whatever fails is tried again at the next
// write: a disk that was full for a while leaves no hole.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/column_store.h"

namespace pyenergy {

class Recording;

// Where the runs of one channel go.
struct LivePlace {
  std::string path;
  std::uint64_t seed = 0;  // of the rows' checks
  std::size_t first = 0;   // the store's row that is the file's first
};

// The file of one channel (live_layout.h). Its last row is the run that is still open, and is
// written again as that goes on.
class RunFile {
 public:
  // A new file without rows. Throws std::system_error.
  explicit RunFile(LivePlace place);
  ~RunFile();
  RunFile(const RunFile&) = delete;
  RunFile& operator=(const RunFile&) = delete;
  // Brings the file up to the store's rows and the open run. 0, or the errno; the next
  // call goes on where this one failed.
  int write(const RunRows& rows, const std::optional<Run>& open) noexcept;
  // The store's rows before this one are in the file for good.
  std::size_t done() const noexcept { return done_; }
  // Whether someone has removed the file: what is written then is seen by nobody.
  bool removed() const noexcept;

 private:
  static constexpr std::size_t kBatch = 64;
  int write_batch(const RunRows& rows, std::size_t from, const std::optional<Run>& open,
                  std::size_t count) noexcept;

  const LivePlace place_;
  int fd_ = -1;
  std::size_t done_;       // the store's rows that are in the file for good
  std::size_t shown_ = 0;  // what the header says
  std::optional<Run> open_;
};

// Owned by the Recording that it follows, and by whoever asked for it.
class LiveFiles {
 public:
  // One place a channel. Throws std::system_error, std::invalid_argument.
  LiveFiles(const Recording& recording, std::vector<LivePlace> places);
  // Everything that the recording holds now. Any thread; takes the recording's mutex briefly.
  void write(Recording& recording) noexcept;
  // The errno of the latest write, 0 when everything is in the files. ENOENT: they were removed.
  int error() const noexcept { return error_.load(std::memory_order_relaxed); }
  // The store's row from which on a channel's file needs it; none once they are closed.
  std::size_t needs(std::size_t channel) noexcept;
  // Nothing is written any more.
  void close() noexcept;

 private:
  struct Seen {
    RunRows rows;
    std::optional<Run> open;
  };
  std::mutex mutex_;  // taken before the recording's
  std::vector<std::unique_ptr<RunFile>> files_;
  std::vector<Seen> seen_;
  std::atomic<int> error_{0};
};

}  // namespace pyenergy
