// SPDX-License-Identifier: Apache-2.0
// What a recording says of itself: the JSON member `meta` of pyenergy/recording/store.py.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "capi/session.h"

namespace pyenergy {

std::string describe_recording(const Snapshot& snapshot, const std::vector<SessionMark>& marks,
                               const std::vector<std::string>& notes,
                               const std::array<ClockAnchor, 2>& anchors);

// Whether a text can stand in JSON.
bool is_utf8(std::string_view text) noexcept;

}  // namespace pyenergy
