// SPDX-License-Identifier: Apache-2.0
// The entry points of every source, one pair a file; registry.cpp lists them.
#pragma once

#include <memory>
#include <string>

#include "sensors/registry.h"

namespace pyenergy {

SourceReport enumerate_nvml(const std::string& argument);
std::unique_ptr<Sensor> open_nvml(const DeviceInfo& info, std::shared_ptr<Clock> clock);

// `argument`: "", "INDEX", "HOST:PORT" or "HOST:PORT/INDEX"; INDEX is DCGM's own.
SourceReport enumerate_dcgm(const std::string& argument);
std::unique_ptr<Sensor> open_dcgm(const DeviceInfo& info, std::shared_ptr<Clock> clock);

// Packages, their DRAM and the platform: rapl.cpp.
SourceReport enumerate_rapl(const std::string& argument);
std::unique_ptr<Sensor> open_rapl(const DeviceInfo& info, std::shared_ptr<Clock> clock);

// Whatever hwmon and IIO show of power and energy: hwmon.cpp.
SourceReport enumerate_hwmon(const std::string& argument);
std::unique_ptr<Sensor> open_hwmon(const DeviceInfo& info, std::shared_ptr<Clock> clock);

SourceReport enumerate_sim(const std::string& argument);
std::unique_ptr<Sensor> open_sim(const DeviceInfo& info, std::shared_ptr<Clock> clock);

// `argument`: the key under which register_replay (replay.h) was given a recording; empty: all.
SourceReport enumerate_replay(const std::string& argument);
std::unique_ptr<Sensor> open_replay(const DeviceInfo& info, std::shared_ptr<Clock> clock);

SourceReport enumerate_estimate(const std::string& argument);
std::unique_ptr<Sensor> open_estimate(const DeviceInfo& info, std::shared_ptr<Clock> clock);

}  // namespace pyenergy
