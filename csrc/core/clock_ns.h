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

// Whatever comes from a file is a time only within 146 years of the clock's origin (Unix time up to
// the year 2116 is): the difference of two such times never overflows.
inline constexpr bool is_time(Ns t) noexcept {
  constexpr Ns kBound = Ns{1} << 62;
  return t > -kBound && t < kBound;
}

inline Ns read_clock(clockid_t id) noexcept {
  timespec ts;
  clock_gettime(id, &ts);
  return static_cast<Ns>(ts.tv_sec) * kSecond + ts.tv_nsec;
}

inline Ns monotonic_ns() noexcept { return read_clock(CLOCK_MONOTONIC); }
inline Ns realtime_ns() noexcept { return read_clock(CLOCK_REALTIME); }

}  // namespace pyenergy
