// SPDX-License-Identifier: Apache-2.0
// Recordings that can be sampled again: registered by whoever has parsed the file, then found by
// the "replay" source under their key.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/sensor.h"

namespace pyenergy {

struct ReplayData {
  DeviceInfo info;                // of the recorded device
  std::vector<Channel> channels;  // values are SI: scale 1; counters hold unwrapped totals
  std::vector<Reading> readings;  // with their own t_ns and read_ns, in the recording's time
};

// Replaces what was registered under `key`; sensors that are open keep what they have. Throws
// std::invalid_argument when a reading names no channel, its bracket is reversed or no time, a
// channel's values are not SI, there is no reading, or readings lie more than 73 years apart.
void register_replay(const std::string& key, ReplayData data);

// Added to a recorded time to get the time at which it is replayed; set when the recording is
// opened (the latest opening counts). Empty: not opened yet. Throws std::invalid_argument for an
// unknown key.
std::optional<Ns> replay_offset_ns(const std::string& key);

}  // namespace pyenergy
