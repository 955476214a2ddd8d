// SPDX-License-Identifier: Apache-2.0
// Processes of a simulated card, in whichever structure the caller's version of NVML has.
#pragma once

#include "simgpu/faces/nvml_face.h"

namespace pyenergy::simgpu::face {

// What the driver says of a process that runs in no MIG instance.
inline constexpr unsigned kNoInstance = 0xFFFFFFFF;

// As NVML does it: `count` comes with the room and leaves with the number; too little room is
// INSUFFICIENT_SIZE, and nothing is written.
template <typename Info, typename Make>
nvmlReturn_t running_processes(nvmlDevice_t device, unsigned* count, Info* infos,
                               Make&& make) noexcept {
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kProcesses, [&](Card& card, Ns, const Handle&) {
    const unsigned room = *count;
    *count = card.process_count;
    if (card.process_count == 0) return NVML_SUCCESS;
    if (infos == nullptr || room < card.process_count) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < card.process_count; ++i) infos[i] = make(card.processes[i]);
    return NVML_SUCCESS;
  });
}

}  // namespace pyenergy::simgpu::face
