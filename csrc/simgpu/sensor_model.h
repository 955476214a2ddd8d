// SPDX-License-Identifier: Apache-2.0
// What a card's sensors publish. Every reading is a pure function of the card and the time, so
// that all processes that look at one card agree. The caller holds the card's mutex.
#pragma once

#include "simgpu/layout.h"

namespace pyenergy::simgpu {

struct Update {
  std::int64_t k;  // number of the update; the time itself when continuous
  Ns t;            // when it was published
};

// The latest update at or before t.
Update latest_update(const PowerField& field, std::uint64_t seed, Ns t) noexcept;
Ns update_time(const PowerField& field, std::uint64_t seed, std::int64_t k) noexcept;

// Value of update k, in W, without faults.
double power_reading(const Card& card, const PowerField& field, Update update) noexcept;
// The counter at t in mJ (a whole number of quanta), with its resets and backward steps.
// One that adds readings adds, on a read, those since the furthest that any process asked for.
double counter_reading(const Card& card, Ns t) noexcept;
// Drops the cached sums of the readings that a change of the power from `from` on can alter. To be
// called before the change; with the earliest time when the instant field or the counter changes.
void forget_sums(Card& card, Ns from) noexcept;

// Deterministic noise: uniform in [0, 1) and standard normal.
double uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t k) noexcept;
double normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t k) noexcept;

}  // namespace pyenergy::simgpu
