// SPDX-License-Identifier: Apache-2.0
// What every driver can read: power, energy, samples, clocks, temperature, limits, state.
#include <cmath>
#include <limits>

#include "simgpu/faces/nvml_face.h"
#include "simgpu/power_law.h"
#include "simgpu/sensor_model.h"

using namespace pyenergy;
using namespace pyenergy::simgpu;
using face::driver_call;
using face::get;
using face::Handle;

namespace {

constexpr std::int64_t kSamplesKept = 120;

unsigned milliwatts(double watts) noexcept {
  return static_cast<unsigned>(std::llround(watts * 1e3));
}

unsigned megahertz(double hz) noexcept { return static_cast<unsigned>(std::llround(hz * 1e-6)); }

// A 32-bit unsigned result of a reading that may be impossible: it wraps or saturates, as a
// driver's would.
nvmlReturn_t store_milliwatts(double watts, unsigned* out) noexcept {
  if (std::isnan(watts)) return NVML_ERROR_UNKNOWN;
  const double mw = std::min(std::round(watts * 1e3), 4294967295.0);
  *out = static_cast<unsigned>(static_cast<long long>(std::max(mw, -2147483648.0)));
  return NVML_SUCCESS;
}

// Real time in us of a monotonic time; the offset is taken once, so that stamps compare.
unsigned long long real_us(Ns t) noexcept {
  static const Ns offset = realtime_ns() - monotonic_ns();
  return static_cast<unsigned long long>((t + offset) / 1000);
}

// Copies the kept updates newer than `last_us`, oldest first; returns how many.
unsigned copy_samples(const Card& card, Ns now, unsigned long long last_us, unsigned room,
                      nvmlSample_t* out) {
  const std::uint64_t seed = card.id.seed;
  const std::int64_t newest = latest_update(card.instant, seed, now).k;
  unsigned n = 0;
  for (std::int64_t k = newest - kSamplesKept + 1; k <= newest && n < room; ++k) {
    const Ns t = update_time(card.instant, seed, k);
    if (real_us(t) <= last_us) continue;
    out[n].timeStamp = real_us(t);
    out[n].sampleValue.uiVal = milliwatts(std::max(0.0, power_reading(card, card.instant, {k, t})));
    ++n;
  }
  return n;
}

unsigned long long clock_reasons(const Card& card, Ns now) {
  unsigned long long reasons = nvmlClocksEventReasonNone;
  if (load_power(card, now) <= 0.0) reasons |= nvmlClocksEventReasonGpuIdle;
  if (clock_hz(card, now) < card.max_hz) reasons |= nvmlClocksEventReasonApplicationsClocksSetting;
  if (true_power(card, now) >= card.limit_w) reasons |= nvmlClocksEventReasonSwPowerCap;
  return reasons;
}

}  // namespace

nvmlReturn_t face::read_clock_reasons(nvmlDevice_t device, unsigned long long* out) noexcept {
  return get(device, Call::kState, out, clock_reasons);
}

// The average where the card has one, as real drivers do.
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned* power) {
  if (power == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kPower, [&](Card& card, Ns now, const Handle&) {
    const bool average = card.average.present != 0;
    const FieldReading reading =
        read_field(card, average ? kFieldPowerAverage : kFieldPowerInstant, now);
    if (reading.status != kSuccess) return face::as_return(reading.status);
    return store_milliwatts(reading.value, power);
  });
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long* energy) {
  if (energy == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kEnergy, [&](Card& card, Ns now, const Handle&) {
    const FieldReading reading = read_field(card, kFieldEnergy, now);
    if (reading.status != kSuccess) return face::as_return(reading.status);
    *energy = static_cast<unsigned long long>(static_cast<long long>(reading.value));
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, nvmlSamplingType_t type,
                                  unsigned long long last_us, nvmlValueType_t* value_type,
                                  unsigned* count, nvmlSample_t* samples) {
  if (value_type == nullptr || count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kSamples, [&](Card& card, Ns now, const Handle&) {
    if (type != NVML_TOTAL_POWER_SAMPLES || card.instant.update <= 0) {
      return NVML_ERROR_NOT_SUPPORTED;
    }
    *value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
    if (samples == nullptr) {
      *count = kSamplesKept;
      return NVML_SUCCESS;
    }
    *count = copy_samples(card, now, last_us, *count, samples);
    return *count > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
  });
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned* out) {
  if (type != NVML_CLOCK_GRAPHICS && type != NVML_CLOCK_SM) return NVML_ERROR_NOT_SUPPORTED;
  return get(device, Call::kClock, out,
             [](Card& card, Ns now) { return megahertz(clock_hz(card, now)); });
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned* out) {
  if (type != NVML_CLOCK_GRAPHICS && type != NVML_CLOCK_SM) return NVML_ERROR_NOT_SUPPORTED;
  return get(device, Call::kClock, out, [](Card& card, Ns) { return megahertz(card.max_hz); });
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor,
                                      unsigned* out) {
  if (sensor != NVML_TEMPERATURE_GPU) return NVML_ERROR_INVALID_ARGUMENT;
  return get(device, Call::kTemperature, out,
             [](Card& card, Ns now) { return std::lround(temperature_c(card, now)); });
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t* rates) {
  if (rates == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kUtilisation, [&](Card& card, Ns now, const Handle&) {
    const unsigned busy = load_power(card, now) > 0.0 ? 100 : 0;
    *rates = {busy, 0};
    return NVML_SUCCESS;
  });
}

nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t device, nvmlPstates_t* out) {
  return get(device, Call::kState, out, [](Card& card, Ns now) {
    return load_power(card, now) > 0.0 ? NVML_PSTATE_0 : NVML_PSTATE_8;
  });
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device,
                                                       unsigned long long* out) {
  return face::read_clock_reasons(device, out);
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, unsigned* out) {
  return get(device, Call::kLimit, out, [](Card& card, Ns) { return milliwatts(card.limit_w); });
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned* out) {
  return nvmlDeviceGetPowerManagementLimit(device, out);
}

nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t device, unsigned* out) {
  return nvmlDeviceGetPowerManagementLimit(device, out);
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned* lowest,
                                                          unsigned* highest) {
  if (lowest == nullptr || highest == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return driver_call(device, Call::kLimit, [&](Card& card, Ns, const Handle&) {
    *lowest = milliwatts(face::kMinimumLimit * card.limit_w);
    *highest = milliwatts(card.limit_w);
    return NVML_SUCCESS;
  });
}
