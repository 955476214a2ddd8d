// SPDX-License-Identifier: Apache-2.0
// How tests steer a card: its script, clocks, sensors and faults, each under the card's lock.
// Whatever starts at a time replaces all that was planned from there on. Arguments that cannot be
// throw std::invalid_argument; a full table throws std::length_error.
#pragma once

#include <span>
#include <string>

#include "simgpu/layout.h"

namespace pyenergy::simgpu {

// Powers are of the whole board, in W, steady, at the reference clock and without leakage.
void set_power(Card& card, double watts, Ns at);
void ramp(Card& card, double from_w, double to_w, Ns duration, Ns at);
struct SquareWave {
  double low_w, high_w;
  Ns period;
  double duty = 0.5;   // share of a period at high_w, from its start
  double phase = 0.0;  // share of a period that has passed at the start
};
void square_wave(Card& card, const SquareWave& wave, Ns at);

void set_clock(Card& card, double hz, Ns at);
void set_power_law(Card& card, double alpha);
void set_thermal(Card& card, double leak, Ns tau);

// Replaces one of the card's sensors whole. A counter that adds the instant field's readings needs
// one that updates: std::invalid_argument otherwise, from either function.
void set_field(Card& card, bool average, const PowerField& field);
void set_counter(Card& card, const EnergyCounter& counter);
void set_latency(Card& card, const Latency& latency);
void set_module_only(Card& card, bool module_only);
void set_mig(Card& card, std::uint32_t instances);
// Replaces those that work on the card. std::length_error beyond kMaxProcesses.
void set_processes(Card& card, std::span<const GpuProcess> processes);

// Faults of the energy counter happen at a time: `from` says when.
void inject(Card& card, const Fault& fault);
void clear_faults(Card& card);

// Names, as the Python API says them. Throws std::invalid_argument naming the known ones.
// The fault comes with its defaults: on everything, always, from ever on.
Fault fault_by_name(const std::string& name);
Call call_by_name(const std::string& name);
Integrates integrates_by_name(const std::string& name);

}  // namespace pyenergy::simgpu
