// SPDX-License-Identifier: Apache-2.0
#include "simgpu/control.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string_view>

#include "simgpu/power_law.h"
#include "simgpu/sensor_model.h"
#include "simgpu/world.h"

namespace pyenergy::simgpu {
namespace {

// Longest time constant, window or period: beyond it int64 ns would overflow in the low-pass.
constexpr Ns kLongest = 1'000'000 * kSecond;
constexpr Ns kAlways = std::numeric_limits<Ns>::min();

void require(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

void require_length(Ns duration, bool zero_allowed, const char* message) {
  require(duration <= kLongest && (zero_allowed ? duration >= 0 : duration > 0), message);
}

void require_addable(const PowerField& instant, const EnergyCounter& counter) {
  require(counter.integrates != Integrates::kSensor || instant.update > 0,
          "the energy counter can add the readings of a sensor with an update period above 0 only");
}

// Demand that makes the board draw `watts`.
double demand_for(const Card& card, double watts) {
  require(std::isfinite(watts) && watts >= 0.0, "power must be finite and not negative");
  return watts - card.idle_w;
}

// Index of the first element that starts at or after t.
template <typename T>
std::uint32_t first_from(const T* items, std::uint32_t count, Ns t) {
  const T* found = std::lower_bound(items, items + count, t,
                                    [](const T& item, Ns time) { return item.start < time; });
  return static_cast<std::uint32_t>(found - items);
}

// Cuts the list at `index` and appends. In this order, so that a process killed in between leaves
// a shorter list and never half an element.
template <typename T>
void replace_from(T* items, std::uint32_t& count, std::uint32_t index, const T& item) noexcept {
  count = index;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  items[index] = item;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  count = index + 1;
}

void append(Card& card, const Segment& segment) {
  const std::uint32_t index = first_from(card.segments, card.segment_count, segment.start);
  if (index >= kMaxSegments) throw std::length_error("the card's script is full (4096 segments)");
  forget_sums(card, segment.start);
  replace_from(card.segments, card.segment_count, index, segment);
  rebuild(card, index);
}

void rescale_clocks(Card& card) noexcept {
  forget_sums(card, kAlways);
  for (std::uint32_t i = 0; i < card.clock_count; ++i) {
    card.clocks[i].scale = std::pow(card.clocks[i].hz / card.reference_hz, card.alpha);
  }
  rebuild(card, 0);
}

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

// The names of the Python API, with what a fault does unless told otherwise.
constexpr Named<Fault> kFaultNames[] = {
    {"fails", {FaultKind::kFails, 0, 1, 0, kAlways, kUnknownError, 0, 0}},
    {"not_supported", {FaultKind::kFails, 0, 1, 0, kAlways, kNotSupported, 0, 0}},
    {"gpu_lost", {FaultKind::kGpuLost, 0, 1, 0, kAlways, 0, 0, 0}},
    {"driver_not_loaded", {FaultKind::kDriverNotLoaded, 0, 1, 0, kAlways, 0, 0, 0}},
    {"slow_call", {FaultKind::kSlowCall, 0, 1, 0, kAlways, 0.05, 0, 0}},
    {"negative", {FaultKind::kNegative, 0, 1, 0, kAlways, 50.0, 0, 0}},
    {"nan", {FaultKind::kNan, 0, 1, 0, kAlways, 0, 0, 0}},
    {"absurd", {FaultKind::kAbsurd, 0, 1, 0, kAlways, 1e9, 0, 0}},
    {"counter_reset", {FaultKind::kCounterReset, 0, 1, 0, kAlways, 0, 0, 0}},
    {"counter_backwards", {FaultKind::kCounterBackwards, 0, 1, 0, kAlways, 1000.0, 0, 0}},
};

constexpr Named<Call> kCallNames[] = {
    {"init", Call::kInit},
    {"handle", Call::kHandle},
    {"identity", Call::kIdentity},
    {"fields", Call::kFields},
    {"power", Call::kPower},
    {"energy", Call::kEnergy},
    {"samples", Call::kSamples},
    {"clock", Call::kClock},
    {"temperature", Call::kTemperature},
    {"utilisation", Call::kUtilisation},
    {"state", Call::kState},
    {"limit", Call::kLimit},
    {"memory", Call::kMemory},
    {"mig", Call::kMig},
    {"processes", Call::kProcesses},
};

constexpr Named<Integrates> kIntegratesNames[] = {
    {"truth", Integrates::kTruth},
    {"sensor", Integrates::kSensor},
};

template <typename Value, std::size_t N>
Value find_named(const Named<Value> (&table)[N], const std::string& name, const char* what) {
  std::string known;
  for (const Named<Value>& entry : table) {
    if (entry.name == name) return entry.value;
    if (!known.empty()) known += ", ";
    known += entry.name;
  }
  throw std::invalid_argument("no " + std::string(what) + " is called '" + name +
                              "'; there are: " + known);
}

}  // namespace

void set_power(Card& card, double watts, Ns at) {
  const CardChange change(card);
  Segment segment{};
  segment.start = at;
  segment.shape = Shape::kConstant;
  segment.p0 = demand_for(card, watts);
  append(card, segment);
}

void ramp(Card& card, double from_w, double to_w, Ns duration, Ns at) {
  require_length(duration, true, "a ramp lasts between 0 and 1e6 s");
  const CardChange change(card);
  Segment segment{};
  segment.start = at;
  segment.shape = Shape::kRamp;
  segment.p0 = demand_for(card, from_w);
  segment.p1 = demand_for(card, to_w);
  segment.duration = duration;
  append(card, segment);
}

void square_wave(Card& card, const SquareWave& wave, Ns at) {
  require_length(wave.period, false, "a period lies between 1 ns and 1e6 s");
  require(wave.duty >= 0.0 && wave.duty <= 1.0, "duty must lie in [0, 1]");
  require(wave.phase >= 0.0 && wave.phase < 1.0, "phase must lie in [0, 1)");
  const CardChange change(card);
  const double period = static_cast<double>(wave.period);
  Segment segment{};
  segment.start = at;
  segment.shape = Shape::kSquare;
  segment.p0 = demand_for(card, wave.low_w);
  segment.p1 = demand_for(card, wave.high_w);
  segment.duration = wave.period;
  segment.high = std::llround(wave.duty * period);
  segment.phase = std::llround(wave.phase * period);
  append(card, segment);
}

void set_clock(Card& card, double hz, Ns at) {
  const CardChange change(card);
  require(hz > 0.0 && hz <= card.max_hz, "a clock must be positive and at most the card's maximum");
  const std::uint32_t index = std::max(1u, first_from(card.clocks, card.clock_count, at));
  if (index >= kMaxClockEvents) throw std::length_error("the card's clock table is full (1024)");
  const ClockEvent event{at, hz, std::pow(hz / card.reference_hz, card.alpha)};
  forget_sums(card, at);
  replace_from(card.clocks, card.clock_count, index, event);
  rebuild(card, first_from(card.segments, card.segment_count, at));
}

void set_power_law(Card& card, double alpha) {
  require(std::isfinite(alpha), "alpha must be finite");
  const CardChange change(card);
  card.alpha = alpha;
  rescale_clocks(card);
}

void set_thermal(Card& card, double leak, Ns tau) {
  require(std::isfinite(leak) && leak >= 0.0, "leakage must be finite and not negative");
  require_length(tau, false, "the thermal time constant lies between 1 ns and 1e6 s");
  const CardChange change(card);
  forget_sums(card, kAlways);
  card.leak = leak;
  card.thermal_tau = tau;
  rebuild(card, 0);
}

void set_field(Card& card, bool average, const PowerField& field) {
  require_length(field.update, true, "an update period lies between 0 and 1e6 s");
  require_length(field.window, true, "a window lies between 0 and 1e6 s");
  require_length(field.delay, true, "a delay lies between 0 and 1e6 s");
  require(field.jitter >= 0 && (field.jitter == 0 || field.jitter < field.update),
          "jitter must be shorter than the update period");
  require(std::isfinite(field.gain) && std::isfinite(field.offset_w), "gain, offset: not finite");
  require(field.noise_w >= 0.0 && field.quantum_w >= 0.0, "noise and quantum: not negative");
  const CardChange change(card);
  if (average) {
    card.average = field;
    return;
  }
  require_addable(field, card.counter);
  forget_sums(card, kAlways);
  card.instant = field;
}

void set_counter(Card& card, const EnergyCounter& counter) {
  require_length(counter.update, true, "a counter's period lies between 0 and 1e6 s");
  require(std::isfinite(counter.gain) && counter.quantum_mj >= 1.0 && counter.modulus_mj >= 0.0,
          "a counter counts whole millijoules and its modulus is not negative");
  const CardChange change(card);
  require_addable(card.instant, counter);
  forget_sums(card, kAlways);
  card.counter = counter;
}

void set_latency(Card& card, const Latency& latency) {
  require_length(latency.base, true, "latency must not be negative");
  require_length(latency.slow, true, "latency must not be negative");
  require(latency.slow_probability >= 0.0 && latency.slow_probability <= 1.0,
          "a probability lies in [0, 1]");
  const CardChange change(card);
  card.latency = latency;
}

void set_module_only(Card& card, bool module_only) {
  const CardChange change(card);
  card.id.module_only = module_only ? 1 : 0;
}

void set_mig(Card& card, std::uint32_t instances) {
  require(instances <= kMaxMig, "a card holds at most 7 MIG instances");
  const CardChange change(card);
  card.id.mig_instances = instances;
}

void set_processes(Card& card, std::span<const GpuProcess> processes) {
  if (processes.size() > kMaxProcesses)
    throw std::length_error("a card holds at most 16 processes");
  for (const GpuProcess& process : processes) {
    require(process.sm_percent <= 100 && process.memory_percent <= 100,
            "a utilisation lies between 0 and 100 %");
  }
  const CardLock lock(card);
  std::ranges::copy(processes, card.processes);
  card.process_count = static_cast<std::uint32_t>(processes.size());
}

void inject(Card& card, const Fault& fault) {
  require(fault.every >= 1, "every must be at least 1");
  require(std::isfinite(fault.value), "a fault's value must be finite");
  const CardChange change(card);
  if (card.fault_count >= kMaxFaults)
    throw std::length_error("the card's fault table is full (64)");
  replace_from(card.faults, card.fault_count, card.fault_count, fault);
}

void clear_faults(Card& card) {
  const CardChange change(card);
  card.fault_count = 0;
}

Fault fault_by_name(const std::string& name) { return find_named(kFaultNames, name, "fault"); }
Call call_by_name(const std::string& name) { return find_named(kCallNames, name, "call"); }
Integrates integrates_by_name(const std::string& name) {
  return find_named(kIntegratesNames, name, "way to count");
}

}  // namespace pyenergy::simgpu
