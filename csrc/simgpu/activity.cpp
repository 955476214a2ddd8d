// SPDX-License-Identifier: Apache-2.0
#include "simgpu/activity.h"

#include "simgpu/power_law.h"

namespace pyenergy::simgpu {

double activity(const Card& card, Part part, Ns a, Ns b) noexcept {
  const double mean_w = true_energy(card, a, b) / (static_cast<double>(b - a) * 1e-9);
  const double above_idle = (mean_w - card.idle_w) / (card.limit_w - card.idle_w);
  return kPartShare[static_cast<std::uint32_t>(part)] * above_idle;
}

}  // namespace pyenergy::simgpu
