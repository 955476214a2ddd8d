// SPDX-License-Identifier: Apache-2.0
#include "simgpu/faults.h"

#include <limits>

#include "simgpu/power_law.h"
#include "simgpu/sensor_model.h"

namespace pyenergy::simgpu {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t kSlowStream = 3000;

// A fault of `kind` that is due and fires on this occasion; null: none. Every match is counted.
const Fault* fire(Card& card, FaultKind kind, std::uint32_t target, bool zero_matches,
                  Ns now) noexcept {
  const Fault* found = nullptr;
  for (std::uint32_t i = 0; i < card.fault_count; ++i) {
    Fault& fault = card.faults[i];
    const bool matches = fault.target == target || (fault.target == 0 && zero_matches);
    if (fault.kind != kind || now < fault.from || !matches) continue;
    ++fault.seen;
    const bool fires = fault.once != 0 ? fault.seen == 1 : fault.seen % fault.every == 0;
    if (!fires) continue;
    ++fault.fired;
    if (found == nullptr) found = &fault;
  }
  return found;
}

std::int32_t as_status(double value) noexcept { return static_cast<std::int32_t>(value); }

FieldReading power_field(Card& card, std::uint32_t id, const PowerField& field, Ns now) noexcept {
  if (field.present == 0) return {kNaN, kNotSupported};
  if (fire(card, FaultKind::kNan, id, true, now) != nullptr) return {kNaN, kSuccess};
  if (const Fault* f = fire(card, FaultKind::kNegative, id, true, now)) {
    return {-f->value, kSuccess};
  }
  if (const Fault* f = fire(card, FaultKind::kAbsurd, id, true, now)) return {f->value, kSuccess};
  return {power_reading(card, field, latest_update(field, card.id.seed, now)), kSuccess};
}

}  // namespace

CallOutcome begin_call(Card& card, Call call, Ns now) noexcept {
  const std::uint32_t id = static_cast<std::uint32_t>(call);
  const std::uint64_t number = card.calls[id]++;
  CallOutcome outcome{kSuccess, card.latency.base};
  if (card.latency.slow_probability > 0.0 &&
      uniform(card.id.seed, kSlowStream + id, number) < card.latency.slow_probability) {
    outcome.wait = card.latency.slow;
  }
  if (const Fault* f = fire(card, FaultKind::kSlowCall, id, true, now)) {
    outcome.wait += static_cast<Ns>(f->value * 1e9);
  }
  if (const Fault* f = fire(card, FaultKind::kFails, id, true, now)) {
    outcome.status = as_status(f->value);
  }
  if (fire(card, FaultKind::kGpuLost, id, true, now) != nullptr) outcome.status = kGpuLost;
  return outcome;
}

FieldReading read_field(Card& card, std::uint32_t field, Ns now) noexcept {
  if (const Fault* f = fire(card, FaultKind::kFails, field, false, now)) {
    return {kNaN, as_status(f->value)};
  }
  switch (field) {
    case kFieldPowerInstant:
      return power_field(card, field, card.instant, now);
    case kFieldPowerAverage:
      return power_field(card, field, card.average, now);
    case kFieldEnergy:
      if (card.counter.present == 0) return {kNaN, kNotSupported};
      return {counter_reading(card, now), kSuccess};
    default:
      return {kNaN, kNotSupported};
  }
}

bool driver_loaded(Card& card, Ns now) noexcept {
  return fire(card, FaultKind::kDriverNotLoaded, static_cast<std::uint32_t>(Call::kInit), true,
              now) == nullptr;
}

}  // namespace pyenergy::simgpu
