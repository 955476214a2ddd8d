// SPDX-License-Identifier: Apache-2.0
// The choice among the sources of activity.
#include "sensors/activity.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

#include "sensors/dcgm_describe.h"

namespace pyenergy {
namespace {

constexpr const char* kLocalEngine = "localhost:5555";
// Threads and performance counters that nobody asked for have no place in a measured program.
constexpr const char* kEngineFix =
    "sudo systemctl start nvidia-dcgm, or PYENERGY_DCGM=embedded, which starts one in this process "
    "and holds the counters that Nsight wants";
constexpr unsigned short kEnginePort = 5555;  // DCGM_HE_PORT_NUMBER
constexpr double kRatioMax = 1.01;            // ratios of counters that are not read at once
constexpr int kCapSysAdmin = 21;              // linux/capability.h

std::string read_proc(const char* file) {
  const char* root = std::getenv("PYENERGY_PROC_ROOT");
  std::ostringstream text;
  text << std::ifstream(std::string(root != nullptr && *root != '\0' ? root : "/proc") + "/" + file)
              .rdbuf();
  return text.str();
}

// What follows `key` in a text of "Key: value" lines, or empty.
std::string line_of(const std::string& text, const std::string& key) {
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return {};
  const std::size_t start = at + key.size();
  return text.substr(start, text.find('\n', start) - start);
}

// The driver says that profiling is the administrator's, and this process is not one.
bool profiling_is_denied() {
  const std::string only = line_of(read_proc("driver/nvidia/params"), "RmProfilingAdminOnly:");
  if (std::strtol(only.c_str(), nullptr, 10) != 1) return false;
  const std::string mask = line_of(read_proc("self/status"), "CapEff:");
  return !mask.empty() && (std::strtoull(mask.c_str(), nullptr, 16) >> kCapSysAdmin & 1) == 0;
}

// Asked of the kernel, at once, instead of DCGM, which waits.
bool engine_listens_here() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kEnginePort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool listens = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return listens;
}

std::string with_fix(const std::string& reason, const std::string& fix) {
  return fix.empty() ? reason : reason + " (fix: " + fix + ")";
}

std::unique_ptr<Activity> from_dcgm(const std::string& uuid, std::string& reason) {
  const char* wanted = std::getenv("PYENERGY_DCGM");
  std::string address = wanted == nullptr ? "" : wanted;
  if (address == "off") {
    reason = "switched off by PYENERGY_DCGM";
    return nullptr;
  }
  if (const DcgmLoad load = load_dcgm(); load.api == nullptr) {
    reason = with_fix(load.reason, load.fix);
    return nullptr;
  }
  const bool here = address == "embedded";
  if (here) address.clear();
  if (address.empty() && !here) {
    if (!engine_listens_here()) {
      reason = with_fix("no host engine runs on this machine", kEngineFix);
      return nullptr;
    }
    address = kLocalEngine;
  }
  if (address.empty() && profiling_is_denied()) {
    reason = with_fix("only the administrator may profile here", kProfilingFix);
    return nullptr;
  }
  const DcgmConnection connection = connect_dcgm(address);
  if (connection.engine == nullptr) {
    reason = with_fix(connection.reason, connection.fix);
    return nullptr;
  }
  for (const unsigned gpu : dcgm_gpus(*connection.engine)) {
    if (dcgm_text(*connection.engine, gpu, dcgm::kUuid) != uuid) continue;
    return open_dcgm_activity(connection.engine, gpu, reason);
  }
  reason = "its engine (" + connection.engine->where() + ") does not know this GPU";
  return nullptr;
}

}  // namespace

const std::vector<ActivityPart>& activity_parts() {
  static const std::vector<ActivityPart> parts = {
      {"sm_active", dcgm::kSmActive, NVML_GPM_METRIC_SM_UTIL},
      {"tensor_active", dcgm::kTensorActive, NVML_GPM_METRIC_ANY_TENSOR_UTIL},
      {"dram_active", dcgm::kDramActive, NVML_GPM_METRIC_DRAM_BW_UTIL},
      {"fp64_active", dcgm::kFp64Active, NVML_GPM_METRIC_FP64_UTIL},
      {"fp32_active", dcgm::kFp32Active, NVML_GPM_METRIC_FP32_UTIL},
      {"fp16_active", dcgm::kFp16Active, NVML_GPM_METRIC_FP16_UTIL},
  };
  return parts;
}

std::vector<Channel> activity_channels(const std::vector<ActivityPart>& parts,
                                       const std::string& note, bool by_dcgm) {
  std::vector<Channel> channels;
  int halves = 0;
  const auto add = [&](const char* name, const std::string& source, const std::string& text) {
    Channel channel;
    channel.name = name;
    channel.unit = "1";
    channel.group = ReadGroup::kSlow;
    channel.valid_min = 0.0;
    channel.valid_max = kRatioMax;
    channel.scale = by_dcgm ? 1.0 : 0.01;
    channel.source = source;
    channel.scope = "gpu";
    channel.note = text;
    channel.update_ns = channel.window_ns = kActivityInterval;
    channels.push_back(std::move(channel));
  };
  for (const ActivityPart& part : parts) {
    const std::string source = by_dcgm ? "dcgm.field." + std::to_string(part.dcgm_field)
                                       : "nvml.gpm." + std::to_string(part.gpm_metric);
    add(part.name, source, note);
    halves += part.dcgm_field == dcgm::kFp32Active || part.dcgm_field == dcgm::kFp64Active;
  }
  if (halves == 2) {
    add("fp_active", by_dcgm ? "dcgm.fp" : "nvml.gpm.fp", "fp32_active / 2 + fp64_active; " + note);
  }
  return channels;
}

ActivityChoice find_activity(const NvmlApi& api, nvmlDevice_t device, const std::string& uuid,
                             std::shared_ptr<Clock> clock) {
  std::string why_not_dcgm, why_not_gpm;
  if (auto dcgm = from_dcgm(uuid, why_not_dcgm)) {
    std::string said = dcgm->channels().front().note;
    return {std::move(dcgm), std::move(said)};
  }
  const std::string gpm_said = "activity: NVML GPM; not DCGM: " + why_not_dcgm;
  if (auto gpm = open_gpm_activity(api, device, gpm_said, std::move(clock), why_not_gpm)) {
    return {std::move(gpm), gpm_said};
  }
  return {nullptr,
          "activity: NVML utilisation (time share in which any kernel ran, not pipe activity); "
          "not DCGM: " +
              why_not_dcgm + "; not NVML GPM: " + why_not_gpm};
}

}  // namespace pyenergy
