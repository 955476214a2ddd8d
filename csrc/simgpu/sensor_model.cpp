// SPDX-License-Identifier: Apache-2.0
#include "simgpu/sensor_model.h"

#include <cmath>
#include <numbers>

#include "simgpu/power_law.h"

namespace pyenergy::simgpu {
namespace {

// Independent random streams of one seed.
constexpr std::uint64_t kJitterStream = 1000, kNoiseStream = 2000;

std::uint64_t mix(std::uint64_t x) noexcept {  // a bijection whose every bit depends on all
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  return x ^ (x >> 32);
}

std::int64_t floor_div(Ns a, Ns b) noexcept { return a / b - (a % b < 0 ? 1 : 0); }

double noise(const Card& card, const PowerField& field, std::int64_t k) noexcept {
  if (field.noise_w == 0.0) return 0.0;
  const std::uint64_t stream = kNoiseStream + (&field == &card.average ? 1 : 0);
  return field.noise_w * normal(card.id.seed, stream, static_cast<std::uint64_t>(k));
}

// The whole counter in mJ from `from` to its update at t, before resets and modulus.
double counted_mj(const Card& card, Ns from, Ns t) noexcept {
  if (t <= from) return 0.0;
  const double mj = total_energy(card, from, t) * 1e3 * card.counter.gain;
  const double quantum = card.counter.quantum_mj;
  return std::floor(mj / quantum) * quantum;
}

}  // namespace

double uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t k) noexcept {
  const std::uint64_t bits = mix(mix(mix(seed + 0x9e3779b97f4a7c15) + stream) + k);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

double normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t k) noexcept {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform(seed, stream, 2 * k)));
  return radius * std::cos(2.0 * std::numbers::pi * uniform(seed, stream, 2 * k + 1));
}

Ns update_time(const PowerField& field, std::uint64_t seed, std::int64_t k) noexcept {
  if (field.update <= 0) return k;
  const Ns t = field.phase + k * field.update;
  if (field.jitter <= 0) return t;
  const double u = uniform(seed, kJitterStream, static_cast<std::uint64_t>(k)) - 0.5;
  return t + static_cast<Ns>(u * static_cast<double>(field.jitter));
}

Update latest_update(const PowerField& field, std::uint64_t seed, Ns t) noexcept {
  if (field.update <= 0) return {t, t};
  // The jitter moves an update by less than half a period: only the next one can be early.
  std::int64_t k = floor_div(t - field.phase, field.update) + 1;
  while (update_time(field, seed, k) > t) --k;
  return {k, update_time(field, seed, k)};
}

double power_reading(const Card& card, const PowerField& field, Update update) noexcept {
  const Ns t = update.t - field.delay;
  const double filtered = field.response == Response::kRc ? lowpass(card, field.window, t)
                                                          : boxcar(card, field.window, t);
  const double y = field.gain * filtered + field.offset_w + noise(card, field, update.k);
  return field.quantum_w > 0.0 ? std::round(y / field.quantum_w) * field.quantum_w : y;
}

double counter_reading(const Card& card, Ns t) noexcept {
  const EnergyCounter& counter = card.counter;
  if (counter.update > 0) {
    t = counter.phase + floor_div(t - counter.phase, counter.update) * counter.update;
  }
  Ns from = counter.epoch;
  double start = counter.start_mj;
  for (std::uint32_t i = 0; i < card.fault_count; ++i) {
    const Fault& fault = card.faults[i];
    if (fault.kind == FaultKind::kCounterReset && fault.from <= t && fault.from >= from) {
      from = fault.from;
      start = 0.0;
    }
  }
  double lost = 0.0;
  for (std::uint32_t i = 0; i < card.fault_count; ++i) {
    const Fault& fault = card.faults[i];
    if (fault.kind == FaultKind::kCounterBackwards && fault.from <= t && fault.from >= from) {
      lost += fault.value * 1e3;
    }
  }
  const double mj = start + counted_mj(card, from, t) - std::round(lost);
  return counter.modulus_mj > 0.0 ? mj - counter.modulus_mj * std::floor(mj / counter.modulus_mj)
                                  : mj;
}

}  // namespace pyenergy::simgpu
