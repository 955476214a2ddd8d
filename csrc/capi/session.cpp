// SPDX-License-Identifier: Apache-2.0
// Sampling from start to stop, and energies of windows within.
#include "capi/session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <thread>

#include "capi/archive.h"
#include "core/sample.h"

namespace pyenergy {
namespace {

constexpr Ns kFirstReading = kSecond / 2;
constexpr Ns kCover = 3 * kSecond;   // beyond the lag
constexpr Ns kMargin = 2 * kSecond;  // readings around the bounds speak of the edges

void check_windows(std::span<const Ns> starts, std::span<const Ns> ends, Ns start, Ns end) {
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const char* const problem = ends[i] < starts[i]                  ? "ends before it starts"
                                : starts[i] < start || ends[i] > end ? "reaches outside the session"
                                                                     : nullptr;
    if (problem == nullptr) continue;
    throw WindowError("window " + std::to_string(i) + " " + problem + ": [" +
                      std::to_string(starts[i]) + ", " + std::to_string(ends[i]) +
                      "] ns; the session spans [" + std::to_string(start) + ", " +
                      std::to_string(end) + "] ns of CLOCK_MONOTONIC");
  }
}

void add_to(Sums& sums, const Budget& budget) {
  const std::size_t n = budget.joules.size();
  for (auto* const column : {&sums.joules, &sums.variance, &sums.same_card_variance}) {
    column->resize(n);
  }
  for (std::size_t k = 0; k < Budget::kTerms; ++k) {
    sums.terms[k].resize(n);
    for (std::size_t i = 0; i < n; ++i) sums.terms[k][i] += budget.terms[k][i] * budget.terms[k][i];
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double u = budget.u(i), same_card = budget.u_same_card(i);
    sums.joules[i] += budget.joules[i];
    sums.variance[i] += u * u;
    sums.same_card_variance[i] += same_card * same_card;
  }
}

constexpr std::size_t kPart = 4096;                // windows whose figures a cache holds
constexpr std::size_t kWindowsPerThread = 50'000;  // fewer do not pay for a thread's start

// body(first, count) for all of [0, n), part by part; of many, several threads at once.
template <typename Body>
void in_parts(std::size_t n, const Body& body) {
  const std::size_t cores = std::max(std::thread::hardware_concurrency(), 1u);
  const std::size_t workers = std::clamp<std::size_t>(n / kWindowsPerThread, 1, cores);
  std::vector<std::exception_ptr> problems(workers);
  const auto work = [&](std::size_t worker) {
    try {
      const std::size_t end = n * (worker + 1) / workers;
      for (std::size_t first = n * worker / workers; first < end; first += kPart) {
        body(first, std::min(kPart, end - first));
      }
    } catch (...) {
      problems[worker] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t worker = 1; worker < workers; ++worker) others.emplace_back(work, worker);
    work(0);
  }
  for (const std::exception_ptr& problem : problems) {
    if (problem) std::rethrow_exception(problem);
  }
}

void nap() { std::this_thread::sleep_for(std::chrono::microseconds(500)); }

}  // namespace

// One device's stream, and the recording that it was filling when we began to listen.
struct Session::Tap {
  SharedStream shared;
  std::shared_ptr<Recording> recording;
  std::uint64_t dropped_before;
  std::uint64_t dropped() const {
    return shared.stream->stats().dropped.load() + recording->lost() - dropped_before;
  }
  Ns last_t() const {
    shared.stream->drain();
    return recording->store(shared.covering).last_t();
  }
  bool has_read() const {
    if (last_t() == 0) return false;
    recording->seal();
    const RunStore& store = recording->store(shared.covering);
    const std::span<const std::uint32_t> flags(store.flags(), store.size());
    return std::ranges::any_of(flags,
                               [](std::uint32_t f) { return (f & (kMissing | kInvalid)) == 0; });
  }
};

Session::Session(std::vector<NamedDevice> devices, double rate_hz)
    : devices_(std::move(devices)), rate_hz_(rate_hz) {}

Session::~Session() {
  if (foreign || end_ != 0) return;
  for (const Tap& tap : taps_) Hub::release(tap.shared);
}

void Session::start() {
  const std::lock_guard lock(mutex_);
  if (start_ != 0) throw StateError("this session was started before; open another one");
  try {
    for (const NamedDevice& device : devices_) {
      const SharedStream shared = Hub::instance().acquire(device, rate_hz_);
      taps_.push_back({shared, shared.stream->recording(), 0});
      taps_.back().dropped_before = taps_.back().dropped();
    }
    await_first_readings();
  } catch (...) {
    for (const Tap& tap : taps_) Hub::release(tap.shared);
    taps_.clear();
    throw;
  }
  first_anchor_ = take_anchor();
  start_ = monotonic_ns();
}

void Session::stop() {
  const std::lock_guard lock(mutex_);
  require_started();
  if (end_ != 0) throw StateError("this session was stopped already");
  end_ = monotonic_ns();
  last_anchor_ = take_anchor();
  for (const Tap& tap : taps_) Hub::release(tap.shared);
}

std::pair<Ns, Ns> Session::bounds() const {
  const std::lock_guard lock(mutex_);
  require_started();
  return {start_, end_ != 0 ? end_ : monotonic_ns()};
}

void Session::require_started() const {
  if (start_ == 0) throw StateError("this session was not started: call pyenergy_start first");
}

void Session::await_first_readings() {
  const Ns deadline = monotonic_ns() + kFirstReading;
  for (std::size_t i = 0; i < taps_.size(); ++i) {
    while (!taps_[i].has_read()) {
      if (monotonic_ns() > deadline) {
        notes_.push_back(devices_[i].id + ": no reading yet when the trace began");
        break;
      }
      nap();
    }
  }
}

bool Session::covered() {
  return std::ranges::all_of(taps_, [&](const Tap& tap) {
    return tap.last_t() >= end_ + tap.shared.lag || !tap.shared.stream->running();
  });
}

void Session::await_cover() {
  Ns longest = 0;
  for (const Tap& tap : taps_) longest = std::max(longest, tap.shared.lag);
  while (!covered() && monotonic_ns() < end_ + longest + kCover) nap();
}

Snapshot Session::take(Ns end) {
  Snapshot taken{start_, end, {}};
  for (std::size_t i = 0; i < taps_.size(); ++i) {
    const Tap& tap = taps_[i];
    tap.shared.stream->drain();
    tap.recording->seal();
    const Ns margin = std::max(kMargin, 2 * tap.shared.lag);
    DeviceReadings read{devices_[i], tap.recording, {}, tap.shared.stream->gap(), tap.dropped()};
    for (std::size_t c = 0; c < tap.recording->channels().size(); ++c) {
      read.runs.push_back(runs_between(tap.recording->store(c), start_ - margin, end + margin));
    }
    taken.devices.push_back(std::move(read));
  }
  return taken;
}

const Snapshot& Session::snapshot() {
  require_started();
  if (end_ != 0 && snapshot_ && snapshot_->end == end_) return *snapshot_;
  if (end_ != 0) await_cover();
  energies_.clear();
  snapshot_ = take(end_ != 0 ? end_ : monotonic_ns());
  return *snapshot_;
}

const DeviceEnergy& Session::energy_of(const DeviceReadings& read, Method method) {
  const auto key = std::pair{&read, method};
  const auto found = energies_.find(key);
  if (found != energies_.end()) return found->second;
  DeviceEnergy made(read, snapshot_->start, snapshot_->end, method);
  return energies_.emplace(key, std::move(made)).first->second;
}

std::vector<const DeviceReadings*> Session::chosen(const std::string& device) const {
  std::vector<const DeviceReadings*> found;
  std::string there;
  for (const DeviceReadings& read : snapshot_->devices) {
    if (device.empty() || read.device.id == device) found.push_back(&read);
    there += (there.empty() ? "" : ", ") + read.device.id;
  }
  if (found.empty()) {
    throw DeviceError("no device '" + device + "' in this session; it has: " + there);
  }
  return found;
}

Method Session::windows(const std::string& device, Method method, std::span<const Ns> starts,
                        std::span<const Ns> ends, const TakeSums& take) {
  const std::lock_guard lock(mutex_);
  const Snapshot& now = snapshot();
  check_windows(starts, ends, now.start, now.end);
  std::vector<const DeviceEnergy*> energies;
  for (const DeviceReadings* const read : chosen(device)) {
    energies.push_back(&energy_of(*read, method));
  }
  in_parts(starts.size(), [&](std::size_t first, std::size_t n) {
    Sums sums;
    for (const DeviceEnergy* const energy : energies) {
      add_to(sums, energy->windows(starts.subspan(first, n), ends.subspan(first, n), 1));
    }
    take(first, sums);
  });
  const auto same = [&](const DeviceEnergy* e) { return e->method() == energies[0]->method(); };
  return std::ranges::all_of(energies, same) ? energies[0]->method() : Method::kPlain;
}

void Session::mark(std::string name, Ns start, Ns end) {
  const std::lock_guard lock(mutex_);
  require_started();
  const Ns starts[] = {start}, ends[] = {end};
  check_windows(starts, ends, start_, end_ != 0 ? end_ : monotonic_ns());
  marks_.push_back({std::move(name), start, end});
}

void Session::save(const std::string& path) {
  const std::lock_guard lock(mutex_);
  require_started();
  if (end_ == 0) throw StateError("this session still runs: call pyenergy_stop before it is saved");
  write_recording(path, snapshot(), marks_, notes_, {first_anchor_, last_anchor_});
}

}  // namespace pyenergy
