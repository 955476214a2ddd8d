// SPDX-License-Identifier: Apache-2.0
// The least that reads power and energy of all GPUs at a rate: sleep to an absolute deadline (timer
// slack 1 ns), one nvmlDeviceGetFieldValues a device, keep the latest. One thread for each device,
// or one for all. A deadline that has passed is missed and skipped, as our pacer does. Prints JSON.
#include <dlfcn.h>
#include <nvml.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

std::int64_t now_of(clockid_t clock) {
  timespec ts;
  clock_gettime(clock, &ts);
  return ts.tv_sec * kSecond + ts.tv_nsec;
}

decltype(&nvmlDeviceGetFieldValues) get_values;

struct Loop {
  std::vector<nvmlDevice_t> devices;
  std::vector<std::int64_t> late;
  std::int64_t missed = 0;
  double latest = 0.0;

  void run(std::int64_t period, std::int64_t until) {
    prctl(PR_SET_TIMERSLACK, 1);
    std::int64_t deadline = now_of(CLOCK_MONOTONIC);
    while (deadline < until) {
      const timespec ts{deadline / kSecond, deadline % kSecond};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, nullptr);
      late.push_back(now_of(CLOCK_MONOTONIC) - deadline);
      for (nvmlDevice_t device : devices) {
        nvmlFieldValue_t values[3] = {};
        values[0].fieldId = NVML_FI_DEV_POWER_INSTANT;
        values[1].fieldId = NVML_FI_DEV_POWER_AVERAGE;
        values[2].fieldId = NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION;
        if (get_values(device, 3, values) == NVML_SUCCESS) latest = values[0].value.uiVal;
      }
      deadline += period;
      const std::int64_t behind = now_of(CLOCK_MONOTONIC) - deadline;
      if (behind <= 0) continue;
      const std::int64_t skipped = behind / period + 1;
      missed += skipped;
      deadline += skipped * period;
    }
  }
};

template <typename Function>
Function symbol(void* library, const char* name, Function) {
  void* const found = dlsym(library, name);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function>(found);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const bool each = std::strcmp(argv[1], "each") == 0;
  const auto period = static_cast<std::int64_t>(1e9 / std::atof(argv[2]));
  const auto length = static_cast<std::int64_t>(std::atof(argv[3]) * 1e9);
  void* const library = dlopen(std::getenv("PYENERGY_NVML_LIBRARY"), RTLD_NOW);
  if (library == nullptr) std::abort();
  get_values = symbol(library, "nvmlDeviceGetFieldValues", &nvmlDeviceGetFieldValues);
  if (symbol(library, "nvmlInit_v2", &nvmlInit_v2)() != NVML_SUCCESS) std::abort();
  unsigned count = 0;
  symbol(library, "nvmlDeviceGetCount_v2", &nvmlDeviceGetCount_v2)(&count);
  std::vector<Loop> loops(each ? count : 1);
  for (unsigned i = 0; i < count; ++i) {
    nvmlDevice_t device;
    symbol(library, "nvmlDeviceGetHandleByIndex_v2", &nvmlDeviceGetHandleByIndex_v2)(i, &device);
    loops[i % loops.size()].devices.push_back(device);
  }
  for (Loop& loop : loops) loop.late.reserve(static_cast<std::size_t>(length / period + 1));
  const std::int64_t cpu = now_of(CLOCK_PROCESS_CPUTIME_ID), start = now_of(CLOCK_MONOTONIC);
  std::vector<std::thread> threads;
  for (Loop& loop : loops) threads.emplace_back([&] { loop.run(period, start + length); });
  for (std::thread& thread : threads) thread.join();
  const double wall = static_cast<double>(now_of(CLOCK_MONOTONIC) - start);
  std::vector<std::int64_t> late;
  std::int64_t missed = 0;
  std::size_t polls = 0;
  for (const Loop& loop : loops) {
    late.insert(late.end(), loop.late.begin(), loop.late.end());
    missed += loop.missed * static_cast<std::int64_t>(loop.devices.size());
    polls += loop.late.size() * loop.devices.size();
  }
  std::sort(late.begin(), late.end());
  const double used = static_cast<double>(now_of(CLOCK_PROCESS_CPUTIME_ID) - cpu);
  std::printf(
      "{\"polls\": %zu, \"missed\": %lld, \"cpu_share\": %.6f, \"p50_us\": %.3f, "
      "\"p99_us\": %.3f, \"max_us\": %.3f}\n",
      polls, static_cast<long long>(missed), used / wall,
      static_cast<double>(late[late.size() / 2]) * 1e-3,
      static_cast<double>(late[late.size() * 99 / 100]) * 1e-3,
      static_cast<double>(late.back()) * 1e-3);
}
