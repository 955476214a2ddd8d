// SPDX-License-Identifier: Apache-2.0
// CPU time a sample and lateness at one rate: our sampler (thread, ring and collector together)
// against a bare loop that only sleeps to absolute deadlines (timer slack 1 ns) and reads the same
// sensor. In turn, several rounds. Prints JSON.
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "core/sampler.h"
#include "sensors/registry.h"

namespace {

using namespace pyenergy;

std::unique_ptr<Sensor> ideal_sensor() {
  const Source& sim = find_source("sim");
  const SourceReport report = sim.enumerate("ideal");
  if (report.devices.empty()) std::abort();
  return sim.open(report.devices.front(), std::make_shared<SystemClock>());
}

double process_cpu_ns() {
  timespec ts;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return static_cast<double>(ts.tv_sec) * 1e9 + static_cast<double>(ts.tv_nsec);
}

struct Round {
  double cpu_ns, p50_ns, p99_ns;
};

Round bare(Ns period, long samples) {
  auto sensor = ideal_sensor();
  std::array<Reading, 16> out;
  std::vector<Ns> late;
  late.reserve(static_cast<std::size_t>(samples));
  Round result{};
  std::thread([&] {
    prctl(PR_SET_TIMERSLACK, 1);
    const double cpu = process_cpu_ns();
    Ns deadline = monotonic_ns() + period;
    for (long i = 0; i < samples; ++i) {
      const timespec ts{deadline / kSecond, deadline % kSecond};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, nullptr);
      late.push_back(monotonic_ns() - deadline);
      sensor->read(ReadGroup::kFast, out);
      deadline += period;
    }
    result.cpu_ns = (process_cpu_ns() - cpu) / static_cast<double>(samples);
  }).join();
  std::sort(late.begin(), late.end());
  result.p50_ns = static_cast<double>(late[late.size() / 2]);
  result.p99_ns = static_cast<double>(late[late.size() * 99 / 100]);
  return result;
}

Round ours(Ns period, long samples) {
  StreamOptions options;
  options.pacing.period = period;
  options.slow_period = 3600 * kSecond;  // the bare loop reads no slow channels
  auto stream = Stream::create(ideal_sensor(), std::make_shared<SystemClock>(), options);
  const double cpu = process_cpu_ns();
  stream->acquire();
  const timespec ts{period * samples / kSecond, period * samples % kSecond};
  nanosleep(&ts, nullptr);
  stream->release(0);
  stream->stop();
  const auto& stats = stream->stats();
  const double polls = static_cast<double>(stats.polls.load());
  return {(process_cpu_ns() - cpu) / polls, static_cast<double>(stats.lateness.quantile(0.5)),
          static_cast<double>(stats.lateness.quantile(0.99))};
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const double rate = argc > 1 ? std::atof(argv[1]) : 1000;
  const double seconds = argc > 2 ? std::atof(argv[2]) : 3;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  const Ns period = static_cast<Ns>(1e9 / rate);
  const long samples = static_cast<long>(rate * seconds);
  std::vector<double> cpu, p50, p99, our_cpu, our_p50, our_p99;
  for (int i = 0; i < rounds; ++i) {
    const Round b = bare(period, samples), o = ours(period, samples);
    cpu.push_back(b.cpu_ns), p50.push_back(b.p50_ns), p99.push_back(b.p99_ns);
    our_cpu.push_back(o.cpu_ns), our_p50.push_back(o.p50_ns), our_p99.push_back(o.p99_ns);
  }
  std::printf(
      "{\"bare_cpu_ns\": %.0f, \"cpu_ns\": %.0f, \"bare_p50_ns\": %.0f, \"p50_ns\": %.0f, "
      "\"bare_p99_ns\": %.0f, \"p99_ns\": %.0f, \"rounds\": %d}\n",
      median(cpu), median(our_cpu), median(p50), median(our_p50), median(p99), median(our_p99),
      rounds);
}
