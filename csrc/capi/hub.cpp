// SPDX-License-Identifier: Apache-2.0
// Samplers and who shares them: the rules of pyenergy/_hub.py.
#include "capi/hub.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include "sensors/catalog.h"
#include "sensors/registry.h"

namespace pyenergy {
namespace {

constexpr Ns kLinger = kSecond;
constexpr Ns kNever = Ns{1} << 62;

std::atomic<Hub*>& current() {
  static std::atomic<Hub*> hub{new Hub};
  return hub;
}

bool same_device(const DeviceInfo& a, const DeviceInfo& b) {
  return a.source == b.source && a.uuid == b.uuid && a.index == b.index && a.argument == b.argument;
}

// Half the time in which the largest power that there may be takes a counter once around.
Ns longest_poll(const std::vector<Channel>& channels) {
  Ns longest = kNever;
  for (const Channel& c : channels) {
    if (c.kind != ChannelKind::kCounter || c.modulus <= 0 || !std::isfinite(c.valid_max)) continue;
    const double time_s = c.modulus * c.scale / c.valid_max / 2;
    longest = std::min(longest, std::max(static_cast<Ns>(std::nearbyint(time_s * 1e9)), Ns{1}));
  }
  return longest;
}

std::optional<std::size_t> find_channel(const std::vector<Channel>& channels, const char* name) {
  const auto found = std::ranges::find(channels, name, &Channel::name);
  if (found == channels.end()) return std::nullopt;
  return static_cast<std::size_t>(found - channels.begin());
}

SensorPrior prior_of(const DeviceInfo& info, const Channel& channel) {
  return sensor_prior(info.architecture, channel.source, channel.update_ns, channel.window_ns,
                      channel.delay_ns);
}

// A longer silence is a gap; 0: the stream's own rule.
Ns gap_of(const std::string& source, const SensorPrior* power, bool counts, Ns period, Ns longest) {
  if (source == "replay") return kNever;  // a recording says itself where its gaps are
  // Polls that pause for less than one update period can miss no update.
  if (power != nullptr && power->update_ns > 0) return std::max(power->update_ns, 10 * period);
  // A counter counts on while nobody looks.
  return power == nullptr && counts ? longest : 0;
}

SharedStream create(const NamedDevice& device, double rate_hz) {
  auto clock = std::make_shared<SystemClock>();
  auto sensor = find_source(device.info.source).open(device.info, clock);
  const std::vector<Channel>& channels = sensor->channels();
  const auto power = find_channel(channels, "power");
  const auto samples = find_channel(channels, "power_samples");
  std::optional<SensorPrior> prior;
  if (power) prior = prior_of(device.info, channels[*power]);
  const Ns wanted = static_cast<Ns>(std::nearbyint(1e9 / (rate_hz > 0 ? rate_hz : 1000.0)));
  const Ns longest = longest_poll(channels);

  SharedStream shared;
  shared.period = std::min(wanted, longest);
  // A sensor that updates about as fast as it is polled has no edges worth waiting for, and DCGM's
  // host engine polls it by its own clock.
  shared.edge =
      prior && rate_hz <= 0 && device.info.source != "dcgm" && prior->update_ns >= 5 * wanted;
  shared.covering = power.value_or(samples.value_or(0));
  shared.lag = kSecond / 10;
  if (power || samples) shared.lag = prior_of(device.info, channels[shared.covering]).lag_ns;

  StreamOptions options;
  options.pacing.period = shared.period;
  options.pacing.mode = shared.edge ? PacingMode::kEdge : PacingMode::kFixed;
  for (std::size_t i = 0; shared.edge && i < channels.size(); ++i) {
    options.pacing.seeds.push_back(i == *power ? prior->update_ns : 0);
  }
  options.gap_ns = gap_of(device.info.source, prior ? &*prior : nullptr,
                          find_channel(channels, "energy").has_value(), shared.period, longest);
  shared.stream = Stream::create(std::move(sensor), std::move(clock), std::move(options));
  return shared;
}

bool serves(const SharedStream& shared, double rate_hz) {
  if (!shared.stream->running()) return false;
  return rate_hz <= 0 || (!shared.edge && static_cast<double>(shared.period) * rate_hz <= 1e9);
}

}  // namespace

Hub& Hub::instance() { return *current().load(std::memory_order_acquire); }

SharedStream Hub::acquire(const NamedDevice& device, double rate_hz) {
  const std::lock_guard opening(opening_);
  {
    const std::lock_guard lock(list_);
    for (const Entry& entry : entries_) {
      if (!same_device(entry.device.info, device.info) || !serves(entry.shared, rate_hz)) continue;
      entry.shared.stream->acquire();
      return entry.shared;
    }
  }
  SharedStream shared = create(device, rate_hz);
  const std::lock_guard lock(list_);
  std::erase_if(entries_,
                [&](const Entry& entry) { return same_device(entry.device.info, device.info); });
  entries_.push_back({device, shared});
  shared.stream->acquire();
  return shared;
}

void Hub::release(const SharedStream& shared) { shared.stream->release(shared.lag + kLinger); }

void Hub::after_fork_in_child() {
  for (const Entry& entry : entries_) entry.shared.stream->abandon_after_fork();
  current().store(new Hub, std::memory_order_release);
}

void Hub::stop_all() {
  std::vector<Entry> all;
  {
    const std::lock_guard lock(list_);
    all.swap(entries_);
  }
  for (const Entry& entry : all) entry.shared.stream->stop(kSecond);
}

}  // namespace pyenergy
