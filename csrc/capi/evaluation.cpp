// SPDX-License-Identifier: Apache-2.0
// Which plain energy serves a device: the rules of pyenergy/_energies.py without a model.
#include "capi/evaluation.h"

#include <algorithm>
#include <cmath>

#include "core/sample.h"
#include "sensors/catalog.h"

namespace pyenergy {
namespace {

constexpr const char* kPowerChannels[] = {"power", "power_samples"};

bool is_usable(std::uint32_t flags) noexcept { return (flags & (kMissing | kInvalid)) == 0; }

// The index of a channel that has a usable reading.
std::optional<std::size_t> find_read(const DeviceReadings& read, const std::string& name) {
  const auto& channels = read.recording->channels();
  const auto found = std::ranges::find(channels, name, &Channel::name);
  if (found == channels.end()) return std::nullopt;
  const auto index = static_cast<std::size_t>(found - channels.begin());
  if (!std::ranges::any_of(read.runs[index].flags, is_usable)) return std::nullopt;
  return index;
}

// Share of the time that a counter knows of, if it adds up the power sensor's readings.
double counter_coverage(const DeviceReadings& read) {
  if (!read.device.id.starts_with("gpu")) return 1.0;
  const auto& channels = read.recording->channels();
  const auto power = std::ranges::find(channels, "power", &Channel::name);
  // Unless it says otherwise, of the instantaneous reading.
  const std::string source = power == channels.end() ? "nvml.field.186" : power->source;
  return sensor_prior(read.device.info.architecture, source).coverage;
}

double quadrature(const Budget& budget, std::size_t i, std::size_t from) noexcept {
  double total = 0.0;
  for (std::size_t k = from; k < Budget::kTerms; ++k) {
    total += budget.terms[k][i] * budget.terms[k][i];
  }
  return std::sqrt(total);
}

}  // namespace

ChannelRuns runs_between(const RunStore& store, Ns start, Ns end) {
  const std::size_t n = store.size();
  const std::span<const Ns> read_last(store.read_last(), n), t_first(store.t_first(), n);
  auto first =
      static_cast<std::size_t>(std::ranges::lower_bound(read_last, start) - read_last.begin());
  first = first > 0 ? first - 1 : 0;
  const std::size_t last = std::min(after(t_first, end) + 1, n);
  const std::size_t rows = last > first ? last - first : 0;
  ChannelRuns runs;
  runs.t_first = t_first.subspan(first, rows);
  runs.read_first = {store.read_first() + first, rows};
  runs.t_last = {store.t_last() + first, rows};
  runs.read_last = read_last.subspan(first, rows);
  runs.value = {store.value() + first, rows};
  runs.count = {store.count() + first, rows};
  runs.flags = {store.flags() + first, rows};
  return runs;
}

double Budget::u(std::size_t i) const noexcept { return quadrature(*this, i, 0); }
double Budget::u_same_card(std::size_t i) const noexcept { return quadrature(*this, i, 2); }

DeviceEnergy::DeviceEnergy(const DeviceReadings& read, Ns start, Ns end, Method method) {
  if (method != Method::kCounter && by_power(read, start, end)) return;
  if (method != Method::kTrapezoid && by_counter(read)) return;
  const char* const why = method == Method::kCounter     ? "no energy counter that moved"
                          : method == Method::kTrapezoid ? "no usable power reading"
                                                         : "neither power nor a counter that moved";
  throw NoReadings("no energy for " + read.device.id + " (" + read.device.info.name +
                   "): it gave " + why + "; 'pyenergy doctor' says what can be read");
}

bool DeviceEnergy::by_power(const DeviceReadings& read, Ns start, Ns end) {
  const DeviceInfo& info = read.device.info;
  for (const char* const name : kPowerChannels) {
    const auto index = find_read(read, name);
    if (!index) continue;
    const Channel& channel = read.recording->channels()[*index];
    const SensorPrior prior = sensor_prior(info.architecture, channel.source, channel.update_ns,
                                           channel.window_ns, channel.delay_ns);
    // A replay, which knows no polls, has the sensor's period.
    const Ns gap = info.source == "replay" ? std::max(prior.update_ns, 10 * kMs) : read.gap;
    power_.emplace(read.runs[*index], prior, info.power_min_w, info.power_max_w, start, end, gap);
    gain_u_ = prior.gain_u;
    offset_u_w_ = prior.offset_u_w;
    return true;
  }
  return false;
}

bool DeviceEnergy::by_counter(const DeviceReadings& read) {
  const auto index = find_read(read, "energy");
  if (!index) return false;
  const bool alone = std::ranges::none_of(
      kPowerChannels, [&](const char* name) { return find_read(read, name).has_value(); });
  const DeviceInfo& info = read.device.info;
  try {
    counter_.emplace(read.runs[*index], info.power_min_w, info.power_max_w,
                     alone ? counter_coverage(read) : 1.0);
  } catch (const NoReadings&) {
    return false;
  }
  gain_u_ = sensor_prior(info.architecture, read.recording->channels()[*index].source).gain_u;
  return true;
}

Budget DeviceEnergy::windows(std::span<const Ns> starts, std::span<const Ns> ends,
                             int threads) const {
  const std::size_t n = starts.size();
  Budget out;
  out.joules.resize(n);
  for (auto& term : out.terms) term.resize(n);
  auto& [gain, offset, edges, inside, gaps] = out.terms;
  const PlainTerms terms{out.joules, edges, inside, gaps};
  if (power_) {
    power_->windows(starts, ends, terms, threads);
  } else {
    counter_->windows(starts, ends, terms, threads);
  }
  for (std::size_t i = 0; i < n; ++i) {
    gain[i] = std::abs(out.joules[i]) * gain_u_;
    offset[i] = static_cast<double>(ends[i] - starts[i]) / 1e9 * offset_u_w_;
  }
  return out;
}

}  // namespace pyenergy
