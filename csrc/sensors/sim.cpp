// SPDX-License-Identifier: Apache-2.0
// The `sim` source: a simulated GPU read in this process, without any vendor library.
#include <algorithm>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "sensors/sources.h"
#include "simgpu/faults.h"
#include "simgpu/power_law.h"
#include "simgpu/presets.h"
#include "simgpu/sensor_model.h"
#include "simgpu/world.h"

namespace pyenergy {
namespace {

using namespace simgpu;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kMaxPower = 5000.0;  // W: no single board draws more

DeviceInfo describe(const World& world, std::uint32_t index) {
  Card& card = world.card(index);
  const CardLock lock(card);
  DeviceInfo info;
  info.source = "sim";
  info.kind = "gpu";
  info.index = static_cast<int>(index);
  info.uuid = card.id.uuid;
  info.name = card.id.name;
  info.pci_bus_id = card.id.pci;
  info.architecture = card.id.architecture;
  info.driver = "simulated";
  info.power_min_w = 0.0;
  info.power_max_w = card.limit_w;
  info.speed_score = card.id.cores * card.max_hz;
  info.mig_enabled = card.id.mig_instances > 0;
  info.argument = world.path();
  info.facts = {{"preset", card.id.preset},
                {"world", world.path().empty() ? "in-process" : world.path()}};
  info.notes = {"a simulated GPU: its power is computed, not measured"};
  return info;
}

Channel power_channel(const Card& card, const PowerField& field, const char* name,
                      const char* source) {
  Channel channel;
  channel.name = name;
  channel.unit = "W";
  channel.valid_min = 0.0;
  channel.valid_max = kMaxPower;
  channel.source = source;
  channel.scope = card.id.module_only != 0 ? "module" : "gpu";
  channel.update_ns = field.update;
  channel.window_ns = field.window;
  channel.delay_ns = field.delay;
  return channel;
}

Channel energy_channel(const Card& card) {
  Channel channel;
  channel.name = "energy";
  channel.unit = "J";
  channel.kind = ChannelKind::kCounter;
  channel.scale = 1e-3;
  channel.modulus = card.counter.modulus_mj;
  channel.valid_min = 0.0;
  channel.valid_max = kMaxPower;
  channel.source = "sim.energy";
  channel.scope = "gpu";
  channel.update_ns = card.counter.update;
  return channel;
}

Channel slow_channel(const char* name, const char* unit, const char* source) {
  Channel channel;
  channel.name = name;
  channel.unit = unit;
  channel.group = ReadGroup::kSlow;
  channel.source = source;
  channel.scope = "gpu";
  return channel;
}

class SimSensor final : public Sensor {
 public:
  SimSensor(std::shared_ptr<World> world, std::uint32_t index, std::shared_ptr<Clock> clock)
      : world_(std::move(world)),
        card_(world_->card(index)),
        clock_(std::move(clock)),
        info_(describe(*world_, index)) {
    const CardLock lock(card_);
    if (card_.instant.present != 0) {
      add(power_channel(card_, card_.instant, "power", "sim.power.instant"), kFieldPowerInstant);
    }
    if (card_.average.present != 0) {
      add(power_channel(card_, card_.average, "power_average", "sim.power.average"),
          kFieldPowerAverage);
    }
    if (card_.counter.present != 0) add(energy_channel(card_), kFieldEnergy);
    standing_.resize(fields_.size());
    channels_.push_back(slow_channel("sm_clock", "Hz", "sim.clock"));
    channels_.push_back(slow_channel("temperature", "degC", "sim.temperature"));
    channels_.push_back(slow_channel("utilisation", "1", "sim.utilisation"));
  }

  const DeviceInfo& info() const noexcept override { return info_; }
  const std::vector<Channel>& channels() const noexcept override { return channels_; }

  std::size_t read(ReadGroup group, std::span<Reading> out) noexcept override {
    return group == ReadGroup::kFast ? read_fast(out) : read_slow(out);
  }

 private:
  void add(Channel channel, std::uint32_t field) {
    channels_.push_back(std::move(channel));
    fields_.push_back(field);
  }

  // A reading that stands from one update to the next, as it was computed first.
  struct Standing {
    std::uint64_t revision = 0;  // of the card; 0: none yet
    Ns from = 0, until = 0;
    double value = 0.0;
  };

  // Under the card's lock.
  FieldReading field_reading(std::size_t i, Ns now) noexcept {
    Standing& standing = standing_[i];
    if (standing.revision == card_.revision && now >= standing.from && now < standing.until) {
      return {standing.value, kSuccess};
    }
    const FieldReading reading = read_field(card_, fields_[i], now);
    standing.revision = 0;
    if (card_.fault_count != 0 || reading.status != kSuccess) return reading;
    if (fields_[i] == kFieldEnergy) {
      const Ns update = card_.counter.update;
      if (update <= 0) return reading;
      const Ns since = (now - card_.counter.phase) % update;
      standing.from = now - (since < 0 ? since + update : since);
      standing.until = standing.from + update;
    } else {
      const PowerField& field = fields_[i] == kFieldPowerAverage ? card_.average : card_.instant;
      if (field.update <= 0) return reading;
      const Update latest = latest_update(field, card_.id.seed, now);
      standing.from = latest.t;
      standing.until = update_time(field, card_.id.seed, latest.k + 1);
    }
    standing.value = reading.value;
    standing.revision = card_.revision;
    return reading;
  }

  // The call's status, after its latency has passed.
  std::int32_t call(Call which) noexcept {
    CallOutcome outcome;
    {
      const CardLock lock(card_);
      outcome = begin_call(card_, which, clock_->now());
    }
    wait_for(*clock_, outcome.wait);
    return outcome.status;
  }

  static Reading make(std::size_t channel, double value, std::int32_t status) noexcept {
    Reading reading;
    reading.channel = static_cast<std::uint16_t>(channel);
    reading.status = status;
    reading.value = status == kSuccess ? value : kNaN;
    if (status != kSuccess) reading.flags = kMissing;
    return reading;
  }

  // One call gives all fields, as nvmlDeviceGetFieldValues does.
  std::size_t read_fast(std::span<Reading> out) noexcept {
    const std::int32_t status = call(Call::kFields);
    const std::size_t n = std::min(out.size(), fields_.size());
    const CardLock lock(card_);
    const Ns now = clock_->now();
    for (std::size_t i = 0; i < n; ++i) {
      FieldReading field{kNaN, status};
      if (status == kSuccess) field = field_reading(i, now);
      out[i] = make(i, field.value, field.status);
    }
    return n;
  }

  std::size_t read_slow(std::span<Reading> out) noexcept {
    constexpr Call kCalls[] = {Call::kClock, Call::kTemperature, Call::kUtilisation};
    std::size_t n = 0;
    for (const Call which : kCalls) {
      if (n == out.size()) break;
      const std::int32_t status = call(which);
      const CardLock lock(card_);
      out[n] = make(fields_.size() + n, slow_value(which, clock_->now()), status);
      ++n;
    }
    return n;
  }

  double slow_value(Call which, Ns now) const noexcept {
    switch (which) {
      case Call::kClock:
        return clock_hz(card_, now);
      case Call::kTemperature:
        return temperature_c(card_, now);
      default:
        return load_power(card_, now) > 0.0 ? 1.0 : 0.0;
    }
  }

  const std::shared_ptr<World> world_;
  Card& card_;
  const std::shared_ptr<Clock> clock_;
  const DeviceInfo info_;
  std::vector<Channel> channels_;      // the fast ones first
  std::vector<std::uint32_t> fields_;  // of the fast channels
  std::vector<Standing> standing_;     // of the fast channels
};

// "a100,h100*2" as a list of presets. Throws std::invalid_argument.
std::vector<std::string> parse_presets(const std::string& argument) {
  std::vector<std::string> names;
  std::istringstream parts(argument);
  for (std::string part; std::getline(parts, part, ',');) {
    const std::size_t star = part.find('*');
    std::size_t count = 1;
    if (star != std::string::npos) {
      const std::string digits = part.substr(star + 1);
      const bool sane = !digits.empty() && digits.size() <= 2 &&
                        digits.find_first_not_of("0123456789") == std::string::npos;
      count = sane ? std::stoul(digits) : 0;
    }
    if (count < 1 || count > kMaxCards) {
      throw std::invalid_argument("'" + part + "' does not say how many: write a100*4");
    }
    names.insert(names.end(), count, part.substr(0, star));
    find_preset(names.back());
  }
  return names;
}

std::string preset_of(const World& world, std::uint32_t index) {
  const CardLock lock(world.card(index));
  return world.card(index).id.preset;
}

// The world's cards that serve the request, each once and in its order. Only the in-process world
// grows: a file holds the cards that its maker chose.
std::vector<std::uint32_t> pick_cards(World& world, const std::vector<std::string>& names) {
  std::vector<std::uint32_t> picked;
  for (const std::string& name : names) {
    std::uint32_t index = 0;
    while (index < world.size() &&
           (preset_of(world, index) != name || std::ranges::find(picked, index) != picked.end())) {
      ++index;
    }
    if (index == world.size()) {
      if (!world.path().empty()) {
        throw std::invalid_argument("the world '" + world.path() + "' has no " +
                                    (picked.empty() ? "" : "further ") + "card '" + name + "'");
      }
      index = world.add(name);
    }
    picked.push_back(index);
  }
  return picked;
}

std::vector<std::uint32_t> all_cards(World& world) {
  if (world.path().empty() && world.size() == 0) world.add("ideal");
  std::vector<std::uint32_t> all(world.size());
  for (std::uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  return all;
}

void require_driver(const World& world) {
  for (std::uint32_t i = 0; i < world.size(); ++i) {
    const CardLock lock(world.card(i));
    if (!driver_loaded(world.card(i), monotonic_ns())) {
      throw std::runtime_error("the simulated driver is not loaded");
    }
  }
}

}  // namespace

SourceReport enumerate_sim(const std::string& argument) {
  SourceReport report;
  report.source = "sim";
  try {
    const std::shared_ptr<World> world = World::current();
    require_driver(*world);
    const std::vector<std::string> names = parse_presets(argument);
    for (const std::uint32_t index :
         names.empty() ? all_cards(*world) : pick_cards(*world, names)) {
      report.devices.push_back(describe(*world, index));
    }
    report.available = true;
  } catch (const std::exception& error) {
    report.reason = error.what();
    report.devices.clear();
  }
  return report;
}

std::unique_ptr<Sensor> open_sim(const DeviceInfo& info, std::shared_ptr<Clock> clock) {
  std::shared_ptr<World> world =
      info.argument.empty() ? World::in_process() : World::open(info.argument);
  if (info.index < 0 || static_cast<std::uint32_t>(info.index) >= world->size()) {
    throw std::runtime_error("the simulated world has no card " + std::to_string(info.index));
  }
  return std::make_unique<SimSensor>(std::move(world), static_cast<std::uint32_t>(info.index),
                                     std::move(clock));
}

}  // namespace pyenergy
