// SPDX-License-Identifier: Apache-2.0
// What a simulated GPU is, as it lies in the mapped world file: plain data, guarded card by card
// by a robust process-shared mutex (see world.h). Times are ns of CLOCK_MONOTONIC.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

#include "core/clock_ns.h"

namespace pyenergy::simgpu {

inline constexpr std::uint64_t kMagic = 0x554750474d495350;  // "PSIMGPGU", little endian
inline constexpr std::uint32_t kLayoutVersion = 3;           // raise it with every change below
inline constexpr std::uint32_t kMaxCards = 64;
inline constexpr std::uint32_t kMaxSegments = 4096;
inline constexpr std::uint32_t kMaxClockEvents = 1024;
inline constexpr std::uint32_t kMaxFaults = 64;
inline constexpr std::uint32_t kMaxMig = 7;
inline constexpr std::uint32_t kMaxSums = 4096;
inline constexpr std::uint32_t kMaxProcesses = 16;

// NVML's return codes, the vendor status that both faces report.
enum Status : std::int32_t {
  kSuccess = 0,
  kNotSupported = 3,
  kDriverNotLoaded = 9,
  kGpuLost = 15,
  kUnknownError = 999,
};

// NVML's field ids that the model knows.
enum FieldId : std::uint32_t {
  kFieldEnergy = 83,
  kFieldPowerAverage = 185,
  kFieldPowerInstant = 186,
};

// Groups of driver calls: what a fault can aim at and what is counted. Below every field id, so
// that one number names either.
enum class Call : std::uint32_t {
  kAny = 0,
  kInit,
  kHandle,    // count and handles
  kIdentity,  // name, UUID, PCI, architecture, cores
  kFields,
  kPower,
  kEnergy,
  kSamples,
  kClock,
  kTemperature,
  kUtilisation,
  kState,  // P-state and throttle reasons
  kLimit,
  kMemory,
  kMig,
  kProcesses,
  kCount,
};

enum class Shape : std::uint32_t { kConstant, kRamp, kSquare };

// Demand D(t): W above idle at the reference clock, from `start` until the next segment starts.
struct Segment {
  Ns start;
  Shape shape;
  double p0, p1;       // constant: p0. Ramp: from p0 to p1. Square: low p0, high p1
  Ns duration;         // ramp: how long it rises. Square: the period
  Ns high;             // square: high during the first `high` ns of each period
  Ns phase;            // square: how much of a period has passed at `start`
  double load_before;  // J of load between the first segment's start and this one's
  double heat;         // the thermal low-pass of the load at `start`, W
};

struct ClockEvent {
  Ns start;
  double hz;
  double scale;  // (hz / reference)^alpha
};

enum class Response : std::uint32_t { kBoxcar, kRc };

// One published power reading: y_k = round_q(gain * (h * P)(t_k - delay) + offset + noise).
struct PowerField {
  std::uint32_t present;
  Response response;
  Ns update;  // 0: continuous
  Ns phase;   // t_k = phase + k * update, moved by at most half the jitter
  Ns jitter;  // below `update`
  Ns window;  // boxcar's width or RC's time constant; 0: the power itself
  Ns delay;
  double gain, offset_w, noise_w, quantum_w;
};

// What the energy counter adds up: the true energy, or at each update of the instant field the time
// since its last one times its reading.
enum class Integrates : std::uint32_t { kTruth, kSensor };

struct EnergyCounter {
  std::uint32_t present;
  Integrates integrates;
  Ns update;    // 0: continuous
  Ns phase;     // t_k = phase + k * update
  Ns epoch;     // where it began to count
  double gain;  // of what it counts against the truth
  double start_mj, quantum_mj;
  double modulus_mj;  // 0: none
};

// Sum over all updates of the instant field after the counter's epoch up to update k.
struct SensorSum {
  std::int64_t k;
  double joules, rest;  // the sum and what rounding left out of it
};

// Sums known so far, so that a read adds few readings: a cache of what the card implies.
struct SensorSums {
  std::uint32_t count;
  std::int64_t stride;
  SensorSum marks[kMaxSums];  // sorted: every `stride` updates from the epoch's on
  SensorSum latest;           // the furthest; meaningful when count > 0
};

struct Latency {
  Ns base, slow;
  double slow_probability;
};

enum class FaultKind : std::uint32_t {
  kFails,             // a call, or one field of a field call; value: the status
  kGpuLost,           // from then on
  kDriverNotLoaded,   // initialisation fails
  kSlowCall,          // value: s
  kNegative,          // a power field reads -value W
  kNan,               // a power field reads NaN
  kAbsurd,            // a power field reads value W
  kCounterReset,      // the energy counter restarts at 0
  kCounterBackwards,  // the energy counter loses value J
};

struct Fault {
  FaultKind kind;
  std::uint32_t target;  // a Call below kCount, else a field id; 0: all
  std::uint64_t every;   // fires each time this many matching calls were seen; 1: always
  std::uint32_t once;    // fires the first time only
  Ns from;
  double value;
  std::uint64_t seen, fired;
};

struct Identity {
  char preset[16];
  char name[64];
  char uuid[48];
  char pci[32];
  char architecture[16];
  std::uint32_t nvml_architecture, cc_major, cc_minor, cores;
  std::uint64_t memory_bytes;
  std::uint64_t seed;         // of noise, jitter and slow calls
  std::uint32_t module_only;  // superchip: power is readable at module scope, not at GPU scope
  std::uint32_t mig_instances;
};

// A process that works on a card, as the driver tells of it.
struct GpuProcess {
  std::uint32_t pid;
  std::uint32_t sm_percent, memory_percent;  // of the time, in every sample; both 0: no sample
  std::uint64_t memory_bytes;
};

struct Card {
  pthread_mutex_t mutex;
  std::uint64_t revision;  // changes whenever anything below may read differently than before
  Identity id;
  double idle_w, limit_w;
  double reference_hz, max_hz, alpha;  // load = D * (f / reference)^alpha
  double leak;                         // W of leakage per W of low-passed load
  Ns thermal_tau;
  double ambient_c, kelvin_per_w;
  PowerField instant, average;
  std::uint32_t power_by_field;  // fields 185, 186 exist (newer drivers and cards)
  EnergyCounter counter;
  mutable SensorSums sums;
  Latency latency;
  std::uint64_t calls[static_cast<int>(Call::kCount)];
  std::uint32_t fault_count, clock_count, segment_count, process_count;
  GpuProcess processes[kMaxProcesses];
  Fault faults[kMaxFaults];
  ClockEvent clocks[kMaxClockEvents];  // sorted; the first reaches back for ever
  Segment segments[kMaxSegments];      // sorted by start
};

struct WorldFile {
  std::atomic<std::uint64_t> magic;  // written last
  std::uint32_t layout_version;
  std::uint32_t card_bytes;
  pthread_mutex_t mutex;  // of adding cards
  std::atomic<std::uint32_t> card_count;
  Card cards[kMaxCards];
};

}  // namespace pyenergy::simgpu
