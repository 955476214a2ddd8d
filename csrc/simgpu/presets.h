// SPDX-License-Identifier: Apache-2.0
// The cards that can be simulated by name.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "simgpu/layout.h"

namespace pyenergy::simgpu {

struct Preset {
  std::string_view name, title, architecture;
  std::uint32_t nvml_architecture, cc_major, cc_minor, cores;
  std::uint64_t memory_gib;
  double idle_w, limit_w, max_mhz;
  // ms; update 0 is continuous, and an average's window of 0 means that it has no such field.
  double update_ms, window_ms, average_window_ms;
  Response response;
  double counter_ms;  // below 0: no energy counter
  double noise_w;     // of the instant field
  bool exact;         // no quantum
  bool power_by_field;
};

std::span<const Preset> presets();
std::string preset_names();  // "ideal, a100, ..."
// Throws std::invalid_argument naming the presets.
const Preset& find_preset(std::string_view name);

// Fills a card of a world, mutex excepted.
void make_card(Card& card, const Preset& preset, std::uint32_t index) noexcept;

}  // namespace pyenergy::simgpu
