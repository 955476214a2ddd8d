// SPDX-License-Identifier: Apache-2.0
// The CPU estimate: what /proc says, which TDP follows, and power from load under a manual clock.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/clock.h"
#include "sensors/cpu_model.h"
#include "sensors/sources.h"

using namespace pyenergy;

namespace {

std::string cpuinfo(const std::string& model, int threads, bool smt, bool guest, int packages = 1) {
  std::string text;
  for (int i = 0; i < threads; ++i) {
    text += "processor\t: " + std::to_string(i) + "\nmodel name\t: " + model +
            "\nphysical id\t: " + std::to_string(i % packages) +
            "\nsiblings\t: " + (smt ? "2" : "1") + "\ncpu cores\t: 1\nflags\t\t: fpu" +
            (guest ? " hypervisor" : "") + " sse\n\n";
  }
  return text;
}

CpuPowerModel model_of(const std::string& name, int threads, bool smt, bool guest,
                       int packages = 1) {
  return power_model(parse_cpuinfo(cpuinfo(name, threads, smt, guest, packages)));
}

// A directory that stands in for /proc while it lives.
class FakeProc {
 public:
  FakeProc() : root_(std::filesystem::temp_directory_path() / ("proc" + std::to_string(getpid()))) {
    std::filesystem::create_directories(root_);
    setenv("PYENERGY_PROC_ROOT", root_.c_str(), 1);
    write("cpuinfo", cpuinfo("AMD EPYC 7742 64-Core Processor", 128, true, false));
  }
  ~FakeProc() {
    unsetenv("PYENERGY_PROC_ROOT");
    std::filesystem::remove_all(root_);
  }
  void write(const char* file, const std::string& text) { std::ofstream(root_ / file) << text; }
  void stat(long busy, long idle) {
    write("stat", "cpu  " + std::to_string(busy) + " 0 0 " + std::to_string(idle) +
                      " 0 0 0 999 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
  }

 private:
  const std::filesystem::path root_;
};

struct Estimate {
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>(kSecond, false);
  std::unique_ptr<Sensor> sensor = open_estimate(enumerate_estimate("").devices.at(0), clock);
  Reading read_after(Ns wait) {
    clock->advance(wait);
    Reading reading;
    REQUIRE(sensor->read(ReadGroup::kFast, {&reading, 1}) == 1);
    return reading;
  }
};

}  // namespace

TEST_CASE("a known CPU has its TDP, in proportion to what is visible") {
  const char* epyc = "AMD EPYC 7742 64-Core Processor";
  CHECK(model_of(epyc, 128, true, false).tdp_w == doctest::Approx(225.0));
  CHECK(model_of(epyc, 256, true, false, 2).tdp_w == doctest::Approx(450.0));
  CHECK(model_of(epyc, 64, false, false).tdp_w == doctest::Approx(225.0));  // SMT off
  CHECK(model_of(epyc, 16, false, true).tdp_w == doctest::Approx(225.0 / 8));
  CHECK(model_of(epyc, 256, false, true).tdp_w == doctest::Approx(450.0));
}

TEST_CASE("the model's name is matched as whole words, the longest wins") {
  CHECK(model_of("Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz", 48, true, false).tdp_w == 205.0);
  CHECK(model_of("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", 40, true, false).tdp_w == 150.0);
  CHECK(model_of("12th Gen Intel(R) Core(TM) i9-12900K", 24, true, false).tdp_w == 125.0);
  CHECK(model_of("AMD Ryzen 7 5800X3D 8-Core Processor", 16, true, false).tdp_w == 105.0);
  CHECK(model_of("Intel(R) Xeon(R) Platinum 8480CL", 4, true, false).tdp_w == 24.0);
}

TEST_CASE("an unknown CPU counts 6 W a thread and says so") {
  const CpuPowerModel model = model_of("AMD EPYC", 4, false, true);
  CHECK(model.tdp_w == 24.0);
  CHECK(model.how.find("not in the table") != std::string::npos);
}

TEST_CASE("no cpuinfo, no processor") {
  const CpuInfo cpu = parse_cpuinfo("");
  CHECK(cpu.threads == 0);
  CHECK(cpu.packages == 0);
}

TEST_CASE("power follows the load of the last 100 ms and is marked as an estimate") {
  FakeProc proc;
  proc.stat(1000, 1000);
  Estimate cpu;
  Reading reading = cpu.read_after(10 * kMs);
  CHECK(reading.flags == (kEstimate | kMissing));  // no load is known yet
  CHECK(reading.status == EAGAIN);
  CHECK(std::isnan(reading.value));
  proc.stat(1000, 2000);
  reading = cpu.read_after(90 * kMs);
  CHECK(reading.flags == kEstimate);
  CHECK(reading.value == doctest::Approx(0.3 * 225.0));
  proc.stat(1500, 2500);
  CHECK(cpu.read_after(99 * kMs).value == doctest::Approx(0.3 * 225.0));  // not yet due
  CHECK(cpu.read_after(1 * kMs).value == doctest::Approx((0.3 + 0.7 * 0.5) * 225.0));
  proc.stat(2500, 2500);
  CHECK(cpu.read_after(100 * kMs).value == doctest::Approx(225.0));
}

TEST_CASE("counters that tell no load make the reading missing, never 0") {
  FakeProc proc;
  proc.stat(1000, 1000);
  Estimate cpu;
  CHECK(cpu.read_after(100 * kMs).status == ENODATA);  // they stand still
  proc.stat(500, 1000);
  CHECK(cpu.read_after(100 * kMs).flags == (kEstimate | kMissing));  // they run backwards
  proc.write("stat", "nonsense");
  CHECK(cpu.read_after(100 * kMs).status == EBADMSG);
  proc.write("stat", "cpu  9223372036854775807 9223372036854775807 0 1 0 0 0");
  CHECK(cpu.read_after(100 * kMs).status == EBADMSG);
  proc.stat(1000, 2000);
  CHECK(cpu.read_after(100 * kMs).flags == kEstimate);
}

TEST_CASE("the estimate tells why it cannot be used") {
  FakeProc proc;
  CHECK(enumerate_estimate("").reason.find("/proc/stat") != std::string::npos);
  proc.stat(0, 0);
  CHECK(enumerate_estimate("").reason.find("counts no CPU time") != std::string::npos);
  proc.stat(1, 1);
  proc.write("cpuinfo", "");
  CHECK(enumerate_estimate("").reason.find("no processor") != std::string::npos);
  CHECK_FALSE(enumerate_estimate("fast").available);
}
