// SPDX-License-Identifier: Apache-2.0
// Shared by the files of the simulated libdcgm: a host engine over a world's cards.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "abi/dcgm.h"
#include "core/clock.h"
#include "simgpu/world.h"

#ifndef PYENERGY_DCGM_FACE_MAJOR
#define PYENERGY_DCGM_FACE_MAJOR 4
#endif

namespace pyenergy::simgpu::dcgm_face {

inline constexpr bool kIsOld = PYENERGY_DCGM_FACE_MAJOR < 3;
// A fault of kind `fails` aimed at this field id is what a watch of profiling fields answers.
inline constexpr std::uint32_t kProfilingWatch = 1000;
// Where an engine is said to listen: the only address that connects.
inline constexpr const char* kHostEnvironment = "PYENERGY_SIM_DCGM_HOST";

struct Watch {
  Ns start, interval;
};

// There is one engine, whichever way it is reached. Under `mutex`.
struct Engine {
  std::mutex mutex;
  std::shared_ptr<World> world;  // null: not started
  std::uintptr_t last_id = 100;
  std::map<dcgm::Group, std::vector<unsigned>> groups;
  std::map<dcgm::FieldGroup, std::vector<unsigned short>> field_groups;
  std::map<std::pair<dcgm::Group, dcgm::FieldGroup>, Watch> watches;
};
Engine& engine();

inline bool is_profiling(unsigned short field) { return field > 1000 && field < 1100; }
bool is_known(unsigned short field);
// The field as the engine's cycle at `t` finds it; a profiling field is the mean of the `interval`
// before. What NVML fails with becomes a blank, as in DCGM; a status of 1000 + k blank of kind k;
// a negative one the value's own status.
void read_value(Card& card, unsigned short field, Ns t, Ns interval, unsigned short& type,
                int& status, dcgm::Value& value);
// Of a node or card; false: not a field that tells who it is.
bool read_identity(Card& card, unsigned short field, unsigned short& type, dcgm::Value& value);

}  // namespace pyenergy::simgpu::dcgm_face
