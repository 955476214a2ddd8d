// SPDX-License-Identifier: Apache-2.0
// The true power of a card and every linear functional of it that a sensor may publish, in closed
// form: P(t) = idle + load(t) + leak * LP_thermal[load](t), load(t) = D(t) * (f(t)/f_ref)^alpha.
// All functions read the card without locking it: the caller holds its mutex.
#pragma once

#include "simgpu/layout.h"

namespace pyenergy::simgpu {

double clock_hz(const Card& card, Ns t) noexcept;
double load_power(const Card& card, Ns t) noexcept;  // W above idle, without leakage
double true_power(const Card& card, Ns t) noexcept;

// Joules over [a, b], a <= b; sums the pieces inside, so that a short window loses no digits.
double true_energy(const Card& card, Ns a, Ns b) noexcept;
// The same from running totals: constant time over any window, absolute error about 1e-16 of the
// card's whole energy. For the energy counter.
double total_energy(const Card& card, Ns a, Ns b) noexcept;

// Mean of P over the `window` before t; P(t) itself for 0.
double boxcar(const Card& card, Ns window, Ns t) noexcept;
// First-order low-pass of P with time constant tau; P(t) itself for 0. Two equal time constants
// (leakage and sensor) are told apart by 1e-4, which errs by about 1e-8.
double lowpass(const Card& card, Ns tau, Ns t) noexcept;

double temperature_c(const Card& card, Ns t) noexcept;

// Recomputes the running totals of segments [first, count) after the script, the clocks or the
// power law changed.
void rebuild(Card& card, std::uint32_t first) noexcept;

}  // namespace pyenergy::simgpu
