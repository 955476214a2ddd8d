// SPDX-License-Identifier: Apache-2.0
// Where the energy of a window went: shared among the operations that ran, and the gaps between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/clock_ns.h"
#include "core/integrate.h"

namespace pyenergy {

// What happens to the static part P_static * dt of every moment.
enum class StaticPolicy {
  kSeparate,  // a total of its own: operations and gaps hold dynamic energy only
  kBusy,      // to the running operations by the same shares; that of a gap stays in the gap
  kAll,       // over all time: every second of an operation or of a gap gets the same
};

// Operations of one device, over any number of its streams, in any order; they may overlap.
struct Operations {
  std::span<const Ns> starts, ends;
  std::span<const double> weights;  // empty: all 1
};

struct SweepOptions {
  Ns from = 0, to = 0;    // the window; must lie inside the curve
  double static_w = 0.0;  // P_static
  StaticPolicy policy = StaticPolicy::kSeparate;
};

// What a sweep found. total = operations + gaps + separate static, whatever the policy: nothing is
// clipped, and every sum is compensated.
struct SweepResult {
  // One row per operation, in the caller's order; what lies outside the window is not in them.
  std::vector<double> energy_j;
  std::vector<double> lower_j, upper_j;  // with none or all of the dynamic part where it overlapped
  std::vector<double> alone_s, overlapped_s;

  // One row per gap (a stretch of the window in which nothing ran), in order of time.
  std::vector<Ns> gap_start, gap_end;
  std::vector<double> gap_energy_j;

  double total_j = 0.0;       // E(to) - E(from)
  double operations_j = 0.0;  // sum of energy_j
  double gaps_j = 0.0;        // sum of gap_energy_j
  double static_j = 0.0;      // P_static * (to - from) where it is kept separate, else 0
  double busy_s = 0.0;        // at least one operation ran
  double overlap_s = 0.0;     // at least two did

  std::size_t segments = 0;           // stretches between neighbouring edges
  std::size_t negative_segments = 0;  // of these with less energy than P_static explains
  double negative_j = 0.0;            // their dynamic energy
  std::size_t deepest = 0;            // most operations at once
  std::size_t empty = 0;              // operations without length: no energy
  std::size_t outside = 0;            // operations that lie wholly outside the window
  std::size_t cut = 0;                // operations that reach outside
  double outside_s = 0.0;             // seconds of operations outside the window
};

// Each segment between neighbouring edges has E_s, of which static_w * dt is static and the rest
// (signed) dynamic. The dynamic part is shared by weight among the operations that run; where all
// of these weigh nothing, equally; where none runs, it is a gap's. O((n + knots) + n * digits)
// time, O(n) memory however much overlaps.
//
// Throws std::invalid_argument, naming the first index, for an operation that ends before it starts
// and a weight that is negative or not finite; when the sizes differ; for a static power that is
// negative or not finite; when the window is reversed or not inside the curve.
SweepResult sweep(const EnergyCurve& curve, const Operations& operations,
                  const SweepOptions& options);

}  // namespace pyenergy
