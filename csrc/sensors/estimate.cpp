// SPDX-License-Identifier: Apache-2.0
// The last resort: CPU power from load and a TDP table, marked as an estimate in every reading.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "sensors/cpu_model.h"
#include "sensors/sources.h"

namespace pyenergy {
namespace {

// Load is counted in jiffies of 10 ms: over less than this it would be mostly rounding.
constexpr Ns kUpdate = 100 * kMs;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::string proc_path(const char* file) {
  const char* root = std::getenv("PYENERGY_PROC_ROOT");
  return std::string(root != nullptr && *root != '\0' ? root : "/proc") + "/" + file;
}

struct Jiffies {
  std::int64_t busy = 0, total = 0;
};
constexpr std::int64_t kMostJiffies = std::int64_t{1} << 56;  // sums of seven do not overflow

// /proc/stat, kept open. read() allocates nothing.
class ProcStat {
 public:
  explicit ProcStat(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) error_ = errno;
  }
  ~ProcStat() {
    if (fd_ >= 0) ::close(fd_);
  }
  ProcStat(const ProcStat&) = delete;
  ProcStat& operator=(const ProcStat&) = delete;

  // Empty when it cannot be read or parsed: error() says why, as an errno.
  std::optional<Jiffies> read() noexcept {
    if (fd_ < 0) return std::nullopt;
    std::array<char, 256> text;
    const ssize_t n = ::pread(fd_, text.data(), text.size(), 0);
    if (n < 0) {
      error_ = errno;
      return std::nullopt;
    }
    return parse(text.data(), text.data() + n);
  }
  int error() const noexcept { return error_; }

 private:
  // "cpu  user nice system idle iowait irq softirq ...". Steal is nobody's work here, and guest
  // time is already part of user: neither is counted.
  std::optional<Jiffies> parse(const char* at, const char* end) noexcept {
    error_ = EBADMSG;
    if (end - at < 5 || std::memcmp(at, "cpu ", 4) != 0) return std::nullopt;
    at += 4;
    Jiffies sum;
    for (int column = 0; column < 7; ++column) {
      while (at < end && *at == ' ') ++at;
      std::int64_t value = 0;
      const auto [next, error] = std::from_chars(at, end, value);
      if (error != std::errc{} || value < 0 || value > kMostJiffies) return std::nullopt;
      at = next;
      sum.total += value;
      const bool idle = column == 3 || column == 4;
      if (!idle) sum.busy += value;
    }
    error_ = 0;
    return sum;
  }

  const int fd_;
  int error_ = 0;
};

CpuInfo read_cpuinfo() {
  std::ostringstream text;
  text << std::ifstream(proc_path("cpuinfo")).rdbuf();
  return parse_cpuinfo(text.str());
}

DeviceInfo describe(const CpuInfo& cpu, const CpuPowerModel& model) {
  DeviceInfo info;
  info.source = "estimate";
  info.kind = "cpu";
  info.name = cpu.model.empty() ? "unnamed CPU" : cpu.model;
  info.power_min_w = 0.0;
  info.power_max_w = 2.0 * model.tdp_w;
  std::ostringstream tdp;
  tdp << model.tdp_w << " W";
  info.facts = {{"TDP of the visible share", tdp.str()},
                {"TDP from", model.how},
                {"visible threads", std::to_string(cpu.threads)},
                {"virtual machine", cpu.guest ? "yes" : "no"}};
  info.notes = {"estimated from CPU load and TDP, no sensor is read: expect +-50 % (1 sigma)"};
  if (model.how.starts_with("model not in")) info.notes.push_back(model.how);
  return info;
}

Channel power_channel(const DeviceInfo& info) {
  Channel channel;
  channel.name = "power";
  channel.unit = "W";
  channel.valid_min = info.power_min_w;
  channel.valid_max = info.power_max_w;
  channel.source = "estimate.load";
  channel.scope = "cpu-package";
  channel.note = info.notes.front();
  channel.update_ns = kUpdate;
  channel.window_ns = kUpdate;
  channel.delay_ns = 0;
  return channel;
}

class EstimateSensor final : public Sensor {
 public:
  EstimateSensor(DeviceInfo info, CpuPowerModel model, std::shared_ptr<Clock> clock)
      : info_(std::move(info)),
        channels_{power_channel(info_)},
        model_(std::move(model)),
        clock_(std::move(clock)),
        stat_(proc_path("stat")) {
    const auto first = stat_.read();
    if (!first) throw std::runtime_error("/proc/stat: " + std::string(strerror(stat_.error())));
    last_ = *first;
    last_time_ = clock_->now();
  }

  const DeviceInfo& info() const noexcept override { return info_; }
  const std::vector<Channel>& channels() const noexcept override { return channels_; }

  std::size_t read(ReadGroup group, std::span<Reading> out) noexcept override {
    if (group != ReadGroup::kFast || out.empty()) return 0;
    const Ns now = clock_->now();
    if (now - last_time_ >= kUpdate) update(now);
    out[0] = {.value = power_w_, .flags = flags_, .status = status_};
    return 1;
  }

 private:
  void update(Ns now) noexcept {
    const auto jiffies = stat_.read();
    const std::int64_t total = jiffies ? jiffies->total - last_.total : 0;
    const std::int64_t busy = jiffies ? jiffies->busy - last_.busy : 0;
    last_time_ = now;
    if (jiffies) last_ = *jiffies;
    // Counters that stand still or run backwards (a sandbox, a migrated guest) tell no load.
    const bool known = total > 0 && busy >= 0 && busy <= total;
    power_w_ =
        known ? model_.power_w(static_cast<double>(busy) / static_cast<double>(total)) : kNaN;
    flags_ = known ? kEstimate : kEstimate | kMissing;
    status_ = known ? 0 : (jiffies ? ENODATA : stat_.error());
  }

  const DeviceInfo info_;
  const std::vector<Channel> channels_;
  const CpuPowerModel model_;
  const std::shared_ptr<Clock> clock_;
  ProcStat stat_;
  Jiffies last_;
  Ns last_time_ = 0;
  // Until the first update there is no load to tell: missing, "try again".
  double power_w_ = kNaN;
  std::uint16_t flags_ = kEstimate | kMissing;
  std::int32_t status_ = EAGAIN;
};

}  // namespace

SourceReport enumerate_estimate(const std::string& argument) {
  SourceReport report;
  report.source = "estimate";
  if (!argument.empty()) {
    report.reason = "takes no argument, not '" + argument + "'";
    report.fix = "say 'estimate'";
    return report;
  }
  ProcStat stat(proc_path("stat"));
  const auto jiffies = stat.read();
  const CpuInfo cpu = read_cpuinfo();
  if (!jiffies) {
    report.reason = "/proc/stat: " + std::string(strerror(stat.error()));
  } else if (jiffies->total == 0) {
    report.reason = "/proc/stat counts no CPU time here (a sandbox such as gVisor)";
  } else if (cpu.threads == 0) {
    report.reason = "/proc/cpuinfo names no processor";
  }
  if (!report.reason.empty()) return report;
  report.available = true;
  report.devices.push_back(describe(cpu, power_model(cpu)));
  return report;
}

std::unique_ptr<Sensor> open_estimate(const DeviceInfo& info, std::shared_ptr<Clock> clock) {
  const SourceReport found = enumerate_estimate(info.argument);
  if (!found.available) throw std::runtime_error("CPU estimate: " + found.reason);
  return std::make_unique<EstimateSensor>(found.devices.front(), power_model(read_cpuinfo()),
                                          std::move(clock));
}

}  // namespace pyenergy
