// SPDX-License-Identifier: Apache-2.0
// One reading of one channel, as it travels from the sampler to the collector.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/clock_ns.h"

namespace pyenergy {

// Missing is a flag, never 0: the value of a missing sample is NaN.
enum SampleFlag : std::uint16_t {
  kOk = 0,
  kMissing = 1 << 0,    // the sensor gave no value; `status` says why
  kInvalid = 1 << 1,    // it gave one that cannot be (NaN, negative, beyond the channel's range)
  kGapBefore = 1 << 2,  // samples were lost or late between the previous one and this
  kReset = 1 << 3,      // a counter restarted or ran backwards: energy before it is not known
  kContinues = 1 << 4,  // a run that was split: its first stamp is no update of the sensor
  kEstimate = 1 << 5,   // computed from load and a table, not read from a sensor
  kWrapped = 1 << 6,    // a counter passed its modulus just before this sample
};

struct Sample {
  Ns t_ns;       // just before the read
  Ns read_ns;    // just after the read: the value belongs to [t_ns, read_ns]
  double value;  // raw, in the sensor's own unit (Channel::scale leads to SI)
  std::uint16_t channel;
  std::uint16_t flags;  // SampleFlag bits
  std::int32_t status;  // the vendor's status code, 0 when fine
};
static_assert(sizeof(Sample) == 32 && std::is_trivially_copyable_v<Sample>);

}  // namespace pyenergy
