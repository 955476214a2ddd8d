// SPDX-License-Identifier: Apache-2.0
#include "core/collector.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>

#include "core/sampler.h"

namespace pyenergy {

Recording::Recording(std::vector<Channel> channels, Ns gap_ns, Ns slow_gap_ns)
    : channels_(std::move(channels)) {
  for (const Channel& channel : channels_) {
    stores_.push_back(
        std::make_unique<RunStore>(channel.group == ReadGroup::kSlow ? slow_gap_ns : gap_ns));
    counters_.emplace_back(channel);
  }
}

void Recording::take(const Sample& sample) noexcept {
  if (sample.channel >= stores_.size()) return;
  const Channel& channel = channels_[sample.channel];
  RunStore& store = *stores_[sample.channel];
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  std::uint16_t flags = sample.flags;
  double value = kNan;
  if ((flags & kMissing) != 0 || std::isnan(sample.value)) {
    flags |= kMissing;
  } else if (channel.kind == ChannelKind::kCounter) {
    const CounterUnwrap::Step step = counters_[sample.channel].feed(sample.value, sample.t_ns);
    flags = static_cast<std::uint16_t>(flags | step.flags);
    value = step.total;
  } else {
    value = sample.value * channel.scale;
    if (!(value >= channel.valid_min && value <= channel.valid_max)) {
      flags |= kInvalid;
      value = kNan;
    }
  }
  store.append(sample.t_ns, sample.read_ns, value, flags, sample.status);
}

void Recording::seal() {
  std::lock_guard lock(mutex_);
  for (auto& store : stores_) store->seal();
}

std::uint64_t Recording::lost() const {
  std::lock_guard lock(mutex_);
  std::uint64_t total = 0;
  for (const auto& store : stores_) total += store->lost();
  return total;
}

namespace {
std::atomic<Collector*> g_collector{nullptr};
}

Collector& Collector::instance() {
  Collector* present = g_collector.load(std::memory_order_acquire);
  if (present != nullptr) return *present;
  auto* fresh = new Collector;  // never destroyed: its thread may outlive main
  if (g_collector.compare_exchange_strong(present, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *present;
}

void Collector::abandon_after_fork() { g_collector.store(nullptr, std::memory_order_release); }

void Collector::add(const std::shared_ptr<Stream>& stream) {
  std::lock_guard lock(mutex_);
  streams_.push_back(stream);
  if (running_) return;
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  std::thread([this] { loop(); }).detach();
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  running_ = true;
}

void Collector::loop() {
  pthread_setname_np(pthread_self(), "pyenergy-drain");
  std::vector<std::shared_ptr<Stream>> present;
  std::unique_lock lock(mutex_);
  while (true) {
    std::erase_if(streams_, [&](const std::weak_ptr<Stream>& weak) {
      auto stream = weak.lock();
      const bool alive = stream && stream->running();
      if (stream) present.push_back(std::move(stream));
      return !alive;
    });
    const bool last_round = streams_.empty();
    lock.unlock();
    for (auto& stream : present) stream->drain();
    present.clear();  // outside the lock: the last reference may end a sampler
    lock.lock();
    if (last_round && streams_.empty()) {
      running_ = false;
      return;
    }
    changed_.wait_for(lock, std::chrono::nanoseconds(kPeriod));
  }
}

}  // namespace pyenergy
