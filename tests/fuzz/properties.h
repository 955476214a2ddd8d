// SPDX-License-Identifier: Apache-2.0
// What holds of a recording whatever was read into it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/collector.h"
#include "core/integrate.h"

namespace pyenergy::fuzz {

// A finding: libFuzzer keeps the input.
inline void require(bool holds, const char* property) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", property);
  std::abort();
}

inline RunsView view_of(const RunStore& store) {
  const std::size_t n = store.size();
  return {{store.t_first(), n},   {store.read_first(), n}, {store.t_last(), n},
          {store.read_last(), n}, {store.value(), n},      {store.flags(), n}};
}

inline void check_channel(const Channel& channel, const RunStore& store) {
  const RunsView runs = view_of(store);
  double total = -1.0;
  for (std::size_t i = 0; i < runs.value.size(); ++i) {
    require(runs.t_first[i] <= runs.t_last[i], "a run begins before it ends");
    require(i == 0 || runs.t_last[i - 1] <= runs.t_first[i], "runs are in order of time");
    const bool unusable = (runs.flags[i] & (kMissing | kInvalid)) != 0;
    require(unusable == std::isnan(runs.value[i]), "what is no number is flagged, and only that");
    if (unusable) continue;
    require(std::isfinite(runs.value[i]), "a value is finite");
    if (channel.kind == ChannelKind::kCounter) {
      // A total that is taken up again is rounded to the counter's own unit.
      require(runs.value[i] >= total - 1e-8 * std::max(1.0, total),
              "a counter's total never falls");
      total = runs.value[i];
    } else {
      require(runs.value[i] >= channel.valid_min && runs.value[i] <= channel.valid_max,
              "a reading lies within its channel's bounds");
    }
  }
  const EnergyCurve curve = EnergyCurve::from_runs(runs);
  const bool power = std::ranges::none_of(runs.value, [](double v) { return std::abs(v) > 1e15; });
  if (curve.empty() || !power) return;
  const std::vector<Ns> from{curve.start(), curve.start()};
  const std::vector<Ns> to{curve.end(), curve.start()};
  std::vector<double> joules(2);
  curve.windows(from, to, joules, 1);
  require(joules[1] == 0.0, "a window without length has no energy");
}

inline void check(Recording& recording) {
  recording.seal();
  for (std::size_t i = 0; i < recording.channels().size(); ++i) {
    check_channel(recording.channels()[i], recording.store(i));
  }
}

}  // namespace pyenergy::fuzz
