// SPDX-License-Identifier: Apache-2.0
// What goes wrong with a driver call: failures, slow calls, impossible readings. Both faces ask
// here, so that a fault means the same to each. The caller holds the card's mutex.
#pragma once

#include "simgpu/layout.h"

namespace pyenergy::simgpu {

struct CallOutcome {
  std::int32_t status;  // what the whole call returns
  Ns wait;              // how long it takes
};

// Counts the call, and decides its fate.
CallOutcome begin_call(Card& card, Call call, Ns now) noexcept;

struct FieldReading {
  double value;  // W or mJ; NaN when status is not kSuccess
  std::int32_t status;
};

// One field of a call, read at `now`, with the field's own faults.
FieldReading read_field(Card& card, std::uint32_t field, Ns now) noexcept;

// Whether initialisation finds a driver.
bool driver_loaded(Card& card, Ns now) noexcept;

}  // namespace pyenergy::simgpu
