// SPDX-License-Identifier: Apache-2.0
// One device's sampler thread: started, shared, lingering, ended, abandoned.
#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <stdexcept>
#include <string>
#include <thread>

#include "core/sampler.h"
#include "core/thread.h"

namespace pyenergy {
namespace {

constexpr std::size_t kSmallestRing = 1024, kLargestRing = std::size_t{1} << 22;
constexpr std::size_t kDrainBatch = 256;

void require(bool fine, const char* what) {
  if (!fine) throw std::invalid_argument(what);
}

void check(const StreamOptions& options, const Sensor& sensor) {
  const PacerConfig& pacing = options.pacing;
  require(pacing.period > 0, "the poll period must be positive");
  require(pacing.jitter >= 0.0 && pacing.jitter < 1.0, "jitter must lie in [0, 1)");
  require(pacing.dense > 0, "the dense poll spacing must be positive");
  require(pacing.sparse >= pacing.dense, "the sparse poll spacing must not be below the dense one");
  require(pacing.seeds.size() <= sensor.channels().size(), "more seeds than channels");
  require(options.slow_period > 0, "the slow channels' period must be positive");
  require(options.gap_ns >= 0, "the gap must not be negative");
  require(options.ring_capacity == 0 || std::has_single_bit(options.ring_capacity),
          "the ring's capacity must be a power of two");
}

std::size_t default_capacity(const StreamOptions& options, const Sensor& sensor) {
  const PacerConfig& pacing = options.pacing;
  const bool edge = pacing.mode == PacingMode::kEdge;
  const Ns spacing = edge ? std::min(pacing.period, pacing.dense) : pacing.period;
  const auto polls = static_cast<std::size_t>(kSecond / spacing + 1);
  const std::size_t second = polls * sensor.channels().size();
  const std::size_t wanted = std::max({second, 2 * sensor.max_readings(), kSmallestRing});
  return std::bit_ceil(std::min(wanted, kLargestRing));
}

Ns slow_gap_of(const StreamOptions& options) noexcept {
  return std::max(options.gap_ns, 10 * options.slow_period);
}

StreamOptions resolve(StreamOptions options, const Sensor& sensor) {
  check(options, sensor);
  if (options.ring_capacity == 0) options.ring_capacity = default_capacity(options, sensor);
  if (options.gap_ns == 0) {
    options.gap_ns = std::max(10 * Pacer(options.pacing).longest_interval(), 5 * kMs);
  }
  options.gap_ns = std::max(options.gap_ns, sensor.longest_silence());
  return options;
}

}  // namespace

struct Stream::Life {
  Life(Sensor& sensor, Clock& clock, const StreamOptions& options, SamplerStats& stats)
      : ring(options.ring_capacity),
        recording(
            std::make_shared<Recording>(sensor.channels(), options.gap_ns, slow_gap_of(options))),
        sampler(sensor, clock, options, ring, stats) {}

  void drain() {
    const std::lock_guard lock(recording->mutex());
    while (ring.consume(kDrainBatch, [&](const Sample& s) { recording->take(s); }) == kDrainBatch) {
    }
  }

  SpscRing<Sample> ring;
  const std::shared_ptr<Recording> recording;
  Sampler sampler;
  bool used = false;  // under State::control
};

// `running`, `life` and `thread` change under `control` only.
struct Stream::State final : Collectable, std::enable_shared_from_this<State> {
  State(std::unique_ptr<Sensor> from, std::shared_ptr<Clock> by, StreamOptions wanted)
      : sensor(std::move(from)),
        clock(std::move(by)),
        options(resolve(std::move(wanted), *sensor)) {
    renew();
  }

  void renew() { life = std::make_shared<Life>(*sensor, *clock, options, stats); }

  std::shared_ptr<Life> present() const {
    const std::lock_guard lock(control);
    return life;
  }

  bool collect() override {
    const bool over = !running.load(std::memory_order_acquire);  // before the last drain
    const std::shared_ptr<Life> now = present();
    now->drain();
    now->recording->write_live();
    const std::lock_guard lock(control);
    now->sampler.tails().reap();
    return !over;
  }

  // Nobody holds the stream and the last holder's linger time is over.
  bool idle() const noexcept {
    return holds.load(std::memory_order_acquire) == 0 &&
           clock->now() >= linger_until.load(std::memory_order_acquire);
  }

  void run(Life& mine) {
    name_thread("pyenergy");
    clock->prepare_thread();
    for (;;) {
      const bool over = !mine.sampler.step(stop) || sensor->finished();
      if (!over && !idle()) continue;
      const std::lock_guard lock(control);
      if (!over && !idle()) continue;  // acquired again meanwhile
      running.store(false, std::memory_order_release);
      ended.notify_all();
      return;
    }
  }

  // Under `control`, while no thread runs.
  void start() {
    if (thread.joinable()) thread.join();
    if (life->used) {
      life->drain();
      renew();
    }
    life->used = true;
    stop.store(false, std::memory_order_relaxed);
    linger_until.store(0, std::memory_order_relaxed);
    thread = start_quiet_thread([self = shared_from_this(), mine = life] { self->run(*mine); });
    running.store(true, std::memory_order_release);
  }

  const std::unique_ptr<Sensor> sensor;
  const std::shared_ptr<Clock> clock;
  const StreamOptions options;
  SamplerStats stats;

  mutable std::mutex control;
  std::condition_variable ended;
  std::shared_ptr<Life> life;
  std::thread thread;
  std::atomic<bool> running{false}, stop{false};
  std::atomic<int> holds{0};
  std::atomic<Ns> linger_until{0};
};

std::shared_ptr<Stream> Stream::create(std::unique_ptr<Sensor> sensor, std::shared_ptr<Clock> clock,
                                       StreamOptions options) {
  auto state = std::make_shared<State>(std::move(sensor), std::move(clock), std::move(options));
  return std::shared_ptr<Stream>(new Stream(std::move(state)));
}

Stream::Stream(std::shared_ptr<State> state) : state_(std::move(state)) {}

Stream::~Stream() {
  if (abandoned_) return;
  bool detached = false;
  {
    const std::lock_guard lock(state_->control);
    detached = state_->running && !state_->thread.joinable();
  }
  if (!detached) stop();  // a thread that an earlier stop() left hanging is not waited for again
}

void Stream::acquire() {
  if (abandoned_) {
    throw std::runtime_error("this stream belongs to the process that forked this one");
  }
  State& state = *state_;
  const std::lock_guard lock(state.control);
  if (state.running && state.stop) {
    throw std::runtime_error("the sampler was stopped but its last read has not returned yet");
  }
  if (!state.running) {
    // The new thread's first idle() must already see this hold: it waits for `control` there.
    state.start();
    Collector::instance().add(state_);
  }
  state.holds.fetch_add(1, std::memory_order_acq_rel);
}

void Stream::release(Ns linger_ns) {
  if (abandoned_) return;
  State& state = *state_;
  const Ns until = state.clock->now() + linger_ns;
  Ns latest = state.linger_until.load(std::memory_order_relaxed);
  while (latest < until && !state.linger_until.compare_exchange_weak(latest, until)) {
  }
  // The linger time is in place before the hold is gone. Never below zero.
  int holds = state.holds.load(std::memory_order_relaxed);
  while (holds > 0 && !state.holds.compare_exchange_weak(holds, holds - 1)) {
  }
}

bool Stream::stop(Ns timeout) {
  if (abandoned_) return true;
  State& state = *state_;
  {
    std::unique_lock lock(state.control);
    state.stop.store(true, std::memory_order_release);
    // Someone may start the next thread before this one wakes up: that one is not to be awaited.
    const std::shared_ptr<Life> mine = state.life;
    const auto over = [&] { return !state.running.load() || state.life != mine; };
    if (!state.ended.wait_for(lock, std::chrono::nanoseconds(timeout), over)) {
      if (state.thread.joinable()) state.thread.detach();
      return false;
    }
    if (state.life == mine && state.thread.joinable()) state.thread.join();
  }
  drain();
  return true;
}

bool Stream::running() const noexcept {
  return !abandoned_ && state_->running.load(std::memory_order_acquire);
}

void Stream::drain() {
  if (!abandoned_) state_->present()->drain();
}

void Stream::run_inline(std::size_t steps) {
  if (abandoned_) return;
  State& state = *state_;
  require(state.clock->is_manual(), "only a stream with a manual clock can run inline");
  const std::lock_guard lock(state.control);
  require(!state.running, "the stream's own thread is running");
  const std::atomic<bool> never{false};
  state.life->used = true;
  // As seldom as the ring allows.
  const std::size_t most = std::max<std::size_t>(1, state.sensor->max_readings());
  const std::size_t batch = std::max<std::size_t>(1, state.options.ring_capacity / (2 * most));
  for (std::size_t i = 0; i < steps && !state.sensor->finished(); ++i) {
    state.life->sampler.step(never);
    if (i % batch == batch - 1) state.life->drain();
  }
  state.life->drain();
}

bool Stream::add_tail(const Recording& recording, std::shared_ptr<LiveTail> tail) {
  if (abandoned_) return false;
  const std::lock_guard lock(state_->control);
  if (state_->life->recording.get() != &recording || !state_->running) return false;
  return state_->life->sampler.tails().add(std::move(tail));
}

void Stream::remove_tail(const std::shared_ptr<LiveTail>& tail) {
  if (abandoned_) return;
  const std::lock_guard lock(state_->control);
  state_->life->sampler.tails().remove(tail.get());
}

void Stream::abandon_after_fork() noexcept {
  if (abandoned_.exchange(true)) return;
  // Kept for ever: neither locks nor sensor may be destroyed here.
  struct Kept {
    std::shared_ptr<State> state;
    Kept* next;
  };
  static std::atomic<Kept*> all{nullptr};
  auto* const kept = new Kept{state_, all.load()};
  while (!all.compare_exchange_weak(kept->next, kept)) {
  }
}

const Sensor& Stream::sensor() const noexcept { return *state_->sensor; }
const StreamOptions& Stream::options() const noexcept { return state_->options; }
Ns Stream::slow_gap() const noexcept { return slow_gap_of(state_->options); }
const SamplerStats& Stream::stats() const noexcept { return state_->stats; }

std::shared_ptr<Recording> Stream::recording() const {
  // In a forked child the lock may be held for ever; but there nothing changes `life` any more.
  return abandoned_ ? state_->life->recording : state_->present()->recording;
}

}  // namespace pyenergy
