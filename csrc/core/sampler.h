// SPDX-License-Identifier: Apache-2.0
// The hot loop (Sampler) and one device's life around it (Stream).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "core/clock.h"
#include "core/collector.h"
#include "core/histogram.h"
#include "core/live_tail.h"
#include "core/pacer.h"
#include "core/sensor.h"
#include "core/spsc_ring.h"

namespace pyenergy {

struct StreamOptions {
  PacerConfig pacing;
  Ns slow_period = 100 * kMs;     // the slow channels'
  std::size_t ring_capacity = 0;  // 0: one second of samples, at least 1024
  Ns gap_ns = 0;                  // 0: ten polls (Pacer::longest_interval), at least 5 ms
};

// Written by the sampler's thread, read by anyone: single-writer relaxed atomics. They count from
// the creation of the stream, over all its starts. `polls` are those of the fast group.
struct SamplerStats {
  std::atomic<std::uint64_t> polls{0}, samples{0}, dropped{0}, missed_deadlines{0}, failed_reads{0};
  std::atomic<std::uint64_t> relocks{0};
  std::atomic<bool> locked{false};
  std::atomic<double> locked_period_ns{0.0};  // of the first steering channel; 0 while not locked
  DurationHistogram fast_latency, slow_latency;  // how long Sensor::read took
  DurationHistogram lateness;                    // how long after its deadline a poll began
};

// pace -> read -> stamp -> push. step() never throws, allocates, locks or logs.
class Sampler {
 public:
  Sampler(Sensor& sensor, Clock& clock, const StreamOptions& options, SpscRing<Sample>& ring,
          SamplerStats& stats);
  // Waits for the next deadline (in slices of at most kSlice, so that a stop is seen), polls the
  // fast group, then the slow one when it is due and no burst is near. False: `stop` was seen
  // before the deadline.
  static constexpr Ns kSlice = 50 * kMs;
  bool step(const std::atomic<bool>& stop) noexcept;
  const Pacer& pacer() const noexcept { return pacer_; }
  TailSet& tails() noexcept { return tails_; }

 private:
  bool wait_until(Ns deadline, const std::atomic<bool>& stop, Ns& now) noexcept;
  Ns poll(ReadGroup group, Ns before) noexcept;
  void push(Sample sample) noexcept;
  void observe(const Sample& sample) noexcept;
  bool slow_due(Ns now) const noexcept;
  void publish_pacing() noexcept;

  struct Last {
    double value;
    Ns read;
    bool seen = false;
  };
  Sensor& sensor_;
  Clock& clock_;
  SpscRing<Sample>& ring_;
  SamplerStats& stats_;
  Pacer pacer_;
  TailSet tails_;
  const Ns slow_period_;
  Ns next_slow_ = 0;
  std::uint64_t missed_ = 0, relocks_ = 0;  // of pacer_, as far as stats_ has them
  std::vector<Reading> readings_;           // sized once
  std::vector<Last> last_;                  // per channel, to tell the pacer what changed
  std::vector<std::uint8_t> owed_;  // per channel: a drop happened, flag the next sample kGapBefore
};

// One device: its sensor, ring, sampler thread and current recording. Several users share it.
// The thread runs while anyone holds it, and lingers after the last release until its linger time
// is over; then it ends by itself, and the next acquire() starts a new one with a new recording.
class Stream {
 public:
  // Throws std::invalid_argument for options that make no sense.
  static std::shared_ptr<Stream> create(std::unique_ptr<Sensor> sensor,
                                        std::shared_ptr<Clock> clock, StreamOptions options);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Starts the thread if none runs. Cheap when one does. Throws std::runtime_error when it cannot:
  // a thread that was told to stop still hangs in a read, or this is a forked child.
  void acquire();
  // `linger_ns`: how long the thread goes on when nobody holds the stream any more. Never waits.
  void release(Ns linger_ns);
  // Ends the thread whoever holds it, and waits for it up to `timeout` (a read may hang in the
  // driver). False: it still hangs; the thread is detached and owns what it needs.
  bool stop(Ns timeout = 5 * kSecond);
  bool running() const noexcept;

  // Consumer: moves what lies in the ring to the recording.
  void drain();
  // n steps in the calling thread, draining as it goes. Throws std::invalid_argument unless the
  // clock is manual and no thread runs.
  void run_inline(std::size_t steps);
  // The sampler of `recording` also writes `tail` from its next step on. False: it has ended, or
  // writes as many as it can.
  bool add_tail(const Recording& recording, std::shared_ptr<LiveTail> tail);
  void remove_tail(const std::shared_ptr<LiveTail>& tail);
  // After fork() in the child: the thread is gone and its locks may be held for ever. What it used
  // is leaked; acquire() throws from now on, and the other calls above do nothing.
  void abandon_after_fork() noexcept;

  const Sensor& sensor() const noexcept;
  const StreamOptions& options() const noexcept;  // defaults resolved
  Ns gap() const noexcept { return options().gap_ns; }
  Ns slow_gap() const noexcept;                  // of the slow channels
  std::shared_ptr<Recording> recording() const;  // of the present or latest start
  const SamplerStats& stats() const noexcept;

 private:
  struct Life;   // what is new with each start: ring, recording, sampler
  struct State;  // what a detached thread must keep alive: sensor, clock, stats and its life
  explicit Stream(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
  std::atomic<bool> abandoned_{false};
};

}  // namespace pyenergy
