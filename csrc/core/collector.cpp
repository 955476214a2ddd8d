// SPDX-License-Identifier: Apache-2.0
// From samples to runs, and the thread that does it.
#include "core/collector.h"

#include <pthread.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>

#include "core/thread.h"

namespace pyenergy {

Recording::Recording(std::vector<Channel> channels, Ns gap_ns, Ns slow_gap_ns)
    : channels_(std::move(channels)) {
  for (const Channel& channel : channels_) {
    const bool slow = channel.group == ReadGroup::kSlow && slow_gap_ns > 0;
    stores_.push_back(std::make_unique<RunStore>(slow ? slow_gap_ns : gap_ns));
    counters_.emplace_back(channel);
  }
}

Recording::Checked Recording::check(const Sample& sample) noexcept {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const Channel& channel = channels_[sample.channel];
  std::uint16_t flags = sample.flags;
  if (std::isnan(sample.value) && (flags & kInvalid) == 0) flags |= kMissing;
  if ((flags & (kMissing | kInvalid)) != 0) return {kNaN, flags};
  if (channel.kind == ChannelKind::kCounter) {
    const auto step = counters_[sample.channel].feed(sample.value, sample.t_ns);
    return {step.total, static_cast<std::uint16_t>(flags | step.flags)};
  }
  const double value = sample.value * channel.scale;
  const bool valid =
      std::isfinite(value) && value >= channel.valid_min && value <= channel.valid_max;
  if (valid) return {value, flags};
  return {kNaN, static_cast<std::uint16_t>(flags | kInvalid)};
}

void Recording::take(const Sample& sample) noexcept {
  if (sample.channel >= stores_.size() || !is_time(sample.t_ns) || !is_time(sample.read_ns)) {
    ++strangers_;
    return;
  }
  const Checked checked = check(sample);
  // A loss is counted by the store.
  (void)stores_[sample.channel]->append(sample.t_ns, sample.read_ns, checked.value, checked.flags,
                                        sample.status);
}

void Recording::seal() {
  const std::lock_guard lock(mutex_);
  for (const auto& store : stores_) store->seal();
}

void Recording::resume(std::size_t channel, const Run& last) {
  for (const Ns t : {last.t_first, last.read_first, last.t_last, last.read_last}) {
    if (!is_time(t)) throw std::invalid_argument("a run's time is beyond 146 years");
  }
  stores_.at(channel)->resume(last);
}

void Recording::resume_counter(std::size_t channel, double total, std::optional<double> raw,
                               Ns moved) {
  if (!is_time(moved)) throw std::invalid_argument("a counter's time is beyond 146 years");
  counters_.at(channel).resume(total, raw, moved);
}

std::uint64_t Recording::lost() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t lost = strangers_;
  for (const auto& store : stores_) lost += store->lost();
  return lost;
}

RunRows Recording::rows(std::size_t channel) const {
  const std::lock_guard lock(mutex_);
  return stores_.at(channel)->rows();
}

std::size_t Recording::row_since(std::size_t channel, Ns t) const {
  const std::lock_guard lock(mutex_);
  return stores_.at(channel)->row_since(t);
}

bool Recording::forget_before(Ns t) {
  std::vector<std::shared_ptr<LiveFiles>> live;
  {
    const std::lock_guard lock(mutex_);
    live = live_;
  }
  bool fine = true;
  for (std::size_t i = 0; i < stores_.size(); ++i) {
    std::size_t needed = std::numeric_limits<std::size_t>::max();
    for (const auto& files : live) needed = std::min(needed, files->needs(i));
    const std::lock_guard lock(mutex_);
    fine = stores_[i]->forget(std::min(needed, stores_[i]->row_since(t))) && fine;
  }
  return fine;
}

std::vector<Sample> Recording::counters() const {
  std::vector<Sample> found;
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < channels_.size(); ++i) {
    const std::optional<double> raw = counters_[i].raw();
    const RunStore& store = *stores_[i];
    const std::size_t last = store.size() - store.first() - 1;
    if (!raw || (store.open_run() == nullptr && store.size() == 0)) continue;
    const Run* const open = store.open_run();
    const Ns t = open != nullptr ? open->t_last : store.t_last()[last];
    const Ns read = open != nullptr ? open->read_last : store.read_last()[last];
    const std::uint32_t flags = open != nullptr ? open->flags : store.flags()[last];
    if ((flags & (kMissing | kInvalid)) != 0) continue;
    found.push_back({t, read, *raw, static_cast<std::uint16_t>(i), kOk, 0});
  }
  return found;
}

void Recording::add_live(std::shared_ptr<LiveFiles> files) {
  const std::lock_guard lock(mutex_);
  live_.push_back(std::move(files));
}

void Recording::remove_live(const std::shared_ptr<LiveFiles>& files) {
  const std::lock_guard lock(mutex_);
  std::erase(live_, files);
}

void Recording::write_live() {
  std::vector<std::shared_ptr<LiveFiles>> live;
  {
    const std::lock_guard lock(mutex_);
    live = live_;
  }
  for (const auto& files : live) files->write(*this);
}

std::atomic<Collector*>& Collector::current() {
  static std::atomic<Collector*> collector{new Collector};
  return collector;
}

Collector& Collector::instance() { return *current().load(std::memory_order_acquire); }

void Collector::abandon_after_fork() { current().store(new Collector, std::memory_order_release); }

void Collector::add(std::weak_ptr<Collectable> source) {
  const std::lock_guard lock(mutex_);
  for (auto& other : sources_) {
    const bool same = !other.owner_before(source) && !source.owner_before(other);
    // Its collect() may just be saying, of an earlier life, that it is over: the new entry stays.
    if (same) other.reset();
  }
  sources_.push_back(std::move(source));
  if (running_) return;
  start_quiet_thread([this] { loop(); }).detach();
  running_ = true;
}

void Collector::loop() {
  name_thread("pyenergy-drain");
  do {
    std::this_thread::sleep_for(std::chrono::nanoseconds(kPeriod));
  } while (round());
}

// Only this thread removes sources, and others only append: an index stays the same source's.
bool Collector::round() {
  std::vector<std::shared_ptr<Collectable>> present;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& source : sources_) present.push_back(source.lock());
  }
  for (auto& source : present) {
    if (source && !source->collect()) source.reset();
  }
  const std::lock_guard lock(mutex_);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (i < present.size() && !present[i]) continue;
    if (kept != i) sources_[kept] = std::move(sources_[i]);
    ++kept;
  }
  sources_.resize(kept);
  running_ = kept > 0;
  return running_;
}

}  // namespace pyenergy
