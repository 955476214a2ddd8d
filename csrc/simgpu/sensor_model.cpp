// SPDX-License-Identifier: Apache-2.0
#include "simgpu/sensor_model.h"

#include <algorithm>
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

// Keeps what rounding loses, so that a difference of two sums has the digits of a sum of its own.
void add(SensorSum& sum, double joules) noexcept {
  const double total = sum.joules + joules;
  const double added = total - sum.joules;
  sum.rest += (sum.joules - (total - added)) + (joules - added);
  sum.joules = total;
}

void mark(SensorSums& sums, const SensorSum& sum) noexcept {
  if (sums.count == kMaxSums) {
    sums.count = kMaxSums / 2;
    sums.stride *= 2;
    for (std::uint32_t i = 0; i < sums.count; ++i) sums.marks[i] = sums.marks[2 * i];
  }
  sums.marks[sums.count++] = sum;
}

// Sum of the instant field's readings, each times the time since the one before, after the epoch
// up to t. Always added in the same order: every process gets the same bits.
SensorSum sensor_sum(const Card& card, Ns t) noexcept {
  const PowerField& field = card.instant;
  SensorSums& sums = card.sums;
  if (sums.count == 0) {
    sums.stride = 1;
    sums.latest = {latest_update(field, card.id.seed, card.counter.epoch).k, 0.0, 0.0};
    mark(sums, sums.latest);
  }
  const std::int64_t k = latest_update(field, card.id.seed, t).k;
  SensorSum sum = sums.latest;
  if (sum.k > k) {
    const std::int64_t nearest = (k - sums.marks[0].k) / sums.stride;
    sum = sums.marks[std::min<std::int64_t>(nearest, sums.count - 1)];
  }
  Ns before = update_time(field, card.id.seed, sum.k);
  while (sum.k < k) {
    const Update update{sum.k + 1, update_time(field, card.id.seed, sum.k + 1)};
    add(sum, power_reading(card, field, update) * static_cast<double>(update.t - before) * 1e-9);
    sum.k = update.k;
    before = update.t;
    if (sum.k == sums.marks[0].k + sums.count * sums.stride) mark(sums, sum);
  }
  if (sum.k > sums.latest.k) sums.latest = sum;
  return sum;
}

double counted_joules(const Card& card, Ns from, Ns t) noexcept {
  if (card.counter.integrates == Integrates::kTruth) return total_energy(card, from, t);
  const SensorSum end = sensor_sum(card, t), start = sensor_sum(card, from);
  return (end.joules - start.joules) + (end.rest - start.rest);
}

// The whole counter in mJ from `from` to its update at t, before resets and modulus.
double counted_mj(const Card& card, Ns from, Ns t) noexcept {
  if (t <= from) return 0.0;
  const double mj = counted_joules(card, from, t) * 1e3 * card.counter.gain;
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

void forget_sums(Card& card, Ns from) noexcept {
  SensorSums& sums = card.sums;
  const auto outdated = [&](const SensorSum& sum) {
    return update_time(card.instant, card.id.seed, sum.k) - card.instant.delay >= from;
  };
  while (sums.count > 0 && outdated(sums.marks[sums.count - 1])) --sums.count;
  if (sums.count > 0 && outdated(sums.latest)) sums.latest = sums.marks[sums.count - 1];
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
