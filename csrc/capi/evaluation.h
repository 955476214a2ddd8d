// SPDX-License-Identifier: Apache-2.0
// What a session has read, and the plain energies that follow from it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/collector.h"
#include "core/counter_difference.h"
#include "core/power_integral.h"
#include "sensors/resolve.h"

namespace pyenergy {

enum class Method : int { kPlain = 0, kTrapezoid = 1, kCounter = 2 };

// Runs of one channel, with how many reads each had.
struct ChannelRuns : RunsView {
  std::span<const std::uint32_t> count;
};

// The rows that touch [start, end] and one on either side, of a recording that is sealed.
ChannelRuns runs_between(const RunStore& store, Ns start, Ns end);

struct DeviceReadings {
  NamedDevice device;
  std::shared_ptr<Recording> recording;  // keeps the runs alive
  std::vector<ChannelRuns> runs;         // by channel
  Ns gap = 0;
  std::uint64_t dropped = 0;  // samples, while the session ran
};

struct Snapshot {
  Ns start = 0, end = 0;
  std::vector<DeviceReadings> devices;
};

// Energies of windows with their standard uncertainties, J; in quadrature the terms are u.
struct Budget {
  static constexpr std::size_t kTerms = 5;  // gain, offset, edges, inside, gaps
  std::vector<double> joules;
  std::vector<double> terms[kTerms];
  double u(std::size_t i) const noexcept;
  double u_same_card(std::size_t i) const noexcept;
};

// The plain energy of one device over any window of its session.
class DeviceEnergy {
 public:
  // Throws NoReadings naming the device when it gave nothing that the method can use.
  DeviceEnergy(const DeviceReadings& read, Ns start, Ns end, Method method);
  Budget windows(std::span<const Ns> starts, std::span<const Ns> ends, int threads) const;
  Method method() const noexcept { return power_ ? Method::kTrapezoid : Method::kCounter; }

 private:
  bool by_power(const DeviceReadings& read, Ns start, Ns end);
  bool by_counter(const DeviceReadings& read);

  std::optional<PowerIntegral> power_;
  std::optional<CounterDifference> counter_;
  double gain_u_ = 0.0, offset_u_w_ = 0.0;
};

}  // namespace pyenergy
