// SPDX-License-Identifier: Apache-2.0
// Quantiles of durations against sorted ones.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/histogram.h"

using namespace pyenergy;

TEST_SUITE_BEGIN("histogram");

TEST_CASE("quantiles to one bin, exact when small") {
  DurationHistogram histogram;
  CHECK(histogram.quantile(0.5) == 0);
  for (Ns d = 1; d <= 20; ++d) histogram.add(d);
  CHECK(histogram.quantile(0.0) == 1);
  CHECK(histogram.quantile(0.5) == 10);
  CHECK(histogram.quantile(1.0) == 20);
  histogram.add(-5);  // a clock that ran backwards counts as no time
  CHECK(histogram.count() == 21);

  DurationHistogram wide;
  std::mt19937_64 random(3);
  std::vector<Ns> all;
  for (int i = 0; i < 5'000; ++i) {
    all.push_back(static_cast<Ns>(std::exp2(std::uniform_real_distribution(0.0, 62.0)(random))));
    wide.add(all.back());
  }
  std::ranges::sort(all);
  for (const double q : {0.01, 0.5, 0.99, 1.0}) {
    const auto exact = static_cast<double>(all[static_cast<std::size_t>(q * 5'000) - 1]);
    const auto found = static_cast<double>(wide.quantile(q));
    CHECK(found >= exact);
    CHECK(found <= exact * (1.0 + 1.0 / 32) + 1.0);
  }
  CHECK(wide.max() == all.back());
}

TEST_SUITE_END();
