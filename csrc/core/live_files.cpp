// SPDX-License-Identifier: Apache-2.0
// Runs of a recording in .npy files that grow.
#include "core/live_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <system_error>

#include "core/collector.h"
#include "core/live_layout.h"

namespace pyenergy {
namespace {

constexpr std::string_view kMagic{"\x93NUMPY\x01\x00", 8};
constexpr std::string_view kOpening = "{'descr': ";
constexpr std::string_view kMiddle = ", 'fortran_order': False, 'shape': (";
constexpr std::string_view kClosing = ",), }";

// 0, or the errno. A write that is cut short tells why when it is continued.
int write_all(int fd, std::string_view bytes, std::size_t at) noexcept {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO;
    bytes.remove_prefix(static_cast<std::size_t>(n));
    at += static_cast<std::size_t>(n);
  }
  return 0;
}

// An open run only ever goes on.
bool unchanged(const std::optional<Run>& a, const std::optional<Run>& b) noexcept {
  if (a.has_value() != b.has_value()) return false;
  return !a || (a->t_first == b->t_first && a->t_last == b->t_last && a->count == b->count);
}

}  // namespace

std::size_t live_rows_at(std::string_view fields) noexcept {
  return kMagic.size() + 2 + kOpening.size() + fields.size() + kMiddle.size();
}

std::string live_rows_text(std::uint64_t rows) {
  std::string text = std::to_string(rows);
  text.resize(kLiveRowsWidth, ' ');
  return text;
}

std::string live_header(std::string_view fields, std::uint64_t rows) {
  std::string header(kMagic);
  constexpr std::size_t kText = kLiveHeader - kMagic.size() - 2;
  header += static_cast<char>(kText & 0xff);
  header += static_cast<char>(kText >> 8);
  header.append(kOpening).append(fields).append(kMiddle);
  header.append(live_rows_text(rows)).append(kClosing);
  header.resize(kLiveHeader - 1, ' ');
  return header + '\n';
}

RunFile::RunFile(LivePlace place) : place_(std::move(place)), done_(place_.first) {
  constexpr int kNew = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
  fd_ = open(place_.path.c_str(), kNew, 0666);
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), place_.path);
  const int error = write_all(fd_, live_header(kLiveRowFields, 0), 0);
  if (error == 0) return;
  ::close(fd_);
  throw std::system_error(error, std::generic_category(), place_.path);
}

RunFile::~RunFile() { ::close(fd_); }

bool RunFile::removed() const noexcept {
  struct stat found;
  return fstat(fd_, &found) == 0 && found.st_nlink == 0;
}

int RunFile::write(const RunRows& rows, const std::optional<Run>& open) noexcept {
  if (done_ < rows.block->first()) return ENODATA;  // Recording::forget_before asks first
  const std::size_t end = rows.end + (open ? 1 : 0);
  if (done_ == rows.end && shown_ == end - place_.first && unchanged(open, open_)) return 0;
  for (std::size_t from = done_; from < end;) {
    const std::size_t count = std::min(kBatch, end - from);
    if (const int error = write_batch(rows, from, open, count); error != 0) return error;
    from += count;
    done_ = std::min(from, rows.end);
  }
  // The rows first: what the header counts is there.
  if (shown_ != end - place_.first) {
    std::array<char, kLiveRowsWidth> text;
    text.fill(' ');
    std::size_t digits = 1;
    for (std::size_t n = end - place_.first; n >= 10; n /= 10) ++digits;
    for (std::size_t n = end - place_.first, i = digits; i > 0; n /= 10) {
      text[--i] = static_cast<char>('0' + n % 10);
    }
    const int error = write_all(fd_, {text.data(), text.size()}, live_rows_at(kLiveRowFields));
    if (error != 0) return error;
    shown_ = end - place_.first;
  }
  open_ = open;
  return 0;
}

int RunFile::write_batch(const RunRows& rows, std::size_t from, const std::optional<Run>& open,
                         std::size_t count) noexcept {
  std::array<LiveRow, kBatch> batch;
  for (std::size_t i = 0; i < count; ++i) {
    const Run run = from + i < rows.end ? rows.block->row(from + i) : *open;
    batch[i] = {run, from + i - place_.first, 0};
    batch[i].check = live_check(place_.seed, batch[i]);
  }
  const std::string_view bytes(reinterpret_cast<const char*>(batch.data()),
                               count * sizeof(LiveRow));
  return write_all(fd_, bytes, kLiveHeader + (from - place_.first) * sizeof(LiveRow));
}

LiveFiles::LiveFiles(const Recording& recording, std::vector<LivePlace> places)
    : seen_(places.size()) {
  if (places.size() != recording.channels().size()) {
    throw std::invalid_argument("a live recording needs one file for each channel");
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    const RunRows rows = recording.rows(i);
    if (places[i].first > rows.end) {
      throw std::invalid_argument("a live recording cannot begin with a row that is still to come");
    }
    if (places[i].first < rows.block->first()) {
      throw std::invalid_argument("a live recording cannot begin with a row that was forgotten");
    }
    files_.push_back(std::make_unique<RunFile>(std::move(places[i])));
  }
}

void LiveFiles::write(Recording& recording) noexcept {
  const std::lock_guard lock(mutex_);
  if (files_.empty()) return;
  {
    const std::lock_guard reading(recording.mutex());
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const RunStore& store = recording.store(i);
      const Run* const open = store.open_run();
      seen_[i] = {store.rows(), open != nullptr ? std::optional(*open) : std::nullopt};
    }
  }
  int error = files_.front()->removed() ? ENOENT : 0;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const int failed = files_[i]->write(seen_[i].rows, seen_[i].open);
    if (error == 0) error = failed;
    seen_[i].rows = {};  // what is forgotten is not kept by us
  }
  error_.store(error, std::memory_order_relaxed);
}

std::size_t LiveFiles::needs(std::size_t channel) noexcept {
  const std::lock_guard lock(mutex_);
  return files_.empty() ? SIZE_MAX : files_[channel]->done();
}

void LiveFiles::close() noexcept {
  const std::lock_guard lock(mutex_);
  files_.clear();
}

}  // namespace pyenergy
