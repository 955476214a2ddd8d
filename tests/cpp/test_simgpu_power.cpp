// SPDX-License-Identifier: Apache-2.0
// The simulated GPU's closed forms against fine numerical integration of its own definition.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "lone_card.h"
#include "simgpu/control.h"
#include "simgpu/power_law.h"
#include "simgpu/segment.h"

namespace {

using namespace pyenergy;
using namespace pyenergy::simgpu;

// One of each segment kind, clock changes inside segments, edges that meet no grid.
std::unique_ptr<Card> busy_card(double leak) {
  auto card = make("ideal");
  set_thermal(*card, leak, 300 * kMs);
  set_power(*card, 250.0, 100 * kMs);
  ramp(*card, 100.0, 600.0, 200 * kMs, 400 * kMs);  // flat from 600 ms
  square_wave(*card, {80.0, 500.0, 7'000'001, 0.3, 0.45}, 700 * kMs);
  set_power(*card, 30.0, 1300 * kMs);  // below idle
  square_wave(*card, {60.0, 400.0, 90 * kMs, 0.5, 0.0}, 1400 * kMs);
  set_clock(*card, 1.2e9, 500 * kMs);
  set_clock(*card, 0.7e9, 1'003'000'007);
  set_clock(*card, 1.98e9, 1500 * kMs);
  return card;
}

// The definition, step by step: no closed form but the demand itself. Steps of `h` from rest at 0;
// midpoints, so that an edge inside a step errs by at most its height times h.
struct Quadrature {
  double load = 0.0, heat = 0.0, energy = 0.0, filtered = 0.0;

  void run(const Card& card, Ns from, Ns to, Ns h, double filter_tau) {
    const double dt = static_cast<double>(h) * kPerNs;
    const double thermal = static_cast<double>(card.thermal_tau) * kPerNs;
    const double heat_rise = -std::expm1(-dt / thermal);
    const double filter_rise = filter_tau > 0.0 ? -std::expm1(-dt / filter_tau) : 0.0;
    for (Ns t = from; t < to; t += h) {
      load = load_power(card, t + h / 2);
      const double before = heat;
      heat += (load - heat) * heat_rise;
      const double power = card.idle_w + load + card.leak * 0.5 * (before + heat);
      energy += power * dt;
      filtered += (power - filtered) * filter_rise;
    }
  }
};

}  // namespace

TEST_CASE("load is the power law of script and clock") {
  const auto card = busy_card(0.0);
  CHECK(true_power(*card, 0) == 50.0);
  CHECK(true_power(*card, 100 * kMs - 1) == 50.0);
  CHECK(true_power(*card, 100 * kMs) == 250.0);
  CHECK(load_power(*card, 450 * kMs) == doctest::Approx(50.0 + 500.0 * 0.25).epsilon(1e-12));
  const double scale = std::pow(1.2e9 / 1.98e9, 2.0);
  CHECK(load_power(*card, 650 * kMs) == doctest::Approx(550.0 * scale).epsilon(1e-12));
  CHECK(true_power(*card, 1350 * kMs) < 50.0);
  CHECK(clock_hz(*card, 1'003'000'006) == 1.2e9);
  CHECK(clock_hz(*card, 1'003'000'007) == 0.7e9);
}

TEST_CASE("energy equals the integral of the power") {
  for (const double leak : {0.0, 0.15}) {
    const auto card = busy_card(leak);
    Quadrature sum;
    Ns t = 0;
    for (const Ns stop : {350 * kMs, 590 * kMs, 1100 * kMs, 1350 * kMs, 1777 * kMs}) {
      sum.run(*card, t, stop, kUs, 0.0);
      t = stop;
      // An edge inside a step errs by less than 600 W * 1 us; there are about 170 edges.
      CHECK(std::abs(true_energy(*card, 0, t) - sum.energy) < 170 * 600e-6);
      CHECK(true_energy(*card, 0, t) == doctest::Approx(sum.energy).epsilon(2e-5));
      CHECK(total_energy(*card, 0, t) == doctest::Approx(true_energy(*card, 0, t)).epsilon(1e-12));
    }
  }
}

TEST_CASE("straight pieces are exact to rounding") {
  const auto card = make("ideal");
  ramp(*card, 100.0, 300.0, kSecond, 0);
  CHECK(true_energy(*card, 0, kSecond) == doctest::Approx(200.0).epsilon(1e-14));
  CHECK(true_energy(*card, 250 * kMs, 750 * kMs) == doctest::Approx(100.0).epsilon(1e-14));
  CHECK(true_energy(*card, 0, 3 * kSecond) == doctest::Approx(800.0).epsilon(1e-14));
  set_power(*card, 400.0, 10 * kSecond);
  CHECK(true_energy(*card, 11 * kSecond, 11 * kSecond + 20 * kUs) ==
        doctest::Approx(8e-3).epsilon(1e-14));
}

TEST_CASE("a square wave of a week is exact at its ends") {
  const auto card = make("ideal");
  square_wave(*card, {50.0, 450.0, 10 * kMs, 0.25, 0.0}, 0);
  const Ns week = 7 * 24 * 3600 * kSecond;
  CHECK(true_energy(*card, week, week + 10 * kMs) == doctest::Approx(1.5).epsilon(1e-14));
  CHECK(true_energy(*card, week, week + kMs) == doctest::Approx(0.45).epsilon(1e-14));
  CHECK(true_energy(*card, 0, week) == doctest::Approx(150.0 * 604800.0).epsilon(1e-14));
}

TEST_CASE("energy is additive over any split") {
  const auto card = busy_card(0.15);
  const Ns a = 111'111'111, b = 1'655'555'555;
  const double whole = true_energy(*card, a, b);
  for (Ns m = a; m < b; m += 12'345'679) {
    CHECK(true_energy(*card, a, m) + true_energy(*card, m, b) ==
          doctest::Approx(whole).epsilon(1e-12));
  }
}

TEST_CASE("a boxcar is the mean of the power over its window") {
  const auto card = busy_card(0.1);
  for (const Ns t : {450 * kMs, 905 * kMs, 1450 * kMs}) {
    Quadrature before, after;
    before.run(*card, 0, t - 25 * kMs, kUs, 0.0);
    after = before;
    after.run(*card, t - 25 * kMs, t, kUs, 0.0);
    // At most 10 edges of 600 W in 25 ms, each off by at most 1 us.
    CHECK(std::abs(boxcar(*card, 25 * kMs, t) - (after.energy - before.energy) / 25e-3) <
          10 * 600.0 * 1e-6 / 25e-3);
  }
  CHECK(boxcar(*card, 0, 450 * kMs) == true_power(*card, 450 * kMs));
}

TEST_CASE("a low-pass, with the low-pass of the leakage inside, follows the definition") {
  for (const Ns tau : {12 * kMs, 300 * kMs, 830 * kMs}) {  // 300 ms: the thermal one itself
    const auto card = busy_card(0.2);
    Quadrature sum;
    sum.filtered = card->idle_w;
    Ns t = 0;
    for (const Ns stop : {300 * kMs, 605 * kMs, 1290 * kMs, 1700 * kMs}) {
      sum.run(*card, t, stop, kUs, static_cast<double>(tau) * kPerNs);
      t = stop;
      // Steps of 1 us: an edge errs by 600 W * 1 us / tau, edges within tau add up.
      CHECK(lowpass(*card, tau, t) == doctest::Approx(sum.filtered).epsilon(2e-4));
    }
  }
}

TEST_CASE("steady states: leakage, filters and temperature settle where they must") {
  const auto card = make("ideal");
  set_thermal(*card, 0.1, kSecond);
  set_power(*card, 250.0, 0);
  const Ns late = 100 * kSecond;
  CHECK(true_power(*card, late) == doctest::Approx(50.0 + 200.0 * 1.1).epsilon(1e-12));
  CHECK(lowpass(*card, 15 * kMs, late) == doctest::Approx(270.0).epsilon(1e-12));
  CHECK(temperature_c(*card, late) == doctest::Approx(25.0 + 250.0 * 50.0 / 700.0).epsilon(1e-12));
  // One time constant after the step.
  CHECK(true_power(*card, kSecond) ==
        doctest::Approx(250.0 + 20.0 * (1.0 - std::exp(-1.0))).epsilon(1e-12));
}

TEST_CASE("running totals do not depend on the order of control calls") {
  const auto a = make("ideal"), b = make("ideal");
  set_power(*a, 200.0, 0);
  set_power(*a, 300.0, kSecond);
  set_clock(*a, 1e9, 500 * kMs);
  set_thermal(*a, 0.1, 2 * kSecond);
  set_thermal(*b, 0.1, 2 * kSecond);
  set_clock(*b, 1e9, 500 * kMs);
  set_power(*b, 200.0, 0);
  set_power(*b, 999.0, kSecond);
  set_power(*b, 300.0, kSecond);  // replaces what was planned from there on
  CHECK(total_energy(*a, 0, 5 * kSecond) == total_energy(*b, 0, 5 * kSecond));
  CHECK(true_power(*a, 5 * kSecond) == true_power(*b, 5 * kSecond));
  CHECK(b->segment_count == 2);
}

TEST_CASE("what cannot be is refused") {
  const auto card = make("ideal");
  CHECK_THROWS_AS(set_power(*card, -1.0, 0), std::invalid_argument);
  CHECK_THROWS_AS(set_power(*card, std::nan(""), 0), std::invalid_argument);
  CHECK_THROWS_AS(set_clock(*card, 3e9, 0), std::invalid_argument);
  CHECK_THROWS_AS(square_wave(*card, {50, 100, 0, 0.5, 0.0}, 0), std::invalid_argument);
  CHECK(card->segment_count == 0);
  for (std::uint32_t i = 0; i < kMaxSegments; ++i) set_power(*card, 100.0, i);
  CHECK_THROWS_AS(set_power(*card, 100.0, kMaxSegments), std::length_error);
  CHECK_NOTHROW(set_power(*card, 100.0, 5));  // cuts the script: room again
}
