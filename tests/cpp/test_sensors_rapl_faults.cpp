// SPDX-License-Identifier: Apache-2.0
// What can go wrong while RAPL is sampled: each is a stated gap or the exact energy.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <csignal>
#include <string>

#include "core/sampler.h"
#include "sensors/rapl_domain.h"
#include "sensors/sources.h"
#include "sysfs_tree.h"

using namespace pyenergy;

namespace {

constexpr long long kRange = 262'143'328'850;  // uJ, of most Intel packages
const std::string kZone = "intel-rapl:0";

// One package, polled in simulated time; the test writes its counter between polls.
struct Package {
  SysfsTree tree;
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>(kSecond);
  std::shared_ptr<Stream> stream;

  explicit Package(long long energy_uj, long long range_uj = kRange, Ns period = kMs,
                   Ns gap = 100 * kSecond) {
    tree.cpuinfo("GenuineIntel");
    tree.zone(kZone, "package-0", energy_uj, range_uj);
    StreamOptions options;
    options.pacing.period = period;
    options.gap_ns = gap;
    stream = Stream::create(open_rapl(enumerate_rapl("").devices.at(0), clock), clock, options);
    poll();
  }
  void poll() { stream->run_inline(1); }
  void poll(long long energy_uj) {
    tree.energy(kZone, energy_uj);
    poll();
  }
  void poll_text(const std::string& text) {
    tree.write("sys/class/powercap/" + kZone + "/energy_uj", text);
    poll();
  }
  const RunStore& runs() const {
    stream->recording()->seal();
    return stream->recording()->store(0);
  }
  double joules() const { return runs().value()[runs().size() - 1]; }
  // But for "the same again", which runs() itself makes by ending a run.
  std::uint32_t flags() const {
    return runs().flags()[runs().size() - 1] & 0xffffU & ~static_cast<unsigned>(kContinues);
  }
  int status() const { return static_cast<int>(runs().flags()[runs().size() - 1] >> 16); }
};

}  // namespace

TEST_SUITE_BEGIN("rapl faults");

TEST_CASE("energy is the counter's difference, in joules") {
  Package cpu(1'000'000);
  CHECK(cpu.joules() == 0.0);
  cpu.poll(1'250'000);
  CHECK(cpu.joules() == doctest::Approx(0.25));
  CHECK(cpu.flags() == kOk);
}

TEST_CASE("a wrap is counted on, with the zone's own range") {
  for (const long long range : {kRange, 65'532'610'987LL}) {
    Package cpu(range - 100'000, range);
    cpu.poll(150'000);
    CHECK(cpu.flags() == kWrapped);
    CHECK(cpu.joules() == doctest::Approx(0.25));
  }
}

TEST_CASE("hours at the largest power come out exactly when polled as rarely as is allowed") {
  // Half a turn at 1 kW; the sampler is not let poll more rarely.
  const double turn_s = 1e-6 * static_cast<double>(kRange) / kLargestPackageW;
  const auto period = static_cast<Ns>(turn_s / 2 * 1e9);
  Package cpu(0, kRange, period, 10 * period);
  long long energy = 0, total = 0;
  const auto step = static_cast<long long>(kLargestPackageW * static_cast<double>(period) * 1e-3);
  int wraps = 0;
  for (int i = 0; i < 100; ++i) {
    total += step;
    energy += step;
    if (energy >= kRange) energy -= kRange;
    cpu.poll(energy);
    CHECK((cpu.flags() & (kReset | kGapBefore)) == 0);
    wraps += (cpu.flags() & kWrapped) != 0 ? 1 : 0;
  }
  CHECK(wraps == total / kRange);
  CHECK(cpu.joules() == doctest::Approx(1e-6 * static_cast<double>(total)).epsilon(1e-12));
}

TEST_CASE("a silence in which it may have wrapped more than once is unknown, not guessed") {
  Package cpu(1'000'000);
  cpu.clock->advance(3'600 * kSecond);  // the process was stopped: 13 turns at 1 kW
  cpu.poll(1'500'000);
  CHECK((cpu.flags() & kReset) != 0);
  CHECK((cpu.flags() & kGapBefore) != 0);
  CHECK(cpu.joules() == 0.0);
  cpu.poll(1'600'000);  // and counts on from there
  CHECK(cpu.joules() == doctest::Approx(0.1));
}

TEST_CASE("a pause too short for a turn loses nothing") {
  Package cpu(1'000'000);
  cpu.clock->advance(60 * kSecond);
  cpu.poll(31'000'000);  // 0.5 W
  CHECK(cpu.flags() == kOk);
  CHECK(cpu.joules() == doctest::Approx(30.0));
}

TEST_CASE("a reset is no wrap") {
  Package cpu(5'000'000'000);
  cpu.poll(5'000'100'000);
  cpu.poll(2'000);  // the module was loaded anew
  CHECK((cpu.flags() & kReset) != 0);
  CHECK(cpu.joules() == doctest::Approx(0.1));
  cpu.poll(502'000);
  CHECK(cpu.joules() == doctest::Approx(0.6));
}

TEST_CASE("a rise that no package could make is unknown") {
  Package cpu(1'000'000);
  cpu.poll(60'000'000'000);  // 60 kJ in a millisecond
  CHECK((cpu.flags() & kReset) != 0);
  CHECK(cpu.joules() == 0.0);
}

TEST_CASE("without a range every fall is a reset") {
  Package cpu(1'000'000, 0);
  cpu.poll(10);
  CHECK((cpu.flags() & kReset) != 0);
}

TEST_CASE("garbage is no number, and what follows still tells the energy") {
  Package cpu(1'000'000);
  for (const char* text : {"nonsense", "12 uJ", "0x10", "99999999999999999999999", "1.5"}) {
    cpu.poll_text(text);
    CAPTURE(text);
    CHECK(std::isnan(cpu.joules()));
    CHECK(cpu.flags() == kInvalid);
    CHECK(cpu.status() == EBADMSG);
  }
  cpu.poll(-5);
  CHECK(std::isnan(cpu.joules()));
  CHECK(cpu.flags() == kInvalid);
  cpu.poll(1'300'000);
  CHECK(cpu.flags() == kOk);
  CHECK(cpu.joules() == doctest::Approx(0.3));
}

TEST_CASE("an empty file is a missing reading") {
  Package cpu(1'000'000);
  std::filesystem::resize_file(cpu.tree.path("sys/class/powercap/" + kZone + "/energy_uj"), 0);
  cpu.poll();
  CHECK(std::isnan(cpu.joules()));
  CHECK(cpu.flags() == kMissing);
  CHECK(cpu.status() == ENODATA);
  CHECK(cpu.stream->stats().failed_reads == 1);
}

TEST_CASE("a file that vanishes while it is sampled is missing from then on") {
  // A file of the kernel's that goes with its process, as a zone's goes with its module.
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  REQUIRE(child > 0);
  {
    SysfsTree tree;
    tree.cpuinfo("GenuineIntel");
    tree.zone(kZone, "package-0", 0);
    const std::string file = "sys/class/powercap/" + kZone + "/energy_uj";
    tree.remove(file);
    tree.link(file, "/proc/" + std::to_string(child) + "/oom_score");
    const SourceReport report = enumerate_rapl("");
    REQUIRE(report.available);
    const auto sensor = open_rapl(report.devices[0], nullptr);
    Reading reading;
    REQUIRE(sensor->read(ReadGroup::kFast, {&reading, 1}) == 1);
    CHECK(reading.flags == kOk);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    for (int i = 0; i < 3; ++i) {
      REQUIRE(sensor->read(ReadGroup::kFast, {&reading, 1}) == 1);
      CHECK(reading.flags == kMissing);
      CHECK(reading.status == ESRCH);
      CHECK(std::isnan(reading.value));
    }
  }
}

TEST_CASE("a pipe in the place of a counter is refused, not waited for") {
  SysfsTree tree;
  tree.cpuinfo("GenuineIntel");
  tree.zone(kZone, "package-0", 0);
  const std::string file = "sys/class/powercap/" + kZone + "/energy_uj";
  tree.remove(file);
  REQUIRE(mkfifo(tree.path(file).c_str(), 0600) == 0);
  const SourceReport report = enumerate_rapl("");
  CHECK_FALSE(report.available);
  CHECK(report.reason.find("Invalid argument") != std::string::npos);
}

TEST_SUITE_END();
