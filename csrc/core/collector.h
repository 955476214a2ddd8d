// SPDX-License-Identifier: Apache-2.0
// The only consumer of the rings: checks readings, unwraps counters, appends to the run stores.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/channel.h"
#include "core/column_store.h"
#include "core/counter.h"
#include "core/sample.h"
#include "core/spsc_ring.h"

namespace pyenergy {

// What one device's sampler has seen since it was last started: one store per channel. Shared by
// the stream that fills it and every trace and NumPy view that looks at it.
class Recording {
 public:
  // `gap_ns`, `slow_gap_ns`: a longer silence of a fast or slow channel is a gap.
  Recording(std::vector<Channel> channels, Ns gap_ns, Ns slow_gap_ns);
  const std::vector<Channel>& channels() const noexcept { return channels_; }
  const RunStore& store(std::size_t channel) const { return *stores_.at(channel); }
  // Takes one sample: scales, validates, unwraps, appends. Under mutex().
  void take(const Sample& sample) noexcept;
  // Ends the open runs of every channel. Takes the mutex itself.
  void seal();
  std::mutex& mutex() noexcept { return mutex_; }
  // Samples that found no memory.
  std::uint64_t lost() const;

 private:
  const std::vector<Channel> channels_;
  std::vector<std::unique_ptr<RunStore>> stores_;
  std::vector<CounterUnwrap> counters_;  // one per channel, unused for gauges
  mutable std::mutex mutex_;
};

class Stream;

// One thread that drains every running stream each `kPeriod`. A stream can also be drained by the
// thread that wants its data now: Stream::drain() and this thread exclude each other by the
// recording's mutex, which also hands over the ring's consumer role.
class Collector {
 public:
  static constexpr Ns kPeriod = 50 * kMs;
  static Collector& instance();
  void add(const std::shared_ptr<Stream>& stream);
  // After fork() in the child: the thread is gone; forget everything without touching it.
  static void abandon_after_fork();

 private:
  void loop();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::weak_ptr<Stream>> streams_;
  bool running_ = false;
};

}  // namespace pyenergy
