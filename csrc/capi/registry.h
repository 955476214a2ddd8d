// SPDX-License-Identifier: Apache-2.0
// The sessions that are open, by numbers that are never used again: what was closed is told apart
// from what is open, whatever memory holds by then.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "capi/session.h"

namespace pyenergy {

// Used in a process that forked from the one that opened it.
struct ForkedError : std::logic_error {
  using std::logic_error::logic_error;
};

class Sessions {
 public:
  static Sessions& instance();
  std::uintptr_t add(std::shared_ptr<Session> session);
  // Throws StateError for what is not open, ForkedError for what was before a fork().
  std::shared_ptr<Session> find(std::uintptr_t number);
  // The same, of which nobody else hears any more.
  void remove(std::uintptr_t number);

 private:
  Sessions();
  static void before_fork();
  static void after_fork_in_parent();
  static void after_fork_in_child();

  std::mutex mutex_;  // never for long; taken before the hub's
  std::map<std::uintptr_t, std::shared_ptr<Session>> open_;
  std::uintptr_t next_ = 0x5e55;
};

}  // namespace pyenergy
