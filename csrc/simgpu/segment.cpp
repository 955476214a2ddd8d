// SPDX-License-Identifier: Apache-2.0
#include "simgpu/segment.h"

#include <algorithm>
#include <cmath>

namespace pyenergy::simgpu {
namespace {

double rise(Ns length, double tau) noexcept {  // 1 - exp(-length / tau)
  return -std::expm1(-static_cast<double>(length) * kPerNs / tau);
}
double decay(Ns length, double tau) noexcept {
  return std::exp(-static_cast<double>(length) * kPerNs / tau);
}

// A ramp has two straight parts: the rise until `duration`, then flat.
double ramp_value(const Segment& s, Ns u) noexcept {
  if (u >= s.duration) return s.p1;
  return s.p0 + (s.p1 - s.p0) * (static_cast<double>(u) / static_cast<double>(s.duration));
}

double ramp_energy(const Segment& s, Ns u0, Ns u1) noexcept {
  const Ns knee = std::clamp(s.duration, u0, u1);
  const double mean = 0.5 * (ramp_value(s, u0) + ramp_value(s, knee));
  return (mean * static_cast<double>(knee - u0) + s.p1 * static_cast<double>(u1 - knee)) * kPerNs;
}

double ramp_response(const Segment& s, Ns u0, Ns u1, double tau) noexcept {
  const Ns knee = std::clamp(s.duration, u0, u1);
  double y = 0.0;
  if (knee > u0) {
    const double length = static_cast<double>(knee - u0) * kPerNs;
    const double slope = (s.p1 - s.p0) / (static_cast<double>(s.duration) * kPerNs);
    const double r = rise(knee - u0, tau);
    y = ramp_value(s, u0) * r + slope * (length - tau * r);
  }
  return y * decay(u1 - knee, tau) + s.p1 * rise(u1 - knee, tau);
}

// The square wave's unit pulse train on v = u + phase: high in [nT, nT + high).
Ns on_time(const Segment& s, Ns v) noexcept {
  return v / s.duration * s.high + std::min(v % s.duration, s.high);
}

// Response at v1 to what the pulse of period n contributes inside [v0, v1].
double pulse_response(const Segment& s, Ns n, Ns v0, Ns v1, double tau) noexcept {
  const Ns begin = std::max(v0, n * s.duration);
  const Ns end = std::min(v1, n * s.duration + s.high);
  return end <= begin ? 0.0 : decay(v1 - end, tau) * rise(end - begin, tau);
}

double train_response(const Segment& s, Ns v0, Ns v1, double tau) noexcept {
  const Ns first = v0 / s.duration, last = v1 / s.duration;
  double y = pulse_response(s, first, v0, v1, tau);
  if (last == first) return y;
  // Whole periods between the first and the last: a geometric series.
  const Ns whole = last - first - 1;
  const double one = decay(s.duration - s.high, tau) * rise(s.high, tau);
  const double series = one * rise(whole * s.duration, tau) / rise(s.duration, tau);
  y += series * decay(v1 - last * s.duration, tau);
  return y + pulse_response(s, last, v0, v1, tau);
}

}  // namespace

double demand(const Segment& s, Ns u) noexcept {
  switch (s.shape) {
    case Shape::kConstant:
      return s.p0;
    case Shape::kRamp:
      return ramp_value(s, u);
    case Shape::kSquare:
      return (u + s.phase) % s.duration < s.high ? s.p1 : s.p0;
  }
  return 0.0;
}

double demand_energy(const Segment& s, Ns u0, Ns u1) noexcept {
  const double length = static_cast<double>(u1 - u0);
  switch (s.shape) {
    case Shape::kConstant:
      return s.p0 * length * kPerNs;
    case Shape::kRamp:
      return ramp_energy(s, u0, u1);
    case Shape::kSquare: {
      const Ns on = on_time(s, u1 + s.phase) - on_time(s, u0 + s.phase);
      return (s.p0 * length + (s.p1 - s.p0) * static_cast<double>(on)) * kPerNs;
    }
  }
  return 0.0;
}

double demand_response(const Segment& s, Ns u0, Ns u1, double tau) noexcept {
  switch (s.shape) {
    case Shape::kConstant:
      return s.p0 * rise(u1 - u0, tau);
    case Shape::kRamp:
      return ramp_response(s, u0, u1, tau);
    case Shape::kSquare:
      return s.p0 * rise(u1 - u0, tau) +
             (s.p1 - s.p0) * train_response(s, u0 + s.phase, u1 + s.phase, tau);
  }
  return 0.0;
}

}  // namespace pyenergy::simgpu
