// SPDX-License-Identifier: Apache-2.0
#include "simgpu/world.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "simgpu/power_law.h"
#include "simgpu/presets.h"

namespace pyenergy::simgpu {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw std::runtime_error("simulated GPU world '" + path + "': " + reason);
}
[[noreturn]] void fail_errno(const std::string& path) { fail(path, std::strerror(errno)); }

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  const int fd_;
};

WorldFile* map(int fd, const std::string& path) {
  const int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
  void* memory = mmap(nullptr, sizeof(WorldFile), PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) fail_errno(path);
  return static_cast<WorldFile*>(memory);
}

void make_mutex(pthread_mutex_t& mutex) noexcept {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

// The memory is zero. The magic is stored last: whoever sees it sees a complete world.
void initialise(WorldFile& file) noexcept {
  file.layout_version = kLayoutVersion;
  file.card_bytes = sizeof(Card);
  make_mutex(file.mutex);
  file.magic.store(kMagic, std::memory_order_release);
}

// True when the former holder died.
bool lock(pthread_mutex_t& mutex) noexcept {
  if (pthread_mutex_lock(&mutex) != EOWNERDEAD) return false;
  pthread_mutex_consistent(&mutex);
  return true;
}

}  // namespace

CardLock::CardLock(Card& card) noexcept : card_(card) {
  if (!lock(card_.mutex)) return;
  ++card_.revision;
  card_.sums.count = 0;
  rebuild(card_, 0);
}
CardLock::~CardLock() { pthread_mutex_unlock(&card_.mutex); }

std::shared_ptr<World> World::create(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (fd.get() < 0 || ftruncate(fd.get(), sizeof(WorldFile)) != 0) fail_errno(path);
  WorldFile* file = map(fd.get(), path);
  initialise(*file);
  return std::shared_ptr<World>(new World(file, path));
}

std::shared_ptr<World> World::open(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat status;
  if (fd.get() < 0 || fstat(fd.get(), &status) != 0) fail_errno(path);
  if (status.st_size != static_cast<off_t>(sizeof(WorldFile))) {
    fail(path, "not a world of this version of pyenergy");
  }
  std::shared_ptr<World> world(new World(map(fd.get(), path), path));
  const WorldFile& file = *world->file_;
  if (file.magic.load(std::memory_order_acquire) != kMagic ||
      file.layout_version != kLayoutVersion || file.card_bytes != sizeof(Card)) {
    fail(path, "not a world of this version of pyenergy");
  }
  return world;
}

std::shared_ptr<World> World::in_process() {
  static const std::shared_ptr<World> world = [] {
    WorldFile* file = map(-1, "");
    initialise(*file);
    return std::shared_ptr<World>(new World(file, ""));
  }();
  return world;
}

std::shared_ptr<World> World::current() {
  const char* path = std::getenv(kEnvironment);
  return path == nullptr || *path == '\0' ? in_process() : open(path);
}

World::~World() { munmap(file_, sizeof(WorldFile)); }

std::uint32_t World::size() const noexcept {
  return file_->card_count.load(std::memory_order_acquire);
}

std::uint32_t World::add(const std::string& preset) {
  const Preset& model = find_preset(preset);
  // A holder that died between filling a card and counting it left nothing to mend.
  lock(file_->mutex);
  const std::uint32_t index = size();
  if (index < kMaxCards) {
    make_card(file_->cards[index], model, index);
    make_mutex(file_->cards[index].mutex);
    file_->card_count.store(index + 1, std::memory_order_release);
  }
  pthread_mutex_unlock(&file_->mutex);
  if (index >= kMaxCards) throw std::length_error("a simulated world holds at most 64 cards");
  return index;
}

void wait_for(Clock& clock, Ns duration) noexcept {
  constexpr Ns kTooShortToSleep = 50 * kUs;
  if (duration <= 0) return;
  const Ns deadline = clock.now() + duration;
  if (clock.is_manual() || duration >= kTooShortToSleep) clock.sleep_until(deadline);
  while (clock.now() < deadline) {
  }
}

}  // namespace pyenergy::simgpu
