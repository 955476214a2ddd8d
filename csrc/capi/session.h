// SPDX-License-Identifier: Apache-2.0
// A span of sampling, from start to stop, and what may be asked of it.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "capi/evaluation.h"
#include "capi/hub.h"
#include "core/clock.h"

namespace pyenergy {

// Not in a state for this: not started, stopped already, still running.
struct StateError : std::logic_error {
  using std::logic_error::logic_error;
};
// A window that is reversed or reaches outside the session.
struct WindowError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

struct SessionMark {
  std::string name;
  Ns start, end;
};

// Sums of the devices asked for, of some of the windows: variances of their errors add up.
struct Sums {
  std::vector<double> joules, variance, same_card_variance;
  std::vector<double> terms[Budget::kTerms];  // variances
};
// Is given the sums of the windows from `first` on; several threads may call it at once.
using TakeSums = std::function<void(std::size_t first, const Sums& sums)>;

// Calls from several threads wait for one another.
class Session {
 public:
  Session(std::vector<NamedDevice> devices, double rate_hz);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const std::vector<NamedDevice>& devices() const noexcept { return devices_; }
  void start();
  void stop();
  std::pair<Ns, Ns> bounds() const;
  // `device` empty: all together. Returns the method that was used, kPlain where devices differ.
  // Throws DeviceError, WindowError, NoReadings, StateError, before it gives anything to `take`.
  Method windows(const std::string& device, Method method, std::span<const Ns> starts,
                 std::span<const Ns> ends, const TakeSums& take);
  void mark(std::string name, Ns start, Ns end);
  // Throws std::system_error when the file cannot be written.
  void save(const std::string& path);

  // Set in a forked child, where nothing of the session may be touched any more.
  std::atomic<bool> foreign{false};

 private:
  struct Tap;
  void require_started() const;
  void await_first_readings();
  bool covered();
  void await_cover();
  Snapshot take(Ns end);
  // What there is now; of a session that was stopped everything that covers it, kept.
  const Snapshot& snapshot();
  const DeviceEnergy& energy_of(const DeviceReadings& read, Method method);
  std::vector<const DeviceReadings*> chosen(const std::string& device) const;

  const std::vector<NamedDevice> devices_;
  const double rate_hz_;
  mutable std::mutex mutex_;
  std::vector<Tap> taps_;
  Ns start_ = 0, end_ = 0;
  ClockAnchor first_anchor_{}, last_anchor_{};
  std::vector<std::string> notes_;
  std::vector<SessionMark> marks_;
  std::optional<Snapshot> snapshot_;
  std::map<std::pair<const DeviceReadings*, Method>, DeviceEnergy> energies_;  // of snapshot_
};

}  // namespace pyenergy
