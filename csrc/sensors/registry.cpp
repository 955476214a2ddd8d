// SPDX-License-Identifier: Apache-2.0
// The list of sources.
#include "sensors/registry.h"

#include <algorithm>
#include <stdexcept>

#include "sensors/sources.h"

namespace pyenergy {

const std::vector<Source>& sources() {
  // clang-format off
  static const std::vector<Source> list = {
      {"nvml", enumerate_nvml, open_nvml},
      {"dcgm", enumerate_dcgm, open_dcgm},
      {"rapl", enumerate_rapl, open_rapl},
      {"hwmon", enumerate_hwmon, open_hwmon},
      {"sim", enumerate_sim, open_sim},
      {"replay", enumerate_replay, open_replay},
      {"estimate", enumerate_estimate, open_estimate},
  };
  // clang-format on
  return list;
}

const Source& find_source(std::string_view name) {
  const auto& list = sources();
  const auto found = std::find_if(list.begin(), list.end(),
                                  [name](const Source& source) { return source.name == name; });
  if (found != list.end()) return *found;
  std::string known;
  for (const Source& source : list) {
    known += known.empty() ? "" : ", ";
    known += source.name;
  }
  throw std::invalid_argument("unknown source '" + std::string(name) + "' (known: " + known + ")");
}

}  // namespace pyenergy
