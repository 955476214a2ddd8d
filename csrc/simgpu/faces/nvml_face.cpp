// SPDX-License-Identifier: Apache-2.0
#include "simgpu/faces/nvml_face.h"

#include <array>
#include <cstdlib>
#include <mutex>
#include <string>

namespace pyenergy::simgpu::face {
namespace {

std::mutex state_mutex;
std::shared_ptr<World> current;  // guarded by state_mutex, as is `users`
int users = 0;

constexpr std::uint32_t kPerCard = 1 + kMaxMig;

constexpr std::array<Handle, kMaxCards * kPerCard> make_handles() {
  std::array<Handle, kMaxCards * kPerCard> all{};
  for (std::uint32_t i = 0; i < all.size(); ++i) {
    all[i] = {i / kPerCard, static_cast<int>(i % kPerCard) - 1};
  }
  return all;
}
constexpr auto kHandles = make_handles();

std::string wanted_path() {
  const char* path = std::getenv(kEnvironment);
  return path == nullptr ? "" : path;
}

// Opens the wanted world in place of the current one. Under state_mutex.
nvmlReturn_t reopen() {
  const std::string path = wanted_path();
  if (current != nullptr && current->path() == path) return NVML_SUCCESS;
  if (path.empty()) return NVML_ERROR_DRIVER_NOT_LOADED;
  try {
    current = World::open(path);
  } catch (const std::exception&) {
    return NVML_ERROR_DRIVER_NOT_LOADED;
  }
  return NVML_SUCCESS;
}

bool every_card_has_a_driver(World& world) {
  for (std::uint32_t i = 0; i < world.size(); ++i) {
    const CardLock lock(world.card(i));
    if (!driver_loaded(world.card(i), monotonic_ns())) return false;
  }
  return true;
}

}  // namespace

nvmlReturn_t initialise() noexcept {
  const std::lock_guard lock(state_mutex);
  const nvmlReturn_t opened = reopen();
  if (opened != NVML_SUCCESS) return opened;
  if (!every_card_has_a_driver(*current)) return NVML_ERROR_DRIVER_NOT_LOADED;
  ++users;
  return NVML_SUCCESS;
}

nvmlReturn_t shut_down() noexcept {
  const std::lock_guard lock(state_mutex);
  if (users == 0) return NVML_ERROR_UNINITIALIZED;
  if (--users == 0) current.reset();
  return NVML_SUCCESS;
}

std::shared_ptr<World> world() noexcept {
  const std::lock_guard lock(state_mutex);
  return users > 0 ? current : nullptr;
}

nvmlReturn_t follow_environment() noexcept {
  const std::lock_guard lock(state_mutex);
  if (users == 0) return NVML_ERROR_UNINITIALIZED;
  return reopen();
}

nvmlDevice_t handle_of(std::uint32_t card, int mig) noexcept {
  const Handle* handle = &kHandles[card * kPerCard + static_cast<std::uint32_t>(mig + 1)];
  return reinterpret_cast<nvmlDevice_t>(const_cast<Handle*>(handle));
}

const Handle* from_handle(nvmlDevice_t device) noexcept {
  const Handle* handle = reinterpret_cast<const Handle*>(device);
  const bool ours = handle >= kHandles.data() && handle < kHandles.data() + kHandles.size();
  return ours ? handle : nullptr;
}

nvmlReturn_t copy_text(std::string_view text, char* out, unsigned length) noexcept {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  if (length < text.size() + 1) return NVML_ERROR_INSUFFICIENT_SIZE;
  *std::ranges::copy(text, out).out = '\0';
  return NVML_SUCCESS;
}

}  // namespace pyenergy::simgpu::face
