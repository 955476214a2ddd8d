// SPDX-License-Identifier: Apache-2.0
// How busy a simulated card's parts are: each a fixed share of how far its power is above idle, so
// that what a profiling field must read is known exactly.
#pragma once

#include "simgpu/layout.h"

namespace pyenergy::simgpu {

enum class Part : std::uint32_t { kSm, kTensor, kDram, kFp64, kFp32, kFp16, kCount };

inline constexpr double kPartShare[] = {1.0, 0.5, 0.4, 0.1, 0.3, 0.2};

// Mean over [a, b], a < b: share * (mean power - idle) / (limit - idle). The caller holds the
// card's mutex.
double activity(const Card& card, Part part, Ns a, Ns b) noexcept;

}  // namespace pyenergy::simgpu
