// SPDX-License-Identifier: Apache-2.0
// Threads that stay out of their process's way: they never receive its signals.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace pyenergy {

// A new thread inherits the mask, so the signals are blocked before it exists. Throws
// std::system_error when the system refuses a thread.
template <typename Run>
std::thread start_quiet_thread(Run run) {
  struct Blocked {
    sigset_t before;
    Blocked() {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    ~Blocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
  } const blocked;
  return std::thread(std::move(run));
}

// At most 15 characters; shown by ps and debuggers.
inline void name_thread(const char* name) noexcept { pthread_setname_np(pthread_self(), name); }

}  // namespace pyenergy
