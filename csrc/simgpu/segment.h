// SPDX-License-Identifier: Apache-2.0
// Value, integral and low-pass response of one script segment, before the clock's scaling.
// `u` counts ns since the segment's start; u0 <= u1.
#pragma once

#include "simgpu/layout.h"

namespace pyenergy::simgpu {

inline constexpr double kPerNs = 1e-9;

double demand(const Segment& s, Ns u) noexcept;                 // W
double demand_energy(const Segment& s, Ns u0, Ns u1) noexcept;  // J
// State at u1 of a low-pass (tau in s) that was at rest at u0 and saw the demand from there.
double demand_response(const Segment& s, Ns u0, Ns u1, double tau) noexcept;

}  // namespace pyenergy::simgpu
