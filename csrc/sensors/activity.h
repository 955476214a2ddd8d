// SPDX-License-Identifier: Apache-2.0
// How busy the parts of an NVIDIA GPU are, beside its power: from the best source that this process
// may read, which every channel's note names together with why no better one serves.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/sensor.h"
#include "sensors/dcgm_engine.h"
#include "sensors/nvml_api.h"

namespace pyenergy {

class Activity {
 public:
  virtual ~Activity() = default;
  virtual const std::vector<Channel>& channels() const noexcept = 0;
  // As Sensor::read of the slow group; Reading::channel counts from `first`.
  virtual std::size_t read(std::span<Reading> out, std::uint16_t first) noexcept = 0;
  virtual std::size_t max_readings() const noexcept = 0;
};

// One part of a GPU. Ratios of cycles, not of time: a lower clock does not lower them.
struct ActivityPart {
  const char* name;
  unsigned short dcgm_field;
  unsigned gpm_metric;  // NVML_GPM_METRIC_*, in percent
};
// "sm_active", ...; then "fp_active" is computed: FP32 / 2 + FP64, what power models count.
const std::vector<ActivityPart>& activity_parts();
inline constexpr Ns kActivityInterval = 100 * kMs;  // the least that DCGM and GPM document

struct ActivityChoice {
  std::unique_ptr<Activity> activity;  // null: `said` holds of NVML's utilisation
  std::string said;                    // "activity: NVML GPM; not DCGM: ..."
};
// DCGM's profiling fields, else NVML's GPM, else nothing but utilisation. $PYENERGY_DCGM: "off",
// the host engine's address, or "embedded", one inside this process; unset: the one on this
// machine.
ActivityChoice find_activity(const NvmlApi& api, nvmlDevice_t device, const std::string& uuid,
                             std::shared_ptr<Clock> clock);

// Channels of `parts`, then fp_active where FP32 and FP64 are among them.
std::vector<Channel> activity_channels(const std::vector<ActivityPart>& parts,
                                       const std::string& note, bool by_dcgm);

// Null: `reason` says why, with the fix.
std::unique_ptr<Activity> open_dcgm_activity(std::shared_ptr<DcgmEngine> engine, unsigned gpu,
                                             std::string& reason);
std::unique_ptr<Activity> open_gpm_activity(const NvmlApi& api, nvmlDevice_t device,
                                            const std::string& note, std::shared_ptr<Clock> clock,
                                            std::string& reason);

}  // namespace pyenergy
