// SPDX-License-Identifier: Apache-2.0
// Shared by the files of the simulated libnvidia-ml.so.1: the library's state, its handles and
// the frame of a driver call. Types are NVIDIA's, so that the ABI is.
#pragma once

#define NVML_NO_UNVERSIONED_FUNC_DEFS  // the unversioned names are functions of their own here
#pragma GCC visibility push(default)   // what nvml.h declares, and nothing else, is exported
#include <nvml.h>
#pragma GCC visibility pop

#include <algorithm>
#include <memory>
#include <string_view>

#include "core/clock.h"
#include "simgpu/faults.h"
#include "simgpu/world.h"

namespace pyenergy::simgpu::face {

// (Re)opens the world that the environment names; the status is nvmlInit's.
nvmlReturn_t initialise() noexcept;
nvmlReturn_t shut_down() noexcept;
// Null: not initialised.
std::shared_ptr<World> world() noexcept;
// Follows the environment to another world, if it names one now.
nvmlReturn_t follow_environment() noexcept;

// What an nvmlDevice_t points to. Handles are static: they stay valid whatever becomes of a world.
struct Handle {
  std::uint32_t card;
  int mig;  // -1: the card itself
};
nvmlDevice_t handle_of(std::uint32_t card, int mig = -1) noexcept;
// Null: not one of ours.
const Handle* from_handle(nvmlDevice_t device) noexcept;

inline nvmlReturn_t as_return(std::int32_t status) noexcept {
  return static_cast<nvmlReturn_t>(status);
}
nvmlReturn_t read_clock_reasons(nvmlDevice_t device, unsigned long long* out) noexcept;
// Lowest power limit that may be set, of the default one.
inline constexpr double kMinimumLimit = 0.25;
nvmlReturn_t copy_text(std::string_view text, char* out, unsigned length) noexcept;

enum class Scope { kCard, kCardOrMig };

// One driver call: counted, delayed and failed as the card's latency and faults demand; then
// `body(card, now, handle)` under the card's lock gives the result.
template <typename Body>
nvmlReturn_t driver_call(nvmlDevice_t device, Call call, Body&& body,
                         Scope scope = Scope::kCard) noexcept {
  const std::shared_ptr<World> here = world();
  if (here == nullptr) return NVML_ERROR_UNINITIALIZED;
  const Handle* handle = from_handle(device);
  if (handle == nullptr || handle->card >= here->size()) return NVML_ERROR_INVALID_ARGUMENT;
  Card& card = here->card(handle->card);
  SystemClock clock;
  CallOutcome outcome;
  {
    const CardLock lock(card);
    if (handle->mig >= static_cast<int>(card.id.mig_instances)) return NVML_ERROR_INVALID_ARGUMENT;
    outcome = begin_call(card, call, clock.now());
  }
  wait_for(clock, outcome.wait);
  if (outcome.status != kSuccess) return as_return(outcome.status);
  if (handle->mig >= 0 && scope == Scope::kCard) return NVML_ERROR_NOT_SUPPORTED;
  const CardLock lock(card);
  return body(card, clock.now(), *handle);
}

// A driver call with one result.
template <typename T, typename Value>
nvmlReturn_t get(nvmlDevice_t device, Call call, T* out, Value&& value) noexcept {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, call, [&](Card& card, Ns now, const Handle&) {
    *out = static_cast<T>(value(card, now));
    return NVML_SUCCESS;
  });
}

}  // namespace pyenergy::simgpu::face
