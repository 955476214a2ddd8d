// SPDX-License-Identifier: Apache-2.0
// Samples in memory that outlives the process.
#include "core/live_tail.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace pyenergy {
namespace {

// Closes, and removes the file unless it is kept.
struct NewFile {
  NewFile(const std::string& at)
      : path(at), fd(open(at.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) {}
  ~NewFile() {
    if (fd < 0) return;
    close(fd);
    if (!keep) unlink(path.c_str());
  }
  const std::string& path;
  const int fd;
  bool keep = false;
};

void require(int error, const std::string& path) {
  if (error != 0) throw std::system_error(error, std::generic_category(), path);
}

}  // namespace

LiveTail::LiveTail(const std::string& path, std::size_t capacity, std::uint64_t seed)
    : mask_(capacity - 1), seed_(seed), bytes_(kLiveHeader + capacity * sizeof(TailSlot)) {
  if (!std::has_single_bit(capacity)) throw std::invalid_argument("not a power of two");
  NewFile file(path);
  require(file.fd < 0 ? errno : 0, path);
  struct statfs system;
  require(fstatfs(file.fd, &system) != 0 ? errno : 0, path);
  require(system.f_type != TMPFS_MAGIC ? ENOTSUP : 0, path);
  require(posix_fallocate(file.fd, 0, static_cast<off_t>(bytes_)), path);
  void* const at =
      mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file.fd, 0);
  require(at == MAP_FAILED ? errno : 0, path);
  map_ = static_cast<std::byte*>(at);
  const std::string header = live_header(kTailSlotFields, capacity);
  std::memcpy(map_, header.data(), header.size());
  slots_ = reinterpret_cast<TailSlot*>(map_ + kLiveHeader);
  file.keep = true;
}

LiveTail::~LiveTail() { munmap(map_, bytes_); }

bool TailSet::add(std::shared_ptr<LiveTail> tail) {
  reap();
  for (std::size_t i = 0; i < kMost; ++i) {
    if (kept_[i]) continue;
    slots_[i].store(tail.get());
    kept_[i] = std::move(tail);
    return true;
  }
  return false;
}

void TailSet::remove(const LiveTail* tail) {
  for (std::size_t i = 0; i < kMost; ++i) {
    if (kept_[i].get() != tail || tail == nullptr) continue;
    retired_.reserve(retired_.size() + 1);
    slots_[i].store(nullptr);
    retired_.push_back({std::move(kept_[i]), steps_.load()});
    kept_[i].reset();
  }
  reap();
}

void TailSet::reap() noexcept {
  const std::uint64_t now = steps_.load();
  std::erase_if(retired_, [now](const Retired& r) { return now > r.step; });
}

}  // namespace pyenergy
