// SPDX-License-Identifier: Apache-2.0
// A session as a recording file: the layout of pyenergy/recording/store.py, not compressed.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "capi/session.h"

namespace pyenergy {

// Replaces what is at `path` when everything is written. Throws std::system_error when the file
// cannot be written.
void write_recording(const std::string& path, const Snapshot& snapshot,
                     const std::vector<SessionMark>& marks, const std::vector<std::string>& notes,
                     const std::array<ClockAnchor, 2>& anchors);

}  // namespace pyenergy
