// SPDX-License-Identifier: Apache-2.0
// The explicit list of power sources. A new source is one file and one line in registry.cpp.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/sensor.h"

namespace pyenergy {

// What looking for a source's devices found. Absence is a value with a reason, never an exception.
struct SourceReport {
  std::string source;
  bool available = false;
  std::string reason;  // why it is not available, or what is limited; empty when all is well
  std::string fix;     // the exact command or step that would mend it, or empty
  std::vector<DeviceInfo> devices;
};

struct Source {
  std::string_view name;
  // `argument`: what follows the colon in "sim:a100" or "replay:/path"; may be empty.
  SourceReport (*enumerate)(const std::string& argument);
  // Throws std::runtime_error with a message for the user when the device cannot be opened.
  std::unique_ptr<Sensor> (*open)(const DeviceInfo& info, std::shared_ptr<Clock> clock);
};

const std::vector<Source>& sources();
// Throws std::invalid_argument naming the known sources.
const Source& find_source(std::string_view name);

}  // namespace pyenergy
