// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <signal.h>

#include <bit>
#include <chrono>
#include <condition_variable>
#include <stdexcept>

#include "core/sampler.h"

namespace pyenergy {

namespace {

std::size_t ring_capacity(const StreamOptions& options, const Sensor& sensor) {
  if (options.ring_capacity != 0) return options.ring_capacity;
  const Ns period = std::max<Ns>(options.pacing.period, 1);
  const std::size_t polls = static_cast<std::size_t>(kSecond / period);
  return std::bit_ceil(
      std::max<std::size_t>(1024, polls * std::max<std::size_t>(sensor.channels().size(), 1)));
}

Ns gap_ns(const StreamOptions& options) {
  if (options.gap_ns > 0) return options.gap_ns;
  return std::max(10 * Pacer(options.pacing).longest_interval(), 5 * kMs);
}

}  // namespace

// One start of the sampler: everything its thread touches. Kept alive by the thread itself.
struct Stream::State {
  std::unique_ptr<Sensor> sensor;
  std::shared_ptr<Clock> clock;
  StreamOptions options;
  SamplerStats stats;

  // Replaced at every start, under Stream::control_ while no thread runs.
  struct Start {
    Start(State& s)
        : ring(ring_capacity(s.options, *s.sensor)),
          recording(
              std::make_shared<Recording>(s.sensor->channels(), gap_ns(s.options),
                                          std::max(gap_ns(s.options), 10 * s.options.slow_period))),
          sampler(*s.sensor, *s.clock, s.options, ring, s.stats) {}
    SpscRing<Sample> ring;
    std::shared_ptr<Recording> recording;
    Sampler sampler;
    std::atomic<bool> stop{false};
    bool used = false;  // a thread has run it
  };
  std::shared_ptr<Start> start;

  std::mutex control;  // start, stop, end; never taken by the hot loop while it goes on
  std::condition_variable ended;
  std::atomic<bool> running{false};
  std::atomic<int> holds{0};
  std::atomic<Ns> linger_until{0};
  bool abandoned = false;

  // Ends the loop if nobody holds the stream and its linger is over; rechecked under the lock.
  bool may_end() const noexcept {
    return holds.load(std::memory_order_acquire) == 0 &&
           clock->now() >= linger_until.load(std::memory_order_acquire);
  }
  static void run(std::shared_ptr<State> self, std::shared_ptr<Start> start);
};

void Stream::State::run(std::shared_ptr<State> self, std::shared_ptr<Start> start) {
  pthread_setname_np(pthread_self(), "pyenergy");
  self->clock->prepare_thread();
  while (true) {
    const bool go_on = start->sampler.step(start->stop) && !self->sensor->finished();
    if (go_on && !self->may_end()) continue;
    std::lock_guard lock(self->control);
    if (go_on && !start->stop.load(std::memory_order_acquire) && !self->may_end()) continue;
    self->running.store(false, std::memory_order_release);
    self->ended.notify_all();
    return;
  }
}

std::shared_ptr<Stream> Stream::create(std::unique_ptr<Sensor> sensor, std::shared_ptr<Clock> clock,
                                       StreamOptions options) {
  auto state = std::make_shared<State>();
  state->sensor = std::move(sensor);
  state->clock = std::move(clock);
  state->options = std::move(options);
  state->start = std::make_shared<State::Start>(*state);
  return std::shared_ptr<Stream>(new Stream(std::move(state)));
}

Stream::Stream(std::shared_ptr<State> state) : state_(std::move(state)) {}

Stream::~Stream() {
  if (state_->abandoned) {
    // A forked child: the thread object names a thread that does not exist here.
    new std::thread(std::move(thread_));
    return;
  }
  stop();
}

void Stream::acquire() {
  std::lock_guard lock(state_->control);
  state_->holds.fetch_add(1, std::memory_order_acq_rel);
  if (state_->running.load(std::memory_order_acquire)) return;
  if (thread_.joinable()) thread_.join();  // it has said that it ended
  if (state_->start->used || state_->start->stop.load()) {
    state_->start = std::make_shared<State::Start>(*state_);
  }
  state_->start->used = true;
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  thread_ = std::thread(&State::run, state_, state_->start);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  state_->running.store(true, std::memory_order_release);
  Collector::instance().add(shared_from_this());
}

void Stream::release(Ns linger_ns) {
  const Ns until = state_->clock->now() + linger_ns;
  Ns present = state_->linger_until.load(std::memory_order_relaxed);
  while (present < until && !state_->linger_until.compare_exchange_weak(present, until)) {
  }
  int holds = state_->holds.load(std::memory_order_relaxed);
  while (holds > 0 && !state_->holds.compare_exchange_weak(holds, holds - 1)) {
  }
}

bool Stream::stop(Ns timeout) {
  std::unique_lock lock(state_->control);
  state_->start->stop.store(true, std::memory_order_release);
  const bool ended = state_->ended.wait_for(lock, std::chrono::nanoseconds(timeout), [&] {
    return !state_->running.load(std::memory_order_acquire);
  });
  if (thread_.joinable()) {
    if (ended) {
      thread_.join();
    } else {
      thread_.detach();
    }
  }
  return ended;
}

bool Stream::running() const noexcept { return state_->running.load(std::memory_order_acquire); }

void Stream::drain() {
  const auto start = [&] {
    std::lock_guard lock(state_->control);
    return state_->start;
  }();
  std::lock_guard lock(start->recording->mutex());
  start->ring.consume(start->ring.capacity(), [&](const Sample& s) { start->recording->take(s); });
}

void Stream::run_inline(std::size_t steps) {
  if (!state_->clock->is_manual()) throw std::invalid_argument("run_inline needs a manual clock");
  for (std::size_t i = 0; i < steps; ++i) {
    state_->start->sampler.step(state_->start->stop);
    if (i % 64 == 63) drain();
  }
  drain();
}

void Stream::abandon_after_fork() { state_->abandoned = true; }

const Sensor& Stream::sensor() const noexcept { return *state_->sensor; }
const StreamOptions& Stream::options() const noexcept { return state_->options; }
const SamplerStats& Stream::stats() const noexcept { return state_->stats; }
Ns Stream::gap() const { return gap_ns(state_->options); }

std::shared_ptr<Recording> Stream::recording() const {
  std::lock_guard lock(state_->control);
  return state_->start->recording;
}

}  // namespace pyenergy
