// SPDX-License-Identifier: Apache-2.0
// Open sessions, through fork() and to the end of the process.
#include "capi/registry.h"

#include <pthread.h>

#include <cstdlib>

namespace pyenergy {

// Never destroyed: other threads may still call while the process ends.
Sessions& Sessions::instance() {
  static Sessions* const all = new Sessions;
  return *all;
}

Sessions::Sessions() {
  Hub::instance();
  Collector::instance();
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  std::atexit([] { Hub::instance().stop_all(); });
}

void Sessions::before_fork() {
  instance().mutex_.lock();
  Hub::instance().before_fork();
}

void Sessions::after_fork_in_parent() {
  Hub::instance().after_fork_in_parent();
  instance().mutex_.unlock();
}

void Sessions::after_fork_in_child() {
  for (const auto& [number, session] : instance().open_) session->foreign = true;
  Hub::instance().after_fork_in_child();
  Collector::abandon_after_fork();
  instance().mutex_.unlock();
}

std::uintptr_t Sessions::add(std::shared_ptr<Session> session) {
  const std::lock_guard lock(mutex_);
  open_.emplace(next_, std::move(session));
  return next_++;
}

std::shared_ptr<Session> Sessions::find(std::uintptr_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(number);
  if (found == open_.end()) {
    throw StateError("this is no open session: it was closed, or is no session at all");
  }
  if (found->second->foreign) {
    throw ForkedError(
        "this session was opened before fork(): its sampler runs in the parent process, which has "
        "the readings; close it and open another one here");
  }
  return found->second;
}

void Sessions::remove(std::uintptr_t number) {
  std::shared_ptr<Session> last;
  {
    const std::lock_guard lock(mutex_);
    const auto found = open_.find(number);
    if (found == open_.end()) {
      throw StateError("this is no open session: it was closed before, or is no session at all");
    }
    last = std::move(found->second);
    open_.erase(found);
  }
  // Its locks may be held for ever by threads that are not here: it is kept, not destroyed.
  if (last->foreign) new std::shared_ptr<Session>(last);
}

}  // namespace pyenergy
