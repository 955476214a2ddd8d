// SPDX-License-Identifier: Apache-2.0
// Files of /sys, /proc and /dev: RAPL by its three ways, hwmon, IIO, and the CPU's estimate.
//
// An input is text: "== class/powercap/intel-rapl:0/name" and the lines of that file below it; "->"
// in the place of "==" changes a file after the sensors were opened.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "properties.h"
#include "sensors/rapl_domain.h"
#include "sensors/sources.h"

namespace {

using namespace pyenergy;
namespace fs = std::filesystem;

const fs::path& root() {
  static const fs::path path = [] {
    const bool shm = fs::is_directory("/dev/shm");
    std::string made = shm ? "/dev/shm/fuzz-XXXXXX" : "/tmp/fuzz-XXXXXX";
    if (mkdtemp(made.data()) == nullptr) std::abort();
    for (const char* name : {"PYENERGY_SYSFS_ROOT", "PYENERGY_PROC_ROOT", "PYENERGY_DEV_ROOT"}) {
      setenv(name, made.c_str(), 1);
    }
    return fs::path(made);
  }();
  return path;
}

// Nothing is written outside the tree.
bool plain(std::string_view name) {
  if (name.empty() || name.size() > 100 || name.front() == '/') return false;
  if (name.find("..") != name.npos || name.find("//") != name.npos) return false;
  for (const char c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && !std::strchr("/:_-.", c)) return false;
  }
  return true;
}

void write(std::string_view name, std::string_view text) {
  std::error_code ignored;
  const fs::path path = root() / name;
  fs::create_directories(path.parent_path(), ignored);
  std::ofstream(path, std::ios::binary) << text;
}

// The files of an input whose headers begin with `mark`.
void write_all(std::string_view text, std::string_view mark) {
  int files = 0;
  while (!text.empty() && files < 64) {
    const auto line = std::min(text.find('\n'), text.size());
    const std::string_view head = text.substr(0, line);
    text.remove_prefix(std::min(line + 1, text.size()));
    auto end = text.size();
    for (const std::string_view next : {"\n== ", "\n-> "}) end = std::min(end, text.find(next));
    const std::string_view name = head.size() > 3 ? head.substr(3) : std::string_view{};
    if (head.starts_with(mark) && plain(name)) {
      write(name, text.substr(0, end));
      ++files;
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

struct Opened {
  std::unique_ptr<Sensor> sensor;
  std::unique_ptr<Recording> recording;
};

void read(Opened& opened, Ns t) {
  std::vector<Reading> out(opened.sensor->max_readings());
  for (const ReadGroup group : {ReadGroup::kFast, ReadGroup::kSlow}) {
    const std::size_t n = opened.sensor->read(group, out);
    for (std::size_t i = 0; i < n; ++i) {
      opened.recording->take(
          {t, t + kUs, out[i].value, out[i].channel, out[i].flags, out[i].status});
    }
  }
}

int refuse(std::uint32_t, std::uint64_t, int) { return -EACCES; }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fs::create_directories(root());
  write_all(text, "==");
  find_rapl_perf(refuse);
  find_rapl_msr();
  const auto clock = std::make_shared<ManualClock>(kSecond);
  std::vector<Opened> all;
  for (const auto& [enumerate, open] :
       {std::pair(&enumerate_rapl, &open_rapl), std::pair(&enumerate_hwmon, &open_hwmon),
        std::pair(&enumerate_estimate, &open_estimate)}) {
    const SourceReport report = enumerate("");
    fuzz::require(report.available || !report.reason.empty(), "what is not there says why");
    for (const DeviceInfo& info : report.devices) {
      try {
        Opened opened{open(info, clock), nullptr};
        opened.recording = std::make_unique<Recording>(opened.sensor->channels(), kSecond, 0);
        all.push_back(std::move(opened));
      } catch (const std::runtime_error&) {  // the contract: a message for the user
      }
    }
  }
  for (Opened& opened : all) read(opened, clock->now());
  write_all(text, "->");
  for (int i = 0; i < 2; ++i) {
    clock->advance(200 * kMs);
    for (Opened& opened : all) read(opened, clock->now());
  }
  for (Opened& opened : all) fuzz::check(*opened.recording);
  std::error_code ignored;
  fs::remove_all(root(), ignored);
  return 0;
}
