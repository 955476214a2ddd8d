// SPDX-License-Identifier: Apache-2.0
// A program that profiles itself: profiled [DEVICES]
#include <cmath>
#include <cstdio>
#include <exception>

#include "profiler.h"

namespace {

volatile double sink;

void add_roots(int n) {
  for (int i = 0; i < n; ++i) sink = sink + std::sqrt(static_cast<double>(i));
}

void run(Profiler& profiler) {
  const Profiler::Region all(profiler, "all");
  for (int step = 0; step < 5; ++step) {
    {
      const Profiler::Region region(profiler, "short");
      add_roots(1'000'000);
    }
    const Profiler::Region region(profiler, "long");
    add_roots(4'000'000);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Profiler profiler(argc > 1 ? argv[1] : "auto");
    run(profiler);
    profiler.report(stdout);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "profiled: %s\n", error.what());
    return 1;
  }
}
