// SPDX-License-Identifier: Apache-2.0
// A simulated card outside any world.
#pragma once

#include <pthread.h>

#include <memory>

#include "simgpu/presets.h"

namespace pyenergy::simgpu {

// Its mutex is a plain one, of this process.
inline std::unique_ptr<Card> make(const char* preset) {
  auto card = std::make_unique<Card>();
  pthread_mutex_init(&card->mutex, nullptr);
  make_card(*card, find_preset(preset), 0);
  return card;
}

}  // namespace pyenergy::simgpu
