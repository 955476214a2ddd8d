// SPDX-License-Identifier: Apache-2.0
#include "simgpu/power_law.h"

#include <algorithm>
#include <cmath>

#include "simgpu/segment.h"

namespace pyenergy::simgpu {
namespace {

// A low-pass forgets: exp(-60) is far below the last digit of a double.
constexpr Ns kMemory = 60;

double seconds(Ns ns) noexcept { return static_cast<double>(ns) * kPerNs; }

// Index of the last element that starts at or before t; -1: none does.
template <typename T>
std::int64_t index_at(const T* items, std::uint32_t count, Ns t) noexcept {
  const T* after = std::upper_bound(items, items + count, t,
                                    [](Ns time, const T& item) { return time < item.start; });
  return after - items - 1;
}

// Calls fn(segment, u0, u1, scale) for each stretch of [a, b] with one segment and one clock.
// Before the first segment there is no demand and no call.
template <typename Fn>
void for_each_piece(const Card& card, Ns a, Ns b, Fn&& fn) noexcept {
  if (card.segment_count == 0) return;
  a = std::max(a, card.segments[0].start);
  std::int64_t s = index_at(card.segments, card.segment_count, a);
  std::int64_t c = index_at(card.clocks, card.clock_count, a);
  while (a < b) {
    Ns end = b;
    if (s + 1 < card.segment_count) end = std::min(end, card.segments[s + 1].start);
    if (c + 1 < card.clock_count) end = std::min(end, card.clocks[c + 1].start);
    const Segment& segment = card.segments[s];
    fn(segment, a - segment.start, end - segment.start, card.clocks[c].scale);
    a = end;
    if (s + 1 < card.segment_count && card.segments[s + 1].start <= a) ++s;
    if (c + 1 < card.clock_count && card.clocks[c + 1].start <= a) ++c;
  }
}

double load_energy(const Card& card, Ns a, Ns b) noexcept {
  double joules = 0.0;
  for_each_piece(card, a, b, [&](const Segment& s, Ns u0, Ns u1, double scale) {
    joules += scale * demand_energy(s, u0, u1);
  });
  return joules;
}

// Load's energy from the first segment's start to t.
double load_total(const Card& card, Ns t) noexcept {
  const std::int64_t s = index_at(card.segments, card.segment_count, t);
  if (s < 0) return 0.0;
  const Segment& segment = card.segments[s];
  return segment.load_before + load_energy(card, segment.start, t);
}

// Low-pass state at `to` when it was `state` at `from`.
double carry(const Card& card, double state, double tau, Ns from, Ns to) noexcept {
  for_each_piece(card, from, to, [&](const Segment& s, Ns u0, Ns u1, double scale) {
    state = state * std::exp(-seconds(u1 - u0) / tau) + scale * demand_response(s, u0, u1, tau);
  });
  return state;
}

double load_lowpass(const Card& card, double tau, Ns t) noexcept {
  const Ns memory = static_cast<Ns>(tau / kPerNs) * kMemory;
  return carry(card, 0.0, tau, t - memory, t);
}

// The thermal low-pass of the load, from the running states.
double heat(const Card& card, Ns t) noexcept {
  const std::int64_t s = index_at(card.segments, card.segment_count, t);
  if (s < 0) return 0.0;
  const Segment& segment = card.segments[s];
  return carry(card, segment.heat, seconds(card.thermal_tau), segment.start, t);
}

// LP' = (x - LP) / tau, so that its integral needs no integration of its own.
double with_idle_and_leak(const Card& card, Ns a, Ns b, double load) noexcept {
  double joules = card.idle_w * seconds(b - a) + load;
  if (card.leak != 0.0) {
    joules += card.leak * (load - seconds(card.thermal_tau) * (heat(card, b) - heat(card, a)));
  }
  return joules;
}

// LP_a[LP_b[load]] by partial fractions.
double leak_lowpass(const Card& card, double a, Ns t) noexcept {
  double b = seconds(card.thermal_tau);
  constexpr double kApart = 1e-4;
  if (std::abs(a - b) < kApart * b) {
    const double middle = 0.5 * (a + b);
    a = middle * (1.0 + kApart);
    b = middle * (1.0 - kApart);
  }
  return (a * load_lowpass(card, a, t) - b * load_lowpass(card, b, t)) / (a - b);
}

}  // namespace

double clock_hz(const Card& card, Ns t) noexcept {
  return card.clocks[index_at(card.clocks, card.clock_count, t)].hz;
}

double load_power(const Card& card, Ns t) noexcept {
  const std::int64_t s = index_at(card.segments, card.segment_count, t);
  if (s < 0) return 0.0;
  const std::int64_t c = index_at(card.clocks, card.clock_count, t);
  return card.clocks[c].scale * demand(card.segments[s], t - card.segments[s].start);
}

double true_power(const Card& card, Ns t) noexcept {
  double watts = card.idle_w + load_power(card, t);
  if (card.leak != 0.0) watts += card.leak * heat(card, t);
  return watts;
}

double true_energy(const Card& card, Ns a, Ns b) noexcept {
  return with_idle_and_leak(card, a, b, load_energy(card, a, b));
}

double total_energy(const Card& card, Ns a, Ns b) noexcept {
  return with_idle_and_leak(card, a, b, load_total(card, b) - load_total(card, a));
}

double boxcar(const Card& card, Ns window, Ns t) noexcept {
  return window > 0 ? true_energy(card, t - window, t) / seconds(window) : true_power(card, t);
}

double lowpass(const Card& card, Ns tau, Ns t) noexcept {
  if (tau <= 0) return true_power(card, t);
  double watts = card.idle_w + load_lowpass(card, seconds(tau), t);
  if (card.leak != 0.0) watts += card.leak * leak_lowpass(card, seconds(tau), t);
  return watts;
}

double temperature_c(const Card& card, Ns t) noexcept {
  return card.ambient_c + card.kelvin_per_w * (card.idle_w + heat(card, t));
}

void rebuild(Card& card, std::uint32_t first) noexcept {
  const double tau = seconds(card.thermal_tau);
  for (std::uint32_t i = first; i < card.segment_count; ++i) {
    Segment& now = card.segments[i];
    now.load_before = now.heat = 0.0;
    if (i == 0) continue;
    const Segment& before = card.segments[i - 1];
    now.load_before = before.load_before + load_energy(card, before.start, now.start);
    now.heat = carry(card, before.heat, tau, before.start, now.start);
  }
}

}  // namespace pyenergy::simgpu
