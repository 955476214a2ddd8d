// SPDX-License-Identifier: Apache-2.0
// Time is int64 nanoseconds of CLOCK_MONOTONIC everywhere inside pyenergy.
// CLOCK_MONOTONIC never steps, but it is slewed by NTP (up to 500 ppm), stops during suspend and
// has an arbitrary origin: it is comparable between processes of one boot, not between machines.
#pragma once

#include <time.h>

#include <cstdint>

namespace pyenergy {

using Ns = std::int64_t;

inline constexpr Ns kUs = 1'000;
inline constexpr Ns kMs = 1'000'000;
inline constexpr Ns kSecond = 1'000'000'000;

inline Ns read_clock(clockid_t id) noexcept {
  timespec ts;
  clock_gettime(id, &ts);
  return static_cast<Ns>(ts.tv_sec) * kSecond + ts.tv_nsec;
}

inline Ns monotonic_ns() noexcept { return read_clock(CLOCK_MONOTONIC); }
inline Ns realtime_ns() noexcept { return read_clock(CLOCK_REALTIME); }

}  // namespace pyenergy
