// SPDX-License-Identifier: Apache-2.0
// The only consumer of the rings: checks readings, unwraps counters, appends to the run stores.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "core/channel.h"
#include "core/column_store.h"
#include "core/counter.h"
#include "core/live_files.h"
#include "core/sample.h"

namespace pyenergy {

// What one device's sampler has seen since it was last started: one store per channel. Shared by
// the stream that fills it and every trace and NumPy view that looks at it.
class Recording {
 public:
  // `gap_ns`, `slow_gap_ns`: a longer silence of a fast or slow channel is a gap.
  Recording(std::vector<Channel> channels, Ns gap_ns, Ns slow_gap_ns);
  const std::vector<Channel>& channels() const noexcept { return channels_; }
  const RunStore& store(std::size_t channel) const { return *stores_.at(channel); }
  // Rows of a channel as they are now. Takes the mutex.
  RunRows rows(std::size_t channel) const;
  // See RunStore::row_since. Takes the mutex.
  std::size_t row_since(std::size_t channel, Ns t) const;
  // Nobody needs what was read before `t`. What a file that follows this recording still lacks
  // stays until it has it. False: there was no memory to move the rest to. Takes each file's mutex,
  // then this one.
  bool forget_before(Ns t);
  // Takes one sample: scales, validates, unwraps, appends. Under mutex().
  void take(const Sample& sample) noexcept;
  // Ends the open runs of every channel. Takes the mutex itself.
  void seal();
  std::mutex& mutex() noexcept { return mutex_; }
  // Samples that found no memory, were out of time order, name no channel or no time (is_time()).
  // Takes the mutex.
  std::uint64_t lost() const;

  // Files that follow this recording until they are removed; the collector writes them each round.
  void add_live(std::shared_ptr<LiveFiles> files);
  void remove_live(const std::shared_ptr<LiveFiles>& files);
  // Takes each file's mutex, then this one.
  void write_live();

  // Where the counters stand: a raw reading with the time of its read, for each whose latest
  // reading is usable. Takes the mutex.
  std::vector<Sample> counters() const;
  // To take up what another process left, before the first take(). Both throw std::invalid_argument
  // for what is no time.
  void resume(std::size_t channel, const Run& last);
  void resume_counter(std::size_t channel, double total, std::optional<double> raw, Ns moved);

 private:
  struct Checked {
    double value;
    std::uint16_t flags;
  };
  Checked check(const Sample& sample) noexcept;

  const std::vector<Channel> channels_;
  std::vector<std::unique_ptr<RunStore>> stores_;
  std::vector<CounterUnwrap> counters_;  // one per channel, unused for gauges
  std::uint64_t strangers_ = 0;          // samples that name no channel
  std::vector<std::shared_ptr<LiveFiles>> live_;
  mutable std::mutex mutex_;
};

// What the collector empties.
class Collectable {
 public:
  virtual ~Collectable() = default;
  // Moves what has arrived to where it is kept. False: nothing more will come.
  virtual bool collect() = 0;
};

// One thread that drains every running stream each `kPeriod`; it ends when there is none. A stream
// can also be drained by the thread that wants its data now: Stream::drain() and this thread
// exclude each other by the recording's mutex, which also hands over the ring's consumer role.
class Collector {
 public:
  static constexpr Ns kPeriod = 50 * kMs;
  // Never destroyed: its thread may outlive every static object.
  static Collector& instance();
  // Until collect() says that nothing more will come, or `source` is gone. It is collected once a
  // round however often it is added.
  void add(std::weak_ptr<Collectable> source);
  // After fork() in the child: the thread is gone; forget everything without touching it.
  static void abandon_after_fork();

 private:
  static std::atomic<Collector*>& current();
  void loop();
  bool round();

  std::mutex mutex_;
  std::vector<std::weak_ptr<Collectable>> sources_;
  bool running_ = false;
};

}  // namespace pyenergy
