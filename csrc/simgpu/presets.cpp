// SPDX-License-Identifier: Apache-2.0
// Update periods and windows as measured on such cards; gain is 1 and offset 0 until a test
// chooses its errors.
#include "simgpu/presets.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <stdexcept>

#include "simgpu/sensor_model.h"

namespace pyenergy::simgpu {
namespace {

constexpr Response kBox = Response::kBoxcar, kRc = Response::kRc;
constexpr Preset kPresets[] = {
    // name, title, architecture, NVML's number, cc, cores, GiB, idle, limit, MHz,
    // update, window, average, response, counter, noise, exact, by field
    {"ideal", "Simulated Ideal GPU", "hopper", 9, 9, 0, 16896, 80, 50, 700, 1980,  //
     0, 0, 0, kBox, 0, 0, true, true},
    {"a100", "Simulated A100", "ga100", 7, 8, 0, 6912, 40, 55, 400, 1410,  //
     101.2, 25, 0, kBox, 100, 0.05, false, true},
    {"h100", "Simulated H100", "hopper", 9, 9, 0, 16896, 80, 70, 700, 1980,  //
     100, 25, 1000, kBox, 100, 0.05, false, true},
    {"v100", "Simulated V100", "volta", 5, 7, 0, 5120, 16, 40, 300, 1530,  //
     20, 10, 0, kBox, 20, 0.05, false, true},
    {"rtx3090", "Simulated RTX 3090", "ampere", 7, 8, 6, 10496, 24, 30, 350, 1950,  //
     100, 100, 1000, kBox, 100, 0.05, false, true},
    {"k40m", "Simulated K40m", "kepler", 2, 3, 5, 2880, 12, 20, 235, 875,  //
     15, 830, 0, kRc, -1, 0.05, false, false},
};

template <std::size_t N>
void copy_text(char (&to)[N], std::string_view text) noexcept {
  const std::size_t n = std::min(text.size(), N - 1);
  std::copy_n(text.begin(), n, to);
  to[n] = '\0';
}

Ns from_ms(double ms) noexcept { return static_cast<Ns>(ms * 1e6 + 0.5); }

void fill_identity(Identity& id, const Preset& preset, std::uint32_t index) noexcept {
  copy_text(id.preset, preset.name);
  copy_text(id.name, preset.title);
  copy_text(id.architecture, preset.architecture);
  std::snprintf(id.uuid, sizeof id.uuid, "GPU-5157a000-0000-4000-8000-%012u", index);
  std::snprintf(id.pci, sizeof id.pci, "00000000:%02X:00.0", index + 1);
  id.nvml_architecture = preset.nvml_architecture;
  id.cc_major = preset.cc_major;
  id.cc_minor = preset.cc_minor;
  id.cores = preset.cores;
  id.memory_bytes = preset.memory_gib << 30;
  id.seed = 0x5157a000 + index;
}

PowerField make_field(const Preset& preset, std::uint64_t seed) noexcept {
  PowerField field{};
  field.present = 1;
  field.response = preset.response;
  field.update = from_ms(preset.update_ms);
  // Cards do not update in step.
  field.phase = static_cast<Ns>(uniform(seed, 0, 0) * static_cast<double>(field.update));
  field.window = from_ms(preset.window_ms);
  field.gain = 1.0;
  field.noise_w = preset.noise_w;
  field.quantum_w = preset.exact ? 0.0 : 1e-3;
  return field;
}

void fill_sensors(Card& card, const Preset& preset) noexcept {
  card.instant = make_field(preset, card.id.seed);
  card.average = card.instant;
  card.average.present = preset.average_window_ms > 0 ? 1 : 0;
  card.average.window = from_ms(preset.average_window_ms);
  card.power_by_field = preset.power_by_field ? 1 : 0;
  EnergyCounter& counter = card.counter;
  counter.present = preset.counter_ms >= 0 ? 1 : 0;
  counter.update = from_ms(std::max(0.0, preset.counter_ms));
  counter.phase =
      static_cast<Ns>(uniform(card.id.seed, 1, 0) * static_cast<double>(counter.update));
  counter.gain = counter.quantum_mj = 1.0;
}

}  // namespace

std::span<const Preset> presets() { return kPresets; }

std::string preset_names() {
  std::string names;
  for (const Preset& preset : kPresets) {
    if (!names.empty()) names += ", ";
    names += preset.name;
  }
  return names;
}

const Preset& find_preset(std::string_view name) {
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset;
  }
  throw std::invalid_argument("no simulated GPU is called '" + std::string(name) +
                              "'; there are: " + preset_names());
}

void make_card(Card& card, const Preset& preset, std::uint32_t index) noexcept {
  card.revision = 1;
  fill_identity(card.id, preset, index);
  card.idle_w = preset.idle_w;
  card.limit_w = preset.limit_w;
  card.max_hz = card.reference_hz = preset.max_mhz * 1e6;
  card.alpha = 2.0;
  card.leak = 0.0;
  card.thermal_tau = 30 * kSecond;
  card.ambient_c = 25.0;
  card.kelvin_per_w = 50.0 / preset.limit_w;
  fill_sensors(card, preset);
  card.clock_count = 1;
  card.clocks[0] = {std::numeric_limits<Ns>::min(), card.max_hz, 1.0};
}

}  // namespace pyenergy::simgpu
