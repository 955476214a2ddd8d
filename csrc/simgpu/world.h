// SPDX-License-Identifier: Apache-2.0
// The mapped world: creation, opening, and locked access to its cards. A world in a file is seen
// by every process that opens it and outlives them all; the in-process world is anonymous memory.
#pragma once

#include <memory>
#include <string>

#include "core/clock.h"
#include "simgpu/layout.h"

namespace pyenergy::simgpu {

inline constexpr const char* kEnvironment = "PYENERGY_SIMGPU";

// Holds a card for a few microseconds. A holder that died is survived: its card is made
// consistent again before anyone sees it.
class CardLock {
 public:
  explicit CardLock(Card& card) noexcept;
  ~CardLock();
  CardLock(const CardLock&) = delete;
  CardLock& operator=(const CardLock&) = delete;

 private:
  Card& card_;
};

// The same for whoever changes what the card is or does.
class CardChange {
 public:
  explicit CardChange(Card& card) noexcept : lock_(card) { ++card.revision; }

 private:
  const CardLock lock_;
};

class World {
 public:
  // Throws std::runtime_error with the reason (exists already, cannot be written, ...).
  static std::shared_ptr<World> create(const std::string& path);
  static std::shared_ptr<World> open(const std::string& path);
  // This process's anonymous world; shared with children by fork.
  static std::shared_ptr<World> in_process();
  // The file that the environment names, else the in-process world.
  static std::shared_ptr<World> current();
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  const std::string& path() const noexcept { return path_; }  // empty: in-process
  std::uint32_t size() const noexcept;
  Card& card(std::uint32_t index) const noexcept { return file_->cards[index]; }
  // Appends a card made from a preset and returns its index. Throws std::invalid_argument naming
  // the presets, or std::length_error when the world is full.
  std::uint32_t add(const std::string& preset);

 private:
  World(WorldFile* file, std::string path) : file_(file), path_(std::move(path)) {}
  WorldFile* file_;
  std::string path_;
};

// Waits inside a simulated call: exactly by a manual clock, by spinning when too short to sleep.
void wait_for(Clock& clock, Ns duration) noexcept;

}  // namespace pyenergy::simgpu
