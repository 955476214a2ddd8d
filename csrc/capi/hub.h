// SPDX-License-Identifier: Apache-2.0
// One sampler per device for all sessions of this copy of the library.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "core/sampler.h"
#include "sensors/resolve.h"

namespace pyenergy {

// A device's stream and how late its readings are.
struct SharedStream {
  std::shared_ptr<Stream> stream;
  Ns period = 0;  // of the polls
  bool edge = false;
  Ns lag = 0;                // after a moment, until the last reading that covers it
  std::size_t covering = 0;  // the channel whose readings say up to when energy is covered
};

class Hub {
 public:
  // Never destroyed: samplers may outlive every static object.
  static Hub& instance();
  // A running stream that polls at least `rate_hz` times a second (0: as the sensor deserves); let
  // go by release(). Throws std::runtime_error when the device cannot be opened.
  SharedStream acquire(const NamedDevice& device, double rate_hz);
  // The sampler lingers until the readings that cover this moment are published, and a second more
  // for the next session, whose start then has readings before it. Never waits.
  static void release(const SharedStream& shared);

  // Around fork(): the list of streams is whole in the child, which then forgets it.
  void before_fork() { list_.lock(); }
  void after_fork_in_parent() { list_.unlock(); }
  void after_fork_in_child();
  // At exit: threads end before the process does.
  void stop_all();

 private:
  struct Entry {
    NamedDevice device;
    SharedStream shared;
  };
  std::mutex opening_;  // for as long as it takes to open a device
  std::mutex list_;     // never for long; taken after opening_
  std::vector<Entry> entries_;
};

}  // namespace pyenergy
